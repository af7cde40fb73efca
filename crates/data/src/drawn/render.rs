//! From strokes to pixels.
//!
//! 1. Choose a variant; jitter its points.
//! 2. Run a Catmull-Rom spline through each stroke, in short straight segments.
//! 3. Bend everything by a smooth random field, then turn, slant, scale and shift it.
//! 4. A pixel's ink is what the nearest segment leaves there: all within the pen's radius, none a bit beyond.
//! 5. Add paper noise.

use rigl_base::math;
use rigl_base::random::{Draws, unit};

use super::glyphs::{self, Point};
use super::{Image, SIDE};

/// Standard deviation of a point's jitter, in heights of the glyph.
const JITTER: f64 = 0.015;
/// Standard deviation of the bending field, in heights of the glyph.
const BEND: f64 = 0.06;
/// Standard deviations of rotation (radians) and slant.
const TURN: f64 = 0.14;
const SLANT: f64 = 0.2;
/// Height in pixels, and width as a share of the height.
const HEIGHT: (f64, f64) = (17.0, 22.0);
const ASPECT: (f64, f64) = (0.75, 1.1);
/// Largest shift from the centre, in pixels.
const SHIFT: f64 = 1.5;
/// Radius of the pen in pixels, and the largest share by which it grows or shrinks along a stroke.
const PEN: (f64, f64) = (0.95, 1.6);
const TAPER: f64 = 0.3;
/// Width of a line's soft edge in pixels.
const EDGE: (f64, f64) = (0.9, 1.5);
/// Ink of the darkest pixels.
const INK: (f64, f64) = (170.0, 255.0);
/// Grey of the paper's noise, at most, and the share of pixels that are specks.
const NOISE: (f64, f64) = (0.0, 16.0);
const SPECKS: f64 = 0.002;

/// Straight segments between two points of a stroke.
const PIECES: usize = 5;

/// Draws a digit; everything random comes from `draws`.
pub fn draw(digit: u8, draws: &mut Draws, image: &mut Image) {
    let variants = glyphs::variants(digit);
    let glyph = variants[draws.below(variants.len() as u64) as usize];
    let placing = Placing::random(draws);
    let pen = Pen::random(draws);
    let mut ink = [0.0f64; SIDE * SIDE];
    let mut points = Vec::with_capacity(16);
    let mut line = Vec::with_capacity(80);
    for stroke in glyph {
        points.clear();
        points.extend(stroke.iter().map(|point| Point {
            x: point.x + JITTER * draws.normal(),
            y: point.y + JITTER * draws.normal(),
            corner: point.corner,
        }));
        spline(&points, &mut line);
        for point in &mut line {
            *point = placing.place(*point);
        }
        pen.stroke(&line, &mut ink);
    }
    paper(&ink, draws, image);
}

/// A Catmull-Rom spline through `points`, as the ends of straight segments.
fn spline(points: &[Point], line: &mut Vec<[f64; 2]>) {
    line.clear();
    let at = |i: usize| [points[i].x, points[i].y];
    line.push(at(0));
    for i in 1..points.len() {
        let (p1, p2) = (at(i - 1), at(i));
        // Beyond an end or a corner the curve goes on as if mirrored there.
        let p0 = if i == 1 || points[i - 1].corner { mirrored(p2, p1) } else { at(i - 2) };
        let p3 = if i + 1 == points.len() || points[i].corner { mirrored(p1, p2) } else { at(i + 1) };
        for piece in 1..=PIECES {
            let t = piece as f64 / PIECES as f64;
            line.push([0, 1].map(|k| {
                let slope = (p2[k] - p0[k]) * t;
                let second = (2.0 * p0[k] - 5.0 * p1[k] + 4.0 * p2[k] - p3[k]) * t * t;
                let third = (3.0 * p1[k] - p0[k] - 3.0 * p2[k] + p3[k]) * t * t * t;
                p1[k] + 0.5 * (slope + second + third)
            }));
        }
    }
}

/// `point` mirrored at `centre`.
fn mirrored(point: [f64; 2], centre: [f64; 2]) -> [f64; 2] {
    [2.0 * centre[0] - point[0], 2.0 * centre[1] - point[1]]
}

/// Where the points of a glyph come to lie in the image.
struct Placing {
    bend: [[[f64; 2]; GRID]; GRID],
    matrix: [[f64; 2]; 2],
    centre: [f64; 2],
}

/// Control points of the bending field, per side: a cubic B-spline of 3×3 patches over the glyph.
const GRID: usize = 6;
const PATCHES: f64 = 3.0;

impl Placing {
    fn random(draws: &mut Draws) -> Placing {
        let mut bend = [[[0.0; 2]; GRID]; GRID];
        for value in bend.iter_mut().flatten().flatten() {
            // The B-spline halves the deviation of its control points, about.
            *value = 2.0 * BEND * draws.normal();
        }
        let height = draws.range(HEIGHT.0, HEIGHT.1);
        let width = height * draws.range(ASPECT.0, ASPECT.1);
        let (angle, slant) = (TURN * draws.normal(), SLANT * draws.normal());
        let (sin, cos) = (math::sin(angle), math::cos(angle));
        // Rotation · slant · scale.
        let matrix =
            [[cos * width, -(cos * slant + sin) * height], [sin * width, (cos - sin * slant) * height]];
        let middle = (SIDE as f64 - 1.0) / 2.0;
        let centre = [0, 1].map(|_| middle + draws.range(-SHIFT, SHIFT));
        Placing { bend, matrix, centre }
    }

    fn place(&self, point: [f64; 2]) -> [f64; 2] {
        let shift = self.field(point);
        let [x, y] = [point[0] + shift[0] - 0.5, point[1] + shift[1] - 0.5];
        [0, 1].map(|k| self.centre[k] + self.matrix[k][0] * x + self.matrix[k][1] * y)
    }

    /// The bending field at a point of the glyph.
    fn field(&self, point: [f64; 2]) -> [f64; 2] {
        let [(column, wx), (row, wy)] = point.map(|at| {
            let at = (at * PATCHES).clamp(0.0, PATCHES);
            let cell = at.floor().min(PATCHES - 1.0);
            (cell as usize, b_spline(at - cell))
        });
        let mut sum = [0.0; 2];
        for (values, wy) in self.bend[row..].iter().zip(wy) {
            for (value, wx) in values[column..].iter().zip(wx) {
                sum[0] += value[0] * wx * wy;
                sum[1] += value[1] * wx * wy;
            }
        }
        sum
    }
}

/// The weights of the four control points around a place `t` in 0 … 1 of a uniform cubic B-spline.
fn b_spline(t: f64) -> [f64; 4] {
    let s = 1.0 - t;
    let inner = |t: f64| (4.0 - 6.0 * t * t + 3.0 * t * t * t) / 6.0;
    [s * s * s / 6.0, inner(t), inner(s), t * t * t / 6.0]
}

struct Pen {
    radius: f64,
    taper: f64,
    edge: f64,
    ink: f64,
}

impl Pen {
    fn random(draws: &mut Draws) -> Pen {
        Pen {
            radius: draws.range(PEN.0, PEN.1),
            taper: draws.range(-TAPER, TAPER),
            edge: draws.range(EDGE.0, EDGE.1),
            ink: draws.range(INK.0, INK.1),
        }
    }

    /// Draws a line of segments; ink does not add up where they meet.
    fn stroke(&self, line: &[[f64; 2]], ink: &mut [f64; SIDE * SIDE]) {
        let last = line.len().saturating_sub(2).max(1) as f64;
        for (i, ends) in line.windows(2).enumerate() {
            let along = 2.0 * i as f64 / last - 1.0;
            self.segment([ends[0], ends[1]], self.radius * (1.0 + self.taper * along), ink);
        }
    }

    fn segment(&self, [a, b]: [[f64; 2]; 2], radius: f64, ink: &mut [f64; SIDE * SIDE]) {
        let reach = radius + 0.5 * self.edge;
        let range = |k: usize| {
            let low = (a[k].min(b[k]) - reach).ceil().clamp(0.0, SIDE as f64);
            let end = (a[k].max(b[k]) + reach).floor().clamp(-1.0, SIDE as f64 - 1.0) + 1.0;
            low as usize..end as usize
        };
        let [dx, dy] = [b[0] - a[0], b[1] - a[1]];
        let per_length = 1.0 / (dx * dx + dy * dy).max(1e-12);
        for row in range(1) {
            for column in range(0) {
                let [x, y] = [column as f64 - a[0], row as f64 - a[1]];
                let along = ((x * dx + y * dy) * per_length).clamp(0.0, 1.0);
                let [x, y] = [x - along * dx, y - along * dy];
                let distance_squared = x * x + y * y;
                if distance_squared < reach * reach {
                    let cover = ((reach - math::sqrt(distance_squared)) / self.edge).min(1.0);
                    let pixel = &mut ink[row * SIDE + column];
                    *pixel = pixel.max(cover * self.ink);
                }
            }
        }
    }
}

/// Ink on paper that is not quite white.
fn paper(ink: &[f64; SIDE * SIDE], draws: &mut Draws, image: &mut Image) {
    let noise = draws.range(NOISE.0, NOISE.1);
    for (pixel, &ink) in image.iter_mut().zip(ink) {
        let word = draws.word();
        // The low byte tells specks, the high bytes their grey.
        let grey = f64::from(unit(word));
        let most = if f64::from(word & 0xff) < 256.0 * SPECKS { 200.0 } else { noise };
        let paper = most * grey;
        *pixel = (ink + paper * (1.0 - ink / 255.0)).clamp(0.0, 255.0).round() as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(x: f64, y: f64, corner: bool) -> Point {
        Point { x, y, corner }
    }

    fn line(points: &[Point]) -> Vec<[f64; 2]> {
        let mut line = Vec::new();
        spline(points, &mut line);
        line
    }

    #[test]
    fn a_spline_passes_through_its_points() {
        let points =
            [point(0.0, 0.0, false), point(1.0, 0.5, false), point(0.5, 2.0, true), point(2.0, 2.0, false)];
        let line = line(&points);
        for (i, point) in points.iter().enumerate() {
            let [x, y] = line[i * PIECES];
            assert!((x - point.x).abs() + (y - point.y).abs() < 1e-12, "{i}");
        }
        assert_eq!(line.len(), 3 * PIECES + 1);
    }

    #[test]
    fn a_spline_between_corners_is_straight() {
        let points =
            [point(0.0, 0.0, false), point(1.0, 0.0, true), point(1.0, 1.0, true), point(0.0, 1.0, false)];
        let line = line(&points);
        assert!(line[PIECES..=2 * PIECES].iter().all(|[x, _]| (x - 1.0).abs() < 1e-12), "{line:?}");
    }

    #[test]
    fn the_weights_of_the_field_add_up_to_one_and_meet_between_patches() {
        for t in [0.0, 0.25, 0.7, 1.0] {
            assert!((b_spline(t).iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
        let ([_, a, b, c], [d, e, f, _]) = (b_spline(1.0), b_spline(0.0));
        assert!([a - d, b - e, c - f].iter().all(|gap| gap.abs() < 1e-12));
    }

    #[test]
    fn a_segment_leaves_ink_within_the_radius_only_and_none_outside_the_image() {
        let pen = Pen { radius: 1.5, taper: 0.0, edge: 1.0, ink: 200.0 };
        let mut ink = [0.0; SIDE * SIDE];
        pen.stroke(&[[-5.0, 10.0], [60.0, 10.0]], &mut ink);
        for (at, &ink) in ink.iter().enumerate() {
            let distance = (at / SIDE).abs_diff(10);
            let expected = [200.0, 200.0, 0.0][distance.min(2)];
            assert_eq!(ink, expected, "row {}", at / SIDE);
        }
        let mut none = [0.0; SIDE * SIDE];
        pen.stroke(&[[-50.0, -9.0], [-30.0, -1e9]], &mut none);
        pen.stroke(&[[1e9, 5.0], [1e9, 5.0]], &mut none);
        assert_eq!(none, [0.0; SIDE * SIDE]);
    }
}
