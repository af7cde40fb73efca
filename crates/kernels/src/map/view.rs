//! What a map is to those who read it, and what they leave of it: values behind a norm, a ReLU and a dropout; gradients
//! before them; sums for the norms behind and before.

use crate::error::{Error, check_len};
use crate::map::shape::MapShape;
use crate::simd::LANES;

/// Values as their consumers see them: a stored map, then a batch norm, then ReLU, then dropout, as far as each is
/// there.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The stored map.
    pub map: &'a [f32],
    /// The batch norm behind it.
    pub norm: Option<Affine<'a>>,
    /// Whether a ReLU follows.
    pub relu: bool,
    /// The dropout behind that.
    pub dropout: Option<Dropout<'a>>,
}

impl<'a> View<'a> {
    /// A map as it is.
    pub fn plain(map: &'a [f32]) -> View<'a> {
        View { map, norm: None, relu: false, dropout: None }
    }

    pub(crate) fn check(&self, shape: MapShape, blocks: usize) -> Result<(), Error> {
        let len = shape.len(blocks)?;
        check_len("map", self.map.len(), len)?;
        if let Some(Affine { mean, scale, offset }) = self.norm {
            check_len("mean", mean.len(), shape.channels)?;
            check_len("scale", scale.len(), shape.channels)?;
            check_len("offset", offset.len(), shape.channels)?;
        }
        match self.dropout {
            Some(dropout) => check_len("dropout", dropout.keep.len(), len / LANES),
            None => Ok(()),
        }
    }
}

/// A batch norm with its statistics known: (x − mean) · scale + offset, one of each per channel.
#[derive(Clone, Copy, Debug)]
pub struct Affine<'a> {
    /// μ.
    pub mean: &'a [f32],
    /// γ / √(σ² + ε).
    pub scale: &'a [f32],
    /// β.
    pub offset: &'a [f32],
}

/// Dropout with its mask drawn: kept values times `scale`, the others 0.
#[derive(Clone, Copy, Debug)]
pub struct Dropout<'a> {
    /// One word per vector of the map: bit l says whether lane l is kept.
    pub keep: &'a [u16],
    /// 1 / (1 − p).
    pub scale: f32,
}

/// The gradient of a stored map as the sum of what its consumers say: some directly, one through a batch norm.
#[derive(Clone, Copy, Debug, Default)]
pub struct GradientView<'a> {
    /// A gradient of the map as it is.
    pub direct: Option<&'a [f32]>,
    /// A gradient behind a batch norm of the map.
    pub norm: Option<NormGradient<'a>>,
}

/// The backward pass of a batch norm with its sums known: scale · dz + slope · (x − mean) + shift, one of each per
/// channel.
#[derive(Clone, Copy, Debug)]
pub struct NormGradient<'a> {
    /// The gradient of the norm's result.
    pub dz: &'a [f32],
    /// The map that was normalised.
    pub x: &'a [f32],
    /// μ.
    pub mean: &'a [f32],
    /// γ / √(σ² + ε).
    pub scale: &'a [f32],
    /// −scale · Σ dz·(x − μ) / (n (σ² + ε)).
    pub slope: &'a [f32],
    /// −scale · Σ dz / n.
    pub shift: &'a [f32],
}

impl GradientView<'_> {
    pub(crate) fn check(&self, shape: MapShape, blocks: usize) -> Result<(), Error> {
        let len = shape.len(blocks)?;
        if let Some(direct) = self.direct {
            check_len("direct", direct.len(), len)?;
        }
        if let Some(norm) = self.norm {
            check_len("dz", norm.dz.len(), len)?;
            check_len("x", norm.x.len(), len)?;
            for (what, values) in
                [("mean", norm.mean), ("scale", norm.scale), ("slope", norm.slope), ("shift", norm.shift)]
            {
                check_len(what, values.len(), shape.channels)?;
            }
        }
        Ok(())
    }
}

/// Where the gradient of the input goes: of the stored map's norm, before dropout and ReLU are seen.
#[derive(Debug)]
pub struct DataGradient<'a> {
    /// The map of it.
    pub out: &'a mut [f32],
    /// Whether it is added to what is there.
    pub accumulate: bool,
    /// Replaced by Σ dz and Σ dz·(x − μ) of the whole result, `[channel][2]`, for the backward pass of the view's
    /// norm.
    pub sums: Option<&'a mut [f64]>,
}

/// Sums over the values of each channel, over samples and positions.
#[derive(Debug)]
pub struct Statistics<'a> {
    /// What is subtracted from the values of each channel first: about their mean, or zeros.
    pub shift: &'a [f32],
    /// Replaced by Σ(y − shift) and Σ(y − shift)², `[channel][2]`.
    pub sums: &'a mut [f64],
}

impl Statistics<'_> {
    pub(crate) fn check(&self, channels: usize) -> Result<(), Error> {
        check_len("shift", self.shift.len(), channels)?;
        check_len("sums", self.sums.len(), 2 * channels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_of_other_lengths_are_refused() {
        let shape = MapShape { channels: 2, rows: 1, columns: 1 };
        let map = [0.0; 32];
        let two = [0.0; 2];
        assert!(View::plain(&map).check(shape, 1).is_ok());
        assert!(View::plain(&map[1..]).check(shape, 1).is_err());
        let norm = Some(Affine { mean: &two, scale: &two[1..], offset: &two });
        assert!(View { norm, ..View::plain(&map) }.check(shape, 1).is_err());
        let dropout = Some(Dropout { keep: &[0], scale: 1.0 });
        assert!(View { dropout, ..View::plain(&map) }.check(shape, 1).is_err());
        assert!(GradientView { direct: Some(&map[1..]), norm: None }.check(shape, 1).is_err());
    }
}
