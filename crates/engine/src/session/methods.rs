//! What methods ask of a network besides the dense gradient of an update: scores of a dense network to start from,
//! what they keep of each weight, statistics to share out growth by, noise.

use std::sync::Mutex;

use rigl_base::random::{Purpose, Stream, name_id, normals, pair_id};
use rigl_base::{Error, Result};
use rigl_graph::initial::InitialValues;
use rigl_kernels::Machine;
use rigl_kernels::optimizer::{self, Sgd};
use rigl_topology::{LayerStatistics, Pattern};

use super::Session;
use crate::request::{Keep, Noise, Score, kernel};
use crate::weights::{Kept, Parameter, Storage, sign};

impl Session {
    /// The score of every position of a dense parameter.
    ///
    /// # Errors
    /// [`Kind::Internal`](rigl_base::Kind::Internal) if there is no such parameter, or it is not dense.
    pub fn scores(&self, parameter: usize, score: Score) -> Result<Vec<f32>> {
        let p = self.parameters.get(parameter).filter(|p| matches!(p.storage, Storage::Dense));
        let p = p.ok_or_else(|| Error::internal("no such parameter, or it is not dense"))?;
        Ok(match score {
            Score::Magnitude => p.values.iter().map(|w| w.abs()).collect(),
            Score::Saliency => p.values.iter().zip(&p.gradient).map(|(w, g)| (w * g).abs()).collect(),
        })
    }

    /// Makes a dense parameter sparse: of its values those in the pattern stay. Its slot starts over.
    ///
    /// # Errors
    /// [`Kind::Internal`](rigl_base::Kind::Internal) if it is not dense, or the pattern is of another size.
    pub fn set_pattern(&mut self, parameter: usize, pattern: Pattern) -> Result<()> {
        let p = self.parameters.get_mut(parameter).filter(|p| matches!(p.storage, Storage::Dense));
        let p = p.ok_or_else(|| Error::internal("no such parameter, or it is not dense"))?;
        if pattern.len() != p.len() {
            return Err(Error::internal(format!("a pattern of another size for `{}`", p.name)));
        }
        let values = pattern.indices().iter().map(|&i| p.values[i as usize]).collect();
        p.momentum.clear();
        p.set(Some(pattern), self.compute, values, None)
    }

    /// Begins to keep what a method needs of these parameters, if that is not kept already: signs as the weights have
    /// them now, averages of 0, inactive weights at their initial values of this seed.
    ///
    /// # Errors
    /// If there is no such parameter.
    pub fn keep(&mut self, parameters: &[usize], keep: Keep, seed: u64) -> Result<()> {
        for &number in parameters {
            let graph = self.graph.parameters().get(number);
            let (Some(of), Some(p)) = (graph, self.parameters.get_mut(number)) else {
                return Err(Error::internal("no such parameter"));
            };
            if keep.signs && p.signs.is_empty() {
                p.signs = p.values.iter().map(|&w| sign(w)).collect();
            }
            if keep.average && p.average.is_empty() {
                p.average = vec![0.0; p.len()];
            }
            if keep.inactive && p.kept.is_none() {
                let mut values = vec![0.0; p.len()];
                InitialValues::new(of, seed).fill(0, &mut values);
                if let Some(pattern) = p.pattern() {
                    let active = pattern.indices().iter().zip(p.sorted(&p.values).into_owned());
                    active.for_each(|(&i, w)| values[i as usize] = w);
                }
                p.kept = Some(Kept { values, momentum: Vec::new() });
            }
        }
        Ok(())
    }

    /// Takes the dense gradients that the last pass kept into the averages: share · average + (1 − share) · gradient.
    ///
    /// # Errors
    /// [`Kind::Internal`](rigl_base::Kind::Internal) if one was not kept.
    pub fn average(&mut self, parameters: &[usize], share: f64) -> Result<()> {
        let (old, new) = (share as f32, (1.0 - share) as f32);
        for &number in parameters {
            let (Some(p), Some(dense)) = (self.parameters.get_mut(number), self.dense.get(number)) else {
                return Err(Error::internal("no such parameter"));
            };
            if dense.len() != p.average.len() {
                return Err(Error::internal(format!("no dense gradient of `{}` to average", p.name)));
            }
            p.average.iter_mut().zip(dense).for_each(|(a, g)| *a = old * *a + new * g);
        }
        Ok(())
    }

    /// Statistics of sparse parameters, by which a method shares out what is dropped and grown. `targets` are the
    /// counts that the distribution gives them.
    ///
    /// # Errors
    /// [`Kind::Internal`](rigl_base::Kind::Internal) if a parameter is dense.
    pub fn statistics(
        &self,
        parameters: &[usize],
        targets: &[usize],
        threshold: f64,
    ) -> Result<Vec<LayerStatistics>> {
        let statistics = |(&number, &target): (&usize, &usize)| {
            let p = self.parameters.get(number);
            let (p, pattern) = p
                .and_then(|p| Some((p, p.pattern()?)))
                .ok_or_else(|| Error::internal("statistics of a parameter that is not sparse"))?;
            let values = p.sorted(&p.values);
            let crossed = values.iter().zip(&*p.sorted_signs()).filter(|&(w, s)| w * s < 0.0).count();
            let averages = pattern.indices().iter().filter_map(|&i| p.average.get(i as usize));
            let momentum: f64 = averages.map(|a| f64::from(a.abs())).sum();
            Ok(LayerStatistics {
                target,
                below: values.iter().filter(|w| f64::from(w.abs()) < threshold).count(),
                crossed,
                momentum: momentum / pattern.count().max(1) as f64,
                ..LayerStatistics::new(pattern)
            })
        };
        parameters.iter().zip(targets).map(statistics).collect()
    }

    /// Pulls the active weights of these parameters towards 0 and adds Gaussian noise (Bellec et al., ICLR 2018,
    /// algorithm 1): with the sign s that a weight started with, w ← w − pull · s + deviation · z.
    ///
    /// # Errors
    /// [`Kind::Internal`](rigl_base::Kind::Internal) if a parameter's signs are not kept; if a worker panicked.
    pub fn noise(&mut self, parameters: &[usize], noise: Noise) -> Result<()> {
        let mut all: Vec<Option<&mut Parameter>> = self.parameters.iter_mut().map(Some).collect();
        let mut jobs = Vec::with_capacity(parameters.len());
        for &number in parameters {
            let p = all.get_mut(number).and_then(Option::take);
            let p = p.filter(|p| p.signs.len() == p.values.len());
            jobs.push(Mutex::new(p.ok_or_else(|| Error::internal("noise on weights without signs"))?));
        }
        let add = |_: usize, number: usize| {
            let mut job = jobs[number].lock().unwrap_or_else(|e| e.into_inner());
            let p = &mut **job;
            let stream = Stream::new(noise.seed, Purpose::Noise, pair_id(name_id(&p.name), noise.step));
            let Some(pattern) = p.pattern() else { return };
            let (signs, mut values) = (p.sorted_signs(), p.sorted(&p.values).into_owned());
            for ((w, &s), &i) in values.iter_mut().zip(&*signs).zip(pattern.indices()) {
                let z = normals(stream.block(u64::from(i)))[0];
                *w = (f64::from(*w) - noise.pull * f64::from(s) + noise.deviation * z) as f32;
            }
            p.values = p.stored(values);
        };
        self.machine.pool.run(jobs.len(), &add).map_err(kernel)
    }
}

/// A step of all weights of a parameter whose inactive ones are kept, by their dense gradient. L2 acts on the active
/// ones alone.
pub(super) fn step_kept(machine: &Machine, p: &mut Parameter, dense: &mut [f32], sgd: Sgd) -> Result<()> {
    let Some(mut kept) = p.kept.take() else { return Ok(()) };
    let name = &p.name;
    let pattern = p.pattern().ok_or_else(|| Error::internal(format!("`{name}` is not sparse")))?;
    if dense.len() != kept.values.len() {
        return Err(Error::internal(format!("no dense gradient of `{name}` to step by")));
    }
    for &i in pattern.indices() {
        dense[i as usize] += sgd.l2 * kept.values[i as usize];
    }
    let momentum = if sgd.momentum == 0.0 { 0 } else { kept.values.len() };
    kept.momentum.resize(momentum, 0.0);
    let sgd = Sgd { l2: 0.0, ..sgd };
    optimizer::sgd(machine, sgd, dense, &mut kept.values, &mut kept.momentum).map_err(kernel)?;
    let values = pattern.indices().iter().map(|&i| kept.values[i as usize]).collect();
    p.values = p.stored(values);
    p.kept = Some(kept);
    Ok(())
}

#[cfg(test)]
#[path = "methods_tests.rs"]
mod tests;
