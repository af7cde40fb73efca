//! The command line as a function, for programs that add own parts to the registry.

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::Mutex;

use clap::Parser;
use clap::error::ErrorKind;
use rigl_base::{Error, Kind};
use rigl_train::Registry;

use crate::args::{Arguments, Command};
use crate::commands;
use crate::output::Printer;

/// Parses the command line, runs the command, prints what it says, and gives the exit code.
pub fn run(registry: Registry) -> ExitCode {
    let arguments = match Arguments::try_parse() {
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
            ExitCode::from(error.kind().exit_code())
        }
    }
}

fn dispatch(command: &Command, registry: &Registry, printer: &Printer) -> rigl_base::Result<ExitCode> {
    match command {
        Command::Train(args) => commands::train::run(args, registry, printer),
        Command::Sweep(args) => commands::sweep::run(args, registry, printer),
        Command::Compare(args) => commands::compare::run(args, registry, printer),
        Command::Eval(args) => commands::eval::run(args, registry, printer),
        Command::Export(args) => commands::export::run(args, printer),
        Command::Flops(args) => commands::flops::run(args, registry, printer),
        Command::Bench(args) => commands::bench::run(args, registry, printer),
        Command::Presets(args) => commands::presets::run(args, registry, printer),
        Command::Data(args) => commands::data::run(args, registry, printer),
        Command::Inspect(args) => commands::inspect::run(args, registry, printer),
        Command::Completions(args) => commands::completions::run(args, printer),
        Command::Man(args) => commands::man::run(args, printer),
    }
    .map_err(|error| commands::data::with_folder(error, command.data_dir()))
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
