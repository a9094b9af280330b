//! What is joined is written where it belongs by the steps that make it, and read there by those that use a part of it,
//! where their kernels can leave gaps between rows.

use super::resolve::Draft;
use super::{Location, Place, width_of};
use crate::graph::{Graph, Node, NodeKind, ValueId};
use crate::ops::{Op, TensorInfo, rows_apart};
use crate::tensor::normalize_axis;

/// Places the inputs of Concats in their outputs, and takes out of the draft those that have nothing left to copy. The
/// last come first: what grows by being joined again and again then lies in one place, of which the smaller ones are
/// parts.
pub(super) fn join(graph: &Graph, draft: &mut Draft) {
    let mut joining = Joining::new(graph, draft);
    let mut needed = vec![true; joining.draft.steps.len()];
    for at in (0..needed.len()).rev() {
        let NodeKind::Op(Op::Concat(concat)) = &joining.node(at).kind else { continue };
        if joining.draft.steps[at].work.cpu().is_none() {
            continue;
        }
        let rank = joining.draft.steps[at].outputs[0].info.dims.len();
        if let Ok(axis) = normalize_axis(concat.axis, rank)
            && concat.is_plain()
        {
            needed[at] = !(joining.is_part(at, axis) || joining.is_made(at, axis));
        }
    }
    let mut needed = needed.into_iter();
    draft.steps.retain(|_| needed.next() != Some(false));
}

/// A draft, and who uses its blocks.
struct Joining<'a> {
    graph: &'a Graph,
    draft: &'a mut Draft,
    /// Steps that write a block.
    makers: Vec<Vec<usize>>,
    /// Steps that read it, and as which input.
    readers: Vec<Vec<(usize, usize)>>,
    /// How many values are in it; views share a block.
    values: Vec<usize>,
}

impl<'a> Joining<'a> {
    fn new(graph: &'a Graph, draft: &'a mut Draft) -> Self {
        let blocks = draft.blocks.len();
        let (mut makers, mut readers, mut values) = (vec![vec![]; blocks], vec![vec![]; blocks], vec![0; blocks]);
        for (at, step) in draft.steps.iter().enumerate() {
            step.outputs.iter().filter_map(Location::block).for_each(|block| makers[block].push(at));
            let inputs = step.inputs.iter().enumerate();
            let blocks = inputs.filter_map(|(slot, input)| Some((input.as_ref()?.block()?, slot)));
            blocks.for_each(|(block, slot)| readers[block].push((at, slot)));
        }
        for state in draft.states.iter().flatten() {
            if let Place::Arena(block) = state.place {
                values[block] += 1;
            }
        }
        Joining { graph, draft, makers, readers, values }
    }

    fn node(&self, at: usize) -> &'a Node {
        &self.graph.nodes[self.draft.steps[at].node]
    }

    /// Whether the inputs of a Concat lie side by side already, and those who read the output can read it there.
    fn is_part(&mut self, at: usize, axis: usize) -> bool {
        let step = &self.draft.steps[at];
        let (Some(Some(first)), out) = (step.inputs.first(), &step.outputs[0]) else { return false };
        let (rows, width) = extents(&out.info, axis);
        let row = if rows == 1 { out.row } else { first.row };
        let len = rows_apart(rows, width, row) * out.info.dtype.size();
        let whole = Location { row, len, info: out.info, ..first.clone() };
        let mut start = 0;
        let side_by_side = step.inputs.iter().flatten().all(|input| {
            let part = whole.part(axis, start, &input.info);
            start += extents(&input.info, axis).1;
            part.as_ref() == Some(input)
        });
        side_by_side && self.sole_maker(at, self.node(at).outputs[0]) == Some(at) && self.relocate(at, None, whole)
    }

    /// Lets the steps that make the inputs of a Concat write them to their places in its output, and its kernel leave these
    /// out; tells whether there is nothing else to do.
    fn is_made(&mut self, at: usize, axis: usize) -> bool {
        let out = self.draft.steps[at].outputs[0].clone();
        let (mut start, mut left) = (0, 0);
        for slot in 0..self.draft.steps[at].inputs.len() {
            let Some(input) = &self.draft.steps[at].inputs[slot] else { continue };
            let part = out.part(axis, start, &input.info);
            start += extents(&input.info, axis).1;
            let maker = self.node(at).inputs[slot].and_then(|id| self.maker(input, id));
            if let (Some(part), Some(maker)) = (part, maker)
                && self.relocate(maker, Some((at, slot)), part)
            {
                let step = &mut self.draft.steps[at];
                step.inputs[slot] = None;
                step.work.cpu_mut().into_iter().for_each(|kernel| kernel.leave_out(slot));
            } else {
                left += 1;
            }
        }
        left == 0
    }

    /// The step that makes a value, and nothing else, in a block of its own.
    fn maker(&self, value: &Location, id: ValueId) -> Option<usize> {
        let [maker] = self.makers[value.block()?][..] else { return None };
        self.sole_maker(maker, id)
    }

    /// The step, if it makes this value, and nothing else, in a block of its own.
    fn sole_maker(&self, at: usize, id: ValueId) -> Option<usize> {
        let [out] = &self.draft.steps[at].outputs[..] else { return None };
        let block = out.block()?;
        (self.node(at).outputs[0] == id && self.makers[block] == [at] && self.values[block] == 1).then_some(at)
    }

    /// Lets those who read what a step makes read it at another place, but for a Concat that has it in its output there;
    /// then the step writes it there too. False, and nothing has changed, if one of them cannot.
    fn relocate(&mut self, maker: usize, concat: Option<(usize, usize)>, to: Location) -> bool {
        let from = self.draft.steps[maker].outputs[0].clone();
        let (Some(block), id) = (from.block(), self.node(maker).outputs[0]) else { return false };
        let readers = &self.readers[block];
        let others: Vec<(usize, usize)> = readers.iter().copied().filter(|&r| Some(r) != concat).collect();
        // Who else reads it is not a step of this segment.
        let known = self.draft.uses[id.0 as usize] == readers.len() && concat.is_none_or(|c| readers.contains(&c));
        let steps = &mut self.draft.steps;
        // A kernel finds nothing of what it writes among what it reads.
        let writes = |at: usize| steps[at].outputs.iter().any(|output| output.overlaps(&to));
        let reads = |at: usize| steps[at].inputs.iter().flatten().any(|input| input.overlaps(&to));
        let crossed = others.iter().any(|&(at, _)| writes(at)) || concat.is_some() && reads(maker);
        if !known || crossed {
            return false;
        }
        let mut set = |row: usize| {
            concat.is_none_or(|_| steps[maker].work.cpu_mut().is_some_and(|kernel| kernel.set_apart(row)))
                && others
                    .iter()
                    .all(|&(at, slot)| steps[at].work.cpu_mut().is_some_and(|kernel| kernel.read_apart(slot, row)))
        };
        if to.row != from.row && !set(to.row) {
            set(from.row);
            return false;
        }
        others.iter().for_each(|&(at, slot)| steps[at].inputs[slot] = Some(to.clone()));
        if concat.is_some() {
            steps[maker].outputs[0] = to;
        }
        true
    }
}

impl Location {
    fn block(&self) -> Option<usize> {
        match self.place {
            Place::Arena(block) => Some(block),
            _ => None,
        }
    }

    fn overlaps(&self, other: &Location) -> bool {
        let ends = (self.offset + self.len, other.offset + other.len);
        self.place == other.place && self.offset < ends.1 && other.offset < ends.0
    }

    /// Where a tensor is that is joined with others along `axis` to one at this place, from element `start` of each row
    /// on. None where that has gaps other than between rows along the last dimension.
    fn part(&self, axis: usize, start: usize, info: &TensorInfo) -> Option<Location> {
        let ((rows, width), size) = (extents(info, axis), info.dtype.size());
        let row = if rows == 1 { width_of(info) } else { self.row };
        let fits = rows * width > 0 && (rows == 1 && self.row == width_of(&self.info) || axis + 1 == info.dims.len());
        let (offset, len) = (self.offset + start * size, rows_apart(rows, width, row) * size);
        fits.then(|| Location { place: self.place.clone(), offset, info: *info, row, len })
    }
}

/// How many rows are joined along `axis`, and their elements.
fn extents(info: &TensorInfo, axis: usize) -> (usize, usize) {
    (info.dims[..axis].iter().product(), info.dims[axis..].iter().product())
}
