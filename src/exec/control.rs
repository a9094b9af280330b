//! Nodes that run by themselves between segments: control flow, and operators whose results' extents depend on data.

use super::check::census;
use super::segment::view;
use super::{Executor, Sink, Source, Workspace, location};
use crate::error::{Error, Result};
use crate::graph::{GraphId, Node, NodeKind, ValueId};
use crate::ops::{Tensor, TensorInfo};
use crate::plan::{Location, Place, Segment};
use crate::tensor::{Blob, Buffer, DType, Dims, OutView};
use std::time::Instant;

/// Most bytes that the scanned outputs of a Loop may take together with what they grow from.
const MAX_SCAN_BYTES: usize = isize::MAX as usize / 4;

/// Memory for a body's outputs.
#[derive(Default)]
struct Outputs(Vec<(TensorInfo, Buffer)>);

impl Sink for Outputs {
    fn memory(&mut self, _index: usize, info: &TensorInfo, len: usize) -> Result<OutView<'_>> {
        self.0.push((*info, Buffer::zeroed(len)?));
        let (info, buffer) = self.0.last_mut().expect("just pushed");
        Ok(OutView::new(buffer, info.dtype))
    }
}

impl Executor<'_> {
    /// Runs the node after a segment, keeps its outputs and returns what they are.
    pub(super) fn dynamic(
        &self,
        graph: GraphId,
        segment: &Segment,
        workspace: &mut Workspace,
        inputs: &[Source<'_>],
    ) -> Result<Vec<TensorInfo>> {
        let node = &self.prepared.program.graphs[graph.0 as usize].nodes[segment.next_node];
        let begun = self.control.profile.map(|profile| (profile, Instant::now()));
        let outputs =
            self.run_node(node, segment, workspace, inputs).map_err(|e| e.at_node(&node.name, node.kind.name()))?;
        if let Some((profile, begun)) = begun {
            let info = |id: &Option<ValueId>| id.and_then(|id| Some(location(segment, id).ok()?.info));
            let infos = (node.inputs.iter().map(info).collect(), outputs.iter().map(|t| t.info).collect());
            profile.dynamic(&self.prepared.program, (graph, segment.next_node), infos, begun.elapsed());
        }
        let mut made = vec![];
        for (id, tensor) in node.outputs.iter().zip(&outputs) {
            workspace.keep(id.0 as usize, tensor.data.len())?[..tensor.data.len()].copy_from_slice(&tensor.data);
            made.push(Location::whole(Place::Kept(*id), tensor.info, tensor.data.len()));
        }
        if self.prepared.check && matches!(node.kind, NodeKind::Op(_)) {
            let read = |id: &Option<ValueId>| id.map(|id| location(segment, id)).transpose();
            let read = node.inputs.iter().map(read).collect::<Result<Vec<_>>>()?;
            let mut count = |at: &Location| Ok(census(at, workspace, inputs, &[]));
            self.check((graph, segment.next_node), &read, &made, &mut count)?;
        }
        Ok(outputs.iter().take(node.outputs.len()).map(|t| t.info).collect())
    }

    fn run_node(
        &self,
        node: &Node,
        segment: &Segment,
        workspace: &mut Workspace,
        inputs: &[Source<'_>],
    ) -> Result<Vec<Tensor>> {
        let mut read = |id: &Option<ValueId>| -> Result<Option<Tensor>> {
            let Some(id) = id else { return Ok(None) };
            let location = location(segment, *id)?;
            let view = view(&location, workspace, inputs, &[]);
            Ok(Some(Tensor { info: location.info, data: Blob::copy_of(view.bytes())? }))
        };
        let operands = node.inputs.iter().map(&mut read).collect::<Result<Vec<_>>>()?;
        match &node.kind {
            NodeKind::Op(op) => op.run_dynamic(&operands),
            NodeKind::If { then_branch, else_branch } => {
                let condition = scalar::<u8>(operands.first())?.ok_or_else(|| Error::invalid("no condition"))? != 0;
                let branch = if condition { *then_branch } else { *else_branch };
                self.body(branch, workspace, &present(&operands[1..])?)
            }
            NodeKind::Loop { body, carried } => self.run_loop(*body, *carried, workspace, &operands),
        }
    }

    fn run_loop(
        &self,
        body: GraphId,
        carried: usize,
        workspace: &mut Workspace,
        operands: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>> {
        let trips = scalar::<i64>(operands.first())?.unwrap_or(i64::MAX);
        let mut condition = scalar::<u8>(operands.get(1))?.unwrap_or(1);
        let passed = present(operands.get(2..).unwrap_or(&[]))?;
        let (mut state, unchanged) = (passed[..carried].to_vec(), &passed[carried..]);
        let mut scans: Vec<Scan> = self.scans(body, carried);
        let mut trip = 0i64;
        while trip < trips && condition != 0 {
            self.control.check()?;
            let mut arguments = vec![Tensor::new(&[], &[trip])?, truth(condition)?];
            arguments.extend(state.iter().chain(unchanged).cloned());
            let mut results = self.body(body, workspace, &arguments)?.into_iter();
            condition = scalar::<u8>(Some(&results.next()))?.unwrap_or(0);
            state = results.by_ref().take(carried).collect();
            scans.iter_mut().zip(results).try_for_each(|(scan, result)| scan.push(&result))?;
            trip += 1;
        }
        let scanned = scans.into_iter().map(|scan| scan.finish(trip)).collect::<Result<Vec<_>>>()?;
        Ok(state.into_iter().chain(scanned).collect())
    }

    fn scans(&self, body: GraphId, carried: usize) -> Vec<Scan> {
        let g = &self.prepared.program.graphs[body.0 as usize];
        let scan = |&v: &ValueId| {
            let ty = &g.value(v).ty;
            let dims: Vec<usize> = ty.shape.iter().map(|d| d.fixed().unwrap_or(0).max(0) as usize).collect();
            Scan { dtype: ty.dtype, dims: Dims::new(&dims), bytes: vec![] }
        };
        g.outputs[1 + carried..].iter().map(scan).collect()
    }

    /// Runs a body and returns its outputs.
    fn body(&self, graph: GraphId, workspace: &mut Workspace, arguments: &[Tensor]) -> Result<Vec<Tensor>> {
        let sources: Vec<Source<'_>> =
            arguments.iter().map(|t| Source { info: t.info, view: t.view(), device: None }).collect();
        let first = self.prepared.first(graph, sources.iter().map(|s| s.info), &[])?;
        let mut own = workspace.take_body(graph);
        let mut outputs = Outputs::default();
        let result = self.run(graph, first, &mut own, &sources, &mut outputs);
        workspace.put_body(graph, own);
        result?;
        Ok(outputs.0.into_iter().map(|(info, buffer)| Tensor { info, data: Blob::new(buffer) }).collect())
    }
}

/// Results of one kind from all trips of a Loop.
struct Scan {
    dtype: DType,
    dims: Dims,
    bytes: Vec<u8>,
}

impl Scan {
    fn push(&mut self, result: &Tensor) -> Result<()> {
        if !self.bytes.is_empty() && self.dims != result.info.dims {
            let (a, b) = (self.dims, result.info.dims);
            return Err(Error::shape(format!("trips of the loop return {a:?} and {b:?} to be stacked")));
        }
        self.dims = result.info.dims;
        let more = result.data.len();
        let fits = self.bytes.len().checked_add(more).is_some_and(|n| n <= MAX_SCAN_BYTES);
        if !fits || self.bytes.try_reserve(more).is_err() {
            return Err(Error::no_memory("the stacked results of the loop's trips do not fit into memory"));
        }
        self.bytes.extend_from_slice(&result.data);
        Ok(())
    }

    fn finish(self, trips: i64) -> Result<Tensor> {
        let mut dims = Dims::new(&[trips as usize]);
        self.dims.iter().for_each(|&d| dims.push(d));
        Ok(Tensor { info: TensorInfo { dtype: self.dtype, dims }, data: Blob::copy_of(&self.bytes)? })
    }
}

fn truth(condition: u8) -> Result<Tensor> {
    let info = TensorInfo { dtype: DType::Bool, dims: Dims::default() };
    Ok(Tensor { info, data: Blob::copy_of(&[condition])? })
}

/// The element of a tensor of one element; None for an absent one.
fn scalar<T: crate::tensor::Element>(tensor: Option<&Option<Tensor>>) -> Result<Option<T>> {
    let Some(Some(tensor)) = tensor else { return Ok(None) };
    match tensor.elements::<T>() {
        [element] => Ok(Some(*element)),
        _ => Err(Error::shape(format!("{:?}, where one element is needed", tensor.info.dims))),
    }
}

fn present(tensors: &[Option<Tensor>]) -> Result<Vec<Tensor>> {
    let absent = || Error::invalid("an input of control flow is absent");
    tensors.iter().map(|t| t.clone().ok_or_else(absent)).collect()
}
