//! From the passes of the forward half to the steps of the backward half: who leaves which gradient where.

use rigl_kernels::map::MapShape;

use super::{BufferId, Form, GradientOf, Pass, Source, Step, Target, ViewOf, one_position};

/// What has been left for a stored map, or a vector, so far.
#[derive(Clone, Debug, Default)]
struct Left {
    direct: Option<BufferId>,
    norms: Vec<(usize, BufferId)>,
}

struct Compiler<'f> {
    forms: &'f mut Vec<Form>,
    steps: Vec<Step>,
    /// Per buffer of the forward half.
    left: Vec<Left>,
    /// The same for the batch, whose norms have gradients of their own.
    of_batch: Left,
    /// Readers of each norm that have not been met yet.
    readers: Vec<usize>,
}

/// Compiles the backward half.
pub(super) fn steps(passes: &[Pass], forms: &mut Vec<Form>) -> Vec<Step> {
    let mut readers = Vec::new();
    for pass in passes.iter() {
        for view in views(pass) {
            if let Some(norm) = view.norm {
                if readers.len() <= norm {
                    readers.resize(norm + 1, 0);
                }
                readers[norm] += 1;
            }
        }
    }
    let left = vec![Left::default(); forms.len()];
    let mut compiler = Compiler { forms, steps: Vec::new(), left, of_batch: Left::default(), readers };
    for (number, pass) in passes.iter().enumerate().rev() {
        compiler.pass(number, pass, passes);
    }
    compiler.steps
}

/// The views that a pass reads.
fn views(pass: &Pass) -> Vec<ViewOf> {
    match pass {
        Pass::Conv { x, residual, .. } => std::iter::once(*x).chain(*residual).collect(),
        Pass::Add { a, b, .. } => std::iter::once(*a).chain(*b).collect(),
        Pass::Pool { x, .. } | Pass::GlobalPool { x, .. } | Pass::Flatten { x, .. } => vec![*x],
        Pass::Linear { .. }
        | Pass::Relu { .. }
        | Pass::Measure { .. }
        | Pass::Unflatten { .. }
        | Pass::Loss { .. } => vec![],
    }
}

impl Compiler<'_> {
    fn buffer(&mut self, form: Form) -> BufferId {
        self.forms.push(form);
        BufferId(self.forms.len() - 1)
    }

    fn left(&mut self, source: Source) -> &mut Left {
        match source {
            Source::Batch => &mut self.of_batch,
            Source::Buffer(buffer) => &mut self.left[buffer.0],
        }
    }

    /// Where a reader of the view leaves its gradient; nowhere for the batch itself.
    fn target(&mut self, view: ViewOf, shape: MapShape) -> Option<Target> {
        let Some(norm) = view.norm else {
            if view.source == Source::Batch {
                return None;
            }
            let there = self.left(view.source).direct;
            let out = there.unwrap_or_else(|| self.buffer(Form::Map(shape)));
            self.left(view.source).direct = Some(out);
            return Some(Target { out, accumulate: there.is_some(), finishes: None });
        };
        let there = self.left(view.source).norms.iter().find(|(n, _)| *n == norm).map(|(_, dz)| *dz);
        let out = match there {
            Some(out) => out,
            None => {
                let out = self.buffer(Form::Map(shape));
                self.left(view.source).norms.push((norm, out));
                out
            }
        };
        self.readers[norm] -= 1;
        let finishes = (self.readers[norm] == 0).then_some(norm);
        Some(Target { out, accumulate: there.is_some(), finishes })
    }

    /// Where a reader of a vector leaves its gradient; nowhere for the batch itself.
    fn vector(&mut self, source: Source, features: usize) -> Option<Target> {
        let Source::Buffer(buffer) = source else { return None };
        let there = self.left[buffer.0].direct;
        let out = there.unwrap_or_else(|| self.buffer(Form::Vector(features)));
        self.left[buffer.0].direct = Some(out);
        Some(Target { out, accumulate: there.is_some(), finishes: None })
    }

    /// The gradient of a stored map, all readers having been met. Of several norms all but one are added up first.
    fn gradient(&mut self, pass: usize, y: BufferId, shape: MapShape) -> GradientOf {
        let of = Source::Buffer(y);
        let Left { direct, norms } = self.left[y.0].clone();
        let mut direct = direct;
        for &norm in norms.iter().skip(1) {
            let accumulate = direct.is_some();
            let out = direct.unwrap_or_else(|| self.buffer(Form::Map(shape)));
            direct = Some(out);
            self.steps.push(Step::Route {
                pass,
                shape,
                view: ViewOf::plain(of),
                gradient: GradientOf { of, direct: None, norm: Some(norm) },
                target: Target { out, accumulate, finishes: None },
            });
        }
        GradientOf { of, direct, norm: norms.first().copied() }
    }

    /// Brings the gradient of a sum to one of its sides.
    fn route(&mut self, pass: usize, shape: MapShape, view: ViewOf, gradient: GradientOf) {
        if let Some(target) = self.target(view, shape) {
            self.steps.push(Step::Route { pass, shape, view, gradient, target });
        }
    }

    /// Whether the buffer that holds a sum's gradient can be taken over as that of this side.
    fn takes_over(&mut self, view: ViewOf) -> bool {
        view.is_plain() && view.source != Source::Batch && self.left(view.source).direct.is_none()
    }

    fn pass(&mut self, number: usize, pass: &Pass, passes: &[Pass]) {
        match pass {
            // Its gradient is made in the forward half.
            Pass::Loss { logits, gradient, .. } => {
                if let Source::Buffer(logits) = *logits {
                    self.left[logits.0].direct = *gradient;
                }
            }
            Pass::Measure { .. } => {}
            Pass::Linear { inputs, x, y, .. } => {
                let Some(dy) = self.left[y.0].direct else { return };
                let gated = passes.iter().any(
                    |pass| matches!(pass, Pass::Linear { relu: true, y, .. } if Source::Buffer(*y) == *x),
                );
                let dx = self.vector(*x, *inputs);
                self.steps.push(Step::Linear { pass: number, gated, dy, dx });
            }
            Pass::Relu { features, x, y } => {
                let Some(dy) = self.left[y.0].direct else { return };
                if let Some(dx) = self.vector(*x, *features) {
                    self.steps.push(Step::Relu { pass: number, dy, dx });
                }
            }
            Pass::Conv { shape, x, residual, y, .. } => {
                let output = shape.output();
                let gradient = self.gradient(number, *y, output);
                // Not if this convolution leaves its own gradient at the same place.
                let apart = |view: ViewOf| x.norm.is_some() || x.source != view.source;
                let taken = residual.filter(|&view| apart(view) && self.takes_over(view));
                let keep =
                    (taken.is_some() && gradient.norm.is_some()).then(|| self.buffer(Form::Map(output)));
                // The side that is no convolution first: its gradient may be read where it is.
                if let (Some(view), None) = (*residual, taken) {
                    self.route(number, output, view, gradient);
                }
                let data = self.target(*x, shape.input());
                self.steps.push(Step::Conv { pass: number, gradient, keep, data });
                if let Some(view) = taken {
                    self.left(view.source).direct = keep.or(gradient.direct);
                }
            }
            Pass::Add { shape, a, b, y, .. } => {
                let mut gradient = self.gradient(number, *y, *shape);
                let of = Source::Buffer(*y);
                let sides: Vec<ViewOf> = std::iter::once(*a).chain(*b).collect();
                let same = sides.len() == 2 && sides[0].source == sides[1].source;
                let taken = sides.iter().position(|&view| !same && self.takes_over(view));
                if taken.is_some() && gradient.norm.is_some() {
                    // It is stored once, and then read by the one side and taken over by the other.
                    let out = self.buffer(Form::Map(*shape));
                    let view = ViewOf::plain(of);
                    let target = Target { out, accumulate: false, finishes: None };
                    self.steps.push(Step::Route { pass: number, shape: *shape, view, gradient, target });
                    gradient = GradientOf { of, direct: Some(out), norm: None };
                }
                for (side, &view) in sides.iter().enumerate() {
                    if taken != Some(side) {
                        self.route(number, *shape, view, gradient);
                    }
                }
                if let Some(side) = taken {
                    self.left(sides[side].source).direct = gradient.direct;
                }
            }
            Pass::Pool { shape, x, y, .. } => {
                let gradient = self.gradient(number, *y, shape.output());
                if let Some(target) = self.target(*x, shape.input()) {
                    self.steps.push(Step::Pool { pass: number, gradient, target });
                }
            }
            Pass::Unflatten { features, x, y, .. } => {
                let gradient = self.gradient(number, *y, one_position(*features));
                if let Some(dx) = self.vector(*x, *features) {
                    self.steps.push(Step::ToVector { pass: number, gradient, dx });
                }
            }
            Pass::GlobalPool { shape, x, y } | Pass::Flatten { shape, x, y } => {
                let Some(dy) = self.left[y.0].direct else { return };
                if let Some(target) = self.target(*x, *shape) {
                    self.steps.push(Step::FromVector { pass: number, dy, target });
                }
            }
        }
    }
}
