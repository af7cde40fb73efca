//! Lending and accepting the state of a network.

use rigl_base::{Error, Result};
use rigl_graph::state::{self, Role, State, Tensor, Values};
use rigl_topology::Pattern;

use super::Session;
use crate::weights::{Kept, Parameter};

/// The name of the optimiser's slot.
const MOMENTUM: &str = "momentum";

/// How the names of a method's tensors begin; the parameter's follows.
const SIGNS: &str = "sign/";
const AVERAGE: &str = "average/";
/// How the name of the tensor begins that holds the values of all positions, where a method keeps them.
pub const KEPT: &str = "kept/";
const KEPT_MOMENTUM: &str = "kept-momentum/";

impl Session {
    /// Lends the model's state: parameters and slots, sparse ones as values and sorted indices.
    pub fn state(&self) -> State<'_> {
        fn tensor<'a>(p: &'a Parameter, role: Role, values: &'a [f32]) -> Tensor<'a> {
            Tensor {
                name: p.name.as_str().into(),
                role,
                shape: p.shape.clone(),
                values: Values::F32(p.sorted(values)),
                indices: p.pattern().map(|pattern| pattern.indices().into()),
            }
        }
        let mut tensors: State<'_> = Vec::new();
        for p in &self.parameters {
            tensors.push(tensor(p, Role::Parameter, &p.values));
            if !p.momentum.is_empty() {
                tensors.push(tensor(p, Role::Slot(MOMENTUM.into()), &p.momentum));
            }
            if !p.signs.is_empty() {
                tensors.push(Tensor {
                    name: format!("{SIGNS}{}", p.name).into(),
                    ..tensor(p, Role::Method, &p.signs)
                });
            }
            let kept = p.kept.as_ref();
            let whole = [
                (AVERAGE, Some(&p.average)),
                (KEPT, kept.map(|kept| &kept.values)),
                (KEPT_MOMENTUM, kept.map(|kept| &kept.momentum)),
            ];
            for (prefix, values) in whole {
                let Some(values) = values.filter(|values| !values.is_empty()) else { continue };
                tensors.push(Tensor {
                    name: format!("{prefix}{}", p.name).into(),
                    role: Role::Method,
                    shape: p.shape.clone(),
                    values: Values::F32(values.as_slice().into()),
                    indices: None,
                });
            }
        }
        for buffer in self.norms.iter().flat_map(|norm| [&norm.running_mean, &norm.running_variance]) {
            tensors.push(Tensor {
                name: buffer.name.as_str().into(),
                role: Role::Buffer,
                shape: vec![buffer.values.len()],
                values: Values::F32(buffer.values.as_slice().into()),
                indices: None,
            });
        }
        tensors
    }

    /// Accepts a state: every parameter and buffer of the network must be there, with its shape. Parameters that come
    /// with indices are sparse from then on, the others dense. Slots that are not there start at zero, and what
    /// methods keep starts over.
    ///
    /// # Errors
    /// [`Kind::Data`](rigl_base::Kind::Data), naming the tensor that is missing or does not fit; the session is
    /// then as it was for the parameters not yet read, so it should be dropped.
    pub fn load(&mut self, state: &[Tensor<'_>]) -> Result<()> {
        for p in &mut self.parameters {
            let bad = |what: String| Error::data(format!("parameter `{}` {what}", p.name));
            let tensor =
                state::find(state, &Role::Parameter, &p.name).ok_or_else(|| bad("is missing".into()))?;
            if tensor.shape != p.shape {
                return Err(bad(format!("has shape {:?}, expected {:?}", tensor.shape, p.shape)));
            }
            let pattern = match &tensor.indices {
                None => None,
                Some(indices) if p.is_weight => Some(Pattern::new(p.len(), indices.to_vec())?),
                Some(_) => return Err(bad("is sparse, and only weights can be".into())),
            };
            let expected = pattern.as_ref().map_or(p.len(), Pattern::count);
            let numbers = |tensor: &Tensor<'_>| match tensor.values.as_f32() {
                Some(values) if values.len() == expected => Ok(values.to_vec()),
                _ => Err(bad(format!("does not hold {expected} 32-bit floats"))),
            };
            let values = numbers(tensor)?;
            let slot = state::find(state, &Role::Slot(MOMENTUM.into()), &p.name);
            let momentum = match slot {
                None => Vec::new(),
                Some(slot) if slot.indices == tensor.indices => numbers(slot)?,
                Some(_) => return Err(bad("and its momentum have different patterns".into())),
            };
            let of_method = |prefix: &str, expected: usize, indices: bool| -> Result<Vec<f32>> {
                let name = format!("{prefix}{}", p.name);
                let Some(found) = state::find(state, &Role::Method, &name) else { return Ok(Vec::new()) };
                let fits = !indices || found.indices == tensor.indices;
                match found.values.as_f32() {
                    Some(values) if values.len() == expected && fits => Ok(values.to_vec()),
                    _ => Err(bad(format!("and `{name}` do not fit together"))),
                }
            };
            let signs = of_method(SIGNS, expected, true)?;
            let average = of_method(AVERAGE, p.len(), false)?;
            let kept = of_method(KEPT, p.len(), false)?;
            let kept_momentum = of_method(KEPT_MOMENTUM, p.len(), false)?;
            p.momentum.clear();
            p.set(pattern, self.compute, values, slot.is_some().then_some(momentum))?;
            p.signs = if signs.is_empty() { signs } else { p.stored(signs) };
            p.average = average;
            p.kept = (!kept.is_empty()).then_some(Kept { values: kept, momentum: kept_momentum });
        }
        let buffers = self.norms.iter_mut().flat_map(|n| [&mut n.running_mean, &mut n.running_variance]);
        for buffer in buffers {
            let bad = |what: String| Error::data(format!("buffer `{}` {what}", buffer.name));
            let tensor =
                state::find(state, &Role::Buffer, &buffer.name).ok_or_else(|| bad("is missing".into()))?;
            match tensor.values.as_f32() {
                Some(values) if values.len() == buffer.values.len() => buffer.values.copy_from_slice(values),
                _ => return Err(bad(format!("does not hold {} 32-bit floats", buffer.values.len()))),
            }
        }
        Ok(())
    }
}
