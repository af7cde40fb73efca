//! Flags that several commands take. Each command's own stand beside it, in `commands`; so does what they mean.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use rigl_base::{Error, Result};
use rigl_train::MachineOptions;
use rigl_train::config::Override;

/// Flags of every command.
#[derive(Args, Clone, Debug)]
pub(crate) struct Global {
    /// Print results only
    #[arg(short, long, global = true, help_heading = "Output")]
    pub(crate) quiet: bool,
    /// When to use colours; `NO_COLOR` turns them off too
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, help_heading = "Output")]
    pub(crate) color: Color,
    /// Print the result as JSON
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) json: bool,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What samples look like, in place of what the data set or the model says.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Samples")]
pub(crate) struct SampleFlags {
    /// Shape of a sample, 3x224x224 [default: the recipe's data set's, or what the model is usually for]
    #[arg(long, value_name = "SHAPE", value_parser = Shape::parse)]
    pub(crate) input: Option<Shape>,
    /// Number of classes [default: as above]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) classes: Option<u32>,
}

/// The shape of a sample.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Shape(pub(crate) Vec<usize>);

impl Shape {
    fn parse(text: &str) -> Result<Shape, String> {
        let sizes = text.split(['x', '×']).map(|n| n.parse().ok().filter(|&n| n > 0));
        let shape = sizes.collect::<Option<_>>().map(Shape);
        shape.ok_or_else(|| "expected sizes like 3x224x224".to_string())
    }

    /// As people write it.
    pub(crate) fn text(shape: &[usize], between: &str) -> String {
        shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
    }
}

/// Flags that are short names of configuration keys.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Configuration")]
pub(crate) struct Keys {
    /// Network; the data set stays the recipe's (`model.name`)
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Method (`method.name`)
    #[arg(long, value_name = "NAME")]
    method: Option<String>,
    /// Share of weights that are absent, 0 to 1 (`method.sparsity`)
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    sparsity: Option<String>,
    /// How sparsity is spread: uniform, er, erk (`method.distribution`)
    #[arg(long, value_name = "NAME")]
    distribution: Option<String>,
    /// Scale the whole recipe, whatever its own multiplier: 0.1 is a short faithful run, 5 a long one (times
    /// `multiplier`, which `--set multiplier=M` replaces)
    #[arg(long, value_name = "M", allow_negative_numbers = true)]
    multiplier: Option<String>,
    /// Seed of everything random (`seed`)
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    seed: Option<String>,
    /// Arithmetic of sparse layers: auto, sparse, masked (`compute`)
    #[arg(long, value_name = "KIND")]
    compute: Option<String>,
    /// Any other key (`rigl presets NAME --full` prints all); may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Keys {
    /// As settings of keys, in an order in which later ones win.
    pub(crate) fn overrides(&self) -> Result<Vec<Override>> {
        let flags = [
            ("--model", "model.name", &self.model),
            ("--method", "method.name", &self.method),
            ("--sparsity", "method.sparsity", &self.sparsity),
            ("--distribution", "method.distribution", &self.distribution),
            ("--seed", "seed", &self.seed),
            ("--compute", "compute", &self.compute),
        ];
        let set = self.set.iter().map(|text| Override::parse("--set", text));
        let mut overrides = set.collect::<Result<Vec<_>>>()?;
        overrides.extend(
            flags
                .into_iter()
                .filter_map(|(origin, key, value)| Some(Override::new(origin, key, value.as_deref()?))),
        );
        let factor = |value: &String| Override::factor("--multiplier", "multiplier", value);
        overrides.extend(self.multiplier.as_ref().map(factor));
        Ok(overrides)
    }

    /// Whether nothing is set.
    pub(crate) fn is_empty(&self) -> bool {
        self.overrides().is_ok_and(|overrides| overrides.is_empty())
    }
}

/// Flags that concern the machine and change no result.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Machine")]
pub(crate) struct MachineFlags {
    /// Folder of data sets [env: RIGL_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Threads [env: RIGL_NUM_THREADS] [default: the physical cores it may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), allow_negative_numbers = true)]
    pub(crate) threads: Option<u16>,
}

impl MachineFlags {
    /// Flags, then the environment.
    pub(crate) fn options(&self) -> Result<MachineOptions> {
        let threads = match (self.threads, variable("RIGL_NUM_THREADS")) {
            (Some(threads), _) => usize::from(threads),
            (None, None) => 0,
            (None, Some(text)) => {
                let threads = text.to_str().and_then(|text| text.parse().ok());
                threads.filter(|threads| (1..=1024).contains(threads)).ok_or_else(|| {
                    Error::usage(format!(
                        "`RIGL_NUM_THREADS` is `{}`, expected a whole number from 1 to 1024",
                        text.to_string_lossy()
                    ))
                })?
            }
        };
        let isa = variable("RIGL_ISA").map(|isa| isa.to_string_lossy().into_owned());
        let sets = rigl_engine::instruction_sets();
        if let Some(isa) = isa.as_ref().filter(|isa| !sets.contains(&isa.as_str())) {
            return Err(Error::usage(format!(
                "`RIGL_ISA` is `{isa}`, this machine has `{}`",
                sets.join("`, `")
            ))
            .hint(format!("RIGL_ISA={}, or leave it unset", sets[0])));
        }
        Ok(MachineOptions { data_folder: data_folder(self.data_dir.as_deref()), threads, isa })
    }
}

/// Where the data sets of `rigl data` lie.
#[derive(Args, Clone, Debug)]
pub(crate) struct DataFolder {
    /// Folder of data sets [env: RIGL_DATA_DIR] [default: `rigl` in the user's cache folder]
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
}

impl DataFolder {
    /// What the command line says, to be repeated in commands that are shown.
    pub(crate) fn flag(&self) -> Option<&Path> {
        self.data_dir.as_deref()
    }

    /// The folder, from the flag, the environment or the platform.
    pub(crate) fn path(&self) -> Result<PathBuf> {
        data_folder(self.data_dir.as_deref()).ok_or_else(|| {
            Error::environment("there is no data folder: this user has no cache folder")
                .hint("--data-dir DIR")
        })
    }
}

/// The flag, the environment, or `rigl` in the platform's cache folder.
fn data_folder(flag: Option<&Path>) -> Option<PathBuf> {
    let path = |name: &str| variable(name).map(PathBuf::from);
    if let Some(folder) = flag.map(Path::to_path_buf).or_else(|| path("RIGL_DATA_DIR")) {
        return Some(folder);
    }
    let cache = if cfg!(windows) {
        path("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        path("HOME").map(|home| home.join("Library/Caches"))
    } else {
        path("XDG_CACHE_HOME").or_else(|| path("HOME").map(|home| home.join(".cache")))
    };
    cache.map(|cache| cache.join("rigl"))
}

/// A variable of the environment, if it says anything.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_short_flag_names_a_key_that_exists() {
        let text = "x".to_string();
        let keys = Keys {
            model: Some(text.clone()),
            method: Some(text.clone()),
            sparsity: Some(text.clone()),
            distribution: Some(text.clone()),
            multiplier: Some(text.clone()),
            seed: Some(text.clone()),
            compute: Some(text),
            set: Vec::new(),
        };
        for flag in keys.overrides().unwrap() {
            assert!(rigl_train::config::keys().iter().any(|key| key.path == flag.key), "{}", flag.key);
        }
        assert!(Keys::default().is_empty());
    }
}
