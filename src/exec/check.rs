//! Checking what each step computes: the first one that makes a NaN or an infinity out of finite numbers ends the run.

use super::segment::view;
use super::{Executor, Source, Workspace};
use crate::error::{Error, Result, Status};
use crate::graph::{GraphId, NodeKind};
use crate::ops::{Op, TensorInfo};
use crate::plan::{Location, Segment};
use crate::tensor::{Census, DType, OutView};
use std::fmt::Write;
use std::ops::Range;

/// Counts the numbers of an operand, wherever it is.
pub(super) type Count<'a> = &'a mut dyn FnMut(&Location) -> Result<Census>;

impl Executor<'_> {
    /// An error if an input of the run, in whichever memory, has a number that is not finite.
    pub fn check_input(&self, workspace: &mut Workspace, input: &Source<'_>) -> Result<()> {
        let census = match input.device {
            None => Census::of(&input.view),
            #[cfg(feature = "cuda")]
            Some(address) => self.count_on_device(workspace, address, &input.info)?,
            #[cfg(not(feature = "cuda"))]
            Some(_) => return Err(Error::internal(format!("an input on a GPU, and {:?}", workspace.occupied()))),
        };
        if census.wrong() == 0 { Ok(()) } else { Err(not_finite(wrong(&input.info, &census))) }
    }

    /// Runs phases on the processor, step by step, and checks each.
    pub(super) fn phases_checked(
        &self,
        graph: GraphId,
        (segment, mut phases): (&Segment, Range<usize>),
        workspace: &mut Workspace,
        inputs: &[Source<'_>],
        outputs: &[OutView<'static>],
    ) -> Result<()> {
        while let Some(first) = segment.phases[phases.clone()].first() {
            let of_step = segment.phases[phases.clone()].iter().take_while(|phase| phase.step == first.step).count();
            self.phases(graph, segment, phases.start..phases.start + of_step, workspace)?;
            phases.start += of_step;
            let step = &segment.steps[first.step];
            let mut count = |at: &Location| Ok(census(at, workspace, inputs, outputs));
            self.check((graph, step.node), &step.inputs, &step.outputs, &mut count)?;
        }
        Ok(())
    }

    /// An error that describes the first of `outputs`, which a step of a node has made of `inputs`, that has a number that is not
    /// finite. Infinities that an input has as well have been passed on: models have them in masks.
    pub(super) fn check(
        &self,
        node: (GraphId, usize),
        inputs: &[Option<Location>],
        outputs: &[Location],
        count: Count<'_>,
    ) -> Result<()> {
        for (index, output) in outputs.iter().enumerate() {
            let found = count(output)?;
            if found.wrong() == 0 {
                continue;
            }
            let floats = inputs.iter().flatten().filter(|input| input.info.dtype.is_float());
            let read = floats.map(|input| Ok((input, count(input)?))).collect::<Result<Vec<_>>>()?;
            if found.nan > 0 || read.iter().all(|(_, census)| census.infinite == 0) {
                return Err(self.failure(node, (index, output, &found), &read));
            }
        }
        Ok(())
    }

    fn failure(
        &self,
        (graph, index): (GraphId, usize),
        (output, at, found): (usize, &Location, &Census),
        read: &[(&Location, Census)],
    ) -> Error {
        let graph = &self.prepared.program.graphs[graph.0 as usize];
        let node = &graph.nodes[index];
        let mut text = match (&node.kind, read) {
            // What a node of another kind reads in another type was converted for it.
            (kind, [(from, _)]) if from.info.dtype != at.info.dtype && !matches!(kind, NodeKind::Op(Op::Cast(_))) => {
                "an input, converted for the node".to_owned()
            }
            _ => match node.outputs.get(output).map(|&id| &graph.value(id).name) {
                Some(name) if !name.is_empty() => format!("output {output} '{name}'"),
                _ => format!("output {output}"),
            },
        };
        let _ = write!(text, ": {}", wrong(&at.info, found));
        let computed = node.outputs.get(output).map(|&id| graph.value(id).ty.dtype);
        if at.info.dtype == DType::F16 && computed != Some(DType::F16) {
            text += "; f16 ends at 65504: keep the node in f32, or compute in bf16";
        }
        for (i, (input, census)) in read.iter().enumerate() {
            let _ = write!(text, "{} {}", if i == 0 { "; it has read" } else { "," }, operand(input, census));
        }
        not_finite(text).at_node(&node.name, node.kind.name())
    }
}

fn not_finite(text: String) -> Error {
    Error::new(Status::NotFinite, text)
}

/// What is wrong with a tensor.
fn wrong(info: &TensorInfo, census: &Census) -> String {
    let Census { nan, infinite, first, .. } = *census;
    let of = format!("{} of {} values of {}{:?} are not finite", census.wrong(), info.numel(), info.dtype, info.dims);
    format!("{of} ({nan} NaN, {infinite} infinite), the first at {:?}", position(info, first.unwrap_or(0)))
}

/// The indices of an element.
fn position(info: &TensorInfo, index: u64) -> Vec<u64> {
    let mut rest = index;
    let mut indices: Vec<u64> = info
        .dims
        .iter()
        .rev()
        .map(|&extent| {
            let extent = extent.max(1) as u64;
            let at = rest % extent;
            rest /= extent;
            at
        })
        .collect();
    indices.reverse();
    indices
}

/// What a step has read.
fn operand(at: &Location, census: &Census) -> String {
    let kind = if at.place.is_constant() { "the constant " } else { "" };
    let mut text = format!("{kind}{}{:?} up to {:.4e}", at.info.dtype, at.info.dims, census.largest);
    if census.wrong() > 0 {
        let _ = write!(text, " with {} NaN and {} infinite", census.nan, census.infinite);
    }
    text
}

/// Counts an operand in the host's memory.
pub(super) fn census(
    at: &Location,
    workspace: &mut Workspace,
    inputs: &[Source<'_>],
    outputs: &[OutView<'static>],
) -> Census {
    let (view, width) = (view(at, workspace, inputs, outputs), at.info.dims.last().copied().unwrap_or(1));
    // Packed constants are longer than their rows tell.
    if at.row == width { Census::of(&view) } else { Census::of_rows(&view, width, at.row) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Dims;

    #[test]
    fn an_index_is_told_by_axis() {
        let info = |dims: &[usize]| TensorInfo { dtype: DType::F32, dims: Dims::new(dims) };
        assert_eq!(position(&info(&[2, 3, 4]), 23), [1, 2, 3]);
        assert_eq!(position(&info(&[2, 3, 4]), 4), [0, 1, 0]);
        assert_eq!(position(&info(&[]), 0), [0u64; 0]);
    }
}
