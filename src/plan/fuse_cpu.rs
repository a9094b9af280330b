//! Nodes that run as one step: a convolution takes over the step before it where there is a kernel for both, so that what
//! lies between them is nowhere in memory.

use super::resolve::{Draft, Resolver};
use super::{Fused, Location};
use crate::error::Result;
use crate::graph::{Node, NodeKind};
use crate::ops::{Kernel, Op, OpDef, Prepare, TensorInfo, conv};

impl Resolver<'_> {
    /// A kernel for the last step and a node that alone reads its result. If there is one, the step is taken from the
    /// draft, and its inputs join the node's.
    pub(super) fn fuse(
        &self,
        draft: &mut Draft,
        (node, op): (&Node, &Op),
        inputs: &mut Vec<Option<Location>>,
        outputs: &[TensorInfo],
    ) -> Result<Option<(Box<dyn Kernel>, Fused)>> {
        let (Op::Conv(second), Some(last)) = (op, draft.steps.last()) else { return Ok(None) };
        let before = &self.graph.nodes[last.node];
        let NodeKind::Op(Op::Conv(first)) = &before.kind else { return Ok(None) };
        let between = before.outputs[0];
        if last.work.cpu().is_none()
            || last.fused.is_some()
            || node.inputs[0] != Some(between)
            || draft.uses[between.0 as usize] != 1
        {
            return Ok(None);
        }
        let made = [last.outputs[0].info];
        let (left, right) = (self.operands(before, &last.inputs), self.operands(node, inputs));
        let left =
            Prepare { isa: self.isa, threads: self.threads, inputs: &left, outputs: &made, derived: self.derived };
        let right = Prepare { isa: self.isa, threads: self.threads, inputs: &right, outputs, derived: self.derived };
        let Some(kernel) = conv::fuse((first, &left), (second, &right))? else { return Ok(None) };
        let infos: Vec<Option<TensorInfo>> = left.inputs.iter().map(|o| o.map(|o| o.info)).collect();
        let fused = Fused { node: last.node, flops: first.flops(&infos, &made) };
        take_over(draft, inputs);
        Ok(Some((kernel, fused)))
    }
}

/// Takes the last step from the draft, and its inputs to where [`conv::fuse`] wants them.
fn take_over(draft: &mut Draft, inputs: &mut Vec<Option<Location>>) {
    let Some(mut last) = draft.steps.pop() else { return };
    inputs.resize(conv::FIRST, None);
    inputs[0] = last.inputs[0].take();
    inputs.extend(last.inputs.drain(1..));
}
