//! `[method]`: which weights exist, and how that changes. A method's name is a preset of these tables; each is one
//! column of the table of methods, whose `kind` says which of its other keys are read.

use rigl_base::named_enum;
use rigl_topology::{Decay, Distribution, GrownInit, LayerFilter, NarrowTo, Redistribution, StepPolicy};
use toml_edit::{InlineTable, Item, Value};

use super::MAX_STEP;
use super::table::{Applies, Condition, Key, TableDoc, doc_text, key_name, place, table};
use super::value::{Rule, Setting, named, text};

named_enum! {
    /// The patterns that layers start from.
    pub enum StartKind {
        /// As many positions as the distribution gives, at random. Where the count is cubic, at its initial sparsity.
        Random = "random",
        /// Those of largest |w · ∂L/∂w| on one batch of the dense network.
        Saliency = "saliency",
        /// Those of largest initial |w|.
        Magnitude = "magnitude",
        /// Every position. Where the count stays constant, the network is dense for good.
        Full = "full",
        /// Every position, in a network whose layers are narrowed until it is as large as the sparse one.
        Narrow = "narrow",
        /// Those of a finished run.
        From = "from",
    }
}

named_enum! {
    /// By which score active weights are dropped; the smallest go.
    pub enum DropKind {
        /// Nothing is dropped.
        None = "none",
        /// |w|.
        Magnitude = "magnitude",
        /// |w| + λ |∂L/∂w| of this batch, without the L2 term.
        Importance = "importance",
        /// |w| below one threshold for all layers, which adapts so that about as many go as the drop fraction says.
        Threshold = "threshold",
        /// w times the sign it started with: all below 0 go.
        SignChange = "sign-change",
        /// A score that a program has brought with a method of its own.
        Own = "own",
    }
}

named_enum! {
    /// By which score weights are grown; the largest come.
    pub enum GrowKind {
        /// Nothing is grown.
        None = "none",
        /// Uniformly at random.
        Random = "random",
        /// |∂L/∂w| of this batch, dense, without the L2 term.
        Gradient = "gradient",
        /// The magnitude of an average of dense gradients over all steps so far.
        Momentum = "momentum",
        /// |w|: inactive weights and their slots are kept, and the dense gradient steps them like active ones.
        Magnitude = "magnitude",
        /// A score that a program has brought with a method of its own.
        Own = "own",
    }
}

named_enum! {
    /// How many active weights a layer has.
    pub enum CountKind {
        /// As many as the distribution gives it, from the first step to the last.
        Constant = "constant",
        /// Ever fewer: s + (s₀ − s)(1 − x)³ for sparsities s, where x goes from 0 to 1 over the updates (Zhu & Gupta, 2017).
        Cubic = "cubic",
        /// As many as growth, shared out over all layers anew, leaves it; the number of all active weights stays.
        Redistributed = "redistributed",
    }
}

named_enum! {
    /// The values that a run takes over from the one it starts from.
    pub enum StartValues {
        /// The initial values of that run: its seed's (the lottery ticket).
        Initial = "initial",
        /// The values that it ended with, running statistics included.
        Trained = "trained",
        /// None: initial values by this run's own seed.
        Redrawn = "redrawn",
    }
}

/// Where topology updates end, before the multiplier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UpdateEnd {
    /// At three quarters of all steps.
    Auto,
    /// At this share of all steps.
    Share(f64),
    /// At this step.
    Step(u64),
}

/// Sparsities of single layers: globs on parameter names without `.weight`, the first that matches decides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layers(pub Vec<(String, f64)>);

named!(StartKind, StartValues, DropKind, GrowKind, CountKind);

impl Setting for UpdateEnd {
    fn expected() -> String {
        "`auto`, a step, or a share of the run".into()
    }

    /// A number with a point is a share, as TOML tells them apart.
    fn read(item: &Item) -> Option<UpdateEnd> {
        if item.as_str() == Some("auto") {
            return Some(UpdateEnd::Auto);
        }
        let share = item.as_float().filter(|&share| share > 0.0 && share <= 1.0).map(UpdateEnd::Share);
        share.or_else(|| u64::read(item).filter(|&step| step > 0).map(UpdateEnd::Step))
    }

    fn write(&self) -> Value {
        match self {
            UpdateEnd::Auto => "auto".into(),
            UpdateEnd::Share(share) => (*share).into(),
            UpdateEnd::Step(step) => step.write(),
        }
    }

    fn guess(item: &Item) -> Option<UpdateEnd> {
        u64::guess(item).filter(|&step| step > 0).map(UpdateEnd::Step)
    }
}

impl Setting for Layers {
    fn expected() -> String {
        "a table from globs to sparsities".into()
    }

    fn read(item: &Item) -> Option<Layers> {
        let table = item.as_table_like()?;
        table
            .iter()
            .map(|(glob, item)| Some((glob.to_string(), f64::read(item)?)))
            .collect::<Option<_>>()
            .map(Layers)
    }

    fn write(&self) -> Value {
        let entries = self.0.iter().map(|(glob, sparsity)| (glob.as_str(), sparsity.write()));
        Value::InlineTable(entries.collect::<InlineTable>())
    }
}

/// That weights are absent, or a network is narrowed until it is as large as with those.
const SPARSE: Condition = Condition {
    is: "the network is not dense",
    holds: |config| {
        config.method.start.kind != StartKind::Full || config.method.count.kind == CountKind::Cubic
    },
};

/// That layers have patterns.
pub(super) const PATTERNS: Condition = Condition {
    is: "layers are or become sparse",
    holds: |config| (SPARSE.holds)(config) && config.method.start.kind != StartKind::Narrow,
};

/// That positions, grown values or noise are drawn.
pub(super) const DRAWN: Condition = Condition {
    is: "the method draws something at random",
    holds: |config| {
        let Method { start, drop, grow, .. } = &config.method;
        let grown = match grow.kind {
            GrowKind::None | GrowKind::Magnitude => false,
            // What a program's own score draws nobody knows.
            GrowKind::Random | GrowKind::Own => true,
            GrowKind::Gradient | GrowKind::Momentum => {
                !matches!(grow.init, GrownInit::Zeros | GrownInit::Gradient)
            }
        };
        let dropped = match drop.kind {
            DropKind::Own => true,
            DropKind::SignChange => drop.noise,
            DropKind::None | DropKind::Magnitude | DropKind::Importance | DropKind::Threshold => false,
        };
        start.kind == StartKind::Random || grown || dropped
    },
};

const RUN: Condition = Condition {
    is: "`method.start.kind` is `from`, or `full` with a constant count",
    holds: |config| match config.method.start.kind {
        StartKind::From => true,
        StartKind::Full => config.method.count.kind != CountKind::Cubic,
        StartKind::Random | StartKind::Saliency | StartKind::Magnitude | StartKind::Narrow => false,
    },
};

const FROM_RUN: Condition = Condition {
    is: "`method.start.run` names a run",
    holds: |config| (RUN.holds)(config) && !config.method.start.run.is_empty(),
};

const NOISE: Condition = Condition {
    is: "`method.drop.noise` is `true`",
    holds: |config| config.method.drop.kind == DropKind::SignChange && config.method.drop.noise,
};

const UPDATES: Condition =
    Condition { is: "the topology is updated", holds: |config| config.method.drop.kind != DropKind::None };

const INTERVAL: Condition = Condition {
    is: "the topology is updated, but not at every step",
    holds: |config| (UPDATES.holds)(config) && !config.method.updates.every_step,
};

const SPAN: Condition = Condition {
    is: "updates have a first and a last step, or change on the way",
    holds: |config| {
        let cubic = config.method.count.kind == CountKind::Cubic;
        (INTERVAL.holds)(config) || (FRACTION.holds)(config) || ((UPDATES.holds)(config) && cubic)
    },
};

const FRACTION: Condition = Condition {
    is: "updates drop a share of the weights and grow as many",
    holds: |config| {
        let by_share = match config.method.drop.kind {
            DropKind::Magnitude | DropKind::Importance | DropKind::Own | DropKind::Threshold => true,
            DropKind::None | DropKind::SignChange => false,
        };
        by_share && !matches!(config.method.grow.kind, GrowKind::None | GrowKind::Magnitude)
    },
};

table! {
    /// Which weights exist, and how that changes. The name sets `[method.start]`, `[method.drop]`, `[method.grow]`,
    /// `[method.count]` and of `[method.updates]` the policy, each of which may be set on its own as well.
    Method in [method] {
        /// The method: a row of values for the tables below. `dense` leaves every layer dense.
        name: String = "rigl".into();
        /// Share of weights that are absent, over all layers that may be sparse and have none of their own in
        /// `layers`.
        sparsity: f64 = 0.9, "a number with 0 ≤ sparsity < 1" if |x| (0.0..1.0).contains(x), where SPARSE;
        /// How sparsity is spread over the layers.
        distribution: Distribution = Distribution::Erk, where SPARSE;
        /// Which layers may be sparse; globs are on their names.
        filter: LayerFilter = LayerFilter::Default, where SPARSE;
        /// Sparsities of single layers, by glob on the layer's name (the first that matches decides); these
        /// layers are outside the overall sparsity.
        layers: Layers = Layers::default(), "a table from globs to numbers with 0 ≤ sparsity < 1"
            if |layers| layers.0.iter().all(|(_, sparsity)| (0.0..1.0).contains(sparsity)), where SPARSE;
    } with {
        /// What layers start from.
        start: MethodStart,
        /// Which weights updates drop.
        drop: MethodDrop,
        /// Which weights updates grow.
        grow: MethodGrow,
        /// How many weights layers have.
        count: MethodCount,
        /// When updates fall, and how much they change.
        updates: MethodUpdates,
    }
}

table! {
    /// What layers start from.
    MethodStart in [method.start] {
        /// The pattern of each layer.
        kind: StartKind = StartKind::Random;
        /// A finished run: its folder, or a checkpoint file. A layer that is sparse there keeps its pattern; of a dense
        /// one as many weights as this run's sparsity leaves, the largest by magnitude, stay; where the count is cubic, as many as its initial sparsity leaves.
        run: String = String::new(),
            turning [StartKind::Random, StartKind::Saliency, StartKind::Magnitude, StartKind::Full] into StartKind::From,
            where RUN;
        /// The values that go with it: `initial`, those which that run began with (a lottery ticket); `trained`, those
        /// it ended with; `redrawn`, this run's own.
        values: StartValues = StartValues::Initial, where FROM_RUN;
        /// In what a narrowed network is to be as large as the sparse one: `weights`, or `bytes`, by which the paper's
        /// small-dense networks were chosen.
        narrow_to: NarrowTo = NarrowTo::Weights, for [StartKind::Narrow];
    }
}

table! {
    /// Which weights updates drop.
    MethodDrop in [method.drop] {
        /// By which score weights are dropped; the smallest go.
        kind: DropKind = DropKind::Magnitude;
        /// How much the gradient's magnitude counts beside the weight's: λ.
        gradient: f64 as f32 = 1.0, "a number ≥ 0" if |&x| x >= 0.0, for [DropKind::Importance];
        /// The name of the program's score.
        score: String = String::new(), for [DropKind::Own];
        /// The magnitude from which the threshold starts.
        threshold: f64 as f32 = 1e-3, "a number > 0" if |&x| x > 0.0, for [DropKind::Threshold];
        /// Whether each optimiser step is followed by a pull towards 0, against the sign that a weight started with,
        /// and by noise.
        noise: bool = false, for [DropKind::SignChange];
        /// How strongly active weights are pulled towards 0, as a multiple α of the learning rate η.
        pull: f64 as f32 = 1e-4, "a number ≥ 0" if |&x| x >= 0.0, where NOISE;
        /// The temperature T of the noise, whose standard deviation is √(2ηT); `auto` is ηα²/2, with which noise is as
        /// large as the pull.
        temperature: Option<f64> as f32 = None, "`auto` or a number ≥ 0" if |x| x.is_none_or(|x| x >= 0.0), where NOISE;
    }
}

table! {
    /// Which weights updates grow.
    MethodGrow in [method.grow] {
        /// By which score weights are grown; the largest come.
        kind: GrowKind = GrowKind::Gradient;
        /// Share of the average of gradients that each step keeps.
        average: f64 as f32 = 0.9, "a number with 0 ≤ average < 1" if |x| (0.0..1.0).contains(x), for [GrowKind::Momentum];
        /// The value a grown weight starts from.
        init: GrownInit = GrownInit::Zeros,
            for [GrowKind::Random, GrowKind::Gradient, GrowKind::Momentum, GrowKind::Own];
        /// The name of the program's score.
        score: String = String::new(), for [GrowKind::Own];
    }
}

table! {
    /// How many weights layers have.
    MethodCount in [method.count] {
        /// How many active weights a layer has.
        kind: CountKind = CountKind::Constant;
        /// The sparsity s₀ that the network starts with, spread over layers as the final one is; where it is above 0, the
        /// start is another than `full`.
        initial_sparsity: f64 = 0.0, "a number with 0 ≤ initial-sparsity < 1" if |x| (0.0..1.0).contains(x),
            for [CountKind::Cubic];
        /// How growth is shared out.
        by: Redistribution = Redistribution::Survivors,
            turning [CountKind::Constant] into CountKind::Redistributed, for [CountKind::Redistributed];
    }
}

table! {
    /// When updates fall, and how much they change.
    MethodUpdates in [method.updates] {
        /// Steps ΔT from one topology update to the next; not scaled by the multiplier.
        interval: u64 = 100, "a whole number from 1 to 1000000000000" if |n| (1..=MAX_STEP).contains(n), where INTERVAL;
        /// Step of the first topology update; `auto` is 0, and a fifth of the run where the count is cubic.
        begin: Option<u64> = None, "`auto` or a whole number from 0 to 1000000000000"
            if |n| n.is_none_or(|n| n <= MAX_STEP), where SPAN;
        /// Step at which updates end: all are before it. A number with a point is a share of the run; `auto` is three
        /// quarters of it.
        end: UpdateEnd = UpdateEnd::Auto,
            "`auto`, a step, a whole number from 1 to 1000000000000, or a share of the run, above 0.0 and up to 1.0"
            if |end| !matches!(end, UpdateEnd::Step(step) if *step > MAX_STEP), where SPAN;
        /// Share α of a layer's active weights that the first update replaces.
        drop_fraction: f64 = 0.3, "a number with 0 ≤ drop-fraction ≤ 1" if |x| (0.0..=1.0).contains(x), where FRACTION;
        /// How the drop fraction shrinks from begin to end of the updates.
        decay: Decay = Decay::Cosine, where FRACTION;
        /// Whether an update replaces the optimiser's step or follows it.
        step_policy: StepPolicy = StepPolicy::Replace, where UPDATES;
        /// Whether updates fall at every step of the run, in place of every `interval`-th between `begin` and `end`.
        every_step: bool = false, where UPDATES;
    }
}

impl Method {
    /// The keys of all its tables.
    pub(super) fn all_keys() -> impl Iterator<Item = Key> {
        let columns = [MethodStart::keys(), MethodDrop::keys(), MethodGrow::keys(), MethodCount::keys()];
        Method::keys().into_iter().chain(columns.into_iter().flatten()).chain(MethodUpdates::keys())
    }
}
