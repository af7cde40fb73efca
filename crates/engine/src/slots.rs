//! Named numbers that live with a parameter: the optimiser's, and those that a method keeps. They are planned, carried
//! through a change of pattern, saved and loaded by what is said here, whatever their names.

use rigl_topology::Over;

/// The optimiser's velocity.
pub(crate) const MOMENTUM: &str = "momentum";

/// The velocity of all weights where a method keeps inactive ones ([`rigl_topology::slots::KEPT`]).
pub(crate) const KEPT_MOMENTUM: &str = "kept-momentum";

/// Whose numbers they are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Owner {
    /// The optimiser's: a slot in a checkpoint.
    Optimizer,
    /// The method's.
    Method,
}

/// A slot of a parameter.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) name: String,
    pub(crate) owner: Owner,
    pub(crate) over: Over,
    /// Over active positions in the order of storage, over all in the order of the weight.
    pub(crate) values: Vec<f32>,
}

/// The slots of a parameter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots(Vec<Slot>);

impl Slots {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.0.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.0.iter_mut()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Slot> {
        self.0.iter().find(|slot| slot.name == name)
    }

    /// The numbers of a slot; it is added, empty, if it is not there.
    pub(crate) fn get_or_add(&mut self, name: &str, owner: Owner, over: Over) -> &mut Vec<f32> {
        let number = self.0.iter().position(|slot| slot.name == name).unwrap_or_else(|| {
            self.0.push(Slot { name: name.into(), owner, over, values: Vec::new() });
            self.0.len() - 1
        });
        &mut self.0[number].values
    }

    /// The numbers of a slot, taken out; empty if it is not there.
    pub(crate) fn take(&mut self, name: &str) -> Vec<f32> {
        let slot = self.0.iter_mut().find(|slot| slot.name == name);
        slot.map_or_else(Vec::new, |slot| std::mem::take(&mut slot.values))
    }

    /// Adds a slot, in the place of one of its name.
    pub(crate) fn put(&mut self, slot: Slot) {
        self.remove(&slot.name);
        self.0.push(slot);
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|slot| slot.name != name);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
