//! Softmax cross-entropy with label smoothing, value and gradient in one pass.

use crate::error::{Error, check_len};
use crate::run::{Machine, Shared};
use crate::simd::{LANES, RawWork, Simd, exp};
use crate::vector::layout::{GROUP, VECTORS, groups, map_len};

/// Sums over the samples of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSums {
    /// Sum of the losses (natural logarithm): of 16 samples in their order, and of these sums in theirs.
    pub loss: f64,
    /// Samples whose largest logit is their label's (of equal ones the first counts).
    pub correct: usize,
}

/// Softmax cross-entropy of `logits` `[G][C][64]` for `labels`, one per real sample:
/// loss = −Σ_c q_c log p_c, p = softmax(z), q = (1 − ε)·onehot + ε/C.
///
/// With `gradient`, writes `weight · (p − q)` there, and zeros for padded samples.
///
/// # Errors
/// If a length does not fit the shapes or a label is not below `classes`.
pub fn softmax_cross_entropy(
    machine: &Machine,
    classes: usize,
    logits: &[f32],
    labels: &[u32],
    smoothing: f32,
    weight: f32,
    gradient: Option<&mut [f32]>,
) -> Result<LossSums, Error> {
    let groups = groups(labels.len());
    check_len("logits", logits.len(), map_len(classes, groups)?)?;
    if let Some(gradient) = &gradient {
        check_len("gradient", gradient.len(), logits.len())?;
    }
    if let Some(position) = labels.iter().position(|&label| label as usize >= classes) {
        return Err(Error::Index { position, found: labels[position], limit: classes });
    }
    let gradient = gradient.map(Shared::new);
    let (vectors, mut sums) = (groups * VECTORS, LossSums::default());
    for first in (0..vectors).step_by(AT_ONCE) {
        let mut parts = [LossSums::default(); AT_ONCE];
        let parts = &mut parts[..AT_ONCE.min(vectors - first)];
        // Two exponentials for each logit, of some twenty operations, and as many for the rest.
        let flops = parts.len().saturating_mul(classes).saturating_mul(60 * LANES);
        machine.chunks(parts, 1, flops, &|vector, part| {
            let vector = first + vector;
            // SAFETY: logits and gradient have every vector of the groups; each is one task's.
            part[0] = unsafe {
                machine.isa.run_raw(Loss { classes, logits, labels, smoothing, weight, gradient, vector })
            };
        })?;
        for part in &*parts {
            sums.loss += part.loss;
            sums.correct += part.correct;
        }
    }
    Ok(sums)
}

/// Vectors of samples whose sums are made at a time: they stand on the stack.
const AT_ONCE: usize = 256;

/// The loss of one vector of samples.
///
/// # Safety
/// Logits and gradient have this vector for every class, labels are below the number of classes; no other task writes
/// the vector's gradient.
struct Loss<'a> {
    classes: usize,
    logits: &'a [f32],
    labels: &'a [u32],
    smoothing: f32,
    weight: f32,
    gradient: Option<Shared<f32>>,
    vector: usize,
}

impl RawWork for Loss<'_> {
    type Output = LossSums;

    #[inline(always)]
    unsafe fn run_raw<S: Simd>(self, s: S) -> LossSums {
        let Loss { classes, logits, labels, smoothing, weight, gradient, vector } = self;
        let mut sums = LossSums::default();
        let share = smoothing / classes as f32;
        let base = vector / VECTORS * classes * GROUP + vector % VECTORS * LANES;
        let first = vector / VECTORS * GROUP + vector % VECTORS * LANES;
        let labels = &labels[first.min(labels.len())..labels.len().min(first + LANES)];
        let real = ((1u32 << labels.len()) - 1) as u16;
        let (mut largest, mut total, mut all) = ([0.0f32; LANES], [0.0f32; LANES], [0.0f32; LANES]);
        // SAFETY: the caller vouches for the vector of each class; the three arrays hold 16 f32.
        unsafe {
            let z = logits.as_ptr().wrapping_add(base);
            let mut max = s.load(z);
            for c in 1..classes {
                max = s.max(s.load(z.add(c * GROUP)), max);
            }
            let (mut sum, mut sum_z) = (s.splat(0.0), s.splat(0.0));
            for c in 0..classes {
                let z = s.load(z.add(c * GROUP));
                sum = s.add(sum, exp(s, s.sub(z, max)));
                sum_z = s.add(sum_z, z);
            }
            s.store(largest.as_mut_ptr(), max);
            s.store(total.as_mut_ptr(), sum);
            s.store(all.as_mut_ptr(), sum_z);
            if let Some(gradient) = gradient {
                let gradient = gradient.get().add(base);
                let (weight, inverse) = (s.splat(weight), s.div(s.splat(1.0), sum));
                for c in 0..classes {
                    let p = s.mul(exp(s, s.sub(s.load(z.add(c * GROUP)), max)), inverse);
                    let d = s.mul(s.sub(p, s.splat(share)), weight);
                    s.store(gradient.add(c * GROUP), s.keep(real, d));
                }
            }
        }
        for (l, &label) in labels.iter().enumerate() {
            let at = base + l;
            let own = logits[at + label as usize * GROUP];
            if let Some(gradient) = gradient {
                // SAFETY: the label is below the number of classes, so this is in the vector of its class.
                unsafe { *gradient.get().add(at + label as usize * GROUP) -= (1.0 - smoothing) * weight };
            }
            let log_sum = f64::from(largest[l]) + libm::log(f64::from(total[l]));
            let target = f64::from(1.0 - smoothing) * f64::from(own) + f64::from(share) * f64::from(all[l]);
            sums.loss += log_sum - target;
            let mut best = 0;
            for c in 1..classes {
                if logits[at + c * GROUP] > logits[at + best * GROUP] {
                    best = c;
                }
            }
            sums.correct += usize::from(best == label as usize);
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    #[test]
    fn loss_and_gradient_equal_the_f64_reference_and_padding_is_zero() {
        for isa in Isa::available() {
            let machine = Machine::new(isa, 1);
            for (samples, classes, smoothing) in [(1, 2, 0.0), (15, 10, 0.1), (64, 7, 0.0), (100, 10, 0.2)] {
                let groups = groups(samples);
                let logits: Vec<f32> = (0..groups * classes * GROUP)
                    .map(|i| ((i as u64 * 2_654_435_761 % 2000) as f32 - 1000.0) / 150.0)
                    .collect();
                let labels: Vec<u32> = (0..samples).map(|i| (i * 3 % classes) as u32).collect();
                let mut gradient = vec![f32::NAN; logits.len()];
                let weight = 1.0 / samples as f32;
                let sums = softmax_cross_entropy(
                    &machine,
                    classes,
                    &logits,
                    &labels,
                    smoothing,
                    weight,
                    Some(&mut gradient),
                )
                .unwrap();
                let (mut loss, mut correct) = (0.0, 0);
                for g in 0..groups {
                    for l in 0..GROUP {
                        let sample = g * GROUP + l;
                        let at = |c: usize| (g * classes + c) * GROUP + l;
                        if sample >= samples {
                            assert!((0..classes).all(|c| gradient[at(c)] == 0.0));
                            continue;
                        }
                        let z: Vec<f64> = (0..classes).map(|c| f64::from(logits[at(c)])).collect();
                        let total: f64 = z.iter().map(|z| z.exp()).sum();
                        let label = labels[sample] as usize;
                        for c in 0..classes {
                            let q = f64::from(smoothing) / classes as f64
                                + if c == label { 1.0 - f64::from(smoothing) } else { 0.0 };
                            let p = z[c].exp() / total;
                            loss -= q * p.ln();
                            let expected = (p - q) * f64::from(weight);
                            let error = (f64::from(gradient[at(c)]) - expected).abs();
                            assert!(error < 8.0 * f64::from(f32::EPSILON * weight), "{error}");
                        }
                        correct += usize::from(
                            (0..classes).all(|c| z[c] < z[label] || c >= label && z[c] <= z[label]),
                        );
                    }
                }
                assert!((sums.loss - loss).abs() < 1e-6 * samples as f64, "{} {loss}", sums.loss);
                assert_eq!(sums.correct, correct);
            }
        }
    }

    #[test]
    fn labels_out_of_range_are_refused() {
        let machine = Machine::new(Isa::detect(), 1);
        let result = softmax_cross_entropy(&machine, 2, &[0.0; 128], &[0, 2], 0.0, 1.0, None);
        assert_eq!(result, Err(Error::Index { position: 1, found: 2, limit: 2 }));
    }
}
