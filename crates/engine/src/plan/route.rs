//! From the passes of the forward half to what is done backwards: who leaves which gradient where. Nothing here knows a
//! layer, or a vector from a map. A worked example: docs/gradient-router.md.

use rigl_base::{Error, Result};

use crate::buffers::Buffers;
use crate::passes::Pass;
use crate::value::{Back, BufferId, Gradient, Operand, Source, Target, Value};

/// What readers have left so far of the gradient of a stored value, or of the batch.
#[derive(Clone, Debug, Default)]
struct Pending {
    direct: Option<BufferId>,
    /// Behind norms of the value.
    norms: Vec<(usize, BufferId)>,
}

struct Router<'b> {
    buffers: &'b mut Buffers,
    /// Per buffer of the forward half.
    pending: Vec<Pending>,
    /// The same for the batch, whose norms have gradients of their own.
    of_batch: Pending,
    /// Readers of each norm that have not been met yet.
    readers: Vec<usize>,
}

/// Routes the backward half of these passes.
///
/// # Errors
/// [`Kind::Internal`](rigl_base::Kind::Internal) if a pass has left a gradient where another was before.
pub(super) fn route(passes: &[Box<dyn Pass>], buffers: &mut Buffers) -> Result<Vec<Back>> {
    let mut readers = Vec::new();
    for norm in passes.iter().flat_map(|pass| pass.operands()).filter_map(|operand| operand.view.norm) {
        if readers.len() <= norm {
            readers.resize(norm + 1, 0);
        }
        readers[norm] += 1;
    }
    let pending = vec![Pending::default(); buffers.count()];
    let mut router = Router { buffers, pending, of_batch: Pending::default(), readers };
    let mut backs = Vec::new();
    for (number, pass) in passes.iter().enumerate().rev() {
        if let (Some(made), Some(operand)) = (pass.leaves(), pass.operands().first()) {
            let there = router.pending(operand.source).direct.replace(made);
            if there.is_some() {
                return Err(Error::internal(format!("`{}` left a gradient over another", pass.name())));
            }
        }
        let Some(value) = pass.output() else { continue };
        if let Some((gather, gradient)) = router.gradient(value, pass.wants_stored_gradient()) {
            backs.push(router.pass(number, &**pass, gather, gradient));
        }
    }
    Ok(backs)
}

impl Router<'_> {
    fn pending(&mut self, source: Source) -> &mut Pending {
        match source {
            Source::Batch => &mut self.of_batch,
            Source::Buffer(buffer) => &mut self.pending[buffer.0],
        }
    }

    /// Where a reader of a value leaves its gradient; nowhere for the batch itself.
    fn target(&mut self, operand: Operand) -> Option<Target> {
        let Some(norm) = operand.view.norm else {
            if operand.source == Source::Batch {
                return None;
            }
            let there = self.pending(operand.source).direct;
            let out = there.unwrap_or_else(|| self.buffers.add(operand.layout));
            self.pending(operand.source).direct = Some(out);
            return Some(Target { out, accumulate: there.is_some(), finishes: None });
        };
        let there = self.pending(operand.source).norms.iter().find(|(n, _)| *n == norm).map(|(_, dz)| *dz);
        let out = match there {
            Some(out) => out,
            None => {
                let out = self.buffers.add(operand.layout);
                self.pending(operand.source).norms.push((norm, out));
                out
            }
        };
        self.readers[norm] -= 1;
        let finishes = (self.readers[norm] == 0).then_some(norm);
        Some(Target { out, accumulate: there.is_some(), finishes })
    }

    /// The gradient of a stored value, all readers having been met; none if nobody left one. What was left behind norms is
    /// added up first: all of it if it is wanted stored, or else all but the first.
    fn gradient(&mut self, of: Value, stored: bool) -> Option<(Vec<(Gradient, Target)>, Gradient)> {
        let Pending { mut direct, norms } = self.pending[of.buffer.0].clone();
        let mut gather = Vec::new();
        let first = norms.first().filter(|_| !stored).copied();
        for &norm in norms.iter().skip(usize::from(first.is_some())) {
            let accumulate = direct.is_some();
            let out = direct.unwrap_or_else(|| self.buffers.add(of.layout));
            direct = Some(out);
            let gradient = Gradient { of, direct: None, norm: Some(norm) };
            gather.push((gradient, Target { out, accumulate, finishes: None }));
        }
        let gradient = Gradient { of, direct, norm: first };
        (direct.is_some() || gradient.norm.is_some()).then_some((gather, gradient))
    }

    /// Whether an operand can take over the buffer that holds the gradient of the output as that of its own: nobody has
    /// left anything for it, and no other operand of the pass will.
    fn takes_over(&mut self, pass: &dyn Pass, number: usize) -> bool {
        let operand = pass.operands()[number];
        let apart = |other: &Operand| other.view.norm.is_some() || other.source != operand.source;
        let alone = |(other, of): (usize, &Operand)| other == number || apart(of);
        pass.hands_on(number)
            && operand.is_plain()
            && operand.source != Source::Batch
            && self.pending(operand.source).direct.is_none()
            && pass.operands().iter().enumerate().all(alone)
    }

    fn pass(
        &mut self,
        number: usize,
        pass: &dyn Pass,
        gather: Vec<(Gradient, Target)>,
        gradient: Gradient,
    ) -> Back {
        let operands = pass.operands();
        let taken = (0..operands.len()).find(|&operand| self.takes_over(pass, operand));
        // What is behind a norm must be evaluated before it can be taken over.
        let behind = taken.is_some() && gradient.norm.is_some();
        let store = behind.then(|| self.buffers.add(gradient.of.layout));
        let mut targets = vec![None; operands.len()];
        for (operand, target) in targets.iter_mut().enumerate().rev() {
            if taken != Some(operand) {
                *target = self.target(operands[operand]);
            }
        }
        if let Some(operand) = taken {
            self.pending(operands[operand].source).direct = store.or(gradient.direct);
        }
        Back { pass: number, gather, gradient, store, targets }
    }
}
