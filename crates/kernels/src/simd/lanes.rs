//! Vectors of 16 lanes, and work that is written in them.

/// Lanes of a vector: samples side by side in the innermost dimension.
pub const LANES: usize = 16;

/// Vector operations of one instruction set, on 16 lanes of f32.
///
/// Values are plain data; only loads and stores touch memory, and these are the caller's responsibility.
pub(crate) trait Simd: Copy + Send + Sync {
    /// Sixteen f32.
    type V: Copy;

    /// Whether there are registers for sixteen accumulators and more (32 vector registers of 16 lanes).
    const WIDE: bool;

    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::V;

    /// Reads 16 lanes.
    ///
    /// # Safety
    /// `p` must be valid for reads of 16 f32.
    unsafe fn load(self, p: *const f32) -> Self::V;

    /// Writes 16 lanes.
    ///
    /// # Safety
    /// `p` must be valid for writes of 16 f32.
    unsafe fn store(self, p: *mut f32, v: Self::V);

    /// Writes 16 lanes past the caches, where the machine can: for results that are not read again soon.
    ///
    /// # Safety
    /// `p` must be valid for writes of 16 f32 and aligned to 64 bytes.
    unsafe fn store_past(self, p: *mut f32, v: Self::V);

    /// Orders [`Simd::store_past`] before every later store, also as other threads see them.
    fn fence(self);

    /// Asks for the line at `p` to be brought near, which may be anywhere: nothing is accessed.
    fn prefetch(self, p: *const f32);

    /// Reads 16 bytes as numbers 0 … 255.
    ///
    /// # Safety
    /// `p` must be valid for reads of 16 bytes.
    unsafe fn load_u8(self, p: *const u8) -> Self::V;

    /// a + b.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;

    /// a − b.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;

    /// a · b.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;

    /// a / b.
    fn div(self, a: Self::V, b: Self::V) -> Self::V;

    /// a · b + c with one rounding.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;

    /// Where a > b then a, else b: b where either is NaN, and where both are zeros.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;

    /// The larger of a and b; of two zeros b; NaN where either is NaN.
    fn max_or_nan(self, a: Self::V, b: Self::V) -> Self::V;

    /// ReLU: 0 where v < 0, else v. NaN stays NaN, so that what has gone wrong is seen in the loss.
    #[inline(always)]
    fn relu(self, v: Self::V) -> Self::V {
        self.max(self.splat(0.0), v)
    }

    /// The gradient x of a ReLU's result back through it: +0 where its input or result `v` is 0 or less, else x, so also
    /// where `v` is NaN.
    fn relu_gate(self, v: Self::V, x: Self::V) -> Self::V;

    /// The lanes where a ≥ b or a is NaN, as bits: where a is the [`Simd::max_or_nan`] b that it went into.
    fn is_max(self, a: Self::V, b: Self::V) -> u16;

    /// Where bit l of `lanes` is set lane l of x, else +0.
    fn keep(self, lanes: u16, x: Self::V) -> Self::V;

    /// 2ⁿ from the bits of `n + 12582912 + 127`, where −126 ≤ n ≤ 127 is a whole number.
    fn exponent(self, n_and_magic: Self::V) -> Self::V;

    /// Sum of the lanes as the tree (l, l+8), (l, l+4), (l, l+2), (l, l+1).
    fn sum(self, v: Self::V) -> f32;

    /// Lane i of the result is `sum(v[i])`, by the same tree.
    fn sum16(self, v: [Self::V; 16]) -> Self::V;
}

/// A piece of work written once for all instruction sets.
pub(crate) trait Work {
    /// What it returns.
    type Output;

    /// The work; must be `#[inline(always)]`, so that it is compiled for the instruction set of its caller.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// A piece of work that goes by pointers, or by indices that it does not check.
pub(crate) trait RawWork {
    /// What it returns.
    type Output;

    /// The work; must be `#[inline(always)]`, as [`Work::run`].
    ///
    /// # Safety
    /// What the documentation of the type says under this heading.
    unsafe fn run_raw<S: Simd>(self, simd: S) -> Self::Output;
}

/// Work that asks for nothing is also work that goes by pointers: how one wrapper per instruction set does for both.
pub(crate) struct Safe<W>(pub(crate) W);

impl<W: Work> RawWork for Safe<W> {
    type Output = W::Output;

    #[inline(always)]
    unsafe fn run_raw<S: Simd>(self, simd: S) -> W::Output {
        self.0.run(simd)
    }
}
