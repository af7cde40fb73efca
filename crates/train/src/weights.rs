//! What methods ask of a network's weights, on the parameters that a session lends: what they keep of each, statistics
//! to share out growth by, noise, updates. The arithmetic is `rigl_topology`'s.

use rigl_base::random::{Purpose, Stream, name_id, pair_id};
use rigl_base::{Error, Result};
use rigl_engine::{Parameter, Session};
use rigl_graph::initial::InitialValues;
use rigl_topology::slots::{self, AVERAGE, KEPT, SIGN};
use rigl_topology::{Change, LayerStatistics, MethodSlot, Pattern, UpdateRequest};

/// By what the positions of a dense layer are scored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Score {
    /// |w|.
    Magnitude,
    /// |w · g|, with the gradient of the last pass.
    Saliency,
}

/// Leaves each of these dense parameters so many weights, those of best score.
///
/// # Errors
/// [`Kind::Internal`](rigl_base::Kind::Internal) if one is not dense, or has fewer weights.
pub(crate) fn choose(
    session: &mut Session,
    parameters: &[usize],
    counts: &[usize],
    score: Score,
) -> Result<()> {
    let make_sparse = |place: usize, p: &mut Parameter| {
        let scores = match score {
            Score::Magnitude => slots::magnitudes(&p.values()),
            Score::Saliency => slots::saliencies(&p.values(), &p.gradient()),
        };
        let count = counts.get(place).ok_or_else(|| Error::internal("no count for a parameter"))?;
        let pattern = Pattern::of_largest(&scores, *count)?;
        drop(scores);
        p.make_sparse(pattern)
    };
    session.with_parameters(parameters, &make_sparse).map(drop)
}

/// A pull towards 0 and noise for a step; see [`slots::add_noise`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Noise {
    /// How far each weight is pulled.
    pub(crate) pull: f64,
    /// The standard deviation of the noise.
    pub(crate) deviation: f64,
    /// Seed of the noise.
    pub(crate) seed: u64,
    /// The step: what noise is drawn by, with the seed and the parameter's name.
    pub(crate) step: u64,
}

/// Begins to keep slots of these parameters, if they are not kept already: signs as the weights have them now, averages
/// of 0, all weights with inactive ones at their initial values of this seed.
///
/// # Errors
/// [`Kind::Internal`](rigl_base::Kind::Internal) if there is no such parameter, or a slot of that name is not known.
pub(crate) fn keep(
    session: &mut Session,
    parameters: &[usize],
    asked: &[MethodSlot],
    seed: u64,
) -> Result<()> {
    if asked.is_empty() {
        return Ok(());
    }
    let graph = session.graph().parameters();
    let initial: Option<Vec<InitialValues>> =
        parameters.iter().map(|&p| Some(InitialValues::new(graph.get(p)?, seed))).collect();
    let initial = initial.ok_or_else(|| Error::internal("no such parameter"))?;
    let begin = |place: usize, p: &mut Parameter| {
        for slot in asked.iter().filter(|slot| p.slot(slot.name).is_none()).collect::<Vec<_>>() {
            let numbers = match slot.name {
                SIGN => p.values().iter().map(|&w| slots::sign(w)).collect(),
                AVERAGE => vec![0.0; p.len()],
                KEPT => {
                    let mut values = vec![0.0; p.len()];
                    initial[place].fill(0, &mut values);
                    if let Some(pattern) = p.pattern() {
                        let active = pattern.indices().iter().zip(p.values().into_owned());
                        active.for_each(|(&i, w)| values[i as usize] = w);
                    }
                    values
                }
                other => return Err(Error::internal(format!("nothing is known of a slot `{other}`"))),
            };
            p.set_slot(slot.name, slot.over, numbers)?;
        }
        Ok(())
    };
    session.with_parameters(parameters, &begin).map(drop)
}

/// Takes the dense gradients that the last pass kept into the averages.
///
/// # Errors
/// [`Kind::Internal`](rigl_base::Kind::Internal) if one was not kept.
pub(crate) fn average(session: &mut Session, parameters: &[usize], share: f64) -> Result<()> {
    let average = |_: usize, p: &mut Parameter| {
        let name = p.name().to_string();
        let missing = || Error::internal("no average is kept");
        let (average, gradient) = p.slot_and_dense_gradient(AVERAGE).ok_or_else(missing)?;
        slots::average(average, gradient, share).map_err(|e| e.context(format!("`{name}`")))
    };
    session.with_parameters(parameters, &average).map(drop)
}

/// Statistics of sparse parameters, by which a method shares out what is dropped and grown. `targets` are the
/// counts that the distribution gives them.
///
/// # Errors
/// [`Kind::Internal`](rigl_base::Kind::Internal) if a parameter is dense.
pub(crate) fn statistics(
    session: &Session,
    parameters: &[usize],
    targets: &[usize],
    threshold: f64,
) -> Result<Vec<LayerStatistics>> {
    let statistics = |(&number, &target): (&usize, &usize)| {
        let p = session.parameters().get(number);
        let (p, pattern) = p
            .and_then(|p| Some((p, p.pattern()?)))
            .ok_or_else(|| Error::internal("statistics of a parameter that is not sparse"))?;
        let [sign, average] = [SIGN, AVERAGE].map(|name| p.slot(name));
        let (sign, average) = (sign.as_deref(), average.as_deref());
        Ok(LayerStatistics::measured(pattern, &p.values(), sign, average, target, threshold))
    };
    parameters.iter().zip(targets).map(statistics).collect()
}

/// Adds noise to the active weights of these parameters.
///
/// # Errors
/// [`Kind::Internal`](rigl_base::Kind::Internal) if a parameter's signs are not kept; if a worker panicked.
pub(crate) fn noise(session: &mut Session, parameters: &[usize], noise: Noise) -> Result<()> {
    let add = |_: usize, p: &mut Parameter| {
        let stream = Stream::new(noise.seed, Purpose::Noise, pair_id(name_id(p.name()), noise.step));
        let Some(pattern) = p.pattern() else { return Ok(()) };
        let sign = p.slot(SIGN).ok_or_else(|| Error::internal("noise on weights without signs"))?;
        let mut values = p.values().into_owned();
        slots::add_noise(&mut values, &sign, pattern, noise.pull, noise.deviation, stream)?;
        p.set_values(values)
    };
    session.with_parameters(parameters, &add).map(drop)
}

/// Updates the topology of parameters, each by its request.
///
/// # Errors
/// If a request contradicts a parameter's pattern, or what it needs was not kept.
pub(crate) fn update(session: &mut Session, requests: &[(usize, UpdateRequest)]) -> Result<Vec<Change>> {
    let parameters: Vec<usize> = requests.iter().map(|&(parameter, _)| parameter).collect();
    let graph = session.graph();
    let of = |&(parameter, ref request): &(usize, UpdateRequest)| {
        let of = graph.parameters().get(parameter).ok_or_else(|| Error::internal("no such parameter"))?;
        Ok(InitialValues::from_stream(of, request.grown.stream))
    };
    let initial = requests.iter().map(of).collect::<Result<Vec<_>>>()?;
    session.with_parameters(&parameters, &|place, p: &mut Parameter| {
        p.update(&requests[place].1, &|position| initial[place].at(position))
    })
}

#[cfg(test)]
#[path = "weights_tests.rs"]
mod tests;
