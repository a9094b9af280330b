//! What is joined is written where it belongs by the steps that make it, where their kernels can leave gaps between rows.

use super::resolve::{Draft, Resolver};
use super::{Location, Place, Step};
use crate::error::Result;
use crate::graph::{Node, ValueId};
use crate::ops::Kernel;
use crate::tensor::normalize_axis;

impl Resolver<'_> {
    /// Lets the steps that make inputs of a Concat write them to their places in its output, and its kernel leave these
    /// out; tells whether there is nothing else to do.
    pub(super) fn join(
        &self,
        draft: &mut Draft,
        node: &Node,
        axis: i64,
        (inputs, output): (&mut [Option<Location>], &Location),
        kernel: &mut dyn Kernel,
    ) -> Result<bool> {
        let Place::Arena(block) = output.place else { return Ok(false) };
        let (dims, size) = (output.info.dims, output.info.dtype.size());
        let axis = normalize_axis(axis, dims.len())?;
        let width = |dims: &[usize]| dims[axis..].iter().product::<usize>();
        let (rows, row) = (dims[..axis].iter().product::<usize>(), width(&dims));
        let (mut end, mut left) = (0, 0);
        for (i, input) in inputs.iter_mut().enumerate() {
            let (Some(id), Some(location)) = (node.inputs[i], input.as_ref()) else { continue };
            let start = end;
            let width = width(&location.info.dims);
            end += width;
            let maker = if rows * width > 0 { self.only_maker(draft, id, location) } else { None };
            let step = maker.map(|at| (at, &mut draft.steps[at]));
            // Rows that a kernel sets apart are those of the last dimension.
            let fits = |step: &mut Step| rows == 1 || axis + 1 == dims.len() && step.kernel.set_apart(row);
            let Some((at, step)) =
                step.filter(|_| draft.uses[id.0 as usize] == 1).and_then(|(at, s)| fits(s).then_some((at, s)))
            else {
                left += 1;
                continue;
            };
            let (info, len) = (location.info, ((rows - 1) * row + width) * size);
            let place = Place::Arena(block);
            let own = std::mem::replace(&mut step.outputs[0], Location { place, offset: start * size, info, len });
            if let Place::Arena(own) = own.place {
                draft.blocks[own].len = 0;
            }
            draft.blocks[block].first = draft.blocks[block].first.min(at);
            *input = None;
            kernel.leave_out(i);
        }
        Ok(left == 0)
    }

    /// The step that makes a value, and nothing else, in a block of its own.
    fn only_maker(&self, draft: &Draft, id: ValueId, location: &Location) -> Option<usize> {
        let writes = |step: &Step| step.outputs.iter().any(|o| o.place == location.place);
        let mut makers = (0..draft.steps.len()).rev().filter(|&at| writes(&draft.steps[at]));
        let (at, other) = (makers.next()?, makers.next());
        let step = &draft.steps[at];
        let whole = step.outputs.len() == 1 && self.graph.nodes[step.node].outputs[0] == id;
        (whole && other.is_none() && matches!(location.place, Place::Arena(_))).then_some(at)
    }
}
