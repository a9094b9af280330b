//! Which steps run on a GPU, and the copies between its memory and the host's that follow from that.
//!
//! A node runs on the GPU if its operator has a kernel for its operands there. What the host needs stays with it if it can be
//! computed from integers alone that are in its memory: shapes, conditions, small outputs. A value is copied when the first step
//! needs it where it is not, and then is in both memories until the segment ends; what outlives the segment goes to the host's.

use super::memory::Block;
use super::resolve::{Draft, Resolver, is_small};
use super::{End, Known, Location, Place, Precision, Step, Work};
use crate::cuda::Weights;
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, NodeKind, ValueId};
use crate::ops::{Cast, CudaKernel, Op, Operand, Prepare, PrepareCuda, TensorInfo};
use crate::tensor::{Buffer, DType, Dim, Layout, TensorType, View};

/// A GPU as plans see it.
pub struct Cuda {
    /// The model's constants in its memory.
    pub weights: Weights,
    /// How it computes.
    pub precision: Precision,
    /// Names of nodes that compute in f32 nevertheless.
    pub keep_f32: Vec<String>,
}

impl Cuda {
    /// The type in which a node reads and writes its f32 operands.
    fn float_of(&self, node: &Node, op: &Op) -> DType {
        if self.keep_f32.contains(&node.name) { DType::F32 } else { self.precision.of(op) }
    }

    fn prepare<'a>(&'a self, operands: &'a Prepare<'a>) -> PrepareCuda<'a> {
        PrepareCuda { device: self.weights.device(), tf32: self.precision == Precision::Tf32, operands }
    }
}

impl Resolver<'_> {
    /// Adds the step of a node if it runs on the GPU; tells whether it does.
    pub(super) fn cuda_step(
        &self,
        draft: &mut Draft,
        index: usize,
        op: &Op,
        types: &[TensorType],
        infos: &[TensorInfo],
    ) -> Result<bool> {
        let (Some(cuda), node) = (self.cuda, &self.graph.nodes[index]) else { return Ok(false) };
        if self.belongs_to_host(draft, node, infos)? {
            return Ok(false);
        }
        let preferred = cuda.float_of(node, op);
        // What has no kernel for the smaller type may have one for the model's.
        for float in [preferred, DType::F32] {
            let stored = |info: &TensorInfo| TensorInfo { dtype: narrowed(info.dtype, float), ..*info };
            let outputs: Vec<TensorInfo> = infos.iter().map(stored).collect();
            if let Some(kernel) = self.cuda_kernel(draft, node, (op, float), &outputs, cuda)? {
                self.add_cuda(draft, index, kernel, (types, &outputs, float), cuda)?;
                return Ok(true);
            }
            if float == DType::F32 {
                break;
            }
        }
        Ok(false)
    }

    fn add_cuda(
        &self,
        draft: &mut Draft,
        index: usize,
        kernel: CudaKernel,
        (types, infos, float): (&[TensorType], &[TensorInfo], DType),
        cuda: &Cuda,
    ) -> Result<()> {
        let node = &self.graph.nodes[index];
        let mut inputs = vec![];
        for id in &node.inputs {
            inputs.push(id.map(|id| self.on_device(draft, (id, float), index, cuda)).transpose()?);
        }
        let mut outputs = vec![];
        for ((&id, ty), info) in node.outputs.iter().zip(types).zip(infos) {
            let at = draft.device_block(*info)?;
            let known = Known { stored: info.dtype, ..Known::new(ty.clone(), at.place.clone()) };
            draft.states[id.0 as usize] = Some(known);
            outputs.push(at);
        }
        draft.device_step(index, Work::Cuda(kernel), inputs, outputs);
        Ok(())
    }

    /// Whether a node has nothing to do with the GPU: it is computed now, from constants, or for the host, from integers that are
    /// in its memory.
    fn belongs_to_host(&self, draft: &Draft, node: &Node, outputs: &[TensorInfo]) -> Result<bool> {
        let mut constant = true;
        let mut here = true;
        for id in node.inputs.iter().flatten() {
            let place = &draft.known(*id)?.place;
            constant &= matches!(place, Place::Constant(_));
            here &= !place.is_device();
        }
        let needed = |id: &ValueId| draft.for_host[id.0 as usize];
        Ok(constant && is_small(outputs) || here && is_of_integers(self.graph, node) && node.outputs.iter().any(needed))
    }

    /// The kernel of a node whose f32 operands are of type `float` on the GPU.
    fn cuda_kernel(
        &self,
        draft: &Draft,
        node: &Node,
        (op, float): (&Op, DType),
        outputs: &[TensorInfo],
        cuda: &Cuda,
    ) -> Result<Option<CudaKernel>> {
        let locate = |id: &Option<ValueId>| id.map(|id| self.location(draft, id)).transpose();
        let locations = node.inputs.iter().map(locate).collect::<Result<Vec<_>>>()?;
        let mut inputs: Vec<Option<Operand<'_>>> = vec![];
        for (id, at) in node.inputs.iter().zip(&locations) {
            let Some((id, at)) = id.zip(at.as_ref()) else {
                inputs.push(None);
                continue;
            };
            let dtype = narrowed(draft.known(id)?.ty.dtype, float);
            inputs.push(Some(self.cuda_operand(id, at, dtype)));
        }
        let operands =
            Prepare { isa: self.isa, threads: self.threads, inputs: &inputs, outputs, derived: self.derived };
        op.prepare_cuda(&cuda.prepare(&operands))
    }

    /// What kernels are told of an input: it is row-major on the GPU. Data of constants is there if it is of the same type.
    fn cuda_operand<'l>(&self, id: ValueId, at: &'l Location, dtype: DType) -> Operand<'l> {
        let data = match &at.place {
            Place::Constant(data) if self.layout(id) == Layout::RowMajor && at.info.dtype == dtype => {
                Some(View::new(data, dtype))
            }
            _ => None,
        };
        Operand { info: TensorInfo { dtype, ..at.info }, data, layout: Layout::RowMajor }
    }

    /// Where a value is in the GPU's memory, with `float` in the place of f32; it is copied there now if it is not.
    fn on_device(
        &self,
        draft: &mut Draft,
        (id, float): (ValueId, DType),
        node: usize,
        cuda: &Cuda,
    ) -> Result<Location> {
        let from = self.location(draft, id)?;
        let known = draft.known(id)?;
        let dtype = narrowed(known.ty.dtype, float);
        let there: Vec<&Location> =
            [&from].into_iter().chain(&known.copies).filter(|at| at.place.is_device()).collect();
        if let Some(&found) = there.iter().find(|at| at.info.dtype == dtype) {
            return Ok(found.clone());
        }
        let to = match (there.first().map(|&at| at.clone()), &from.place) {
            (Some(there), _) => self.cast(draft, there, dtype, node, cuda)?,
            (None, Place::Constant(data)) => {
                let form = (from.info.dtype, &from.info.dims, self.layout(id));
                // What is not the model's comes and goes with the segment.
                let kept = self.graph.value(id).constant.is_some();
                let memory = cuda.weights.upload(data, form, dtype, kept)?;
                let len = memory.len();
                Location::whole(Place::Weights(memory), TensorInfo { dtype, ..from.info }, len)
            }
            (None, _) => {
                let uploaded = draft.device_block(from.info)?;
                let staging = draft.stage(uploaded.len);
                draft.device_step(node, Work::Upload(staging), vec![Some(from)], vec![uploaded.clone()]);
                draft.add_copy(id, uploaded.clone());
                if uploaded.info.dtype == dtype {
                    return Ok(uploaded);
                }
                self.cast(draft, uploaded, dtype, node, cuda)?
            }
        };
        draft.add_copy(id, to.clone());
        Ok(to)
    }

    /// Adds a step that converts a tensor on the GPU.
    fn cast(&self, draft: &mut Draft, from: Location, to: DType, node: usize, cuda: &Cuda) -> Result<Location> {
        let made = TensorInfo { dtype: to, ..from.info };
        let input = Operand { info: from.info, data: None, layout: Layout::RowMajor };
        let operands = Prepare {
            isa: self.isa,
            threads: self.threads,
            inputs: &[Some(input)],
            outputs: &[made],
            derived: self.derived,
        };
        let kernel = Op::from(Cast { to }).prepare_cuda(&cuda.prepare(&operands))?;
        let missing = || Error::unsupported(format!("{}{:?} as {to} on a GPU", from.info.dtype, from.info.dims));
        let (kernel, to) = (kernel.ok_or_else(missing)?, draft.device_block(made)?);
        draft.device_step(node, Work::Cuda(kernel), vec![Some(from)], vec![to.clone()]);
        Ok(to)
    }

    /// Where a value is in the host's memory, to which it is copied now if it is not there.
    pub(super) fn on_host(&self, draft: &mut Draft, id: ValueId, node: usize) -> Result<Location> {
        let from = self.location(draft, id)?;
        let known = draft.known(id)?;
        if let Some(found) = [&from].into_iter().chain(&known.copies).find(|at| !at.place.is_device()) {
            return Ok(found.clone());
        }
        let (cuda, dtype) = (self.cuda.ok_or_else(|| Error::internal("no GPU, and a value on it"))?, known.ty.dtype);
        let from = self.on_device(draft, (id, dtype), node, cuda)?;
        let len = from.info.byte_len()?;
        let to = Location::whole(draft.block(len), from.info, len);
        let staging = draft.stage(len);
        draft.device_step(node, Work::Download(staging), vec![Some(from)], vec![to.clone()]);
        draft.add_copy(id, to.clone());
        Ok(to)
    }

    /// Brings what is needed after the segment to where it is needed: to the host's memory, or to the outputs that the caller has
    /// in the GPU's. Returns the locations of the latter, for the last segment.
    pub(super) fn bring_home(&self, draft: &mut Draft, next_node: usize, end: &End) -> Result<Vec<Option<Location>>> {
        let node = next_node.saturating_sub(1);
        let mut delivered = vec![];
        if *end == End::Done {
            for (i, &id) in self.graph.outputs.iter().enumerate() {
                let resident = draft.resident.get(i) == Some(&true);
                delivered.push(if resident { Some(self.deliver(draft, i, id, node)?) } else { None });
            }
        }
        let outputs = self.graph.outputs.iter().enumerate();
        let outputs = outputs.filter(|(i, _)| !matches!(delivered.get(*i), Some(Some(_)))).map(|(_, &id)| id);
        let outputs: Vec<ValueId> = outputs.collect();
        let inputs = |nodes: &[Node]| nodes.iter().flat_map(|n| n.inputs.iter().flatten().copied()).collect();
        let (now, later): (Vec<ValueId>, Vec<ValueId>) = match *end {
            End::Done => (outputs, vec![]),
            // The next node runs on the host, or its inputs are read there.
            _ => {
                let (next, rest) = self.graph.nodes[next_node..].split_at(1);
                (inputs(next), [inputs(rest), outputs].concat())
            }
        };
        for id in now {
            self.bring(draft, id, node)?;
        }
        for id in later {
            // The caller's inputs stay where they are.
            let stays = |s: &Known| matches!(s.place, Place::DeviceInput(_));
            if !draft.states[id.0 as usize].as_ref().is_some_and(stays) {
                self.bring(draft, id, node)?;
            }
        }
        Ok(delivered)
    }

    /// Makes the host's memory the place of a value that is on the GPU.
    fn bring(&self, draft: &mut Draft, id: ValueId, node: usize) -> Result<()> {
        if draft.states[id.0 as usize].as_ref().is_some_and(|s| s.place.is_device()) {
            let home = self.on_host(draft, id, node)?;
            let state = draft.states[id.0 as usize].as_mut().ok_or_else(|| Error::internal("a value is gone"))?;
            (state.place, state.stored) = (home.place, home.info.dtype);
        }
        Ok(())
    }

    /// Puts a value where the caller has an output in the GPU's memory.
    fn deliver(&self, draft: &mut Draft, output: usize, id: ValueId, node: usize) -> Result<Location> {
        let cuda =
            self.cuda.ok_or_else(|| Error::device("an output is in a GPU's memory, and the session has none"))?;
        let dtype = draft.known(id)?.ty.dtype;
        let from = self.on_device(draft, (id, dtype), node, cuda)?;
        let to = Location::whole(Place::DeviceOutput(output), from.info, from.info.byte_len()?);
        if from.len == 0 {
            return Ok(to);
        }
        draft.device_step(node, Work::Move, vec![Some(from)], vec![to.clone()]);
        Ok(to)
    }
}

/// Which values something on the host is computed from by way of integers alone: outputs of the graph, and what control flow and
/// nodes whose shapes depend on data read.
pub(super) fn for_host(graph: &Graph) -> Vec<bool> {
    let mut needed = vec![false; graph.values.len()];
    graph.outputs.iter().for_each(|id| needed[id.0 as usize] = true);
    for node in graph.nodes.iter().rev() {
        let of_integers = is_of_integers(graph, node) && node.outputs.iter().any(|id| needed[id.0 as usize]);
        if of_integers || is_dynamic(graph, node) {
            node.inputs.iter().flatten().for_each(|id| needed[id.0 as usize] = true);
        }
    }
    needed
}

/// Whether all operands of a node are integers or booleans.
fn is_of_integers(graph: &Graph, node: &Node) -> bool {
    let mut operands = node.inputs.iter().flatten().chain(&node.outputs);
    operands.all(|&id| !graph.value(id).ty.dtype.is_float())
}

/// Whether a node is control flow, or has extents that no shapes tell.
fn is_dynamic(graph: &Graph, node: &Node) -> bool {
    let unknown = |&id: &ValueId| graph.value(id).ty.shape.iter().any(Dim::is_unknown);
    !matches!(node.kind, NodeKind::Op(_)) || node.outputs.iter().any(unknown)
}

/// The type of an operand on the GPU, with `float` in the place of f32.
fn narrowed(dtype: DType, float: DType) -> DType {
    if dtype == DType::F32 { float } else { dtype }
}

impl Draft {
    /// A new block of the GPU's memory for a tensor.
    fn device_block(&mut self, info: TensorInfo) -> Result<Location> {
        let len = info.byte_len()?;
        self.device_blocks.push(Block { len, first: usize::MAX, last: 0 });
        Ok(Location::whole(Place::Device(self.device_blocks.len() - 1), info, len))
    }

    /// Adds a step on the GPU, or between it and the host.
    fn device_step(&mut self, node: usize, work: Work, inputs: Vec<Option<Location>>, outputs: Vec<Location>) {
        let len = if let Work::Cuda(kernel) = &work { kernel.workspace_bytes() } else { 0 };
        let shared = (self.device_blocks.len(), len);
        self.device_blocks.push(Block { len, first: usize::MAX, last: 0 });
        self.steps.push(Step { node, fused: None, work, inputs, outputs, shared, tables: (0, 0) });
    }

    /// The offset of so many more bytes of pinned memory.
    fn stage(&mut self, len: usize) -> usize {
        let offset = self.staging_bytes;
        self.staging_bytes = offset.saturating_add(len.next_multiple_of(Buffer::ALIGN));
        offset
    }

    fn add_copy(&mut self, id: ValueId, at: Location) {
        if let Some(state) = &mut self.states[id.0 as usize] {
            state.copies.push(at);
        }
    }
}
