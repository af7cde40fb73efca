//! The strokes of the digits, in the variants people write them in.
//!
//! A glyph lies in a box of about 0 … 1 to the right and 0 … 1 down. A stroke is a smooth curve through its
//! points ([`on`]), interrupted where the pen turns sharply ([`turn`]).

/// A point a stroke passes through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// To the right.
    pub x: f64,
    /// Downwards.
    pub y: f64,
    /// Whether the stroke may have a corner here.
    pub corner: bool,
}

type Stroke = &'static [Point];
type Glyph = &'static [Stroke];

/// A point passed smoothly.
const fn on(x: f64, y: f64) -> Point {
    Point { x, y, corner: false }
}

/// A point where the pen turns.
const fn turn(x: f64, y: f64) -> Point {
    Point { x, y, corner: true }
}

/// The writing variants of a digit.
pub fn variants(digit: u8) -> &'static [Glyph] {
    DIGITS[usize::from(digit % 10)]
}

const DIGITS: [&[Glyph]; 10] = [ZERO, ONE, TWO, THREE, FOUR, FIVE, SIX, SEVEN, EIGHT, NINE];

const ZERO: &[Glyph] = &[
    // An oval, begun at the top.
    &[&[
        on(0.52, 0.04),
        on(0.27, 0.16),
        on(0.17, 0.48),
        on(0.26, 0.82),
        on(0.49, 0.96),
        on(0.73, 0.83),
        on(0.83, 0.50),
        on(0.74, 0.18),
        on(0.49, 0.03),
    ]],
    // Narrow, begun at the right, closed by a small hook.
    &[&[
        on(0.68, 0.16),
        on(0.50, 0.03),
        on(0.33, 0.17),
        on(0.26, 0.48),
        on(0.32, 0.83),
        on(0.49, 0.97),
        on(0.67, 0.83),
        on(0.74, 0.50),
        on(0.66, 0.15),
        on(0.47, 0.07),
    ]],
];

const ONE: &[Glyph] = &[
    // A stroke.
    &[&[on(0.52, 0.03), on(0.50, 0.50), on(0.49, 0.97)]],
    // With a flag.
    &[&[on(0.30, 0.26), on(0.43, 0.17), turn(0.55, 0.03), on(0.54, 0.50), on(0.53, 0.97)]],
    // With flag and foot.
    &[&[on(0.32, 0.22), turn(0.52, 0.04), on(0.52, 0.50), on(0.51, 0.95)], &[on(0.28, 0.96), on(0.76, 0.95)]],
];

const TWO: &[Glyph] = &[
    // Sharp at the lower left.
    &[&[
        on(0.20, 0.26),
        on(0.36, 0.07),
        on(0.62, 0.06),
        on(0.76, 0.25),
        on(0.66, 0.48),
        on(0.42, 0.72),
        turn(0.18, 0.94),
        on(0.50, 0.93),
        on(0.84, 0.94),
    ]],
    // With a loop there.
    &[&[
        on(0.22, 0.20),
        on(0.42, 0.05),
        on(0.68, 0.12),
        on(0.70, 0.34),
        on(0.54, 0.62),
        on(0.32, 0.87),
        on(0.17, 0.88),
        on(0.22, 0.75),
        on(0.40, 0.79),
        on(0.60, 0.93),
        on(0.86, 0.87),
    ]],
    // Like a Z, round at the top only.
    &[&[on(0.22, 0.13), on(0.50, 0.04), on(0.76, 0.14), on(0.60, 0.46), turn(0.20, 0.93), on(0.82, 0.90)]],
];

const THREE: &[Glyph] = &[
    // Two bows.
    &[&[
        on(0.20, 0.16),
        on(0.44, 0.04),
        on(0.70, 0.13),
        on(0.68, 0.34),
        turn(0.42, 0.46),
        on(0.70, 0.54),
        on(0.79, 0.76),
        on(0.56, 0.95),
        on(0.20, 0.87),
    ]],
    // Flat at the top.
    &[&[
        on(0.20, 0.07),
        turn(0.74, 0.06),
        turn(0.44, 0.42),
        on(0.72, 0.52),
        on(0.77, 0.78),
        on(0.52, 0.96),
        on(0.18, 0.86),
    ]],
    // With a small loop in the middle.
    &[&[
        on(0.24, 0.12),
        on(0.52, 0.03),
        on(0.70, 0.20),
        on(0.56, 0.43),
        on(0.40, 0.48),
        on(0.44, 0.41),
        on(0.66, 0.50),
        on(0.76, 0.74),
        on(0.52, 0.96),
        on(0.22, 0.92),
    ]],
];

const FOUR: &[Glyph] = &[
    // Open, in two strokes.
    &[
        &[on(0.30, 0.05), on(0.25, 0.30), turn(0.19, 0.56), on(0.50, 0.57), on(0.86, 0.54)],
        &[on(0.68, 0.12), on(0.66, 0.50), on(0.64, 0.97)],
    ],
    // Closed, in one.
    &[&[on(0.88, 0.65), turn(0.13, 0.66), turn(0.63, 0.04), on(0.63, 0.50), on(0.62, 0.97)]],
    // Round and open, like a y.
    &[
        &[on(0.22, 0.07), on(0.19, 0.36), on(0.36, 0.52), on(0.60, 0.45), on(0.76, 0.28)],
        &[on(0.79, 0.05), on(0.72, 0.50), on(0.64, 0.97)],
    ],
];

const FIVE: &[Glyph] = &[
    // The bar last.
    &[
        &[
            on(0.30, 0.06),
            turn(0.25, 0.44),
            on(0.50, 0.36),
            on(0.76, 0.52),
            on(0.74, 0.81),
            on(0.48, 0.96),
            on(0.18, 0.86),
        ],
        &[on(0.30, 0.06), on(0.79, 0.05)],
    ],
    // In one stroke from the right.
    &[&[
        on(0.77, 0.05),
        turn(0.31, 0.07),
        turn(0.27, 0.45),
        on(0.55, 0.39),
        on(0.78, 0.62),
        on(0.62, 0.91),
        on(0.20, 0.92),
    ]],
    // Round, nearly an S.
    &[&[
        on(0.78, 0.09),
        on(0.46, 0.06),
        on(0.28, 0.24),
        on(0.44, 0.43),
        on(0.69, 0.58),
        on(0.66, 0.86),
        on(0.40, 0.97),
        on(0.18, 0.86),
    ]],
];

const SIX: &[Glyph] = &[
    // A bent back and a loop.
    &[&[
        on(0.68, 0.06),
        on(0.42, 0.23),
        on(0.23, 0.58),
        on(0.31, 0.89),
        on(0.58, 0.95),
        on(0.76, 0.75),
        on(0.62, 0.54),
        on(0.38, 0.59),
        on(0.25, 0.78),
    ]],
    // Straighter, with a rounder loop.
    &[&[
        on(0.50, 0.03),
        on(0.30, 0.38),
        on(0.20, 0.72),
        on(0.42, 0.97),
        on(0.71, 0.86),
        on(0.73, 0.62),
        on(0.50, 0.51),
        on(0.24, 0.68),
    ]],
];

const SEVEN: &[Glyph] = &[
    // Plain.
    &[&[on(0.16, 0.09), turn(0.82, 0.07), on(0.58, 0.45), on(0.42, 0.97)]],
    // With a bar.
    &[&[on(0.18, 0.08), turn(0.82, 0.07), on(0.60, 0.45), on(0.42, 0.97)], &[on(0.30, 0.50), on(0.78, 0.47)]],
    // With a hook at the left and a bent stem.
    &[&[on(0.17, 0.24), turn(0.20, 0.07), on(0.50, 0.09), turn(0.83, 0.07), on(0.62, 0.42), on(0.54, 0.97)]],
];

const EIGHT: &[Glyph] = &[
    // In one stroke.
    &[&[
        on(0.70, 0.17),
        on(0.48, 0.04),
        on(0.27, 0.17),
        on(0.37, 0.38),
        on(0.63, 0.57),
        on(0.76, 0.79),
        on(0.50, 0.97),
        on(0.24, 0.79),
        on(0.36, 0.57),
        on(0.63, 0.36),
        on(0.70, 0.15),
    ]],
    // One ring on the other.
    &[
        &[on(0.50, 0.45), on(0.30, 0.26), on(0.50, 0.04), on(0.70, 0.26), on(0.49, 0.46)],
        &[on(0.50, 0.46), on(0.22, 0.71), on(0.50, 0.96), on(0.78, 0.71), on(0.51, 0.45)],
    ],
];

const NINE: &[Glyph] = &[
    // A ring and a straight stem.
    &[&[
        on(0.74, 0.18),
        on(0.52, 0.04),
        on(0.27, 0.20),
        on(0.30, 0.45),
        on(0.54, 0.48),
        turn(0.75, 0.18),
        on(0.73, 0.55),
        on(0.68, 0.97),
    ]],
    // A ring and a bent stem.
    &[&[
        on(0.74, 0.22),
        on(0.54, 0.04),
        on(0.28, 0.18),
        on(0.29, 0.44),
        on(0.54, 0.49),
        turn(0.75, 0.24),
        on(0.76, 0.60),
        on(0.60, 0.90),
        on(0.26, 0.94),
    ]],
    // In one swing.
    &[&[
        on(0.70, 0.26),
        on(0.52, 0.42),
        on(0.30, 0.34),
        on(0.36, 0.10),
        on(0.60, 0.05),
        on(0.71, 0.26),
        on(0.66, 0.60),
        on(0.50, 0.97),
    ]],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_digit_has_variants_that_fit_the_box_and_differ() {
        for digit in 0..10 {
            let variants = variants(digit);
            assert!(variants.len() >= 2);
            assert!(variants.windows(2).all(|pair| pair[0] != pair[1]));
            for stroke in variants.iter().flat_map(|glyph| glyph.iter()) {
                assert!(stroke.len() >= 2);
                for point in stroke.iter() {
                    assert!(
                        (0.1..=0.9).contains(&point.x) && (0.0..=1.0).contains(&point.y),
                        "{digit}: {point:?}"
                    );
                }
            }
        }
    }
}
