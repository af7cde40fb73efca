//! `rigl sweep`: a grid of runs as child processes, and one table of what they came to.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use rigl_base::counts::counted;
use rigl_base::{Error, Result, files, shown};
use rigl_metrics::RunFolder;
use rigl_metrics::folder::lock_folder;
use rigl_metrics::machine;
use rigl_study::{FailedRun, Options, Outcome, Plan, Request, Start, State, Table, variants};
use rigl_train::config::{Base, Override};
use rigl_train::{Config, MachineOptions, Registry, configuration_text};
use serde_json::json;

use super::read_text;
use crate::args::MachineFlags;
use crate::output::{Align, Printer, SweepDisplay, Table as Text, bytes, count, percent, shown_runs, si};
use crate::signals::{Signals, Work};

/// Where sweeps go that are given no folder.
const SWEEPS: &str = "sweeps";

/// Held by the process that starts runs.
const LOCK: &str = "sweep.lock";

const SWEEP_EXAMPLES: &str = "\
Examples:
  rigl sweep experiments/mnist.toml --dry-run              its runs and what they cost
  rigl sweep experiments/mnist.toml                        again after an interrupt: goes on
  rigl sweep experiments/cifar10.toml --multiplier 0.02 --set model.dropout=0    a short version of all runs
  rigl sweep experiments/mnist.toml --table                what is there so far";

/// Train every combination of a grid of settings.
#[derive(Args, Clone, Debug)]
#[command(after_help = SWEEP_EXAMPLES)]
pub(crate) struct Sweep {
    /// The sweep: `preset` or `base`, `[set]`, `[grid]`, `[[exclude]]`, `[[when]]`; experiments/README.md describes it
    #[arg(value_name = "FILE.toml")]
    pub(crate) file: PathBuf,
    /// Scale the length of all runs, whatever their own multiplier: 0.02 for a short version
    #[arg(long, value_name = "M", allow_negative_numbers = true, help_heading = "Configuration")]
    pub(crate) multiplier: Option<f64>,
    /// A setting of all runs, that wins over the file; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE", help_heading = "Configuration")]
    set: Vec<String>,
    /// Folder of the sweep [default: `sweeps/` and the name of FILE, with --multiplier and --set]
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub(crate) out: Option<PathBuf>,
    /// Runs at once [default: the physical cores it may use / threads]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = "Run")]
    pub(crate) jobs: Option<u16>,
    /// List the runs with their cost, and stop there
    #[arg(long, conflicts_with = "table", help_heading = "Run")]
    pub(crate) dry_run: bool,
    /// Print the table of the runs that are finished, and stop there
    #[arg(long, help_heading = "Run")]
    pub(crate) table: bool,
    /// Folder of data sets [env: RIGL_DATA_DIR]
    #[arg(long, value_name = "DIR", help_heading = "Machine")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Threads of each run [env: RIGL_NUM_THREADS] [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), allow_negative_numbers = true, help_heading = "Machine")]
    threads: Option<u16>,
    /// Plain lines in place of a progress bar
    #[arg(long, help_heading = "Output")]
    pub(crate) no_progress: bool,
}

impl Sweep {
    /// The settings of all runs.
    pub(crate) fn overrides(&self) -> Result<Vec<Override>> {
        self.set.iter().map(|text| Override::parse("--set", text)).collect()
    }

    /// What each run may use of the machine.
    pub(crate) fn machine(&self) -> Result<MachineOptions> {
        let flags = MachineFlags { data_dir: self.data_dir.clone(), threads: self.threads };
        let options = flags.options()?;
        Ok(MachineOptions { threads: options.threads.max(1), ..options })
    }

    /// The flags that make each run use just that.
    pub(crate) fn machine_arguments(&self, machine: &MachineOptions) -> Vec<OsString> {
        let threads = ["--threads".into(), machine.threads.to_string().into()];
        let folder = self.data_dir.iter().flat_map(|dir| ["--data-dir".into(), dir.into()]);
        threads.into_iter().chain(folder).collect()
    }

    /// The flag, for hints.
    pub(crate) fn data_dir(&self) -> Option<&Path> {
        self.data_dir.as_deref()
    }
}

pub(crate) fn run(args: &Sweep, registry: &Registry, printer: &Printer) -> Result<ExitCode> {
    let machine = args.machine()?;
    let known = registry.known();
    let plan = plan(args, registry, &machine)?;
    let left_out: BTreeSet<&str> = plan.runs.iter().filter_map(|run| run.config.left_out()).collect();
    left_out.iter().for_each(|text| printer.warning(text));
    let states = plan.states(&known)?;
    let unreadable = plan.unreadable(&states);
    if args.dry_run {
        dry_run(&plan, &states, printer)?;
    } else if args.table {
        show(&plan.table(&states), &plan, &unreadable, printer)?;
    }
    if args.dry_run || args.table {
        unreadable.iter().for_each(|bad| warn(bad, printer));
        return Ok(ExitCode::from(u8::from(!unreadable.is_empty())));
    }
    // A part of it is for the system and for this process.
    let memory = machine::memory_limit_bytes().map(|limit| limit / 16 * 15);
    plan.check_machine(&states, registry, &machine, memory)?;
    let program = std::env::current_exe()
        .map_err(|e| Error::environment("cannot tell where this program lies").caused_by(e))?;
    check_folder(&plan.folder)?;
    files::create_folder(&plan.folder)?;
    remarks(&plan, printer);
    let lock = lock_folder(&plan.folder, LOCK)?;
    let signals = Signals::listen(printer, Work::Sweep)?;
    let cores = MachineOptions::default().threads();
    let text = |config: &Config| {
        configuration_text(config, &registry.program, machine.threads, machine.isa.as_deref())
    };
    let options = Options {
        program,
        arguments: args.machine_arguments(&machine),
        jobs: args.jobs.map_or((cores / machine.threads).max(1), usize::from),
        memory,
        text: &text,
    };
    printer.note(&format!("sweep: {} in {}", runs(plan.runs.len()), shown::path(&plan.folder)));
    let mut display = SweepDisplay::new(printer, !args.no_progress);
    let outcome = rigl_study::run(&plan, &known, &options, &mut display, signals.stop());
    display.finish();
    let Outcome { bad, interrupted } = outcome?;
    drop(lock);
    if !interrupted {
        let table = plan.table(&plan.states(&known)?);
        write(&table, &plan.folder)?;
        show(&table, &plan, &bad, printer)?;
    }
    bad.iter().for_each(|bad| warn(bad, printer));
    if interrupted {
        printer.note("interrupted; what is saved stays, the same command goes on with it");
        return Ok(ExitCode::from(signals.exit_code()));
    }
    if !bad.is_empty() {
        let said = match bad.iter().any(|bad| bad.log.is_some()) {
            true => format!(", what they said is in {}/RUN.log", shown::path(&plan.folder)),
            false => String::new(),
        };
        let failed = bad.len();
        let again = match unreadable.is_empty() {
            true => "tries them again",
            false => "tries again those whose folders can be read; mend or delete the others",
        };
        printer
            .note(&format!("{failed} of {} failed{said}; the same command {again}", runs(plan.runs.len())));
    }
    Ok(ExitCode::from(u8::from(!bad.is_empty())))
}

fn warn(bad: &FailedRun, printer: &Printer) {
    printer.warning(&format!("run `{}` failed: {}", bad.run, bad.reason));
}

/// The runs that the file describes.
fn plan(args: &Sweep, registry: &Registry, machine: &MachineOptions) -> Result<Plan> {
    let name = args.file.display().to_string();
    let sweep = rigl_study::Sweep::parse(&name, &read_text(&args.file)?)?;
    let mut overrides = args.overrides()?;
    let variants = variants(args.multiplier, &overrides);
    // Where the data are is the machine's affair: it names no folder, and wins over what the base says.
    if let Some(folder) = args.data_dir() {
        let folder = folder.to_str().ok_or_else(|| {
            Error::usage(format!("the data folder `{}` is not UTF-8 text", shown::path(folder)))
        })?;
        overrides.push(Override::new("--data-dir", "data.dir", &toml_edit::Value::from(folder).to_string()));
    }
    let stem = args.file.file_stem().unwrap_or_default().to_string_lossy();
    let of_variant = |variant: &str| Path::new(SWEEPS).join(format!("{stem}{variant}"));
    // The folder of this sweep by an older name of a key is that of this sweep.
    let variant = variants.iter().find(|variant| of_variant(variant).exists()).unwrap_or(&variants[0]);
    let folder = args.out.clone().unwrap_or_else(|| of_variant(variant));
    // Held here, since the base borrows them.
    let file: Option<(String, String)> = match &sweep.start {
        Start::File(path) => {
            let path: PathBuf = args.file.parent().unwrap_or(Path::new("")).join(path);
            let text = read_text(&path).map_err(|error| error.context(format!("`{name}`: `base`")))?;
            Some((path.display().to_string(), text))
        }
        _ => None,
    };
    let base = match (&sweep.start, &file) {
        (Start::Preset(preset), _) => Base::Preset(preset),
        (_, Some((name, text))) => Base::File { name, text },
        _ => Base::Default,
    };
    let multiplier = args.multiplier;
    let request = Request {
        sweep: &sweep,
        base,
        multiplier,
        overrides: &overrides,
        variant,
        folder,
        registry,
        machine,
    };
    Plan::new(request)
}

/// The runs and their cost.
fn dry_run(plan: &Plan, states: &[State], printer: &Printer) -> Result<()> {
    let flops: f64 = plan.runs.iter().map(|run| run.flops).sum();
    let steps: u64 = plan.runs.iter().map(|run| run.steps).sum();
    if printer.json() {
        let run = |(run, state): (&rigl_study::PlannedRun, &State)| {
            json!({
                "run": run.path, "state": state.word(), "steps": run.steps, "flops": run.flops,
                "planned_bytes": run.bytes, "sparsity": run.sparsity, "remarks": run.remarks,
                "data_seen": run.seen,
            })
        };
        let runs: Vec<_> = plan.runs.iter().zip(states).map(run).collect();
        return printer
            .json_result(&json!({ "folder": plan.folder, "runs": runs, "steps": steps, "flops": flops }));
    }
    let mut table = Text::new(&[
        ("run", Align::Left),
        ("state", Align::Left),
        ("sparsity", Align::Right),
        ("steps", Align::Right),
        ("FLOPs", Align::Right),
        ("memory", Align::Right),
    ]);
    for (run, state) in plan.runs.iter().zip(states) {
        let (sparsity, memory) = (run.sparsity.map_or("–".into(), percent), bytes(run.bytes));
        let [steps, flops] = [count(run.steps), si(run.flops)];
        table.row(vec![run.name.clone(), state.word().into(), sparsity, steps, flops, memory]);
    }
    table.rule();
    let finished = states.iter().filter(|state| state.is_finished()).count();
    let all = runs(plan.runs.len());
    let finished = format!("{finished} finished");
    table.row(vec![all, finished, String::new(), count(steps), si(flops), String::new()]);
    printer.result(&table.to_string())?;
    printer.note(&format!("in {}", shown::path(&plan.folder)));
    remarks(plan, printer);
    let guessed = plan.runs.iter().filter(|run| run.guessed).count() as u64;
    if guessed > 0 {
        let (guessed, all) = (count(guessed), count(plan.runs.len() as u64));
        printer.note(&format!(
            "{guessed} of {all} runs start from runs that cannot be taken over now, and are counted as their distribution says"
        ));
    }
    Ok(())
}

/// Says what is odd about runs, what is odd about several once.
fn remarks(plan: &Plan, printer: &Printer) {
    let mut all: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for run in &plan.runs {
        run.remarks.iter().for_each(|remark| all.entry(remark).or_default().push(&run.name));
    }
    for (remark, of) in all {
        match of[..] {
            [only] => printer.note(&format!("note: run `{only}`: {remark}")),
            _ => printer.note(&format!("note: {} of {}: {remark}", of.len(), runs(plan.runs.len()))),
        }
    }
    let sets: BTreeSet<&str> =
        plan.runs.iter().filter(|run| !run.seen).map(|run| run.config.data.name.as_str()).collect();
    for name in sets {
        printer.note(&format!(
            "note: the files of data set `{name}` could not be read: its runs are counted for the set as it is published"
        ));
    }
}

/// Prints what there is so far; as JSON with what failed.
fn show(table: &Table, plan: &Plan, bad: &[FailedRun], printer: &Printer) -> Result<()> {
    if !printer.json() {
        return printer.result(&shown_runs(table));
    }
    let mut value = table.json();
    if let Some(fields) = value.as_object_mut() {
        fields.insert("folder".into(), json!(plan.folder));
        let bad: Vec<_> = bad.iter().map(|bad| json!({ "run": bad.run, "reason": bad.reason })).collect();
        fields.insert("failed".into(), bad.into());
    }
    printer.json_result(&value)
}

/// The files of the table.
const TABLES: [&str; 3] = ["table.md", "table.csv", "table.json"];

/// Refuses a folder that is a run's, or in which somebody else keeps files that a sweep would replace.
fn check_folder(folder: &Path) -> Result<()> {
    let shown = shown::path(folder);
    let refused = |what: String| Err(Error::usage(what).hint("take another folder with `--out DIR`"));
    if RunFolder::open(folder).is_ok() {
        return refused(format!("`{shown}` is the folder of a run, not of a sweep"));
    }
    if folder.join(LOCK).exists() {
        return Ok(());
    }
    match TABLES.iter().find(|name| folder.join(name).symlink_metadata().is_ok()) {
        Some(name) => {
            refused(format!("`{shown}` is not the folder of a sweep, and its `{name}` would be replaced"))
        }
        None => Ok(()),
    }
}

/// Writes the table into the sweep's folder, in all its forms.
fn write(table: &Table, folder: &Path) -> Result<()> {
    let json = serde_json::to_string_pretty(&table.json());
    let json = json.map_err(|e| Error::internal("cannot print JSON").caused_by(e))? + "\n";
    for (name, text) in TABLES.iter().zip([table.markdown(), table.csv(), json]) {
        let path = folder.join(name);
        files::clear_abandoned(&path);
        files::write_atomic(&path, text.as_bytes())?;
    }
    Ok(())
}

/// So many runs, in words.
fn runs(n: usize) -> String {
    counted(n as u64, "run")
}
