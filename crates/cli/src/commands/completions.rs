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

/// The script with what clap's cannot say: `KEY=` is not followed by a space, and where a preset is expected a file may
/// stand too.
fn mended(shell: Shell, command: &Command, script: String) -> String {
    match shell {
        // The `-o` of the functions that bash calls are the same for all words; this is for the last one.
        Shell::Bash => {
            let space = "    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace\n    return 0\n}\n\nif [[";
            script.replace("\n}\n\nif [[", &format!("\n{space}"))
        }
        Shell::Zsh => {
            let line = |line: &str| match line.rsplit_once(":(") {
                // One of the two of its kind: which word it is stands before.
                Some((before, values)) if before.contains(":KEY=VALUE") => {
                    let values = values.trim_end().trim_end_matches([' ', '\\', '\'', ')']);
                    format!("{before}:{{compadd -S \"\" -- {values}}}' \\")
                }
                Some((before, values)) if before.contains(":recipe") => {
                    let values = values.trim_end().trim_end_matches([' ', '\\', '\'', ')']);
                    format!("{before}:{{compadd -- {values}; _files -g \"*.toml\"}}' \\")
                }
                _ => line.to_string(),
            };
            script.lines().map(line).collect::<Vec<_>>().join("\n") + "\n"
        }
        Shell::Fish => script + &words(command, &program::name().replace('-', "_")),
        _ => script,
    }
}

/// What fish is to offer where a command takes a name without a flag.
fn words(command: &Command, program: &str) -> String {
    let mut text = String::new();
    let mut add = |condition: &str, command: &Command| {
        for argument in command.get_positionals() {
            let values: Vec<String> =
                argument.get_possible_values().iter().map(|value| value.get_name().to_string()).collect();
            if !values.is_empty() {
                let values = values.join(" ");
                text += &format!("complete -c {} -n \"{condition}\" -a \"{values}\"\n", program::name());
            }
        }
    };
    for below in command.get_subcommands() {
        let condition = format!("__fish_{program}_using_subcommand {}", below.get_name());
        add(&condition, below);
        for deeper in below.get_subcommands() {
            add(&format!("{condition}; and __fish_seen_subcommand_from {}", deeper.get_name()), deeper);
        }
    }
    text
}

pub(crate) fn run(args: &Completions, mut command: Command, printer: &Printer) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, program::name(), &mut script);
    let script = mended(args.shell, &command, String::from_utf8_lossy(&script).into_owned());
    match printer.json() {
        true => printer.json_result(&json!({ "shell": args.shell.to_string(), "script": script }))?,
        false => printer.result(&script)?,
    }
    Ok(ExitCode::SUCCESS)
}
