//! Runs a plan: forward in its order, then the steps backward.

mod conv;
mod linear;
mod pool;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use rigl_base::Result;
use rigl_kernels::loss::LossSums;
use rigl_kernels::map::Statistics;
use rigl_kernels::{Arena, Machine, Workspace};
use rigl_topology::Largest;

use crate::batch::Batch;
use crate::norms::Norm;
use crate::plan::{Pass, Plan, Step};
use crate::request::{MicroBatch, Outcome};
use crate::weights::Parameter;

/// What a pass works on.
pub(crate) struct Context<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) plan: &'a Plan,
    pub(crate) arena: &'a mut Arena,
    pub(crate) workspace: &'a mut Workspace,
    pub(crate) parameters: &'a mut [Parameter],
    pub(crate) norms: &'a mut [Norm],
    pub(crate) scratch: &'a mut Scratch,
    pub(crate) dense: &'a mut [Vec<f32>],
    /// One entry per pass, where times are wanted.
    pub(crate) times: Option<&'a mut [PassTimes]>,
}

/// Small arrays that passes use in turn.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// Two per channel of the widest norm.
    pub(crate) sums: Vec<f64>,
    /// One per channel.
    pub(crate) shift: Vec<f32>,
    /// The mask of each dropout.
    pub(crate) masks: Vec<Vec<u16>>,
}

impl Scratch {
    /// Masks to read, and room for the statistics of so many channels, if there are any to be measured.
    fn lend(&mut self, channels: usize) -> (&[Vec<u16>], Option<Statistics<'_>>) {
        let (shift, sums) = (&self.shift[..channels], &mut self.sums[..2 * channels]);
        (&self.masks, (channels > 0).then_some(Statistics { shift, sums }))
    }
}

/// Where the time of a pass went.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PassTimes {
    pub(crate) forward: Duration,
    pub(crate) weights: Duration,
    pub(crate) data: Duration,
}

/// What of a parameter's dense gradient is wanted.
pub(crate) enum Collect {
    /// The largest of it: a collector per worker.
    Largest(Vec<Mutex<Largest>>),
    /// All of it.
    All,
}

/// Per parameter. Empty where no dense gradient is wanted in this step.
type Collects = [Option<Collect>];

impl Context<'_> {
    /// See [`Session::accumulate`](crate::Session::accumulate).
    pub(crate) fn accumulate(mut self, part: MicroBatch, collect: &Collects) -> Result<Outcome> {
        let weight = (1.0 / part.of_samples as f64) as f32;
        self.draw_masks(part)?;
        let sums = self.forward(part.batch, Some(weight))?;
        for step in &self.plan.steps {
            self.backward(step, part, collect)?;
        }
        Ok(outcome(sums, part.batch))
    }

    /// See [`Session::evaluate`](crate::Session::evaluate).
    pub(crate) fn evaluate(mut self, batch: &Batch) -> Result<Outcome> {
        for norm in self.norms.iter_mut() {
            norm.settle(self.parameters)?;
        }
        let sums = self.forward(batch, None)?;
        Ok(outcome(sums, batch))
    }

    /// All passes forward. With a weight, the loss leaves its gradient, scaled by it.
    fn forward(&mut self, batch: &Batch, weight: Option<f32>) -> Result<LossSums> {
        let mut sums = LossSums::default();
        for (index, pass) in self.plan.passes.iter().enumerate() {
            let clock = Clock::start(&self.times);
            match pass {
                Pass::Linear { .. } => self.linear(layer(pass)?, batch)?,
                Pass::Relu { x, y, .. } => self.relu(*x, *y, batch)?,
                Pass::Loss { classes, smoothing, logits, gradient } => {
                    sums = self.loss(*classes, *smoothing, *logits, *gradient, batch, weight)?;
                }
                Pass::Conv { weight, bias, x, residual, y, norms, .. } => {
                    self.conv((*weight, *bias), *x, *residual, *y, norms, batch)?;
                }
                Pass::Add { shape, a, b, y, norms } => {
                    self.add(*shape, *a, *b, Some(*y), norms, batch)?;
                }
                Pass::Measure { shape, x, norms } => {
                    self.add(*shape, crate::plan::ViewOf::plain(*x), None, None, norms, batch)?;
                }
                Pass::Unflatten { features, x, y, norms } => {
                    self.unflatten(*features, *x, *y, norms, batch)?
                }
                Pass::Pool { kind, shape, x, y } => self.pool(*kind, *shape, *x, *y, batch)?,
                Pass::GlobalPool { shape, x, y } => self.vector_of_map(*shape, *x, *y, true, batch)?,
                Pass::Flatten { shape, x, y } => self.vector_of_map(*shape, *x, *y, false, batch)?,
            }
            clock.stop(&mut self.times, index, |times| &mut times.forward);
        }
        Ok(sums)
    }

    fn backward(&mut self, step: &Step, part: MicroBatch, collect: &Collects) -> Result<()> {
        let index = step.pass();
        let pass = &self.plan.passes[index];
        match (step, pass) {
            (Step::Linear { gated, dy, dx, .. }, _) => {
                return self.linear_backward(index, layer(pass)?, *gated, *dy, *dx, part, collect);
            }
            (Step::Conv { gradient, keep, data, .. }, Pass::Conv { weight, bias, x, .. }) => {
                return self.conv_backward(
                    index,
                    (*weight, *bias),
                    *x,
                    *gradient,
                    *keep,
                    *data,
                    part,
                    collect,
                );
            }
            _ => {}
        }
        let clock = Clock::start(&self.times);
        match (step, pass) {
            (Step::Relu { dy, dx, .. }, Pass::Relu { y, .. }) => {
                self.relu_backward(*y, *dy, *dx, part.batch.samples())?;
            }
            (Step::Route { shape, view, gradient, target, .. }, _) => {
                self.route(*shape, *view, *gradient, *target, part)?;
            }
            (Step::Pool { gradient, target, .. }, Pass::Pool { kind, shape, x, .. }) => {
                self.pool_backward(*kind, *shape, *x, *gradient, *target, part)?;
            }
            (Step::FromVector { dy, target, .. }, Pass::GlobalPool { shape, x, .. }) => {
                self.map_of_vector(*shape, *x, *dy, *target, true, part)?;
            }
            (Step::FromVector { dy, target, .. }, Pass::Flatten { shape, x, .. }) => {
                self.map_of_vector(*shape, *x, *dy, *target, false, part)?;
            }
            (Step::ToVector { gradient, dx, .. }, Pass::Unflatten { features, .. }) => {
                self.unflatten_backward(*features, *gradient, *dx, part)?;
            }
            _ => return Err(rigl_base::Error::internal("a step of the plan does not fit its pass")),
        }
        clock.stop(&mut self.times, index, |times| &mut times.data);
        Ok(())
    }
}

fn layer(pass: &Pass) -> Result<linear::Layer> {
    match *pass {
        Pass::Linear { weight, bias, inputs, outputs, relu, x, y } => {
            Ok(linear::Layer { weight, bias, inputs, outputs, relu, x, y })
        }
        _ => Err(rigl_base::Error::internal("a step of the plan does not fit its pass")),
    }
}

/// A clock that is read only where times are wanted.
struct Clock(Option<Instant>);

impl Clock {
    fn start(times: &Option<&mut [PassTimes]>) -> Clock {
        Clock(times.is_some().then(Instant::now))
    }

    fn stop(
        self,
        times: &mut Option<&mut [PassTimes]>,
        pass: usize,
        part: impl FnOnce(&mut PassTimes) -> &mut Duration,
    ) {
        if let (Some(start), Some(times)) = (self.0, times) {
            *part(&mut times[pass]) += start.elapsed();
        }
    }
}

fn outcome(sums: LossSums, batch: &Batch) -> Outcome {
    Outcome { loss: sums.loss, correct: sums.correct, samples: batch.samples() }
}
