//! The memory of one context: what a run writes besides the caller's outputs.

use crate::cpu::parallel::Ledger;
use crate::error::Result;
use crate::graph::GraphId;
use crate::plan::Segment;
use crate::tensor::{Buffer, OutView, View};

/// Memory for runs of one graph, kept from run to run so that a repeated run allocates nothing.
#[derive(Default)]
pub struct Workspace {
    pub(super) arena: Option<Buffer>,
    /// Scratch memory of each thread.
    pub(super) scratch: Vec<Buffer>,
    /// The parts of the segment that runs.
    pub(super) ledger: Ledger,
    /// Values that outlive a segment, by their index in the graph.
    pub(super) kept: Vec<Option<Buffer>>,
    /// Operands of all steps of the segment that runs; meaningless between runs.
    pub(super) inputs: Vec<Option<View<'static>>>,
    /// Results of all steps of the segment that runs; meaningless between runs.
    pub(super) results: Vec<OutView<'static>>,
    /// Workspace that the phases of each step share; meaningless between runs.
    pub(super) shared: Vec<OutView<'static>>,
    /// Scratch memory as views; meaningless between runs.
    pub(super) scratch_views: Vec<OutView<'static>>,
    /// The graph's outputs; meaningless between runs.
    pub(super) outputs: Vec<OutView<'static>>,
    /// Addresses of those outputs that are in the GPU's memory, 0 for the others; meaningless between runs.
    pub(super) device_outputs: Vec<u64>,
    /// Memory of the GPU, and what goes with it; None until a segment needs it.
    #[cfg(feature = "cuda")]
    pub(super) device: Option<super::cuda::DeviceSpace>,
    /// Workspaces of the graphs that this graph's control flow runs.
    pub(super) bodies: Vec<(GraphId, Box<Workspace>)>,
}

impl Workspace {
    /// Makes room for a segment and `threads` threads.
    pub(super) fn reserve(&mut self, segment: &Segment, threads: usize) -> Result<()> {
        grow(&mut self.arena, segment.arena_bytes)?;
        for rank in 0..threads {
            match self.scratch.get_mut(rank) {
                Some(scratch) if scratch.len() >= segment.scratch_bytes => {}
                Some(scratch) => *scratch = Buffer::zeroed(segment.scratch_bytes)?,
                None => self.scratch.push(Buffer::zeroed(segment.scratch_bytes)?),
            }
        }
        segment.kept.iter().try_for_each(|&(id, len)| self.keep(id.0 as usize, len).map(drop))
    }

    /// Memory of at least `len` bytes for the value with this index.
    pub(super) fn keep(&mut self, value: usize, len: usize) -> Result<&mut Buffer> {
        if self.kept.len() <= value {
            self.kept.resize_with(value + 1, || None);
        }
        grow(&mut self.kept[value], len)
    }

    /// The workspace of a body, taken out so that this one can be used beside it.
    pub(super) fn take_body(&mut self, graph: GraphId) -> Box<Workspace> {
        match self.bodies.iter().position(|(id, _)| *id == graph) {
            Some(i) => self.bodies.swap_remove(i).1,
            None => Box::default(),
        }
    }

    /// Puts a body's workspace back.
    pub(super) fn put_body(&mut self, graph: GraphId, workspace: Box<Workspace>) {
        self.bodies.push((graph, workspace));
    }
}

fn grow(buffer: &mut Option<Buffer>, len: usize) -> Result<&mut Buffer> {
    if buffer.as_ref().is_none_or(|b| b.len() < len) {
        // The old memory goes first: both together may not fit.
        *buffer = None;
        *buffer = Some(Buffer::zeroed(len)?);
    }
    Ok(buffer.as_mut().expect("just filled"))
}
