//! One channel of a map: read as its consumers see it, read as a gradient, written as a value or as a gradient.

use crate::map::stored::{Stored, StoredMut};
use crate::map::view::{Affine, Dropout, GradientView, NormGradient, View};
use crate::simd::{LANES, Simd};

/// What a view holds in one channel.
#[derive(Clone, Copy)]
pub(crate) struct Values<'a, S: Simd> {
    map: Stored<'a>,
    norm: Option<[S::V; 3]>,
    relu: bool,
    dropout: Option<(&'a [u16], S::V)>,
}

impl<'a, S: Simd> Values<'a, S> {
    /// # Safety
    /// The view has been checked against a shape with more channels than `channel`.
    #[inline(always)]
    pub(crate) unsafe fn new(s: S, view: &View<'a>, channel: usize) -> Values<'a, S> {
        let mut norm = None;
        if let Some(Affine { mean, scale, offset }) = view.norm {
            // SAFETY: the caller vouches for the lengths.
            norm = Some(unsafe {
                [
                    s.splat(*mean.get_unchecked(channel)),
                    s.splat(*scale.get_unchecked(channel)),
                    s.splat(*offset.get_unchecked(channel)),
                ]
            });
        }
        let mut dropout = None;
        if let Some(Dropout { keep, scale }) = view.dropout {
            dropout = Some((keep, s.splat(scale)));
        }
        Values { map: Stored::new(view.map), norm, relu: view.relu, dropout }
    }

    /// The value behind the norm where the map holds x.
    #[inline(always)]
    fn normalised(&self, s: S, x: S::V) -> S::V {
        match self.norm {
            Some([mean, scale, offset]) => s.fma(s.sub(x, mean), scale, offset),
            None => x,
        }
    }

    /// v behind the dropout.
    ///
    /// # Safety
    /// As [`Values::value`].
    #[inline(always)]
    unsafe fn dropped(&self, s: S, v: S::V, at: usize) -> S::V {
        match self.dropout {
            // SAFETY: there is a word for every vector of the map (`View::check`).
            Some((keep, scale)) => s.keep(unsafe { *keep.get_unchecked(at / LANES) }, s.mul(v, scale)),
            None => v,
        }
    }

    /// The value at `at`.
    ///
    /// # Safety
    /// The map has a vector at `at`, in this channel.
    #[inline(always)]
    pub(crate) unsafe fn value(&self, s: S, at: usize) -> S::V {
        // SAFETY: the caller vouches for `at`.
        unsafe {
            let mut v = self.normalised(s, self.map.load(s, at));
            if self.relu {
                v = s.relu(v);
            }
            self.dropped(s, v, at)
        }
    }

    /// What the map holds at `at`, and the gradient before dropout and ReLU of the gradient `dv` of the value there.
    ///
    /// # Safety
    /// As [`Values::value`].
    #[inline(always)]
    unsafe fn gate(&self, s: S, at: usize, dv: S::V) -> (S::V, S::V) {
        // SAFETY: the caller vouches for `at`.
        unsafe {
            let x = self.map.load(s, at);
            let mut v = self.dropped(s, dv, at);
            if self.relu {
                v = s.relu_gate(self.normalised(s, x), v);
            }
            (x, v)
        }
    }
}

/// A gradient in one channel, as its consumers say it.
#[derive(Clone, Copy)]
pub(crate) struct Gradients<'a, S: Simd> {
    norm: Option<NormTerms<'a, S>>,
    direct: Option<Stored<'a>>,
    lanes: u16,
}

/// The backward pass of a norm for one channel.
#[derive(Clone, Copy)]
struct NormTerms<'a, S: Simd> {
    dz: Stored<'a>,
    x: Stored<'a>,
    mean: S::V,
    scale: S::V,
    slope: S::V,
    shift: S::V,
}

impl<'a, S: Simd> Gradients<'a, S> {
    /// Zero in lanes that are not in `lanes`.
    ///
    /// # Safety
    /// The gradient has been checked against a shape with more channels than `channel`.
    #[inline(always)]
    pub(crate) unsafe fn new(s: S, view: &GradientView<'a>, channel: usize, lanes: u16) -> Gradients<'a, S> {
        let mut norm = None;
        if let Some(NormGradient { dz, x, mean, scale, slope, shift }) = view.norm {
            // SAFETY: the caller vouches for the lengths.
            norm = Some(unsafe {
                NormTerms {
                    dz: Stored::new(dz),
                    x: Stored::new(x),
                    mean: s.splat(*mean.get_unchecked(channel)),
                    scale: s.splat(*scale.get_unchecked(channel)),
                    slope: s.splat(*slope.get_unchecked(channel)),
                    shift: s.splat(*shift.get_unchecked(channel)),
                }
            });
        }
        let mut direct = None;
        if let Some(map) = view.direct {
            direct = Some(Stored::new(map));
        }
        Gradients { norm, direct, lanes }
    }

    /// The gradient at `at`.
    ///
    /// # Safety
    /// The maps have a vector at `at`, in this channel.
    #[inline(always)]
    pub(crate) unsafe fn value(&self, s: S, at: usize) -> S::V {
        // SAFETY: the caller vouches for `at`.
        unsafe {
            let mut v = s.splat(0.0);
            if let Some(NormTerms { dz, x, mean, scale, slope, shift }) = self.norm {
                let (dz, x) = (dz.load(s, at), x.load(s, at));
                v = s.fma(scale, dz, s.fma(slope, s.sub(x, mean), shift));
            }
            if let Some(direct) = self.direct {
                v = s.add(v, direct.load(s, at));
            }
            s.keep(self.lanes, v)
        }
    }
}

/// Two sums over a channel, lane by lane, as long as a kernel stays in it.
#[derive(Clone, Copy)]
pub(crate) struct TwoSums<S: Simd>(pub(crate) [S::V; 2]);

impl<S: Simd> TwoSums<S> {
    #[inline(always)]
    pub(crate) fn zero(s: S) -> TwoSums<S> {
        TwoSums([s.splat(0.0); 2])
    }

    /// Goes on from sums that were left.
    ///
    /// # Safety
    /// `sums` holds two vectors.
    #[inline(always)]
    pub(crate) unsafe fn resume(s: S, sums: *const f32) -> TwoSums<S> {
        // SAFETY: the caller vouches for the vectors.
        unsafe { TwoSums([s.load(sums), s.load(sums.add(LANES))]) }
    }

    /// Leaves the sums.
    ///
    /// # Safety
    /// As [`TwoSums::resume`].
    #[inline(always)]
    pub(crate) unsafe fn leave(self, s: S, sums: *mut f32) {
        // SAFETY: the caller vouches for the vectors.
        unsafe {
            s.store(sums, self.0[0]);
            s.store(sums.add(LANES), self.0[1]);
        }
    }
}

/// Where the values of a channel go, with what the next batch norm needs: Σ(y − shift) and Σ(y − shift)² over lanes
/// with samples.
pub(crate) struct ValueSink<S: Simd> {
    /// The map, if the values are stored at all.
    pub(crate) y: Option<StoredMut>,
    /// Whether they go past the caches; the map then begins at a multiple of 64 bytes.
    pub(crate) past: bool,
    pub(crate) lanes: u16,
    pub(crate) shift: S::V,
    pub(crate) sums: TwoSums<S>,
}

impl<S: Simd> ValueSink<S> {
    /// Writes v at `at`.
    ///
    /// # Safety
    /// The map has a vector at `at`, which no other task writes.
    #[inline(always)]
    pub(crate) unsafe fn put(&mut self, s: S, at: usize, v: S::V) {
        // SAFETY: the caller vouches for `at`.
        unsafe {
            match self.y {
                Some(y) if self.past => y.store_past(s, at, v),
                Some(y) => y.store(s, at, v),
                None => {}
            }
        }
        let d = s.keep(self.lanes, s.sub(v, self.shift));
        let [sum, square] = &mut self.sums.0;
        *sum = s.add(*sum, d);
        *square = s.fma(d, d, *square);
    }
}

/// Where the gradient of a channel goes: through the dropout and the ReLU of the view that it belongs to, added to
/// what is there or not, with what the backward pass of the view's norm needs: Σ dz and Σ dz·(x − μ).
pub(crate) struct GradientSink<'a, S: Simd> {
    view: Values<'a, S>,
    mean: S::V,
    out: StoredMut,
    accumulate: bool,
    pub(crate) sums: TwoSums<S>,
}

impl<'a, S: Simd> GradientSink<'a, S> {
    /// # Safety
    /// The view has been checked against a shape with more channels than `channel`.
    #[inline(always)]
    pub(crate) unsafe fn new(
        s: S,
        view: &View<'a>,
        channel: usize,
        (out, accumulate): (StoredMut, bool),
        sums: TwoSums<S>,
    ) -> GradientSink<'a, S> {
        let mut mean = s.splat(0.0);
        if let Some(norm) = view.norm {
            // SAFETY: the caller vouches for the lengths.
            mean = s.splat(unsafe { *norm.mean.get_unchecked(channel) });
        }
        // SAFETY: as above.
        GradientSink { view: unsafe { Values::new(s, view, channel) }, mean, out, accumulate, sums }
    }

    /// What the view holds at `at`.
    ///
    /// # Safety
    /// The map has a vector at `at`, in this channel.
    #[inline(always)]
    pub(crate) unsafe fn value(&self, s: S, at: usize) -> S::V {
        // SAFETY: passed on.
        unsafe { self.view.value(s, at) }
    }

    /// Writes the gradient at `at`, of which `dv` is the gradient of the view's value.
    ///
    /// # Safety
    /// As [`GradientSink::value`]; no other task writes there.
    #[inline(always)]
    pub(crate) unsafe fn put(&mut self, s: S, at: usize, dv: S::V) {
        // SAFETY: the caller vouches for `at`.
        unsafe {
            let (x, mut v) = self.view.gate(s, at, dv);
            if self.accumulate {
                v = s.add(self.out.load(s, at), v);
            }
            self.out.store(s, at, v);
            let [sum, product] = &mut self.sums.0;
            *sum = s.add(*sum, v);
            *product = s.fma(v, s.sub(x, self.mean), *product);
        }
    }
}
