//! What a state holds of each parameter, and what another run takes of it.

use rigl_base::{Error, Result};
use rigl_graph::state::{self, Role, Tensor, Values};
use rigl_graph::{Graph, Parameter};
use rigl_topology::{Method, Pattern, slots};

/// The active counts that a run by `method` begins with where it takes over this state, with `first` those that it would
/// begin with by its distribution; `None` for dense.
///
/// # Errors
/// [`Kind::Usage`](rigl_base::Kind::Usage) if the state is of another network.
pub(crate) fn counts(
    graph: &Graph,
    state: &[Tensor<'_>],
    first: &[Option<usize>],
    method: &Method,
) -> Result<Vec<Option<usize>>> {
    let count = |(p, &first): (&Parameter, &Option<usize>)| {
        let found = Found::of(p, state)?;
        Ok(match found.count() {
            _ if method.is_dense() || !p.is_weight() => None,
            Some(count) => Some(count),
            None => first,
        })
    };
    graph.parameters().iter().zip(first).map(count).collect()
}

/// The patterns that a network has in this state; `None` for dense.
///
/// # Errors
/// If the state is of another network, or a pattern is none.
pub(crate) fn patterns(graph: &Graph, state: &[Tensor<'_>]) -> Result<Vec<Option<Pattern>>> {
    let pattern = |p: &Parameter| match Found::of(p, state)?.indices {
        Some(indices) => Pattern::new(p.len(), indices.to_vec()).map(Some),
        None => Ok(None),
    };
    graph.parameters().iter().map(pattern).collect()
}

/// What a state holds of a parameter.
pub(crate) struct Found<'a> {
    values: &'a [f32],
    indices: Option<&'a [u32]>,
}

impl<'a> Found<'a> {
    pub(crate) fn of(parameter: &Parameter, state: &'a [Tensor<'_>]) -> Result<Found<'a>> {
        let name = &parameter.name;
        let tensor = state::find(state, &Role::Parameter, name);
        let tensor = tensor.ok_or_else(|| Error::usage(format!("the run has no parameter `{name}`")))?;
        if tensor.shape != parameter.shape {
            let (found, expected) = (&tensor.shape, &parameter.shape);
            return Err(Error::usage(format!(
                "parameter `{name}` has shape {found:?} there, expected {expected:?}"
            )));
        }
        let indices = tensor.indices.as_deref();
        let expected = indices.map_or(parameter.len(), <[u32]>::len);
        match tensor.values.as_f32() {
            Some(values) if values.len() == expected => Ok(Found { values, indices }),
            _ => Err(Error::data(format!("parameter `{name}` does not hold {expected} 32-bit floats"))),
        }
    }

    /// Its active weights; `None` if it is dense.
    pub(crate) fn count(&self) -> Option<usize> {
        self.indices.map(<[u32]>::len)
    }

    /// The pattern it has; of one that is dense, the so many weights of largest magnitude.
    pub(crate) fn pattern(&self, parameter: &Parameter, count: usize) -> Result<Pattern> {
        match self.indices {
            Some(indices) => Pattern::new(parameter.len(), indices.to_vec()),
            None => {
                let scores: Vec<f32> = self.values.iter().map(|w| w.abs()).collect();
                Pattern::of_largest(&scores, count)
            }
        }
    }

    /// Its values under a pattern, or dense; 0 where the run has none.
    pub(crate) fn under(&self, parameter: &Parameter, pattern: Option<&Pattern>) -> Tensor<'static> {
        let dense = self.dense(parameter);
        let values = match pattern {
            None => dense,
            Some(pattern) => pattern.indices().iter().map(|&i| dense[i as usize]).collect(),
        };
        let indices = pattern.map(|pattern| pattern.indices().to_vec().into());
        Tensor { indices, ..tensor(parameter, &parameter.name, Role::Parameter, values) }
    }

    /// The values of all its positions, as a method keeps them: those kept there, or else 0 where the run has none.
    pub(crate) fn kept(&self, parameter: &Parameter, state: &[Tensor<'_>]) -> Tensor<'static> {
        let name = format!("{}/{}", slots::KEPT, parameter.name);
        let found = state::find(state, &Role::Method, &name).and_then(|tensor| tensor.values.as_f32());
        let values = found.filter(|values| values.len() == parameter.len()).map(<[f32]>::to_vec);
        let values = values.unwrap_or_else(|| self.dense(parameter));
        tensor(parameter, &name, Role::Method, values)
    }

    fn dense(&self, parameter: &Parameter) -> Vec<f32> {
        let mut dense = vec![0.0; parameter.len()];
        match self.indices {
            None => dense.copy_from_slice(self.values),
            Some(indices) => {
                for (&i, &w) in indices.iter().zip(self.values) {
                    if let Some(slot) = dense.get_mut(i as usize) {
                        *slot = w;
                    }
                }
            }
        }
        dense
    }
}

/// A dense tensor of this parameter's shape.
fn tensor(parameter: &Parameter, name: &str, role: Role, values: Vec<f32>) -> Tensor<'static> {
    Tensor {
        name: name.to_string().into(),
        role,
        shape: parameter.shape.clone(),
        values: Values::F32(values.into()),
        indices: None,
    }
}
