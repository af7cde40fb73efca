//! The command line as a function, for programs that add own parts to the registry.

use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use rigl_base::{Error, Kind};
use rigl_study::BUSY;
use rigl_train::Registry;

use crate::args::Global;
use crate::commands::{
    bench, compare, completions, data, eval, export, flops, inspect, man, presets, runs, sweep, train,
};
use crate::output::Printer;
use crate::{names, program};

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    ran, but the answer is no: training diverged, a run of a sweep failed, a data set is damaged
  2    usage, configuration, data or environment
  101  a fault of rigl itself
  130, 143  interrupted (SIGINT, SIGTERM); what was done is kept";

/// Train neural networks that are sparse from the first step to the last.
#[derive(Debug, Parser)]
#[command(name = "rigl", after_help = EXIT_CODES, max_term_width = 110)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a network
    Train(train::Train),
    /// Train every combination of a grid of settings
    ///
    /// Each run has its folder in that of the sweep. What is finished is not done again, what was interrupted goes on,
    /// however it was interrupted. A run that fails does not end the others; it is named in the end, and the exit code
    /// is 1. In the end one table shows what all came to, with mean and standard deviation over seeds; it is in the
    /// folder too, as `table.md`, `table.csv` and `table.json`.
    Sweep(sweep::Sweep),
    /// Put finished runs side by side
    Compare(compare::Compare),
    /// List runs: what each trains, where it stands, what it came to, and how to go on
    Runs(runs::Runs),
    /// Evaluate the network of a run
    Eval(eval::Eval),
    /// Write the network of a run into a file that other programs read
    ///
    /// The file holds every parameter and buffer dense, inactive weights as zeros, under the names and in the shapes
    /// that PyTorch gives them: a module of the same architecture loads it with `load_state_dict(strict=True)`. Its
    /// metadata tell the network's graph, configuration, class names, preprocessing, step and sparsity.
    Export(export::Export),
    /// Show what a run or a file holds
    ///
    /// Of a run: where it stands, its last numbers, its weights layer by layer, and whether its checkpoints verify. Of
    /// a file: what is in it.
    Inspect(inspect::Inspect),
    /// Show what a network costs, layer by layer and method by method
    Flops(flops::Flops),
    /// List the presets, or print one
    Presets(presets::Presets),
    /// Measure a training step on this machine, as a whole or layer by layer
    ///
    /// Data is noise, prepared beforehand, in the shape of the recipe's data set. Dropout is left out unless `--set
    /// model.dropout=…` asks for it. GFLOP/s count 2 for each active weight, output position and sample. Where each layer is
    /// timed, a convolution computes its two gradients one after the other; in training, and in `bench step`, one pass
    /// computes both, which takes less.
    Bench(bench::Bench),
    /// List the data sets and where they lie, or download one
    Data(data::Data),
    /// Print what makes a shell complete the command line
    Completions(completions::Completions),
    /// Print the manual page, or write those of all commands
    Man(man::Man),
}

impl Command {
    /// The exit code for a mistake of that kind. A program that starts runs is told more than people need.
    fn exit_code(&self, kind: Kind) -> u8 {
        match (self, kind) {
            (Command::Train(args), Kind::Busy) if args.stop_at_eof => BUSY,
            _ => kind.exit_code(),
        }
    }

    /// The data folder that a flag gives a command that trains or evaluates.
    fn data_dir(&self) -> Option<&Path> {
        let machine = match self {
            Command::Train(args) => &args.machine,
            Command::Eval(args) => &args.machine,
            Command::Flops(args) => &args.machine,
            Command::Bench(args) => &args.machine,
            Command::Sweep(args) => return args.data_dir(),
            _ => return None,
        };
        machine.data_dir.as_deref()
    }
}

/// Parses the command line, runs the command, prints what it says, and gives the exit code.
///
/// The program is called as it was started; that name stands in help, hints and the logs of its runs.
pub fn run(registry: Registry) -> ExitCode {
    let registry = Registry { program: program::this(), ..registry };
    let arguments = match parse(&registry) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are results, everything else is a mistake. A broken pipe is neither.
            let _ = error.print();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => ExitCode::from(Kind::Usage.exit_code()),
            };
        }
    };
    let printer = Printer::new(&arguments.global);
    match guarded(|| dispatch(&arguments.command, &registry, &printer)) {
        Ok(code) => code,
        Err(error) => {
            printer.error(&error);
            ExitCode::from(arguments.command.exit_code(error.kind()))
        }
    }
}

/// The command line as it is explained, under the name of this program and with its networks.
fn described(registry: &Registry) -> clap::Command {
    program::own_help(names::explained(Arguments::command(), registry))
}

fn parse(registry: &Registry) -> Result<Arguments, clap::Error> {
    let mut command = described(registry);
    let matches = command.try_get_matches_from_mut(std::env::args_os())?;
    Arguments::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

fn dispatch(command: &Command, registry: &Registry, printer: &Printer) -> rigl_base::Result<ExitCode> {
    match command {
        Command::Train(args) => train::run(args, registry, printer),
        Command::Sweep(args) => sweep::run(args, registry, printer),
        Command::Compare(args) => compare::run(args, registry, printer),
        Command::Runs(args) => runs::run(args, registry, printer),
        Command::Eval(args) => eval::run(args, registry, printer),
        Command::Export(args) => export::run(args, registry, printer),
        Command::Flops(args) => flops::run(args, registry, printer),
        Command::Bench(args) => bench::run(args, registry, printer),
        Command::Presets(args) => presets::run(args, registry, printer),
        Command::Data(args) => data::run(args, registry, printer),
        Command::Inspect(args) => inspect::run(args, registry, printer),
        Command::Completions(args) => {
            completions::run(args, names::completed(described(registry), registry), printer)
        }
        Command::Man(args) => man::run(args, described(registry), &registry.program, printer),
    }
    .map_err(|error| data::with_folder(error, command.data_dir()))
}

/// Runs `work`; a panic in it becomes an error that says where.
fn guarded<T>(work: impl FnOnce() -> rigl_base::Result<T>) -> rigl_base::Result<T> {
    static PLACE: Mutex<Option<String>> = Mutex::new(None);
    // The default hook prints several lines; one is enough, and it comes with the error.
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(|at| format!("{}:{}", at.file(), at.line()));
        if let Ok(mut slot) = PLACE.lock() {
            slot.clone_from(&place);
        }
    }));
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    let _ = panic::take_hook();
    let place = || {
        let slot = PLACE.lock().ok().and_then(|slot| slot.clone());
        slot.map_or_else(String::new, |at| format!(" at {at}"))
    };
    match result {
        Ok(Err(error)) if error.kind() == Kind::Internal => {
            Err(Error::internal(format!("internal error{}", place())).caused_by(error).hint(REPORT))
        }
        Ok(result) => result,
        Err(payload) => {
            let text = payload.downcast_ref::<&str>().map(|s| (*s).to_string());
            let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
            Err(Error::internal(format!("internal error{}: {text}", place())).hint(REPORT))
        }
    }
}

const REPORT: &str = "this is a fault of rigl; please report it with the command and this message";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_commands_are_those_by_which_a_program_shows_its_own_name() {
        let command = Arguments::command();
        for name in command.get_subcommands().map(clap::Command::get_name) {
            let line = format!("rigl {name}");
            assert_eq!(program::renamed(&line, "mine"), format!("mine {name}"));
        }
    }
}
