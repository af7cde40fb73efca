//! `rigl-fuzz`: runs a target on mutated inputs until so many are done, some time has passed, or something does not
//! hold. The work is done by child processes, so that an input that takes the process down is found out too.
#![forbid(unsafe_code)]

mod worker;

use std::alloc::System;
use std::io::{BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use clap::Parser;
use rigl_base::{Error, Result};
use rigl_fuzz::{ALL, Target};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

/// Every input is charged with the memory it asks for.
#[global_allocator]
static MEMORY: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Fuzzes the parsers of rigl
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Arguments {
    /// What to fuzz; without it, the targets are listed
    target: Option<String>,
    /// Inputs to run once instead, such as one that was found
    files: Vec<PathBuf>,
    /// Inputs in all
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    runs: u64,
    /// The same seed makes the same inputs
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Processes, each with seeds of its own: seed, seed + 1 …
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=256))]
    jobs: u64,
    /// Stop after this time, if the runs are not done by then
    #[arg(long, value_name = "T")]
    seconds: Option<u64>,
    /// An input that takes longer is a finding
    #[arg(long, value_name = "T", default_value_t = 20)]
    hang_seconds: u64,
    /// Where the inputs that were found are put
    #[arg(long, value_name = "DIR", default_value = "target/fuzz-findings")]
    findings: PathBuf,
    /// Do the work in this process
    #[arg(long, hide = true)]
    worker: bool,
    /// Say every input on standard output before it is run
    #[arg(long, hide = true)]
    trace: bool,
}

const EXAMPLES: &str = "\
Examples:
  rigl-fuzz config --runs 10000000 --jobs 2
  rigl-fuzz config target/fuzz-findings/config-seed0-run1234

Exit codes: 0 all holds, 1 something was found, 2 a wrong request.";

/// The code for something found.
const FOUND: u8 = 1;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::from(error.kind().exit_code())
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Some(name) = &arguments.target else {
        for Target { name, about, .. } in ALL {
            print(&format!("{name:<12}{about}"));
        }
        return Ok(ExitCode::SUCCESS);
    };
    let target = rigl_fuzz::find(name).ok_or_else(|| {
        let names: Vec<_> = ALL.iter().map(|target| format!("`{}`", target.name)).collect();
        Error::usage(format!("no target is called `{name}`, there are {}", names.join(", ")))
    })?;
    if !arguments.files.is_empty() {
        return replay(target, &arguments.files);
    }
    if arguments.worker {
        return worker::work(target, arguments);
    }
    let begin = Instant::now();
    let jobs = arguments.jobs;
    let mut workers = Vec::new();
    for job in 0..jobs {
        let runs = arguments.runs / jobs + u64::from(job < arguments.runs % jobs);
        let seed = arguments.seed.wrapping_add(job);
        let mut command = command(name, runs, seed, arguments)?;
        let child = command.spawn().map_err(|e| Error::environment("cannot start a process").caused_by(e))?;
        workers.push((child, runs, seed));
    }
    let mut found = false;
    for (mut child, runs, seed) in workers {
        let status =
            child.wait().map_err(|e| Error::environment("cannot wait for a process").caused_by(e))?;
        found |= !status.success();
        if !matches!(status.code(), Some(0..=2)) {
            again(target, runs, seed, arguments)?;
        }
    }
    say(&format!(
        "{name}: {:.0} s, {}",
        begin.elapsed().as_secs_f64(),
        if found { "FOUND" } else { "all holds" }
    ));
    Ok(if found { ExitCode::from(FOUND) } else { ExitCode::SUCCESS })
}

fn command(target: &str, runs: u64, seed: u64, arguments: &Arguments) -> Result<Command> {
    let program =
        std::env::current_exe().map_err(|e| Error::environment("cannot find itself").caused_by(e))?;
    let mut command = Command::new(program);
    command.arg(target).arg("--worker").arg("--findings").arg(&arguments.findings);
    for (flag, value) in [("--runs", runs), ("--seed", seed), ("--hang-seconds", arguments.hang_seconds)] {
        command.args([flag, &value.to_string()]);
    }
    if let Some(seconds) = arguments.seconds {
        command.args(["--seconds", &seconds.to_string()]);
    }
    Ok(command)
}

/// A process was taken down, by too deep a recursion or too much memory. Another makes its inputs once more, and
/// says each before it is run.
fn again(target: &Target, runs: u64, seed: u64, arguments: &Arguments) -> Result<()> {
    let name = target.name;
    say(&format!(
        "{name}: seed {seed}: the process was taken down; making its inputs again to find out by which"
    ));
    let failed = |e| Error::environment("cannot run a process").caused_by(e);
    let mut command = command(name, runs, seed, arguments)?;
    let mut child = command.arg("--trace").stdout(Stdio::piped()).spawn().map_err(failed)?;
    let (mut last, mut count) = (Vec::new(), 0u64);
    if let Some(pipe) = child.stdout.take() {
        let mut pipe = BufReader::new(pipe);
        while let Some(input) = worker::heard(&mut pipe) {
            (last, count) = (input, count + 1);
        }
    }
    if child.wait().map_err(failed)?.success() {
        say(&format!("{name}: this time it was not"));
        return Ok(());
    }
    let path = arguments.findings.join(format!("{name}-seed{seed}-run{count}"));
    worker::keep(&path, &last)?;
    print(&format!("{name}: FOUND in `{}`: takes the process down", path.display()));
    Ok(())
}

fn replay(target: &Target, files: &[PathBuf]) -> Result<ExitCode> {
    let mut found = false;
    for path in files {
        let input = std::fs::read(path).map_err(|e| Error::io("cannot read", path, e))?;
        let begin = Instant::now();
        let result = rigl_fuzz::run(target, &input);
        let seconds = begin.elapsed().as_secs_f64();
        found |= result.is_err();
        let text = result.map_or_else(|what| format!("FOUND: {what}"), |_| "all holds".to_string());
        print(&format!("{}: {} bytes, {seconds:.3} s: {text}", path.display(), input.len()));
    }
    Ok(if found { ExitCode::from(FOUND) } else { ExitCode::SUCCESS })
}

/// A result.
fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Anything else.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
