//! `rigl presets`: the recipes that come with the program.

use std::process::ExitCode;

use clap::Args;
use rigl_base::Result;
use rigl_train::Registry;
use rigl_train::presets::find;
use serde_json::json;

use super::configuration;
use crate::output::{Align, Printer, Table};

/// List the presets, or print one as TOML: a start for a file of your own.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  rigl presets\n  rigl presets mnist-lenet > my.toml\n  rigl presets mnist-lenet --full    every key, with what it means"
)]
pub(crate) struct Presets {
    /// The preset to print
    pub(crate) name: Option<String>,
    /// Print every key with its documentation and value, not only those the preset sets
    #[arg(long, requires = "name")]
    pub(crate) full: bool,
}

pub(crate) fn run(args: &Presets, registry: &Registry, printer: &Printer) -> Result<ExitCode> {
    match &args.name {
        Some(name) => {
            let preset = find(name, &registry.presets)?;
            let text = if args.full {
                configuration(name, &[], registry)?.to_toml_with_all_keys()
            } else {
                preset.text.to_string()
            };
            if printer.json() {
                printer.json_result(&json!({ "name": preset.name, "about": preset.about, "toml": text }))?;
            } else {
                printer.result(&text)?;
            }
        }
        None if printer.json() => {
            let list = registry.presets.iter().map(|p| json!({ "name": p.name, "about": p.about }));
            printer.json_result(&list.collect())?;
        }
        None => {
            let mut table = Table::new(&[("preset", Align::Left), ("", Align::Left)]);
            for preset in &registry.presets {
                table.row(vec![preset.name.into(), preset.about.into()]);
            }
            printer.result(&table.to_string())?;
            printer.note("`rigl train NAME` trains one, `rigl presets NAME` prints it as TOML, `rigl presets NAME --full` with all keys there are");
        }
    }
    Ok(ExitCode::SUCCESS)
}
