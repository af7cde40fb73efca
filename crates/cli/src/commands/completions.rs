//! `rigl completions`: what makes a shell complete the command line.

use std::process::ExitCode;

use clap::{Args, Command};
use clap_complete::Shell;
use rigl_base::Result;
use serde_json::json;

use crate::output::Printer;
use crate::program;

/// Print what makes a shell complete the command line, for its start-up files.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  rigl completions bash > ~/.local/share/bash-completion/completions/rigl\n  rigl completions zsh > \"${fpath[1]}/_rigl\"\n  rigl completions fish > ~/.config/fish/completions/rigl.fish\n  rigl completions powershell >> $PROFILE"
)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

pub(crate) fn run(args: &Completions, mut command: Command, printer: &Printer) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, program::name(), &mut script);
    let script = String::from_utf8_lossy(&script);
    match printer.json() {
        true => printer.json_result(&json!({ "shell": args.shell.to_string(), "script": script }))?,
        false => printer.result(&script)?,
    }
    Ok(ExitCode::SUCCESS)
}
