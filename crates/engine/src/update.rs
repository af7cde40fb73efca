//! A topology update of one parameter, from request to new storage.

use rigl_base::random::normals;
use rigl_base::{Error, Result};
use rigl_graph::initial::InitialValues;
use rigl_topology::update::{Change, LayerUpdate};
use rigl_topology::{DropScore, GrowScore, GrownInit, Largest, Pattern};

use crate::request::{Grown, UpdateRequest};
use crate::weights::{Compute, Parameter, sign};

/// What there is of a parameter's dense gradient.
pub(crate) struct Gradients<'a> {
    /// The largest among the positions that were inactive, if they were collected.
    pub(crate) candidates: Option<Largest>,
    /// All of it, if it was kept.
    pub(crate) dense: &'a [f32],
}

/// Drops, grows, and carries values and slots over. Where growth candidates were collected, the dropped ones compete
/// with them by their own gradients. `initial` are the values that [`GrownInit::Redraw`] takes.
pub(crate) fn apply(
    p: &mut Parameter,
    compute: Compute,
    request: &UpdateRequest,
    gradients: Gradients<'_>,
    initial: &InitialValues,
) -> Result<Change> {
    let context = |e: Error| e.context(format!("topology update of `{}`", p.name));
    let missing = |what: &str| context(Error::internal(format!("no {what} was kept")));
    let pattern = p.pattern().ok_or_else(|| context(Error::internal("it is dense")))?;
    let values = p.sorted(&p.values).into_owned();
    let signs = p.sorted_signs();
    let update = match request.drop {
        DropScore::SignChange if signs.len() != values.len() => return Err(missing("sign")),
        DropScore::SignChange => {
            let since: Vec<f32> = values.iter().zip(&*signs).map(|(w, s)| w * s).collect();
            LayerUpdate::begin(pattern, &since, request.drop, request.budget)
        }
        DropScore::Magnitude => LayerUpdate::begin(pattern, &values, request.drop, request.budget),
    }
    .map_err(context)?;
    let largest = |scores: &[f32]| {
        let mut collector = update.collector();
        collector.push(0, scores);
        collector.finish()
    };
    let grown = match request.grow {
        GrowScore::Gradient if !gradients.dense.is_empty() => largest(gradients.dense),
        GrowScore::Gradient => {
            let mut candidates = gradients.candidates.ok_or_else(|| missing("gradient"))?;
            for (index, gradient) in dropped(pattern, update.kept(), &p.sorted(&p.gradient)) {
                candidates.push(index, &[gradient.abs()], &[]);
            }
            candidates.finish()
        }
        GrowScore::Momentum if p.average.is_empty() => return Err(missing("average")),
        GrowScore::Momentum => largest(&p.average),
        GrowScore::Magnitude => largest(&p.kept.as_ref().ok_or_else(|| missing("inactive weight"))?.values),
        GrowScore::Random => update.grow_random(request.stream),
        GrowScore::None => Vec::new(),
    };
    let change = update.finish(&grown).map_err(context)?;
    // Where signs are kept, a weight that is regrown at once is held to the one it has now.
    if change.pattern() == pattern && (signs.is_empty() || change.dropped() == 0) {
        return Ok(change);
    }
    let new = match &p.kept {
        Some(kept) => change.pattern().indices().iter().map(|&i| kept.values[i as usize]).collect(),
        None => {
            let mut carried = change.carry(&values);
            let fresh = GrownValues::new(request.grown, &values, gradients.dense, initial);
            let positions = change.pattern().indices().iter().zip(change.origins());
            for (w, (&position, origin)) in carried.iter_mut().zip(positions) {
                if origin.is_none() {
                    *w = fresh.at(position).map_err(context)?;
                }
            }
            carried
        }
    };
    let momentum = (!p.momentum.is_empty()).then(|| change.carry(&p.sorted(&p.momentum)));
    let signs = (!signs.is_empty()).then(|| signs_of(&change, &signs, &new, request.grown));
    p.set(Some(change.pattern().clone()), compute, new, momentum)?;
    if let Some(signs) = signs {
        p.signs = p.stored(signs);
    }
    Ok(change)
}

/// The signs to which weights are held from now on. A weight that was inactive gets that of its value, or one at random
/// for 0; one that crossed 0 and was regrown at once has the one it has.
fn signs_of(change: &Change, old: &[f32], values: &[f32], grown: Grown) -> Vec<f32> {
    let each = change.pattern().indices().iter().zip(change.origins()).zip(values);
    each.map(|((&position, origin), &w)| match origin {
        Some(rank) if old[rank] * w < 0.0 => -old[rank],
        Some(rank) => old[rank],
        None if w == 0.0 => sign(grown.stream.uniform_at(u64::from(position)) - 0.5),
        None => sign(w),
    })
    .collect()
}

/// The values that grown weights start from.
struct GrownValues<'a> {
    grown: Grown,
    /// Of the active weights before.
    deviation: f64,
    mean_magnitude: f64,
    dense: &'a [f32],
    initial: &'a InitialValues,
}

impl<'a> GrownValues<'a> {
    fn new(grown: Grown, active: &[f32], dense: &'a [f32], initial: &'a InitialValues) -> GrownValues<'a> {
        let n = active.len().max(1) as f64;
        let sum = |of: fn(f64) -> f64| active.iter().map(|&w| of(f64::from(w))).sum::<f64>() / n;
        let mean = sum(|w| w);
        let variance = (sum(|w| w * w) - mean * mean).max(0.0);
        let deviation = rigl_base::math::sqrt(variance);
        GrownValues { grown, deviation, mean_magnitude: sum(f64::abs), dense, initial }
    }

    fn at(&self, position: u32) -> Result<f32> {
        let (n, stream) = (u64::from(position), self.grown.stream);
        Ok(match self.grown.init {
            GrownInit::Zeros => 0.0,
            GrownInit::Redraw => self.initial.at(position as usize),
            GrownInit::Normal => (self.deviation * normals(stream.block(n))[0]) as f32,
            GrownInit::Uniform => {
                (self.mean_magnitude * (2.0 * f64::from(stream.uniform_at(n)) - 1.0)) as f32
            }
            GrownInit::Gradient => {
                let gradient = self.dense.get(position as usize);
                let gradient =
                    gradient.ok_or_else(|| Error::internal("no gradient to begin with was kept"))?;
                (-self.grown.learning_rate * f64::from(*gradient)) as f32
            }
        })
    }
}

/// The positions of the pattern that are not kept, with their numbers.
fn dropped<'a>(
    pattern: &'a Pattern,
    kept: &'a [u32],
    numbers: &'a [f32],
) -> impl Iterator<Item = (u32, f32)> + 'a {
    let mut kept = kept.iter().copied().peekable();
    pattern.indices().iter().zip(numbers).filter_map(move |(&index, &number)| {
        if kept.next_if_eq(&index).is_some() { None } else { Some((index, number)) }
    })
}
