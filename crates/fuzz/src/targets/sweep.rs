//! Files of sweeps: what is accepted has named combinations, and each makes a configuration or is refused.

use std::collections::HashSet;
use std::sync::LazyLock;

use rigl_base::Kind;
use rigl_study::{Start, Sweep};
use rigl_train::config::{Base, Known, Sources};
use rigl_train::{Config, Registry};

use crate::signal::Signal;

/// Pieces of sweeps, beside those of configurations that the seeds hold.
pub const TOKENS: &[&str] = &[
    "preset",
    "base",
    "[set]\n",
    "[grid]\n",
    "[grid.method]\n",
    "[[exclude]]\n",
    "[[when]]\n",
    "match",
    "set",
    "{ \"method.name\" = \"rigl\" }",
    "\"method.name\"",
    "method.name",
    "method.sparsity",
    "\"method.layers\"",
    "seed",
    "{seed}",
    "{variant}",
    "{",
    "}",
    "[0, 1, 2]",
    "[0.9, 0.98]",
    "['a', \"b\"]",
    "[[1, 2], [3]]",
    " = ",
    "=",
    ".",
    ",",
    "\n",
    "#",
    "'",
    "\"\"\"",
    "[",
    "]",
    "1.0",
    "nan",
    "1979-05-27T07:32:00Z",
    "\\u0000",
    "\u{feff}",
    "é",
];

/// Of one sweep so many combinations are resolved.
const RESOLVED: usize = 8;

static KNOWN: LazyLock<Known> = LazyLock::new(|| Registry::default().known());

/// A file of a sweep.
pub fn text(bytes: &[u8]) -> Signal {
    let text = String::from_utf8_lossy(bytes);
    let refused = |error| Signal::refused(&error, &[Kind::Usage]);
    let sweep = match Sweep::parse("my.toml", &text) {
        Err(error) => return refused(error),
        Ok(sweep) => sweep,
    };
    let combinations = match sweep.combinations() {
        Err(error) => return refused(error),
        Ok(combinations) => combinations,
    };
    assert!(!combinations.is_empty());
    let base = match &sweep.start {
        Start::Preset(name) => Base::Preset(name),
        Start::Default | Start::File(_) => Base::Default,
    };
    let mut names = HashSet::new();
    let mut resolved = 0;
    for combination in combinations.iter().take(RESOLVED) {
        let name = sweep.name_of(combination);
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._+".contains(c);
        assert!((1..=200).contains(&name.len()) && name.chars().all(plain), "{name}");
        assert!(sweep.axes.len() > 1 || names.insert(name), "two combinations have one name");
        let config = sweep
            .settings(combination, "-x2")
            .and_then(|overrides| Config::resolve(&Sources { base, overrides: &overrides }, &KNOWN));
        match config {
            Err(error) => return refused(error),
            Ok(config) => config.check().expect("an accepted configuration passes its check"),
        }
        resolved += 1;
    }
    Signal::accepted(&[sweep.axes.len(), combinations.len(), resolved])
}
