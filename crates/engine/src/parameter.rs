//! The parameters of a network as this machine keeps them: values, gradient and slots of each. They outlive plans. What
//! is lent is in the order of the pattern, whatever the storage.

use std::borrow::Cow;

use rigl_base::{Error, Result};
use rigl_kernels::conv::Weights;
use rigl_topology::slots::{AVERAGE, KEPT, SIGN};
use rigl_topology::{Change, Largest, LayerState, Over, Pattern, UpdateRequest};

use crate::slots::{MOMENTUM, Owner, Slot, Slots};
use crate::storage::{Compute, DenseConv, Form, Storage, Stream};

/// A parameter of a session, lent by [`Session::parameters`](crate::Session::parameters) and
/// [`Session::with_parameters`](crate::Session::with_parameters).
#[derive(Debug)]
pub struct Parameter {
    name: String,
    shape: Vec<usize>,
    /// Whether it is a weight: L2 applies, and it may be sparse.
    pub(crate) is_weight: bool,
    /// In the order of storage, as the gradient.
    pub(crate) values: Vec<f32>,
    pub(crate) gradient: Vec<f32>,
    pub(crate) slots: Slots,
    /// The gradient at all positions, where it is held.
    pub(crate) dense: Vec<f32>,
    /// Growth candidates, from the last pass that was asked for them.
    pub(crate) candidates: Option<Largest>,
    pub(crate) storage: Storage,
    pub(crate) form: Form,
    compute: Compute,
}

impl Parameter {
    /// A parameter with `pattern` (none: dense) whose value at flat position i is `value(i)`.
    pub(crate) fn new(
        name: &str,
        shape: &[usize],
        is_weight: bool,
        form: Form,
        pattern: Option<Pattern>,
        compute: Compute,
        value: impl Fn(usize) -> f32,
    ) -> Result<Parameter> {
        let len = shape.iter().product();
        let sorted: Vec<f32> = match &pattern {
            None => (0..len).map(&value).collect(),
            Some(pattern) => pattern.indices().iter().map(|&i| value(i as usize)).collect(),
        };
        let mut parameter = Parameter {
            name: name.to_string(),
            shape: shape.to_vec(),
            is_weight,
            values: Vec::new(),
            gradient: Vec::new(),
            slots: Slots::default(),
            dense: Vec::new(),
            candidates: None,
            storage: Storage::Dense,
            form,
            compute,
        };
        parameter.set(pattern, sorted)?;
        Ok(parameter)
    }

    /// Sets the gradient of inactive positions to 0, where such have one.
    pub(crate) fn mask_gradient(&mut self) {
        if let Storage::Masked { mask, .. } = &self.storage {
            // A select, not a branch: it is vectorised. Not a product: 0 · ∞ is not a number.
            self.gradient.iter_mut().zip(mask).for_each(|(g, &active)| *g = if active { *g } else { 0.0 });
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its natural shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Values when dense.
    #[allow(clippy::len_without_is_empty, reason = "no parameter is empty")]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Active values.
    pub fn active(&self) -> usize {
        self.pattern().map_or(self.len(), Pattern::count)
    }

    /// `dense`, `masked` or `sparse`.
    pub fn storage(&self) -> &'static str {
        self.storage.name()
    }

    /// Which positions are active; `None` where all are, and none can be otherwise.
    pub fn pattern(&self) -> Option<&Pattern> {
        self.storage.pattern()
    }

    /// Its active values, in the order of the pattern.
    pub fn values(&self) -> Cow<'_, [f32]> {
        self.storage.sorted(&self.values)
    }

    /// Replaces its active values, in the order of the pattern.
    ///
    /// # Errors
    /// [`Kind::Internal`](rigl_base::Kind::Internal) if there are not as many.
    pub fn set_values(&mut self, values: Vec<f32>) -> Result<()> {
        self.expect(values.len(), self.active())?;
        self.values = self.storage.stored(values);
        Ok(())
    }

    /// The gradient of its active values, in the order of the pattern, as far as it has been accumulated.
    pub fn gradient(&self) -> Cow<'_, [f32]> {
        self.storage.sorted(&self.gradient)
    }

    /// The gradient at all positions, if the last pass was asked to keep it, or else nothing.
    pub fn dense_gradient(&self) -> &[f32] {
        &self.dense
    }

    /// The numbers of a slot: of active values in the order of the pattern, or of all positions.
    pub fn slot(&self, name: &str) -> Option<Cow<'_, [f32]>> {
        let slot = self.slots.get(name)?;
        Some(match slot.over {
            Over::Active => self.storage.sorted(&slot.values),
            Over::All => slot.values.as_slice().into(),
        })
    }

    /// The numbers of a slot over all positions together with the dense gradient, to be worked into it.
    pub fn slot_and_dense_gradient(&mut self, name: &str) -> Option<(&mut [f32], &[f32])> {
        let slot = self.slots.iter_mut().find(|slot| slot.name == name && slot.over == Over::All)?;
        Some((&mut slot.values, &self.dense))
    }

    /// Gives a method's slot its numbers, of active values in the order of the pattern or of all positions.
    ///
    /// # Errors
    /// [`Kind::Internal`](rigl_base::Kind::Internal) if there are not as many.
    pub fn set_slot(&mut self, name: &str, over: Over, numbers: Vec<f32>) -> Result<()> {
        let expected = if over == Over::Active { self.active() } else { self.len() };
        self.expect(numbers.len(), expected)?;
        self.put_slot(name, Owner::Method, over, numbers);
        Ok(())
    }

    /// Makes a dense parameter sparse: of its values those in the pattern stay. Its slots start over.
    ///
    /// # Errors
    /// [`Kind::Internal`](rigl_base::Kind::Internal) if it is not dense, or the pattern is of another size.
    pub fn make_sparse(&mut self, pattern: Pattern) -> Result<()> {
        if self.pattern().is_some() {
            return Err(Error::internal(format!("parameter `{}` is sparse already", self.name)));
        }
        self.expect(pattern.len(), self.len())?;
        let values = pattern.indices().iter().map(|&i| self.values[i as usize]).collect();
        self.slots.clear();
        self.set(Some(pattern), values)
    }

    /// Drops, grows, and carries values and slots over. Growth by gradient uses what the last
    /// [`Session::accumulate`](crate::Session::accumulate) collected for it. `initial` gives the value at a position that
    /// is drawn anew.
    ///
    /// # Errors
    /// If the request contradicts the pattern, or what it needs was not kept.
    pub fn update(&mut self, request: &UpdateRequest, initial: &dyn Fn(usize) -> f32) -> Result<Change> {
        let context = |e: Error| e.context(format!("topology update of `{}`", self.name));
        let candidates = self.candidates.take();
        let pattern = self.pattern().ok_or_else(|| context(Error::internal("it is dense")))?;
        // Copies in the order of the pattern are gone before there is a second set of everything.
        let done = {
            let gradient = if request.needs_gradient() { self.gradient() } else { (&[]).into() };
            let velocity = if request.needs_velocity() { self.slot(MOMENTUM) } else { None };
            let values = self.values();
            let [sign, average, kept] = [SIGN, AVERAGE, KEPT].map(|name| self.slot(name));
            let state = LayerState {
                pattern,
                values: &values,
                gradient: &gradient,
                dense: &self.dense,
                candidates,
                sign: sign.as_deref(),
                velocity: velocity.as_deref(),
                average: average.as_deref(),
                kept: kept.as_deref(),
            };
            rigl_topology::transition(state, request, initial).map_err(context)?
        };
        let Some(new) = done.new else { return Ok(done.change) };
        // One slot after the other, so that there is never a second set of all.
        for slot in self.slots.iter_mut().filter(|slot| slot.over == Over::Active) {
            let old = std::mem::take(&mut slot.values);
            slot.values = done.change.carry(&self.storage.sorted(&old));
        }
        if let Some(sign) = new.sign {
            let slot = self.slots.iter_mut().find(|slot| slot.name == SIGN);
            slot.into_iter().for_each(|slot| slot.values.clone_from(&sign));
        }
        self.set(Some(done.change.pattern().clone()), new.values)?;
        for slot in self.slots.iter_mut().filter(|slot| slot.over == Over::Active) {
            slot.values = self.storage.stored(std::mem::take(&mut slot.values));
        }
        Ok(done.change)
    }

    /// Replaces pattern and values, these in the order of the pattern. Slots over active values are then the caller's to
    /// replace.
    pub(crate) fn set(&mut self, pattern: Option<Pattern>, values: Vec<f32>) -> Result<()> {
        let named = |e: Error| e.context(format!("parameter `{}`", self.name));
        if let Some(pattern) = &pattern {
            self.expect(pattern.len(), self.len())?;
        }
        // What was stored goes before there is something new in its place.
        (self.storage, self.values, self.gradient) = (Storage::Dense, Vec::new(), Vec::new());
        self.storage = Storage::new(pattern, &self.form, &self.shape, self.compute).map_err(named)?;
        self.expect(values.len(), self.active())?;
        self.values = self.storage.stored(values);
        self.gradient = vec![0.0; self.values.len()];
        Ok(())
    }

    /// Adds a slot, or replaces it: numbers of active values in the order of the pattern, or of all positions.
    pub(crate) fn put_slot(&mut self, name: &str, owner: Owner, over: Over, numbers: Vec<f32>) {
        let values = if over == Over::Active { self.storage.stored(numbers) } else { numbers };
        self.slots.put(Slot { name: name.into(), owner, over, values });
    }

    /// The weight of a convolution for its kernels.
    pub(crate) fn conv_weights(&self) -> Result<Weights<'_>> {
        Ok(match (&self.storage, &self.form) {
            (Storage::Sparse { stream: Stream::Conv(stream), .. }, _) => {
                Weights::Sparse(stream, &self.values)
            }
            (_, Form::Conv(_, Some(DenseConv::Taps(taps)))) => Weights::Dense(taps, &self.values),
            (_, Form::Conv(_, Some(DenseConv::Full(stream)))) => Weights::Sparse(stream, &self.values),
            _ => return Err(Error::internal(format!("parameter `{}` is of no convolution", self.name))),
        })
    }

    fn expect(&self, found: usize, expected: usize) -> Result<()> {
        if found == expected {
            return Ok(());
        }
        Err(Error::internal(format!("{found} numbers for `{}`, expected {expected}", self.name)))
    }
}
