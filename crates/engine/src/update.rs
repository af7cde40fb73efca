//! A topology update of one parameter, from request to new storage.

use rigl_base::{Error, Result};
use rigl_topology::update::{Change, LayerUpdate};
use rigl_topology::{GrowScore, Largest, Pattern};

use crate::request::UpdateRequest;
use crate::weights::{Compute, Parameter};

/// Drops, grows, and carries values and slots over. `candidates` holds the largest dense gradients among the
/// positions that were inactive; the dropped ones compete with them by their own gradients.
pub(crate) fn apply(
    p: &mut Parameter,
    compute: Compute,
    request: &UpdateRequest,
    candidates: Option<Largest>,
) -> Result<Change> {
    let context = |e: Error| e.context(format!("topology update of `{}`", p.name));
    let pattern = p.pattern().ok_or_else(|| context(Error::internal("it is dense")))?;
    let values = p.sorted(&p.values).into_owned();
    let update = LayerUpdate::begin(pattern, &values, request.drop, request.budget).map_err(context)?;
    let grown = match request.grow {
        GrowScore::Gradient => {
            let mut candidates =
                candidates.ok_or_else(|| context(Error::internal("no gradients were collected")))?;
            for (index, gradient) in dropped(pattern, update.kept(), &p.sorted(&p.gradient)) {
                candidates.push(index, &[gradient.abs()], &[]);
            }
            candidates.finish()
        }
        GrowScore::Random => update.grow_random(request.stream),
        GrowScore::None => Vec::new(),
        other => return Err(context(Error::internal(format!("growth by `{other}` is not known here")))),
    };
    let change = update.finish(&grown).map_err(context)?;
    let values = change.carry(&values);
    let momentum = (!p.momentum.is_empty()).then(|| change.carry(&p.sorted(&p.momentum)));
    p.set(Some(change.pattern().clone()), compute, values, momentum)?;
    Ok(change)
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
