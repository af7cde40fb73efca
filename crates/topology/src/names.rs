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
    }
}

named_enum! {
    /// By which score weights are grown; the largest come.
    pub enum GrowScore {
        /// Nothing is grown.
        None = "none",
        /// |∂L/∂w| of this batch, dense, without the L2 term.
        Gradient = "gradient",
        /// Uniformly at random.
        Random = "random",
    }
}

named_enum! {
    /// The value a grown weight starts from.
    pub enum GrownInit {
        /// 0.
        Zeros = "zeros",
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
        /// As many positions as the distribution gives, at random.
        Random = "random",
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
    /// What becomes of the optimiser's slots at an update.
    pub enum StateHandling {
        /// A position that was inactive starts with its slots at 0; a weight that stays, or is dropped and
        /// regrown at once, keeps them.
        Reset = "reset",
    }
}
