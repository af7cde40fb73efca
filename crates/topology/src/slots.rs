//! What methods keep of each weight from one step to the next, by name, and the arithmetic on it: functions on plain
//! slices. Whoever runs a network plans, carries and saves slots by what [`Method::slots`] says of them.

use rigl_base::random::{Stream, normals};
use rigl_base::{Error, Result};

use crate::method::Method;
use crate::pattern::Pattern;

/// The sign that each active weight started with, 1 or −1.
pub const SIGN: &str = "sign";

/// An exponential average of dense gradients.
pub const AVERAGE: &str = "average";

/// All weights, inactive ones too; the optimiser steps them all by the dense gradient.
pub const KEPT: &str = "kept";

/// Which positions a slot has numbers of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Over {
    /// Active ones. They are carried through a change of pattern as values are.
    Active,
    /// All.
    All,
}

/// A slot of every sparse layer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MethodSlot {
    /// Its name.
    pub name: &'static str,
    /// Which positions it has numbers of.
    pub over: Over,
}

impl Method {
    /// What it keeps of each weight.
    pub fn slots(&self) -> Vec<MethodSlot> {
        let asked = [
            (self.keeps_signs(), SIGN, Over::Active),
            (self.average().is_some(), AVERAGE, Over::All),
            (self.keeps_inactive(), KEPT, Over::All),
        ];
        asked.into_iter().filter(|slot| slot.0).map(|(_, name, over)| MethodSlot { name, over }).collect()
    }
}

/// 1, or −1 for negative numbers.
pub fn sign(w: f32) -> f32 {
    if w < 0.0 { -1.0 } else { 1.0 }
}

/// share · average + (1 − share) · gradient.
///
/// # Errors
/// [`Kind::Internal`](rigl_base::Kind::Internal) if there is no such gradient.
pub fn average(average: &mut [f32], gradient: &[f32], share: f64) -> Result<()> {
    if gradient.len() != average.len() {
        return Err(Error::internal("no dense gradient to average"));
    }
    let (old, new) = (share as f32, (1.0 - share) as f32);
    average.iter_mut().zip(gradient).for_each(|(a, g)| *a = old * *a + new * g);
    Ok(())
}

/// |w| of each weight.
pub fn magnitudes(values: &[f32]) -> Vec<f32> {
    values.iter().map(|w| w.abs()).collect()
}

/// |w · g| of each weight (SNIP; Lee et al., ICLR 2019).
pub fn saliencies(values: &[f32], gradient: &[f32]) -> Vec<f32> {
    values.iter().zip(gradient).map(|(w, g)| (w * g).abs()).collect()
}

/// Pulls active weights towards 0 and adds Gaussian noise (Bellec et al., ICLR 2018, algorithm 1): with the sign s that a
/// weight started with, w ← w − pull · s + deviation · z, where z is drawn by the weight's position.
///
/// # Errors
/// [`Kind::Internal`](rigl_base::Kind::Internal) if there are not as many signs and positions as weights.
pub fn add_noise(
    values: &mut [f32],
    signs: &[f32],
    pattern: &Pattern,
    pull: f64,
    deviation: f64,
    stream: Stream,
) -> Result<()> {
    if signs.len() != values.len() || pattern.count() != values.len() {
        return Err(Error::internal("noise on weights without signs"));
    }
    for ((w, &s), &i) in values.iter_mut().zip(signs).zip(pattern.indices()) {
        let z = normals(stream.block(u64::from(i)))[0];
        *w = (f64::from(*w) - pull * f64::from(s) + deviation * z) as f32;
    }
    Ok(())
}
