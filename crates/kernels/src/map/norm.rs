//! The numbers of a batch norm per channel: from sums over a batch to what views and gradients need. A few values
//! each, so plain loops; the sums themselves are by-products of other kernels.
//!
//! z = γ (x − μ) / √(σ² + ε) + β, with μ and σ² of the batch in training (σ² biased, as PyTorch) and running
//! averages in evaluation.

use crate::error::{Error, check_len};

/// Mean and variance of a batch.
///
/// `sums` holds Σ(x − shift) and Σ(x − shift)² over `count` values of each channel, `[channel][2]`. A variance that
/// rounding would make negative is 0.
///
/// # Errors
/// If a length differs.
pub fn moments(
    sums: &[f64],
    shift: &[f32],
    count: usize,
    mean: &mut [f32],
    variance: &mut [f32],
) -> Result<(), Error> {
    let channels = mean.len();
    check_len("sums", sums.len(), 2 * channels)?;
    check_len("shift", shift.len(), channels)?;
    check_len("variance", variance.len(), channels)?;
    let n = count.max(1) as f64;
    for (c, sums) in sums.chunks_exact(2).enumerate() {
        let from_shift = sums[0] / n;
        mean[c] = (f64::from(shift[c]) + from_shift) as f32;
        variance[c] = (sums[1] / n - from_shift * from_shift).max(0.0) as f32;
    }
    Ok(())
}

/// γ / √(σ² + ε): the scale of an [`Affine`](crate::map::Affine).
///
/// # Errors
/// If a length differs.
pub fn scale(gamma: &[f32], variance: &[f32], epsilon: f32, scale: &mut [f32]) -> Result<(), Error> {
    check_len("gamma", gamma.len(), scale.len())?;
    check_len("variance", variance.len(), scale.len())?;
    for ((scale, gamma), variance) in scale.iter_mut().zip(gamma).zip(variance) {
        *scale = (f64::from(*gamma) / (f64::from(*variance) + f64::from(epsilon)).sqrt()) as f32;
    }
    Ok(())
}

/// Moves running averages towards a batch: r ← (1 − momentum) r + momentum · value, the variance unbiased. A batch
/// of one value says nothing about the variance and leaves it.
///
/// # Errors
/// If a length differs.
pub fn run_on(
    momentum: f32,
    count: usize,
    mean: &[f32],
    variance: &[f32],
    running_mean: &mut [f32],
    running_variance: &mut [f32],
) -> Result<(), Error> {
    let channels = mean.len();
    check_len("variance", variance.len(), channels)?;
    check_len("running mean", running_mean.len(), channels)?;
    check_len("running variance", running_variance.len(), channels)?;
    let m = f64::from(momentum);
    let towards =
        |running: &mut f32, value: f64| *running = ((1.0 - m) * f64::from(*running) + m * value) as f32;
    for (running, &mean) in running_mean.iter_mut().zip(mean) {
        towards(running, f64::from(mean));
    }
    if count > 1 {
        let unbiased = count as f64 / (count - 1) as f64;
        for (running, &variance) in running_variance.iter_mut().zip(variance) {
            towards(running, f64::from(variance) * unbiased);
        }
    }
    Ok(())
}

/// What the backward pass needs and yields, per channel.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// Replaced by the slope of a [`NormGradient`](crate::map::NormGradient).
    pub slope: &'a mut [f32],
    /// Replaced by its shift.
    pub shift: &'a mut [f32],
    /// The gradient of γ.
    pub gamma: &'a mut [f32],
    /// The gradient of β.
    pub beta: &'a mut [f32],
    /// Whether the gradients of γ and β are added to what is there.
    pub accumulate: bool,
}

/// The backward pass, from `sums` of Σ dz and Σ dz·(x − μ), `[channel][2]`, over `count` values.
///
/// # Errors
/// If a length differs.
pub fn backward(
    sums: &[f64],
    count: usize,
    scale: &[f32],
    variance: &[f32],
    epsilon: f32,
    out: Gradients,
) -> Result<(), Error> {
    let channels = scale.len();
    check_len("sums", sums.len(), 2 * channels)?;
    check_len("variance", variance.len(), channels)?;
    for (what, len) in [
        ("slope", out.slope.len()),
        ("shift", out.shift.len()),
        ("gamma", out.gamma.len()),
        ("beta", out.beta.len()),
    ] {
        check_len(what, len, channels)?;
    }
    let n = count.max(1) as f64;
    for (c, sums) in sums.chunks_exact(2).enumerate() {
        let (sum, product) = (sums[0], sums[1]);
        let spread = f64::from(variance[c]) + f64::from(epsilon);
        let scale = f64::from(scale[c]);
        out.slope[c] = (-scale * product / (n * spread)) as f32;
        out.shift[c] = (-scale * sum / n) as f32;
        let (gamma, beta) = ((product / spread.sqrt()) as f32, sum as f32);
        (out.gamma[c], out.beta[c]) =
            if out.accumulate { (out.gamma[c] + gamma, out.beta[c] + beta) } else { (gamma, beta) };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPSILON: f32 = 1e-3;

    fn normalise(x: &[f64], gamma: f64, beta: f64) -> Vec<f64> {
        let n = x.len() as f64;
        let mean = x.iter().sum::<f64>() / n;
        let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
        x.iter().map(|x| gamma * (x - mean) / (variance + f64::from(EPSILON)).sqrt() + beta).collect()
    }

    fn sums(x: &[f64], of: impl Fn(usize, f64) -> [f64; 2]) -> Vec<f64> {
        let mut sums = vec![0.0; 2];
        for (i, &x) in x.iter().enumerate() {
            let [a, b] = of(i, x);
            sums[0] += a;
            sums[1] += b;
        }
        sums
    }

    #[test]
    fn moments_do_not_depend_on_the_shift_and_are_never_negative() {
        let x = [3.0, 5.0, 4.5, 9.25];
        for shift in [0.0f32, 5.0, -3.0] {
            let d = |_: usize, x: f64| [x - f64::from(shift), (x - f64::from(shift)).powi(2)];
            let (mut mean, mut variance) = ([0.0], [0.0]);
            moments(&sums(&x, d), &[shift], 4, &mut mean, &mut variance).unwrap();
            assert!((mean[0] - 5.4375).abs() < 1e-6 && (variance[0] - 5.386_718_8).abs() < 1e-5);
        }
        let (mut mean, mut variance) = ([0.0], [0.0]);
        moments(&[3.0, 2.999_999], &[0.0], 3, &mut mean, &mut variance).unwrap();
        assert_eq!((mean[0], variance[0]), (1.0, 0.0));
    }

    #[test]
    fn gradients_agree_with_central_differences() {
        let x = [0.3, -1.2, 2.5, 0.7, -0.4];
        let dz = [0.5, -1.0, 0.25, 2.0, -0.75];
        let (gamma, beta) = (1.3f32, -0.2f32);
        let loss = |x: &[f64], gamma: f64, beta: f64| -> f64 {
            normalise(x, gamma, beta).iter().zip(dz).map(|(z, dz)| z * dz).sum()
        };
        let (mut mean, mut variance, mut factor) = ([0.0], [0.0], [0.0]);
        moments(&sums(&x, |_, x| [x, x * x]), &[0.0], 5, &mut mean, &mut variance).unwrap();
        scale(&[gamma], &variance, EPSILON, &mut factor).unwrap();
        let products = sums(&x, |i, x| [dz[i], dz[i] * (x - f64::from(mean[0]))]);
        let (mut slope, mut shift, mut dgamma, mut dbeta) = ([0.0], [0.0], [1.0], [1.0]);
        let out = Gradients {
            slope: &mut slope,
            shift: &mut shift,
            gamma: &mut dgamma,
            beta: &mut dbeta,
            accumulate: true,
        };
        backward(&products, 5, &factor, &variance, EPSILON, out).unwrap();
        let h = 1e-5;
        let (g, b) = (f64::from(gamma), f64::from(beta));
        for i in 0..x.len() {
            let (mut up, mut down) = (x, x);
            up[i] += h;
            down[i] -= h;
            let exact = (loss(&up, g, b) - loss(&down, g, b)) / (2.0 * h);
            let found = f64::from(factor[0]) * dz[i]
                + f64::from(slope[0]) * (x[i] - f64::from(mean[0]))
                + f64::from(shift[0]);
            assert!((found - exact).abs() < 1e-5, "{found}, {exact}");
        }
        let exact = (loss(&x, g + h, b) - loss(&x, g - h, b)) / (2.0 * h);
        assert!((f64::from(dgamma[0]) - 1.0 - exact).abs() < 1e-5);
        let exact = (loss(&x, g, b + h) - loss(&x, g, b - h)) / (2.0 * h);
        assert!((f64::from(dbeta[0]) - 1.0 - exact).abs() < 1e-5);
    }

    #[test]
    fn running_averages_follow_pytorch() {
        // torch.nn.BatchNorm1d(1, momentum=0.1) after one batch of 1, 2, 6: mean 3, unbiased variance 7.
        let (mut mean, mut variance) = ([0.0], [1.0]);
        run_on(0.1, 3, &[3.0], &[14.0 / 3.0], &mut mean, &mut variance).unwrap();
        assert!((mean[0] - 0.3).abs() < 1e-6 && (variance[0] - 1.6).abs() < 1e-6);
        run_on(0.1, 1, &[3.0], &[0.0], &mut mean, &mut variance).unwrap();
        assert!((mean[0] - 0.57).abs() < 1e-6 && (variance[0] - 1.6).abs() < 1e-6);
    }

    #[test]
    fn wrong_lengths_are_refused() {
        let mut two = [0.0; 2];
        assert!(moments(&[0.0; 3], &[0.0; 2], 1, &mut [0.0; 2], &mut two).is_err());
        assert!(scale(&[1.0], &[1.0; 2], EPSILON, &mut two).is_err());
        assert!(run_on(0.1, 1, &[0.0; 2], &[0.0], &mut [0.0; 2], &mut two).is_err());
    }
}
