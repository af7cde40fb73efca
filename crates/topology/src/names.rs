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
    /// How weights that an update grows are spread over layers, where not every layer grows what it dropped.
    pub enum Redistribution {
        /// In proportion to the mean magnitude of the layer's averaged gradient at active weights.
        Momentum = "momentum",
        /// In proportion to the weights that the layer has left.
        Survivors = "survivors",
    }
}

named_enum! {
    /// In what a narrowed network is to be as large as the sparse one.
    pub enum NarrowTo {
        /// The number of weights.
        Weights = "weights",
        /// Bytes: the sparse network's include a bit for each position of its sparse layers.
        Bytes = "bytes",
    }
}
