//! Lending and accepting the state of a network.

use rigl_base::{Error, Result};
use rigl_graph::state::{self, Role, State, Tensor, Values};
use rigl_topology::{Over, Pattern};

use super::Session;
use crate::parameter::Parameter;
use crate::slots::{Owner, Slot};

impl Session {
    /// Lends the model's state: parameters and slots, sparse ones as values and sorted indices.
    pub fn state(&self) -> State<'_> {
        let mut tensors: State<'_> = Vec::new();
        for p in &self.parameters {
            let indices = || p.pattern().map(|pattern| pattern.indices().into());
            let tensor = |name: String, role, values, indices| Tensor {
                name: name.into(),
                role,
                shape: p.shape().to_vec(),
                values: Values::F32(values),
                indices,
            };
            tensors.push(tensor(p.name().into(), Role::Parameter, p.values(), indices()));
            for slot in p.slots.iter().filter(|slot| !slot.values.is_empty()) {
                let (role, name) = match slot.owner {
                    Owner::Optimizer => (Role::Slot(slot.name.clone()), p.name().into()),
                    Owner::Method => (Role::Method, format!("{}/{}", slot.name, p.name())),
                };
                let (values, indices) = match slot.over {
                    Over::Active => (p.storage.sorted(&slot.values), indices()),
                    Over::All => (slot.values.as_slice().into(), None),
                };
                tensors.push(tensor(name, role, values, indices));
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
    /// with indices are sparse from then on, the others dense. Slots are those that come with it.
    ///
    /// # Errors
    /// [`Kind::Data`](rigl_base::Kind::Data), naming the tensor that is missing or does not fit; the session is
    /// then as it was for the parameters not yet read, so it should be dropped.
    pub fn load(&mut self, state: &[Tensor<'_>]) -> Result<()> {
        for p in &mut self.parameters {
            let bad = |what: String| Error::data(format!("parameter `{}` {what}", p.name()));
            let tensor =
                state::find(state, &Role::Parameter, p.name()).ok_or_else(|| bad("is missing".into()))?;
            if tensor.shape != p.shape() {
                return Err(bad(format!("has shape {:?}, expected {:?}", tensor.shape, p.shape())));
            }
            let pattern = match &tensor.indices {
                None => None,
                Some(indices) if p.is_weight => Some(Pattern::new(p.len(), indices.to_vec())?),
                Some(_) => return Err(bad("is sparse, and only weights can be".into())),
            };
            let active = pattern.as_ref().map_or(p.len(), Pattern::count);
            let values = numbers(tensor, active)
                .ok_or_else(|| bad(format!("does not hold {active} 32-bit floats")))?;
            let slots = slots_of(p, tensor, active, state)?;
            p.slots.clear();
            p.set(pattern, values)?;
            for Slot { name, owner, over, values } in slots {
                p.put_slot(&name, owner, over, values);
            }
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

/// The numbers of a tensor, if these are as many 32-bit floats.
fn numbers(tensor: &Tensor<'_>, expected: usize) -> Option<Vec<f32>> {
    tensor.values.as_f32().filter(|values| values.len() == expected).map(<[f32]>::to_vec)
}

/// The slots of a parameter in a state, in the order of its pattern there; `tensor` are its values, `active` of them. A
/// slot that comes with the same indices has numbers of active weights, one without any of all.
fn slots_of(p: &Parameter, tensor: &Tensor<'_>, active: usize, state: &[Tensor<'_>]) -> Result<Vec<Slot>> {
    let mut slots = Vec::new();
    // Other numbers of a method are not the session's.
    for found in state.iter().filter(|tensor| tensor.values.as_f32().is_some()) {
        let (name, owner) = match &found.role {
            Role::Slot(slot) if found.name == p.name() => (slot.to_string(), Owner::Optimizer),
            Role::Method => match found.name.split_once('/') {
                Some((slot, of)) if of == p.name() => (slot.to_string(), Owner::Method),
                _ => continue,
            },
            _ => continue,
        };
        let over = match owner {
            Owner::Optimizer => Over::Active,
            Owner::Method if found.indices.is_some() => Over::Active,
            Owner::Method => Over::All,
        };
        let expected = if over == Over::Active { active } else { p.len() };
        let fits = over == Over::All || found.indices == tensor.indices;
        let values = numbers(found, expected).filter(|_| fits).ok_or_else(|| {
            let what = if owner == Owner::Optimizer { name.clone() } else { found.name.to_string() };
            Error::data(format!("parameter `{}` and its `{what}` do not fit together", p.name()))
        })?;
        slots.push(Slot { name, owner, over, values });
    }
    Ok(slots)
}
