//! What is measured of a sparse layer, for methods that share out by it what goes and comes.

use rigl_base::counts;

use crate::pattern::Pattern;

/// What [`Method::budget`](crate::Method::budget) knows of one sparse layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerStatistics {
    /// Positions, active or not.
    pub positions: usize,
    /// Active positions.
    pub active: usize,
    /// Active positions that the layer started with, where density decays from there.
    pub start: usize,
    /// Active positions that the distribution gives the layer.
    pub target: usize,
    /// Active weights of magnitude below [`MethodState::threshold`](crate::MethodState::threshold); read with
    /// [`DropRule::Threshold`](crate::DropRule::Threshold).
    pub below: usize,
    /// Active weights whose sign is not the one they started with; read with
    /// [`DropRule::SignChange`](crate::DropRule::SignChange).
    pub crossed: usize,
    /// Mean magnitude of the averaged gradient at active weights; read with
    /// [`Redistribution::Momentum`](crate::Redistribution::Momentum).
    pub momentum: f64,
}

impl LayerStatistics {
    /// Of a layer with this pattern, which is as full as it is meant to be, and started full if density decays.
    pub fn new(pattern: &Pattern) -> LayerStatistics {
        LayerStatistics {
            positions: pattern.len(),
            active: pattern.count(),
            start: pattern.len(),
            target: pattern.count(),
            below: 0,
            crossed: 0,
            momentum: 0.0,
        }
    }

    /// Active weights that the layer is to have after an update with this [`Update::excess`](crate::Update::excess); never more than it has.
    pub fn wanted(&self, excess: Option<f64>) -> usize {
        match excess {
            None => self.active,
            Some(0.0) => self.target.min(self.active),
            Some(excess) => {
                let absent = |count: usize| 1.0 - count as f64 / self.positions as f64;
                let (from, to) = (absent(self.start), absent(self.target));
                let sparsity = from + (to - from) * (1.0 - excess);
                let wanted = counts::active(self.positions, sparsity);
                wanted.clamp(self.target, self.active.max(self.target)).min(self.active)
            }
        }
    }

    /// Of a layer with this pattern and these active weights; `target` is the count that the distribution gives it, and
    /// `sign` and `average` are its slots where they are kept.
    pub fn measured(
        pattern: &Pattern,
        values: &[f32],
        sign: Option<&[f32]>,
        average: Option<&[f32]>,
        target: usize,
        threshold: f64,
    ) -> LayerStatistics {
        let crossed = sign.map_or(0, |sign| values.iter().zip(sign).filter(|&(w, s)| w * s < 0.0).count());
        let averages = pattern.indices().iter().filter_map(|&i| average?.get(i as usize));
        let momentum: f64 = averages.map(|a| f64::from(a.abs())).sum();
        LayerStatistics {
            target,
            below: values.iter().filter(|w| f64::from(w.abs()) < threshold).count(),
            crossed,
            momentum: momentum / pattern.count().max(1) as f64,
            ..LayerStatistics::new(pattern)
        }
    }
}
