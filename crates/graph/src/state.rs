//! A model's state as named tensors: the one form in which checkpoint, export, import, inspection and other
//! executors exchange values. The engine lends it and accepts it.

use std::borrow::Cow;

/// What a tensor is to the run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Role {
    /// A trained parameter.
    Parameter,
    /// Carried along but not trained: running statistics.
    Buffer,
    /// An optimiser's slot of a parameter, by the slot's name (`momentum`).
    Slot(String),
    /// State of the topology method.
    Method,
}

/// The numbers of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum Values<'a> {
    /// 32-bit floating point.
    F32(Cow<'a, [f32]>),
    /// Bytes (bit sets).
    U8(Cow<'a, [u8]>),
    /// 32-bit indices or counts.
    U32(Cow<'a, [u32]>),
    /// 64-bit counters.
    U64(Cow<'a, [u64]>),
}

impl Values<'_> {
    /// How many numbers there are.
    pub fn len(&self) -> usize {
        match self {
            Values::F32(v) => v.len(),
            Values::U8(v) => v.len(),
            Values::U32(v) => v.len(),
            Values::U64(v) => v.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A named tensor. `indices` is present exactly if the tensor is stored sparse: sorted flat positions
/// (row-major in `shape`), one for each of `values`. All other positions are zero.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor<'a> {
    /// The parameter's or buffer's name, `fc1.weight`.
    pub name: Cow<'a, str>,
    /// What it is.
    pub role: Role,
    /// Its natural shape.
    pub shape: Vec<usize>,
    /// Its numbers: all of them, or the active ones.
    pub values: Values<'a>,
    /// Flat positions of the active numbers, sorted.
    pub indices: Option<Cow<'a, [u32]>>,
}

/// A model's state.
pub type State<'a> = Vec<Tensor<'a>>;
