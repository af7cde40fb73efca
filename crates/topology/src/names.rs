//! The values that a row of the method table is made of, by the names users write.

use rigl_base::named_enum;

named_enum! {
    /// How a network's sparsity is spread over its layers.
    pub enum Distribution {
        /// The same sparsity everywhere; a first layer that is a convolution stays dense.
        Uniform = "uniform",
        /// Erdős–Rényi: density ∝ (n_in + n_out) / (n_in · n_out).
        Er = "er",
        /// Erdős–Rényi with kernel: density ∝ (n_in + n_out + w + h) / (n_in · n_out · w · h).
        Erk = "erk",
    }
}

named_enum! {
    /// How the drop fraction shrinks from begin to end.
    pub enum Decay {
        /// α/2 · (1 + cos(π t/T)).
        Cosine = "cosine",
        /// α throughout.
        Constant = "constant",
        /// α · (1 − t/T).
        Linear = "linear",
        /// α · (1 − t/T)³.
        Cubic = "cubic",
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
    /// The value a grown weight starts from.
    pub enum GrownInit {
        /// 0.
        Zeros = "zeros",
        /// Drawn anew from the distribution of initial values.
        Redraw = "redraw",
        /// Normal, with the standard deviation of the layer's active weights.
        Normal = "normal",
        /// Uniform, within plus and minus the mean magnitude of the layer's active weights.
        Uniform = "uniform",
        /// One step of plain gradient descent from 0: −η g.
        Gradient = "gradient",
    }
}

named_enum! {
    /// What happens to the optimiser's step at a topology update.
    pub enum StepPolicy {
        /// The update takes the place of the step: the step counter stays, the next batch runs the step.
        Replace = "replace",
        /// The step is taken first, then the topology is updated, on the same batch.
        After = "after",
    }
}

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
    /// Within what weights compete.
    pub enum Structure {
        /// Every position of a layer with every other.
        Unstructured = "unstructured",
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
