//! A model's state as named tensors: the one form in which checkpoint, export, import, inspection and other
//! executors exchange values. The engine lends it and accepts it.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use rigl_base::{Error, Result};

use crate::graph::Graph;
use crate::words::clip;

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

impl Role {
    /// The key of a tensor of this role in a checkpoint: `parameter/<name>`, `buffer/<name>`,
    /// `slot/<slot>/<name>`, `method/<name>`.
    pub fn key(&self, name: &str) -> String {
        match self {
            Role::Parameter => format!("parameter/{name}"),
            Role::Buffer => format!("buffer/{name}"),
            Role::Slot(slot) => format!("slot/{slot}/{name}"),
            Role::Method => format!("method/{name}"),
        }
    }

    /// Role and name of a key; `None` if it is none.
    pub fn from_key(key: &str) -> Option<(Role, &str)> {
        let (word, rest) = key.split_once('/')?;
        let (role, name) = match word {
            "parameter" => (Role::Parameter, rest),
            "buffer" => (Role::Buffer, rest),
            "method" => (Role::Method, rest),
            "slot" => {
                let (slot, name) = rest.split_once('/').filter(|(slot, _)| !slot.is_empty())?;
                (Role::Slot(slot.into()), name)
            }
            _ => return None,
        };
        (!name.is_empty()).then_some((role, name))
    }
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

    /// The numbers, if they are 32-bit floating point.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match self {
            Values::F32(v) => Some(v),
            _ => None,
        }
    }

    /// A copy that borrows nothing.
    pub fn into_owned(self) -> Values<'static> {
        match self {
            Values::F32(v) => Values::F32(Cow::Owned(v.into_owned())),
            Values::U8(v) => Values::U8(Cow::Owned(v.into_owned())),
            Values::U32(v) => Values::U32(Cow::Owned(v.into_owned())),
            Values::U64(v) => Values::U64(Cow::Owned(v.into_owned())),
        }
    }
}

/// A named tensor. `indices` is present exactly if the tensor is stored sparse: sorted flat positions
/// (row-major in `shape`), one for each of `values`. All other positions are zero.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor<'a> {
    /// The parameter's or buffer's name, `fc1.weight`.
    pub name: Cow<'a, str>,
    /// What it is to the model, and by that where it stands in a file.
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

impl Tensor<'_> {
    /// Its key in a checkpoint, see [`Role::key`].
    pub fn key(&self) -> String {
        self.role.key(&self.name)
    }

    /// A copy that borrows nothing.
    pub fn into_owned(self) -> Tensor<'static> {
        Tensor {
            name: Cow::Owned(self.name.into_owned()),
            role: self.role,
            shape: self.shape,
            values: self.values.into_owned(),
            indices: self.indices.map(|i| Cow::Owned(i.into_owned())),
        }
    }

    /// Checks that there are as many values as the shape or the indices say, and that indices are sorted, without
    /// repetition and within the shape.
    ///
    /// # Errors
    /// [`Kind::Data`](rigl_base::Kind::Data), naming the tensor.
    pub fn check(&self) -> Result<()> {
        self.problem().map_or(Ok(()), |p| Err(self.error(&p)))
    }

    fn problem(&self) -> Option<String> {
        let shape = &self.shape;
        let Some(all) = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)) else {
            return Some(format!("shape {shape:?} is too large"));
        };
        let found = self.values.len();
        let Some(indices) = &self.indices else {
            return (found != all).then(|| format!("shape {shape:?} has {all} values, found {found}"));
        };
        if indices.len() != found {
            return Some(format!("{} indices, but {found} values", indices.len()));
        }
        if let Some(pair) = indices.windows(2).find(|w| w[0] >= w[1]) {
            return Some(format!("indices must rise, found {} before {}", pair[0], pair[1]));
        }
        let last = indices.last().filter(|&&last| last as usize >= all)?;
        Some(format!("index {last} is outside of shape {shape:?}"))
    }

    fn error(&self, problem: &str) -> Error {
        Error::data(format!("tensor `{}`: {problem}", clip(&self.key())))
    }
}

/// The tensor that plays this role under this name; `None` if there is none.
pub fn find<'s, 'a>(state: &'s [Tensor<'a>], role: &Role, name: &str) -> Option<&'s Tensor<'a>> {
    state.iter().find(|t| t.role == *role && t.name == name)
}

/// Checks that a state is whole and fits the graph: every tensor is valid and there once; every parameter and buffer
/// of the graph is there, in its shape, and no other; a slot has the shape of the parameter whose name it bears.
///
/// # Errors
/// [`Kind::Data`](rigl_base::Kind::Data), naming the tensor, what was found and what is expected.
pub fn check(graph: &Graph, state: &[Tensor<'_>]) -> Result<()> {
    let shapes: HashMap<&str, &[usize]> =
        graph.parameters().iter().map(|p| (p.name.as_str(), p.shape.as_slice())).collect();
    let buffers: HashMap<&str, &[usize]> =
        graph.buffers().iter().map(|b| (b.name.as_str(), b.shape.as_slice())).collect();
    let mut keys = HashSet::new();
    for tensor in state {
        tensor.check()?;
        if !keys.insert(tensor.key()) {
            return Err(tensor.error("is there twice"));
        }
        let (known, what) = match tensor.role {
            Role::Parameter | Role::Slot(_) => (&shapes, "parameter"),
            Role::Buffer => (&buffers, "buffer"),
            Role::Method => continue,
        };
        let Some(&shape) = known.get(&*tensor.name) else {
            return Err(tensor.error(&format!("network `{}` has no such {what}", graph.name())));
        };
        if tensor.shape != shape {
            return Err(tensor.error(&format!("expects shape {shape:?}, found {:?}", tensor.shape)));
        }
        if matches!(tensor.role, Role::Parameter | Role::Buffer) && tensor.values.as_f32().is_none() {
            return Err(tensor.error("expects 32-bit floating point values"));
        }
        if tensor.role == Role::Buffer && tensor.indices.is_some() {
            return Err(tensor.error("is stored sparse, which only parameters can be"));
        }
    }
    let parameters = graph.parameters().iter().map(|p| Role::Parameter.key(&p.name));
    let buffers = graph.buffers().iter().map(|b| Role::Buffer.key(&b.name));
    match parameters.chain(buffers).find(|key| !keys.contains(key)) {
        Some(key) => Err(Error::data(format!("tensor `{key}` is missing"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::{BatchNorm, Builder};
    use rigl_base::Kind;

    fn graph() -> Graph {
        let mut g = Builder::new("mlp");
        let x = g.input("image", &[3]);
        let h = g.linear("fc1", x, 2, crate::Linear::default());
        let h = g.batch_norm("bn1", h, BatchNorm::default());
        g.cross_entropy(h, 2, 0.0);
        g.finish().unwrap()
    }

    fn tensor(
        role: Role,
        name: &str,
        shape: &[usize],
        values: &[f32],
        indices: Option<&[u32]>,
    ) -> Tensor<'static> {
        Tensor {
            name: name.to_string().into(),
            role,
            shape: shape.to_vec(),
            values: Values::F32(values.to_vec().into()),
            indices: indices.map(|i| i.to_vec().into()),
        }
    }

    fn state() -> State<'static> {
        vec![
            tensor(Role::Parameter, "fc1.weight", &[2, 3], &[1.0, 2.0], Some(&[0, 5])),
            tensor(Role::Parameter, "fc1.bias", &[2], &[0.0; 2], None),
            tensor(Role::Slot("momentum".into()), "fc1.weight", &[2, 3], &[0.0; 2], Some(&[0, 5])),
            tensor(Role::Method, "explored", &[4], &[0.0; 4], None),
            tensor(Role::Parameter, "bn1.weight", &[2], &[1.0; 2], None),
            tensor(Role::Parameter, "bn1.bias", &[2], &[0.0; 2], None),
            tensor(Role::Buffer, "bn1.running_mean", &[2], &[0.0; 2], None),
            tensor(Role::Buffer, "bn1.running_var", &[2], &[1.0; 2], None),
        ]
    }

    #[test]
    fn a_whole_state_fits_its_graph_and_tensors_are_found() {
        let state = state();
        check(&graph(), &state).unwrap();
        assert_eq!(find(&state, &Role::Parameter, "fc1.bias"), Some(&state[1]));
        assert_eq!(find(&state, &Role::Slot("momentum".into()), "fc1.weight"), Some(&state[2]));
        assert_eq!(find(&state, &Role::Buffer, "fc1.weight"), None);
        assert_eq!(state[0].clone().into_owned(), state[0]);
    }

    #[test]
    fn every_fault_of_a_state_is_found() {
        type Break = fn(&mut State<'static>);
        let cases: &[(&str, Break)] = &[
            ("`parameter/fc1.bias` is missing", |s| _ = s.remove(1)),
            ("`parameter/fc1.bias`: is there twice", |s| s.push(s[1].clone())),
            ("no such parameter", |s| s[1].name = "fc9.bias".into()),
            ("`slot/momentum/fc9`: network `mlp` has no such parameter", |s| s[2].name = "fc9".into()),
            ("expects shape [2, 3], found [3, 2]", |s| s[0].shape = vec![3, 2]),
            ("expects shape [2, 3], found [3, 2]", |s| s[2].shape = vec![3, 2]),
            ("expects 32-bit floating point", |s| s[1].values = Values::U8(vec![0; 2].into())),
            ("shape [2] has 2 values, found 3", |s| s[1].values = Values::F32(vec![0.0; 3].into())),
            ("3 indices, but 2 values", |s| s[0].indices = Some(vec![0, 1, 2].into())),
            ("must rise, found 5 before 0", |s| s[0].indices = Some(vec![5, 0].into())),
            ("must rise, found 5 before 5", |s| s[0].indices = Some(vec![5, 5].into())),
            ("index 6 is outside", |s| s[0].indices = Some(vec![0, 6].into())),
            ("`buffer/bn1.running_var` is missing", |s| _ = s.pop()),
            ("`buffer/bn2.running_var`: network `mlp` has no such buffer", |s| {
                s[7].name = "bn2.running_var".into()
            }),
            ("`buffer/bn1.running_mean`: expects shape [2], found [1, 2]", |s| s[6].shape = vec![1, 2]),
            ("`buffer/bn1.running_mean`: expects 32-bit", |s| s[6].values = Values::U8(vec![0; 2].into())),
            ("is stored sparse", |s| s[6].indices = Some(vec![0, 1].into())),
            ("too large", |s| s[3].shape = vec![usize::MAX, 2]),
        ];
        for (message, damage) in cases {
            let mut state = state();
            damage(&mut state);
            let error = check(&graph(), &state).expect_err(message);
            assert_eq!(error.kind(), Kind::Data);
            assert!(error.message().contains(message), "{message}: {error}");
        }
    }

    #[test]
    fn keys_read_back_as_role_and_name() {
        for role in [Role::Parameter, Role::Buffer, Role::Slot("momentum".into()), Role::Method] {
            assert_eq!(
                Role::from_key(&role.key("layer1.0.conv1.weight")),
                Some((role, "layer1.0.conv1.weight"))
            );
        }
        for key in ["", "parameter", "parameter/", "slot/momentum", "slot/momentum/", "slot//w", "other/w"] {
            assert_eq!(Role::from_key(key), None, "{key}");
        }
    }
}
