//! What this program is called. One with parts of its own is not called `rigl`, and the commands that it shows must be
//! its own: pasted as they are, they know its parts.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::LazyLock;

use clap::Command;
use rigl_train::Program;

/// What it is called unless it is somebody's own program.
const RIGL: &str = "rigl";

/// Its commands, by which what is meant for a shell is told from other words after the name.
const COMMANDS: [&str; 13] = [
    "bench",
    "compare",
    "completions",
    "data",
    "eval",
    "export",
    "flops",
    "inspect",
    "man",
    "presets",
    "runs",
    "sweep",
    "train",
];

/// The name of this program, by which it was started.
pub(crate) fn name() -> &'static str {
    static NAME: LazyLock<String> = LazyLock::new(|| {
        let path = std::env::args_os().next().unwrap_or_default();
        let name = Path::new(&path).file_stem().and_then(OsStr::to_str).filter(|name| !name.is_empty());
        name.unwrap_or(RIGL).to_string()
    });
    &NAME
}

/// This program, and what it was built from.
pub(crate) fn this() -> Program {
    let told = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(String::from);
    let (commit, date) = (option_env!("RIGL_COMMIT"), option_env!("RIGL_COMMIT_DATE"));
    Program { name: name().into(), commit: told(commit), date: told(date) }
}

/// What stands behind its name where it says its version.
fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let build = this().build();
        if name() == RIGL { build } else { format!("({RIGL} {build})") }
    });
    &VERSION
}

/// `text` with this program's name where it shows commands of `rigl`.
pub(crate) fn own(text: &str) -> Cow<'_, str> {
    renamed(text, name())
}

/// Name and version, and this program's name in all that the help of `command` and of the commands below it says.
pub(crate) fn own_help(command: Command) -> Command {
    let command = command.version(version());
    if name() == RIGL {
        return command;
    }
    texts(command.name(name()))
}

fn texts(mut command: Command) -> Command {
    let own = |text: &dyn ToString| renamed(&text.to_string(), name()).into_owned();
    for (text, set) in [
        (command.get_about().map(|text| own(text)), Command::about as fn(Command, String) -> Command),
        (command.get_long_about().map(|text| own(text)), Command::long_about),
        (command.get_after_help().map(|text| own(text)), Command::after_help),
    ] {
        if let Some(text) = text {
            command = set(command, text);
        }
    }
    let command = command.mut_args(|argument| match argument.get_help().map(|text| own(text)) {
        Some(help) => argument.help(help),
        None => argument,
    });
    command.mut_subcommands(texts)
}

pub(crate) fn renamed<'a>(text: &'a str, name: &str) -> Cow<'a, str> {
    if name == RIGL || !text.contains(RIGL) {
        return text.into();
    }
    let (mut renamed, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(RIGL) {
        let (before, after) = (&rest[..at], &rest[at + RIGL.len()..]);
        let begins = !before.ends_with(|c: char| c.is_alphanumeric() || "-_./".contains(c));
        let word = after.strip_prefix(' ').map(|after| {
            let end = after.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(after.len());
            &after[..end]
        });
        renamed += before;
        renamed += if begins && word.is_some_and(|word| COMMANDS.contains(&word)) { name } else { RIGL };
        rest = after;
    }
    renamed += rest;
    renamed.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_by_the_own_name_and_all_else_stays() {
        for (text, own) in [
            ("rigl train --resume runs/a", "mine train --resume runs/a"),
            ("`rigl presets NAME` prints it", "`mine presets NAME` prints it"),
            (
                "Examples:\n  rigl data\n  rigl data fetch mnist",
                "Examples:\n  mine data\n  mine data fetch mnist",
            ),
            ("a fault of rigl itself", "a fault of rigl itself"),
            (
                "no method is called `rigel`, allowed are `rigl`",
                "no method is called `rigel`, allowed are `rigl`",
            ),
            ("/opt/rigl train", "/opt/rigl train"),
            ("--method rigl training", "--method rigl training"),
            ("rigl", "rigl"),
        ] {
            assert_eq!(renamed(text, "mine"), own);
            assert_eq!(renamed(text, RIGL), text);
        }
    }
}
