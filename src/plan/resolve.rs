//! Resolving a graph for fixed input shapes into segments.

use super::join::join;
use super::memory::{Block, live_bytes, place};
use super::{End, Known, Limits, Location, PhaseOf, Place, Segment, Step, Stretch, Work};
use crate::cpu::isa::Isa;
use crate::error::{Error, Result};
use crate::graph::{Constant, Graph, Node, NodeKind, ValueId};
use crate::ops::{Derived, Inputs, Kernel, Op, Operand, Prepare, Tensor, TensorInfo, execute};
use crate::tensor::{Blob, Buffer, DType, Dim, Layout, Shape, TensorType, View};
use std::sync::atomic::{AtomicU64, Ordering};

/// Results of at most this many bytes are computed while resolving if all inputs are known.
const FOLD_BYTES: usize = 2048;

/// A read at the end of a segment considers tensors of at most this many elements.
const READ_ELEMENTS: usize = TensorType::MAX_VALUES;

/// Resolves one graph.
#[derive(Clone, Copy)]
pub struct Resolver<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// Instruction set that kernels may use.
    pub isa: Isa,
    /// Threads of a run.
    pub threads: usize,
    /// What the session allows.
    pub limits: Limits,
    /// Where kernels keep copies of the model's weights.
    pub derived: &'a Derived,
    /// The GPU that runs what it can.
    #[cfg(feature = "cuda")]
    pub cuda: Option<&'a super::Cuda>,
}

/// A segment in the making.
pub(super) struct Draft {
    pub(super) states: Vec<Option<Known>>,
    pub(super) steps: Vec<Step>,
    /// Arena blocks; until they are placed, [`Place::Arena`] holds an index into this.
    pub(super) blocks: Vec<Block>,
    /// As `blocks`, of the arena in the GPU's memory and [`Place::Device`].
    pub(super) device_blocks: Vec<Block>,
    /// Bytes of pinned memory so far.
    pub(super) staging_bytes: usize,
    /// How often each value is read.
    pub(super) uses: Vec<usize>,
    /// See [`Segment::resident`].
    pub(super) resident: Box<[bool]>,
    /// Which values the host needs; of a run on a GPU.
    #[cfg(feature = "cuda")]
    pub(super) for_host: Vec<bool>,
}

impl Resolver<'_> {
    /// The first segment, for inputs of these dimensions. `resident` tells of each input, then of each output, whether it is in
    /// the memory of the GPU; none is if it is empty.
    pub fn begin(&self, inputs: &[TensorInfo], resident: &[bool]) -> Result<Segment> {
        let mut states: Vec<Option<Known>> = vec![None; self.graph.values.len()];
        for (i, (&id, info)) in self.graph.inputs.iter().zip(inputs).enumerate() {
            states[id.0 as usize] = {
                let on_device = resident.get(i) == Some(&true);
                let place = if on_device { Place::DeviceInput(i) } else { Place::Input(i) };
                Some(Known::new(type_of(info), place))
            };
        }
        for (value, state) in self.graph.values.iter().zip(&mut states) {
            if let Some(constant) = &value.constant {
                *state = Some(Known::new(value.ty.clone(), Place::Constant(constant.data.clone())));
            }
        }
        self.resolve(states, 0, resident.get(inputs.len()..).unwrap_or(&[]))
    }

    /// The segment after one that ended with [`End::Read`], now that these values are known.
    pub fn after_read(&self, segment: &Segment, values: &[(ValueId, Tensor)]) -> Result<Segment> {
        let mut states = segment.states.clone();
        for (id, tensor) in values {
            states[id.0 as usize] = Some(Known::new(tensor.ty(), Place::Constant(tensor.data.clone())));
        }
        self.resolve(states, segment.next_node, &segment.resident)
    }

    /// The segment after one that ended with [`End::Dynamic`]; the node has made these outputs in kept memory.
    pub fn after_dynamic(&self, segment: &Segment, outputs: &[TensorInfo]) -> Result<Segment> {
        let mut states = segment.states.clone();
        for (&id, info) in self.graph.nodes[segment.next_node].outputs.iter().zip(outputs) {
            states[id.0 as usize] = Some(Known::new(type_of(info), Place::Kept(id)));
        }
        self.resolve(states, segment.next_node + 1, &segment.resident)
    }

    fn resolve(&self, states: Vec<Option<Known>>, first: usize, resident: &[bool]) -> Result<Segment> {
        let uses = self.graph.use_counts();
        let (steps, blocks, device_blocks) = (vec![], vec![], vec![]);
        let mut draft = Draft {
            states,
            steps,
            blocks,
            device_blocks,
            staging_bytes: 0,
            uses,
            resident: resident.into(),
            #[cfg(feature = "cuda")]
            for_host: self.cuda.map_or_else(Vec::new, |_| super::cuda::for_host(self.graph)),
        };
        for (i, node) in self.graph.nodes.iter().enumerate().skip(first) {
            let end = self.node(&mut draft, i).map_err(|e| e.at_node(&node.name, node.kind.name()))?;
            if let Some(end) = end {
                return self.finish(draft, i, end);
            }
        }
        self.finish(draft, self.graph.nodes.len(), End::Done)
    }

    /// Adds a node to the draft, unless the segment must end before it.
    fn node(&self, draft: &mut Draft, index: usize) -> Result<Option<End>> {
        let node = &self.graph.nodes[index];
        let NodeKind::Op(op) = &node.kind else { return Ok(Some(End::Dynamic)) };
        let types = self.infer(draft, node, op)?;
        let types = &types[..node.outputs.len().min(types.len())];
        if types.iter().any(|ty| ty.shape.iter().any(Dim::is_unknown)) {
            let unread = self.unread(draft, node);
            return Ok(Some(if unread.is_empty() { End::Dynamic } else { End::Read(unread) }));
        }
        let infos: Vec<TensorInfo> =
            types.iter().map(|ty| TensorInfo::of(ty).ok_or_else(not_fixed)).collect::<Result<_>>()?;
        infos.iter().try_for_each(|info| info.byte_len().map(drop))?;
        if op.is_view() {
            let viewed = draft.state(node.inputs[0])?.viewed(&types[0], infos[0]);
            draft.states[node.outputs[0].0 as usize] = Some(viewed);
            return Ok(None);
        }
        if let Some(known) = types.iter().map(known_value).collect::<Option<Vec<Blob>>>() {
            let outputs = node.outputs.iter().zip(types).zip(known);
            outputs.for_each(|((&id, ty), data)| draft.set(id, ty.clone(), Place::Constant(data)));
            return Ok(None);
        }
        self.step(draft, index, op, types, &infos)?;
        Ok(None)
    }

    fn infer(&self, draft: &Draft, node: &Node, op: &Op) -> Result<Vec<TensorType>> {
        let states: Vec<Option<&Known>> =
            node.inputs.iter().map(|v| v.map(|v| draft.known(v)).transpose()).collect::<Result<_>>()?;
        let types: Vec<Option<&TensorType>> = states.iter().map(|s| s.map(|s| &s.ty)).collect();
        let data: Vec<Option<View<'_>>> =
            node.inputs.iter().zip(&states).map(|(v, s)| v.zip(*s).and_then(|(v, s)| self.data(v, s))).collect();
        op.infer(&Inputs::with_data(&types, &data))
    }

    /// Row-major data of a value that is known.
    fn data<'k>(&self, id: ValueId, state: &'k Known) -> Option<View<'k>> {
        match &state.place {
            Place::Constant(data) if self.layout(id) == Layout::RowMajor => Some(View::new(data, state.ty.dtype)),
            _ => None,
        }
    }

    pub(super) fn layout(&self, id: ValueId) -> Layout {
        self.graph.value(id).constant.as_ref().map_or(Layout::RowMajor, |c: &Constant| c.layout)
    }

    /// Inputs whose data would tell more about the node's shapes.
    fn unread(&self, draft: &Draft, node: &Node) -> Vec<ValueId> {
        let small = |v: &ValueId| {
            let state = draft.states[v.0 as usize].as_ref();
            state.is_some_and(|s| !matches!(s.place, Place::Constant(_)) && s.info().numel() <= READ_ELEMENTS)
        };
        node.inputs.iter().flatten().copied().filter(small).collect()
    }

    fn step(&self, draft: &mut Draft, index: usize, op: &Op, types: &[TensorType], infos: &[TensorInfo]) -> Result<()> {
        let node = &self.graph.nodes[index];
        #[cfg(feature = "cuda")]
        if self.cuda_step(draft, index, op, types, infos)? {
            return Ok(());
        }
        let mut inputs: Vec<Option<Location>> =
            node.inputs.iter().map(|v| v.map(|v| self.on_host(draft, v, index)).transpose()).collect::<Result<_>>()?;
        let (kernel, fused) = match self.fuse(draft, (node, op), &mut inputs, infos)? {
            Some((kernel, fused)) => (kernel, Some(fused)),
            None => {
                let operands = self.operands(node, &inputs);
                let cx = Prepare {
                    isa: self.isa,
                    threads: self.threads,
                    inputs: &operands,
                    outputs: infos,
                    derived: self.derived,
                };
                (op.prepare_cpu(&cx)?, None)
            }
        };
        if is_small(infos) && inputs.iter().flatten().all(|l| matches!(l.place, Place::Constant(_))) {
            for ((&id, ty), tensor) in node.outputs.iter().zip(types).zip(evaluate(&*kernel, &inputs, infos)?) {
                draft.set(id, if ty.value.is_some() { ty.clone() } else { tensor.ty() }, Place::Constant(tensor.data));
            }
            return Ok(());
        }
        let mut outputs = vec![];
        for ((&id, ty), info) in node.outputs.iter().zip(types).zip(infos) {
            let len = info.byte_len()?;
            let place = draft.block(len);
            draft.set(id, ty.clone(), place.clone());
            outputs.push(Location::whole(place, *info, len));
        }
        let shared = (draft.blocks.len(), kernel.shared_bytes());
        draft.block(shared.1);
        let work = Work::Cpu(kernel);
        draft.steps.push(Step { node: index, fused, work, inputs, outputs, shared, tables: (0, 0) });
        Ok(())
    }

    /// Where a value is in the host's memory.
    #[cfg(not(feature = "cuda"))]
    fn on_host(&self, draft: &Draft, id: ValueId, _node: usize) -> Result<Location> {
        self.location(draft, id)
    }

    /// What kernels of the node are told of its inputs.
    pub(super) fn operands<'l>(&self, node: &Node, inputs: &'l [Option<Location>]) -> Vec<Option<Operand<'l>>> {
        let one = |(id, at): (&Option<ValueId>, &'l Option<Location>)| {
            id.zip(at.as_ref()).map(|(id, at)| operand(at, self.layout(id)))
        };
        node.inputs.iter().zip(inputs).map(one).collect()
    }

    /// Where a value is first of all.
    pub(super) fn location(&self, draft: &Draft, id: ValueId) -> Result<Location> {
        let state = draft.known(id)?;
        let info = TensorInfo { dtype: state.stored, ..state.info() };
        let len = match &state.place {
            Place::Constant(data) => data.len(),
            _ => info.byte_len()?,
        };
        Ok(Location::whole(state.place.clone(), info, len))
    }

    /// Places the blocks and closes the segment before node `next_node`.
    fn finish(&self, mut draft: Draft, next_node: usize, end: End) -> Result<Segment> {
        #[cfg(feature = "cuda")]
        let delivered = self.bring_home(&mut draft, next_node, &end)?;
        join(self.graph, &mut draft);
        draft.measure();
        let mut homes = vec![None; draft.blocks.len()];
        let kept = if end == End::Done { vec![] } else { self.keep(&mut draft, next_node, &mut homes)? };
        let outputs = if end == End::Done { self.outputs(&draft, &mut homes)? } else { vec![] };
        #[cfg(feature = "cuda")]
        let outputs: Vec<Location> = delivered.into_iter().zip(outputs).map(|(on, at)| on.unwrap_or(at)).collect();
        // Blocks with a home elsewhere take no room.
        let blocks: Vec<Block> = draft
            .blocks
            .iter()
            .zip(&homes)
            .map(|(b, home)| if home.is_some() { Block { len: 0, ..*b } } else { *b })
            .collect();
        let too_large = || Error::no_memory("the activations' size is beyond the address space");
        let (offsets, arena_bytes) = place(&blocks).ok_or_else(too_large)?;
        let (device_offsets, device_bytes) = place(&draft.device_blocks).ok_or_else(too_large)?;
        self.limits.check(arena_bytes.saturating_add(device_bytes))?;
        let placed = Placed { homes, offsets, device_offsets };
        placed.settle(&mut draft);
        if end != End::Done {
            draft.forget();
        }
        let mut outputs = outputs;
        outputs.iter_mut().for_each(|l| placed.settle_place(&mut l.place));
        let phases = phases(&draft.steps);
        static SEGMENTS: AtomicU64 = AtomicU64::new(0);
        Ok(Segment {
            id: SEGMENTS.fetch_add(1, Ordering::Relaxed),
            parallel: phases.iter().any(|p| p.grid.parts() > 1),
            stretches: stretches(&draft.steps, &phases),
            phases,
            arena_bytes,
            live_bytes: live_bytes(&blocks),
            device_bytes,
            staging_bytes: draft.staging_bytes,
            scratch_bytes: draft.steps.iter().filter_map(|s| Some(s.work.cpu()?.scratch_bytes())).max().unwrap_or(0),
            steps: draft.steps,
            kept,
            outputs,
            next_node,
            end,
            resident: draft.resident,
            states: draft.states,
            next: super::Cache::default(),
        })
    }

    /// Gives values that are needed after the segment a home that outlives it.
    fn keep(&self, draft: &mut Draft, next_node: usize, homes: &mut [Option<Place>]) -> Result<Vec<(ValueId, usize)>> {
        let later = self.graph.nodes[next_node..].iter().flat_map(|n| n.inputs.iter().flatten());
        let mut kept = vec![];
        for &id in later.chain(&self.graph.outputs) {
            let Some(state) = &draft.states[id.0 as usize] else { continue };
            let Place::Arena(block) = state.place else { continue };
            if homes[block].is_none() {
                homes[block] = Some(Place::Kept(id));
                kept.push((id, draft.blocks[block].len));
            }
        }
        Ok(kept)
    }

    /// Locations of the graph's outputs; blocks that can be written where the caller wants them are.
    fn outputs(&self, draft: &Draft, homes: &mut [Option<Place>]) -> Result<Vec<Location>> {
        let mut outputs = vec![];
        for (i, &id) in self.graph.outputs.iter().enumerate() {
            let location = self.location(draft, id)?;
            if let Place::Arena(block) = location.place
                && homes[block].is_none()
            {
                homes[block] = Some(Place::Output(i));
            }
            outputs.push(location);
        }
        Ok(outputs)
    }
}

/// Whether results are computed while resolving if all inputs are known.
pub(super) fn is_small(results: &[TensorInfo]) -> bool {
    let bytes = results.iter().try_fold(0, |n: usize, info| Some(n + info.byte_len().ok()?));
    bytes.is_some_and(|n| n <= FOLD_BYTES)
}

/// Where the blocks of a draft are.
struct Placed {
    /// Of those that are not in the arena.
    homes: Vec<Option<Place>>,
    offsets: Vec<usize>,
    device_offsets: Vec<usize>,
}

impl Placed {
    /// Puts offsets and homes in the place of blocks.
    fn settle(&self, draft: &mut Draft) {
        let mut tables = (0, 0);
        for step in &mut draft.steps {
            let offsets = match step.work.cpu() {
                Some(_) => {
                    step.tables = tables;
                    tables = (tables.0 + step.inputs.len(), tables.1 + step.outputs.len());
                    &self.offsets
                }
                None => &self.device_offsets,
            };
            step.shared.0 = offsets[step.shared.0];
            let inputs = step.inputs.iter_mut().flatten();
            inputs.chain(&mut step.outputs).for_each(|l| self.settle_place(&mut l.place));
        }
        draft.states.iter_mut().flatten().for_each(|s| self.settle_place(&mut s.place));
    }

    fn settle_place(&self, place: &mut Place) {
        match *place {
            Place::Arena(block) => *place = self.homes[block].clone().unwrap_or(Place::Arena(self.offsets[block])),
            Place::Device(block) => *place = Place::Device(self.device_offsets[block]),
            _ => {}
        }
    }
}

impl Draft {
    /// Forgets what was not kept: the arenas are the next segment's.
    fn forget(&mut self) {
        let gone = |s: &Known| matches!(s.place, Place::Arena(_) | Place::Device(_));
        self.states.iter_mut().filter(|s| s.as_ref().is_some_and(gone)).for_each(|s| *s = None);
        self.states.iter_mut().flatten().for_each(|s| s.copies.clear());
    }

    pub(super) fn known(&self, id: ValueId) -> Result<&Known> {
        let missing = || Error::internal(format!("value %{} is read before it is written", id.0));
        self.states.get(id.0 as usize).and_then(Option::as_ref).ok_or_else(missing)
    }

    fn state(&self, id: Option<ValueId>) -> Result<&Known> {
        self.known(id.ok_or_else(|| Error::invalid("input 0 is missing"))?)
    }

    fn set(&mut self, id: ValueId, ty: TensorType, place: Place) {
        self.states[id.0 as usize] = Some(Known::new(ty, place));
    }

    /// A new block, which is nobody's.
    pub(super) fn block(&mut self, len: usize) -> Place {
        self.blocks.push(Block { len, first: usize::MAX, last: 0 });
        Place::Arena(self.blocks.len() - 1)
    }

    /// Finds from when to when each block is used; one that no step uses takes no room.
    fn measure(&mut self) {
        for (at, step) in self.steps.iter().enumerate() {
            let used = |block: &mut Block| (block.first, block.last) = (block.first.min(at), at);
            for location in step.inputs.iter().flatten().chain(&step.outputs) {
                match location.place {
                    Place::Arena(block) => used(&mut self.blocks[block]),
                    Place::Device(block) => used(&mut self.device_blocks[block]),
                    _ => {}
                }
            }
            match step.work.cpu() {
                Some(_) => used(&mut self.blocks[step.shared.0]),
                None => used(&mut self.device_blocks[step.shared.0]),
            }
        }
        let blocks = self.blocks.iter_mut().chain(&mut self.device_blocks);
        blocks.filter(|block| block.first > block.last).for_each(|block| block.len = 0);
    }
}

impl Known {
    /// The same bytes as a tensor of another shape.
    fn viewed(&self, ty: &TensorType, info: TensorInfo) -> Known {
        let copy = |at: &Location| {
            let info = TensorInfo { dtype: at.info.dtype, ..info };
            Location::whole(at.place.clone(), info, at.len)
        };
        let copies = self.copies.iter().map(copy).collect();
        Known { ty: ty.clone(), place: self.place.clone(), stored: self.stored, copies }
    }
}

fn not_fixed() -> Error {
    Error::internal("an extent is not a number although all inputs' are")
}

fn type_of(info: &TensorInfo) -> TensorType {
    TensorType::new(info.dtype, Shape::fixed(&info.dims).unwrap_or_default())
}

fn operand(location: &Location, layout: Layout) -> Operand<'_> {
    let data = match &location.place {
        Place::Constant(data) => Some(View::new(data, location.info.dtype)),
        _ => None,
    };
    Operand { info: location.info, data, layout }
}

/// The bytes of a tensor whose elements are all known as numbers.
fn known_value(ty: &TensorType) -> Option<Blob> {
    let value = ty.fixed_value()?;
    let buffer = match ty.dtype {
        DType::I64 => Buffer::from_elements(&value),
        DType::I32 => Buffer::from_elements(&value.iter().map(|&v| v as i32).collect::<Vec<_>>()),
        DType::Bool => Buffer::from_elements(&value.iter().map(|&v| u8::from(v != 0)).collect::<Vec<_>>()),
        _ => return None,
    };
    buffer.ok().map(Blob::new)
}

/// Runs a kernel whose inputs are all constants.
fn evaluate(kernel: &dyn Kernel, inputs: &[Option<Location>], infos: &[TensorInfo]) -> Result<Vec<Tensor>> {
    let operands = inputs.iter().map(|l| l.as_ref().map(|l| operand(l, Layout::RowMajor)));
    let views: Vec<Option<View<'_>>> = operands.map(|o| o.and_then(|o| o.data)).collect();
    execute(kernel, &views, infos)
}

/// The phases of all steps on the processor; two single-part phases in a row run on the same thread, which waits for nobody
/// between them.
fn phases(steps: &[Step]) -> Vec<PhaseOf> {
    let mut out: Vec<PhaseOf> = vec![];
    for (i, kernel) in steps.iter().enumerate().filter_map(|(i, step)| Some((i, step.work.cpu()?))) {
        for (phase, grid) in kernel.phases().into_iter().enumerate() {
            let waits = out.last().is_some_and(|p| p.grid.parts() > 1 || grid.parts() > 1);
            out.push(PhaseOf { step: i, phase, grid, waits });
        }
    }
    out
}

/// The steps by where they run.
fn stretches(steps: &[Step], phases: &[PhaseOf]) -> Vec<Stretch> {
    let mut out = vec![];
    let mut first = 0;
    for run in steps.chunk_by(|a, b| a.work.cpu().is_some() == b.work.cpu().is_some()) {
        let steps = first..first + run.len();
        let phase = |step: usize| phases.partition_point(|p| p.step < step);
        out.push(match run[0].work.cpu() {
            Some(_) => Stretch::Cpu(phase(steps.start)..phase(steps.end)),
            None => Stretch::Cuda(steps.clone()),
        });
        first = steps.end;
    }
    out
}
