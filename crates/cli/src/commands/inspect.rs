//! `rigl inspect`: what a run or a file holds, read without an engine.

mod args;
mod file;
mod layers;
mod log;
mod network;
mod pixels;
mod run;
mod tensors;

use std::process::ExitCode;

use rigl_base::{Error, Result, shown};
use rigl_train::Registry;

use crate::output::Printer;
pub(crate) use args::Inspect;

pub(crate) fn run(args: &Inspect, registry: &Registry, printer: &Printer) -> Result<ExitCode> {
    let found = args.path.metadata().map_err(|e| Error::io("cannot read", &args.path, e))?;
    if found.is_dir() {
        run::inspect(args, registry, printer)?;
    } else if !found.is_file() {
        // Reading a pipe would wait for its writer.
        return Err(Error::environment(format!("cannot read `{}`: not a file", shown::path(&args.path))));
    } else {
        file::inspect(args, registry, printer)?;
    }
    Ok(ExitCode::SUCCESS)
}
