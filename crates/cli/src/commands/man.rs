//! `rigl man`: manual pages, made from the same text as `--help`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Command};
use rigl_base::{Error, Result, files};
use serde_json::json;

use rigl_train::Program;

use crate::output::Printer;

/// Print the manual page of rigl, or write it and those of all commands into a folder.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  rigl man | man -l -\n  rigl man --out ~/.local/share/man/man1")]
pub(crate) struct Man {
    /// Write a page for rigl and each command into this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

pub(crate) fn run(args: &Man, command: Command, program: &Program, printer: &Printer) -> Result<ExitCode> {
    let pages = pages(command, program)?;
    let Some(folder) = &args.out else {
        let (name, page) = &pages[0];
        match printer.json() {
            true => printer.json_result(&json!({ "name": name, "page": page }))?,
            false => printer.result(page)?,
        }
        return Ok(ExitCode::SUCCESS);
    };
    files::create_folder(folder)?;
    let mut written = Vec::new();
    for (name, page) in &pages {
        let path = folder.join(name);
        files::write_atomic(&path, page.as_bytes())?;
        written.push(path.display().to_string());
    }
    match printer.json() {
        true => printer.json_result(&json!({ "pages": written }))?,
        false => printer.result(&written.join("\n"))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The names and texts of all pages, that of rigl itself first.
fn pages(command: Command, program: &Program) -> Result<Vec<(String, String)>> {
    let mut rigl = command.disable_help_subcommand(true);
    rigl.build();
    let mut pages = Vec::new();
    add(&rigl, program, &mut pages)?;
    Ok(pages)
}

/// Adds the page of a command, and those of the commands below it.
fn add(command: &Command, program: &Program, pages: &mut Vec<(String, String)>) -> Result<()> {
    pages.push(page(command, program)?);
    command.get_subcommands().try_for_each(|below| add(below, program, pages))
}

fn page(command: &Command, program: &Program) -> Result<(String, String)> {
    let man = clap_mangen::Man::new(command.clone()).manual(&program.name).source(program.to_string());
    let mut page = Vec::new();
    man.render(&mut page).map_err(|e| Error::internal("cannot print a manual page").caused_by(e))?;
    let page = String::from_utf8_lossy(&page)
        .replace(".SH EXTRA\nExamples:\n", ".SH EXAMPLES\n")
        .replace(".SH EXTRA\nExit codes:\n", ".SH \"EXIT STATUS\"\n");
    Ok((man.get_filename(), page))
}
