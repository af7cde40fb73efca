//! Elementary functions that give the same bits on every platform, whatever its C library.
//!
//! Everything that ends up in a result (initial values, schedules, drawn images, losses) uses these and never
//! the methods of `f32` and `f64`, which call the platform's own.

pub use libm::{cos, cosf, exp, expf, log as ln, logf as lnf, pow, powf, sin, sinf};

/// π as f64.
pub const PI: f64 = std::f64::consts::PI;

/// Square root: correctly rounded by IEEE 754, so the platform's own is the portable one.
pub fn sqrt(x: f64) -> f64 {
    x.sqrt()
}
