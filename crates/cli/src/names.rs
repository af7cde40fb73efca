//! The names that there are, in the explained command line: of networks, methods, presets, data sets and keys, own parts
//! among them. For completion, and for help.

use clap::builder::PossibleValuesParser;
use clap::{Arg, Command, ValueHint};
use rigl_graph::Model;
use rigl_topology::Distribution;
use rigl_train::Registry;
use rigl_train::config::{Compute, keys};

/// The same command line with the methods that there are in the help of `--method`, and the networks, with their options,
/// in the long help of `--model`.
pub(crate) fn explained(command: Command, registry: &Registry) -> Command {
    let line = |model: &Model| {
        let options = model.options.iter().map(|option| format!("{} = {}", option.name, option.default));
        let options = options.collect::<Vec<_>>().join(", ");
        format!("\n  {}{}{options}", model.name, if options.is_empty() { "" } else { ": " })
    };
    let models: String = registry.models.iter().map(line).collect();
    let methods: Vec<&str> = registry.methods.iter().map(|method| &*method.name).collect();
    each(command, &|argument, _| {
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        match argument.get_id().as_str() {
            "model" => argument.long_help(format!(
                "{help}. By name, with the options that `--set model.OPTION=VALUE` sets:{models}"
            )),
            "method" => argument.help(help.replacen("Method", &format!("Method: {}", methods.join(", ")), 1)),
            _ => argument,
        }
    })
}

/// The same command line with every name as a possible value, for scripts that complete it. As a parser it would refuse
/// files in place of presets.
pub(crate) fn completed(command: Command, registry: &Registry) -> Command {
    let names = |names: Vec<String>| PossibleValuesParser::new(names);
    let presets = || registry.presets.iter().map(|preset| preset.name.to_string());
    let models = || registry.models.names().map(String::from);
    let methods = || registry.methods.iter().map(|method| method.name.to_string());
    // What is embedded is not downloaded.
    let has_files = |name: &&str| registry.datasets.source(name).is_ok_and(|source| source.is_some());
    let datasets = || registry.datasets.names().filter(has_files).map(String::from);
    each(command, &|argument, command| match (argument.get_id().as_str(), command) {
        ("model", _) => argument.value_parser(names(models().collect())),
        ("method", _) => argument.value_parser(names(methods().collect())),
        ("distribution", _) => {
            argument.value_parser(names(Distribution::ALL.iter().map(ToString::to_string).collect()))
        }
        ("compute", _) => {
            argument.value_parser(names(Compute::ALL.iter().map(ToString::to_string).collect()))
        }
        ("set", _) => argument.value_parser(names(settings(registry))),
        ("recipe", "train") => argument.value_parser(names(presets().collect())),
        ("recipe", _) => argument.value_parser(names(presets().chain(models()).collect())),
        ("name", "presets") => argument.value_parser(names(presets().collect())),
        ("name", "fetch") => argument.value_parser(names(datasets().collect())),
        ("run_dir" | "resume" | "data_dir" | "out" | "runs" | "folders", _) => {
            argument.value_hint(ValueHint::DirPath)
        }
        _ => argument,
    })
}

/// `key=` of every key, and the whole setting where its values are names.
fn settings(registry: &Registry) -> Vec<String> {
    let mut all: Vec<String> = keys().iter().map(|key| format!("{}=", key.path)).collect();
    let options = registry.models.iter().flat_map(|model| model.options.iter());
    for option in options.map(|option| format!("model.{}=", option.name)) {
        if !all.contains(&option) {
            all.push(option);
        }
    }
    let named = |key: &'static str, names: Vec<&str>| {
        names.into_iter().map(|name| format!("{key}={name}")).collect::<Vec<_>>()
    };
    all.extend(named("model.name", registry.models.names().collect()));
    all.extend(named("data.name", registry.datasets.names().collect()));
    all.extend(named("method.name", registry.methods.iter().map(|method| &*method.name).collect()));
    all.sort();
    all
}

/// `change` on every argument of a command and of those below it; it is told the command's name.
fn each(command: Command, change: &dyn Fn(Arg, &str) -> Arg) -> Command {
    let name = command.get_name().to_string();
    let command = command.mut_args(|argument| change(argument, &name));
    command.mut_subcommands(|below| each(below, change))
}
