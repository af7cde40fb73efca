//! A topology update of one layer from what it holds to what it holds afterwards: what goes and comes, and the values
//! that it starts from.

use rigl_base::random::{Purpose, Stream, normals};
use rigl_base::{Error, Result};

use crate::drop_rule::{Active, DropRule};
use crate::names::GrownInit;
use crate::pattern::Pattern;
use crate::score::GrowScore;
use crate::select::Largest;
use crate::slots::sign;
use crate::update::{Change, LayerBudget, LayerUpdate};

/// What an update asks of a layer.
#[derive(Clone, Copy, Debug)]
pub struct UpdateRequest {
    /// What happens to the counts.
    pub budget: LayerBudget,
    /// Which weights are dropped.
    pub drop: DropRule,
    /// How positions are grown.
    pub grow: GrowScore,
    /// Random numbers for random growth.
    pub stream: Stream,
    /// The values that grown weights start from.
    pub grown: Grown,
}

/// The values that grown weights start from.
#[derive(Clone, Copy, Debug)]
pub struct Grown {
    /// How they are made.
    pub init: GrownInit,
    /// Random numbers for random values and signs.
    pub stream: Stream,
    /// Learning rate, for a step along the gradient.
    pub learning_rate: f64,
}

impl Grown {
    /// 0.
    pub fn zeros() -> Grown {
        Grown { init: GrownInit::Zeros, stream: Stream::new(0, Purpose::Grown, 0), learning_rate: 0.0 }
    }
}

impl UpdateRequest {
    /// Whether an update needs the gradient of active weights.
    pub fn needs_gradient(&self) -> bool {
        needs_gradient(self.drop, self.grow)
    }

    /// Whether an update needs the velocity of active weights: scores of a program's own may look at it.
    pub fn needs_velocity(&self) -> bool {
        matches!(self.drop, DropRule::Own(_)) || matches!(self.grow, GrowScore::Own(_))
    }
}

/// Whether the gradient of active weights decides what is dropped, or what is grown of those just dropped.
pub(crate) fn needs_gradient(drop: DropRule, grow: GrowScore) -> bool {
    let dropped = matches!(drop, DropRule::Importance { .. } | DropRule::Own(_));
    dropped || matches!(grow, GrowScore::Gradient | GrowScore::Own(_))
}

/// What a layer holds. Numbers of active weights are in the order of the pattern.
#[derive(Clone, Debug)]
pub struct LayerState<'a> {
    /// Which weights are active.
    pub pattern: &'a Pattern,
    /// Active weights.
    pub values: &'a [f32],
    /// Their gradient, where the request needs it ([`UpdateRequest::needs_gradient`]), or else nothing.
    pub gradient: &'a [f32],
    /// The gradient at all positions, where it is held, or else nothing.
    pub dense: &'a [f32],
    /// The positions of best score among those that are inactive, as many as are to grow, where they were collected.
    pub candidates: Option<Largest>,
    /// [`SIGN`](crate::slots::SIGN), where it is kept.
    pub sign: Option<&'a [f32]>,
    /// The optimiser's velocity, where it has one and the request needs it.
    pub velocity: Option<&'a [f32]>,
    /// [`AVERAGE`](crate::slots::AVERAGE), where it is kept.
    pub average: Option<&'a [f32]>,
    /// [`KEPT`](crate::slots::KEPT), where they are.
    pub kept: Option<&'a [f32]>,
}

/// What an update makes of a layer.
#[derive(Clone, Debug)]
pub struct Transition {
    /// The pattern from now on, and where its numbers come from.
    pub change: Change,
    /// What the layer holds from now on; `None` if that is what it held.
    pub new: Option<Renewed>,
}

/// What a layer holds after an update, in the order of the new pattern. Other slots over active weights are carried by
/// [`Change::carry`].
#[derive(Clone, Debug)]
pub struct Renewed {
    /// Active weights.
    pub values: Vec<f32>,
    /// The signs to which they are held, where these are kept.
    pub sign: Option<Vec<f32>>,
}

/// Drops, grows, and gives grown weights their values. `initial` gives the one at a position that
/// [`GrownInit::Redraw`] draws anew.
///
/// # Errors
/// [`Kind::Internal`](rigl_base::Kind::Internal) if the request contradicts the pattern, or what it needs was not kept.
pub fn transition(
    state: LayerState<'_>,
    request: &UpdateRequest,
    initial: &dyn Fn(usize) -> f32,
) -> Result<Transition> {
    let missing = |what: &str| Error::internal(format!("no {what} was kept"));
    let LayerState { pattern, values, gradient, dense, candidates, sign, velocity, average, kept } = state;
    let active = Active { values, gradient, sign, velocity };
    // The scores go as soon as they have been used.
    let update = LayerUpdate::begin(pattern, &request.drop.scores(active)?, request.budget)?;
    let grown = match request.grow {
        GrowScore::None => Vec::new(),
        GrowScore::Random => update.grow_random(request.stream),
        GrowScore::Gradient if !dense.is_empty() => update.grow_largest(dense),
        GrowScore::Gradient => {
            let magnitudes = gradient.iter().map(|g| g.abs());
            update.grow_among(candidates.ok_or_else(|| missing("gradient"))?, magnitudes)
        }
        GrowScore::Own(score) => {
            let inactive = match candidates {
                Some(candidates) => candidates,
                None if dense.is_empty() => return Err(missing("gradient")),
                None => {
                    let mut best = Largest::new(request.budget.grow);
                    best.push_by(0, dense, pattern.indices(), |gradient| score.of_inactive(gradient));
                    best
                }
            };
            update.grow_among(inactive, active.scored(score)?)
        }
        GrowScore::Momentum => update.grow_largest(average.ok_or_else(|| missing("average"))?),
        GrowScore::Magnitude => update.grow_largest(kept.ok_or_else(|| missing("inactive weight"))?),
    };
    let change = update.finish(&grown)?;
    // Where signs are kept, a weight that is regrown at once is held to the one it has now.
    if change.pattern() == pattern && (sign.is_none() || change.dropped() == 0) {
        return Ok(Transition { change, new: None });
    }
    let values = match kept {
        Some(kept) => change.pattern().indices().iter().map(|&i| kept[i as usize]).collect(),
        None => {
            let mut carried = change.carry(values);
            let fresh = GrownValues::new(request.grown, values, dense, initial);
            let positions = change.pattern().indices().iter().zip(change.origins());
            for (w, (&position, origin)) in carried.iter_mut().zip(positions) {
                if origin.is_none() {
                    *w = fresh.at(position)?;
                }
            }
            carried
        }
    };
    let sign = sign.map(|sign| signs_of(&change, sign, &values, request.grown));
    Ok(Transition { change, new: Some(Renewed { values, sign }) })
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
    initial: &'a dyn Fn(usize) -> f32,
}

impl<'a> GrownValues<'a> {
    fn new(
        grown: Grown,
        active: &[f32],
        dense: &'a [f32],
        initial: &'a dyn Fn(usize) -> f32,
    ) -> GrownValues<'a> {
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
            GrownInit::Redraw => (self.initial)(position as usize),
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
