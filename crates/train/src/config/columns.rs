//! The columns of the method table as `[method]` has them, and the row that they come to together.

use rigl_base::{Error, Result, named_enum};
use rigl_topology::{
    DropRule, Dynamics, GrowRule, Method as Row, Noise, Redistribution as Spread, Start, Topology, UpdateRule,
};

use super::Method;

named_enum! {
    /// The pattern a layer starts from.
    pub enum Initial {
        /// No pattern: every layer is dense and stays so.
        Dense = "dense",
        /// No pattern, in a network whose layers are narrowed until it has as many weights as the sparse one.
        Narrow = "narrow",
        /// As many positions as the distribution gives, at random.
        Random = "random",
        /// Those of largest |w · ∂L/∂w| on one batch of the dense network.
        Saliency = "saliency",
        /// Those of largest initial |w|.
        Magnitude = "magnitude",
        /// Every position, of which updates leave as many as the distribution gives.
        Full = "full",
    }
}

named_enum! {
    /// By which score active weights are dropped; the smallest go.
    pub enum DropScore {
        /// Nothing is dropped.
        None = "none",
        /// |w|.
        Magnitude = "magnitude",
        /// |w| below one threshold for all layers, which adapts so that about as many go as the drop fraction says.
        Threshold = "threshold",
        /// w times the sign it started with, below 0.
        SignChange = "sign-change",
    }
}

named_enum! {
    /// By which score weights are grown; the largest come.
    pub enum GrowScore {
        /// Nothing is grown.
        None = "none",
        /// |∂L/∂w| of this batch, dense, without the L2 term.
        Gradient = "gradient",
        /// The magnitude of an average of dense gradients over all steps so far.
        Momentum = "momentum",
        /// |w| of inactive weights, which are kept and trained for that ([`StateHandling::Kept`]).
        Magnitude = "magnitude",
        /// Uniformly at random.
        Random = "random",
    }
}

named_enum! {
    /// How the number of active weights goes from what a layer starts with to what the distribution gives it.
    pub enum DensityDecay {
        /// It is there from the start.
        None = "none",
        /// s + (s₀ − s) · (1 − x)³ for sparsities s, where x goes from 0 to 1 over the updates (Zhu & Gupta, 2017).
        Cubic = "cubic",
    }
}

named_enum! {
    /// How weights that an update grows are spread over layers.
    pub enum Redistribution {
        /// Every layer grows what it dropped.
        None = "none",
        /// In proportion to the mean magnitude of the layer's averaged gradient at active weights.
        Momentum = "momentum",
        /// In proportion to the weights that the layer has left.
        Survivors = "survivors",
    }
}

named_enum! {
    /// When updates fall.
    pub enum UpdateTiming {
        /// At every ΔT-th step between begin and end.
        Scheduled = "scheduled",
        /// At every step of the run.
        EveryStep = "every-step",
    }
}

named_enum! {
    /// What happens to active weights after each optimiser step.
    pub enum AfterStep {
        /// Nothing.
        None = "none",
        /// A pull towards 0 and Gaussian noise.
        Noise = "noise",
    }
}

named_enum! {
    /// What becomes of inactive weights and of the optimiser's slots at an update.
    pub enum StateHandling {
        /// A position that was inactive starts with its slots at 0; a weight that stays, or is dropped and
        /// regrown at once, keeps them.
        Reset = "reset",
        /// Inactive weights and their slots are kept, and the dense gradient steps them like active ones.
        Kept = "kept",
    }
}

impl Method {
    /// Sets what this row says. Parameters of columns stay, where the row has no such column.
    pub(super) fn set(&mut self, row: &Row) {
        self.name = row.name.clone().into();
        self.initial = match row.topology {
            Topology::Dense => Initial::Dense,
            Topology::Narrow(_) => Initial::Narrow,
            Topology::Dynamic(Start::Random, _) if row.prunes() => Initial::Full,
            // Patterns that are given are those of `start-from`, which goes before.
            Topology::Static(start) | Topology::Dynamic(start, _) => match start {
                Start::Random | Start::Given => Initial::Random,
                Start::Saliency => Initial::Saliency,
                Start::Magnitude => Initial::Magnitude,
            },
        };
        self.drop = match row.rule() {
            None => DropScore::None,
            Some(UpdateRule::Replace { drop: DropRule::Threshold { .. }, .. }) => DropScore::Threshold,
            Some(UpdateRule::Replace { drop: DropRule::SignChange { .. }, .. }) => DropScore::SignChange,
            Some(UpdateRule::Replace { .. } | UpdateRule::Prune { .. } | UpdateRule::Compete) => {
                DropScore::Magnitude
            }
        };
        self.grow = match row.grow() {
            None if row.keeps_inactive() => GrowScore::Magnitude,
            None => GrowScore::None,
            Some(GrowRule::Random { .. }) => GrowScore::Random,
            Some(GrowRule::Gradient { .. }) => GrowScore::Gradient,
            Some(GrowRule::Momentum { .. }) => GrowScore::Momentum,
        };
        self.grown_init = row.grown_init();
        self.state = if row.keeps_inactive() { StateHandling::Kept } else { StateHandling::Reset };
        self.density_decay = if row.prunes() { DensityDecay::Cubic } else { DensityDecay::None };
        self.redistribution = match row.rule() {
            Some(UpdateRule::Replace { redistribution: Some(Spread::Momentum), .. }) => {
                Redistribution::Momentum
            }
            Some(UpdateRule::Replace { redistribution: Some(Spread::Survivors), .. }) => {
                Redistribution::Survivors
            }
            _ => Redistribution::None,
        };
        self.after_step = if row.noise().is_some() { AfterStep::Noise } else { AfterStep::None };
        self.update_timing = if row.every_step() { UpdateTiming::EveryStep } else { UpdateTiming::Scheduled };
        self.step_policy = row.dynamics().map_or(rigl_topology::StepPolicy::After, |d| d.step_policy);
    }

    /// What the columns come to together.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) if they contradict each other.
    pub(super) fn topology(&self) -> Result<Topology> {
        let name = &self.name;
        let refuse = |problem: String| Err(Error::usage(format!("method `{name}` {problem}")));
        let Method { initial, drop, grow, state, grown_init, after_step, redistribution, .. } = *self;
        let decay = self.density_decay;
        let (drops, grows) = (drop != DropScore::None, grow != GrowScore::None);
        let decays = decay == DensityDecay::Cubic;
        if drops != grows && !(drops && decays) {
            return refuse(format!(
                "has `drop` = `{drop}` and `grow` = `{grow}`, allowed are both `none` or neither"
            ));
        }
        if drops && matches!(initial, Initial::Dense | Initial::Narrow) {
            return refuse("starts dense, so there is nothing to drop and grow".into());
        }
        if decays != (initial == Initial::Full) || (decays && drop != DropScore::Magnitude) {
            return refuse(format!(
                "has `density-decay` = `{decay}`, `initial` = `{initial}` and `drop` = `{drop}`, allowed are `cubic`, \
                 `full` and `magnitude` together, or neither of the first two"
            ));
        }
        let kept = state == StateHandling::Kept;
        if kept != (grow == GrowScore::Magnitude) || (kept && drop != DropScore::Magnitude) {
            return refuse(format!(
                "has `state` = `{state}`, `drop` = `{drop}` and `grow` = `{grow}`, allowed are `kept`, `magnitude` \
                 and `magnitude` together, or neither the first nor the last"
            ));
        }
        if kept && grown_init != rigl_topology::GrownInit::Zeros {
            return refuse(format!(
                "has `state` = `kept` and `grown-init` = `{grown_init}`, allowed is `zeros` with it: what grows has a \
                 value already"
            ));
        }
        if after_step != AfterStep::None && drop != DropScore::SignChange {
            return refuse(format!(
                "has `after-step` = `{after_step}` and `drop` = `{drop}`, allowed is `drop` = `sign-change` with it: it pulls \
                 against the sign a weight started with"
            ));
        }
        if redistribution != Redistribution::None && (!grows || decays || kept) {
            return refuse(format!(
                "has `redistribution` = `{redistribution}`, allowed is `none` where nothing is grown, density decays or \
                 inactive weights are kept"
            ));
        }
        if redistribution == Redistribution::Momentum && grow != GrowScore::Momentum {
            return refuse(format!(
                "has `redistribution` = `momentum` and `grow` = `{grow}`, allowed is `grow` = `momentum` with it"
            ));
        }
        let start = match initial {
            Initial::Dense => return Ok(Topology::Dense),
            Initial::Narrow => return Ok(Topology::Narrow(self.narrow_to)),
            Initial::Random | Initial::Full => Start::Random,
            Initial::Saliency => Start::Saliency,
            Initial::Magnitude => Start::Magnitude,
        };
        let init = grown_init;
        let grow = match grow {
            GrowScore::None | GrowScore::Magnitude => None,
            GrowScore::Gradient => Some(GrowRule::Gradient { init }),
            GrowScore::Momentum => Some(GrowRule::Momentum { average: self.gradient_average, init }),
            GrowScore::Random => Some(GrowRule::Random { init }),
        };
        let redistribution = match redistribution {
            Redistribution::None => None,
            Redistribution::Momentum => Some(Spread::Momentum),
            Redistribution::Survivors => Some(Spread::Survivors),
        };
        let noise = match after_step {
            AfterStep::None => None,
            AfterStep::Noise => Some(Noise { pull: self.noise_pull, temperature: self.noise_temperature }),
        };
        let drop = match drop {
            DropScore::None => return Ok(Topology::Static(start)),
            DropScore::Magnitude => DropRule::Magnitude,
            DropScore::Threshold => DropRule::Threshold { start: self.threshold },
            DropScore::SignChange => DropRule::SignChange { noise },
        };
        let rule = match grow {
            _ if kept => UpdateRule::Compete,
            grow if decays => UpdateRule::Prune { grow },
            Some(grow) => UpdateRule::Replace { drop, grow, redistribution },
            None => return Err(Error::internal("what is dropped is not grown")),
        };
        let every_step = self.update_timing == UpdateTiming::EveryStep;
        Ok(Topology::Dynamic(start, Dynamics { rule, every_step, step_policy: self.step_policy }))
    }
}
