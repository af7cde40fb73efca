//! Configurations: what is accepted passes its own check, is printed such that it reads as the same, and leads to
//! a schedule and a network or to a refusal.

use std::sync::LazyLock;

use rigl_base::Kind;
use rigl_train::config::{Base, Known, Override, Sources};
use rigl_train::{Config, DataSpec, Design, Origin, Recipe, Registry, Settings, SparseLayer};

use crate::signal::Signal;

/// Pieces of configurations; what `keys()` and the presets hold comes in through the seeds.
pub const TOKENS: &[&str] = &[
    "preset",
    "multiplier",
    "seed",
    "compute",
    "model",
    "data",
    "optimizer",
    "schedule",
    "method",
    "seeds",
    "checkpoint",
    "log",
    "layers",
    "filter",
    "hidden",
    "depth",
    "width",
    "dropout",
    "bn-momentum",
    "milestones",
    "divide-by",
    "shape",
    "'cosine'",
    "rounding",
    "'paper'",
    "update-end",
    "start",
    "drop",
    "grow",
    "count",
    "updates",
    "kind",
    "run",
    "threshold",
    "initial-sparsity",
    "redistribution",
    "density-decay",
    "'threshold'",
    "'cubic'",
    "[method.drop]\n",
    "[method.updates]\n",
    "mean",
    "std",
    "train-samples",
    "\"mnist-lenet\"",
    "\"quickstart\"",
    "'mlp'",
    "'wide-resnet'",
    "'resnet-cifar'",
    "[method.layers]\n",
    "[data]\n",
    "[[data]]\n",
    "method.layers.",
    "method.",
    ".",
    "=",
    " = ",
    "\n",
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "[",
    "]",
    "{",
    "}",
    ",",
    "#",
    "auto",
    "all",
    "default",
    "true",
    "false",
    "nan",
    "inf",
    "-inf",
    "1e308",
    "1e-308",
    ".9",
    "90",
    "0x10",
    "9223372036854775807",
    "1979-05-27T07:32:00Z",
    "\\u0000",
    "\\U0010FFFF",
    "*",
    "**",
    "?",
    "[a-z]",
    "[!a]",
    "{a,b}",
    "fc1",
    "fc*",
    "\\",
    "\u{feff}",
    "é",
];

struct World {
    registry: Registry,
    known: Known,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let registry = Registry::default();
    World { known: registry.known(), registry }
});

/// A configuration file.
pub fn text(bytes: &[u8]) -> Signal {
    let text = String::from_utf8_lossy(bytes);
    match Config::from_text("my.toml", &text, &WORLD.known) {
        Err(error) => Signal::refused(&error, &[Kind::Usage]),
        Ok(config) => accepted(&config),
    }
}

/// Settings of the command line, one a line.
pub fn settings(bytes: &[u8]) -> Signal {
    let text = String::from_utf8_lossy(bytes);
    let parsed: Result<Vec<Override>, _> = text.lines().map(|line| Override::parse("--set", line)).collect();
    let config = parsed.and_then(|overrides| {
        Config::resolve(&Sources { base: Base::Default, overrides: &overrides }, &WORLD.known)
    });
    match config {
        Err(error) => Signal::refused(&error, &[Kind::Usage]),
        Ok(config) => accepted(&config),
    }
}

fn accepted(config: &Config) -> Signal {
    config.check().expect("an accepted configuration passes its check");
    let printed = config.to_toml();
    let again = Config::from_text("config.toml", &printed, &WORLD.known);
    assert!(again.expect("a printed configuration is accepted") == *config, "printed, it is another one");
    schedule(config).and(network(config))
}

/// What an accepted configuration means.
fn meaning(config: &Config) -> Settings {
    Settings::new(config.clone(), &WORLD.registry).expect("an accepted configuration has a method")
}

fn schedule(config: &Config) -> Signal {
    let recipe = match Recipe::new(&meaning(config), 60_000) {
        Err(error) => return Signal::refused(&error, &[Kind::Usage]),
        Ok(recipe) => recipe,
    };
    assert!(recipe.steps >= 1);
    for step in [0, 1, recipe.steps / 2, recipe.steps - 1, recipe.steps] {
        assert!(recipe.learning_rate(step) >= 0.0, "the learning rate at step {step}");
        let fraction = recipe.updates.at(step).map_or(0.0, |update| update.fraction);
        assert!((0.0..=1.0).contains(&fraction), "{fraction} at step {step}");
    }
    assert!(recipe.evaluates_after(recipe.steps));
    Signal::accepted(&[recipe.milestones.len()])
}

/// Beyond this depth one number asks for more memory than inputs are allowed.
const MAX_DEPTH: usize = 64;

fn network(config: &Config) -> Signal {
    let depth = config.get("model.depth").and_then(|depth| depth.parse::<usize>().ok());
    if depth.is_some_and(|depth| depth > MAX_DEPTH) {
        return Signal::accepted(&[]);
    }
    let data = DataSpec { shape: vec![1, 28, 28], classes: 10, samples: 60_000 };
    let design = match Design::new(&meaning(config), &WORLD.registry, &data, &Origin::Fresh) {
        Err(error) => return Signal::refused(&error, &[Kind::Usage]),
        Ok(design) => design,
    };
    let parameters = design.graph().parameters();
    for SparseLayer { parameter, now, start, end } in design.layers() {
        let all = parameters[*parameter].len();
        let holds = (1..=all).contains(start) && (1..=*start).contains(now) && (1..=*now).contains(end);
        assert!(holds, "{}", parameters[*parameter].name);
    }
    Signal::accepted(&[parameters.len(), design.layers().len()])
}
