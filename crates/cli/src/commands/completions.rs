//! `rigl completions`: what makes a shell complete the command line.

use std::process::ExitCode;

use clap::CommandFactory;
use rigl_base::Result;
use serde_json::json;

use crate::args::{Arguments, Completions};
use crate::output::Printer;

pub(crate) fn run(args: &Completions, printer: &Printer) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "rigl", &mut script);
    let script = String::from_utf8_lossy(&script);
    match printer.json() {
        true => printer.json_result(&json!({ "shell": args.shell.to_string(), "script": script }))?,
        false => printer.result(&script)?,
    }
    Ok(ExitCode::SUCCESS)
}
