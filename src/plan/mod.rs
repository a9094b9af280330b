//! Plans: what a run executes, resolved once for each combination of input shapes.
//!
//! A graph is resolved node by node on fixed shapes. Nodes whose results are known then (shape computations) leave no
//! step. Where an extent depends on data that exists only at run time, the plan ends as a *segment*; the run reads the
//! data, and the rest of the graph is resolved (or found in the cache) as the next segment.

mod cache;
#[cfg(feature = "cuda")]
mod cuda;
mod fuse_cpu;
mod join;
mod memory;
#[cfg(feature = "cuda")]
mod precision;
mod resolve;

pub use cache::Cache;
#[cfg(feature = "cuda")]
pub use cuda::Cuda;
pub use resolve::Resolver;

use crate::error::{Error, Result};
use crate::graph::ValueId;
#[cfg(feature = "cuda")]
use crate::ops::CudaKernel;
use crate::ops::{Kernel, TensorInfo};
use crate::tensor::{Blob, DType, Dims, Grid, TensorType};
use std::ops::Range;
use std::sync::Arc;

/// Where the bytes of a value are while a segment runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// A constant of the model, or a result that was known when the segment was resolved.
    Constant(Blob),
    /// The caller's input with this index.
    Input(usize),
    /// The caller's output with this index.
    Output(usize),
    /// Memory that outlives the segment, one buffer per value of the graph.
    Kept(ValueId),
    /// The context's arena, from this offset on.
    Arena(usize),
    /// A constant in the GPU's memory.
    #[cfg(feature = "cuda")]
    Weights(Arc<crate::cuda::Memory>),
    /// The context's arena in the GPU's memory, from this offset on.
    Device(usize),
    /// The caller's input with this index, in the GPU's memory.
    DeviceInput(usize),
    /// The caller's output with this index, in the GPU's memory.
    DeviceOutput(usize),
}

impl Place {
    /// Whether it is a constant.
    pub fn is_constant(&self) -> bool {
        match self {
            #[cfg(feature = "cuda")]
            Place::Weights(_) => true,
            Place::Constant(_) => true,
            _ => false,
        }
    }

    /// Whether it is in the memory of a GPU.
    pub fn is_device(&self) -> bool {
        match self {
            #[cfg(feature = "cuda")]
            Place::Weights(_) => true,
            Place::Device(_) | Place::DeviceInput(_) | Place::DeviceOutput(_) => true,
            _ => false,
        }
    }
}

/// An operand of a step: where it is and what it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Location {
    /// Where the bytes are.
    pub place: Place,
    /// First byte there; not 0 only for a part of a larger result.
    pub offset: usize,
    /// Element type and dimensions.
    pub info: TensorInfo,
    /// Elements from one row along the last dimension to the next; more than a row's where there are gaps between them.
    pub row: usize,
    /// Length in bytes; differs from that of the row-major tensor for packed constants and for parts whose rows have gaps
    /// between them.
    pub len: usize,
}

impl Location {
    /// All of a place, of `len` bytes.
    pub fn whole(place: Place, info: TensorInfo, len: usize) -> Self {
        Location { place, offset: 0, info, row: width_of(&info), len }
    }
}

/// Elements of a row along the last dimension.
fn width_of(info: &TensorInfo) -> usize {
    info.dims.last().copied().unwrap_or(1)
}

/// What a step does, and where.
pub enum Work {
    /// The phases of a kernel on the processor.
    Cpu(Box<dyn Kernel>),
    /// The launches of a kernel on the GPU.
    #[cfg(feature = "cuda")]
    Cuda(CudaKernel),
    /// A copy to the GPU, through pinned memory from this offset on.
    #[cfg(feature = "cuda")]
    Upload(usize),
    /// A copy from the GPU, likewise.
    #[cfg(feature = "cuda")]
    Download(usize),
    /// A copy within the GPU's memory.
    #[cfg(feature = "cuda")]
    Move,
}

impl Work {
    /// The kernel, if it runs on the processor.
    pub fn cpu(&self) -> Option<&dyn Kernel> {
        match self {
            Work::Cpu(kernel) => Some(&**kernel),
            #[cfg(feature = "cuda")]
            _ => None,
        }
    }

    /// `cpu` or `cuda`; of a copy, `to cuda` or `from cuda`.
    pub fn place(&self) -> &'static str {
        match self {
            Work::Cpu(_) => "cpu",
            #[cfg(feature = "cuda")]
            Work::Cuda(_) => "cuda",
            #[cfg(feature = "cuda")]
            Work::Upload(_) => "to cuda",
            #[cfg(feature = "cuda")]
            Work::Download(_) => "from cuda",
            #[cfg(feature = "cuda")]
            Work::Move => "in cuda",
        }
    }

    /// As [`Work::cpu`].
    pub fn cpu_mut(&mut self) -> Option<&mut Box<dyn Kernel>> {
        match self {
            Work::Cpu(kernel) => Some(kernel),
            #[cfg(feature = "cuda")]
            _ => None,
        }
    }
}

/// Steps in a row that run in the same place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stretch {
    /// These phases, on the processor.
    Cpu(Range<usize>),
    /// These steps, on the GPU or between it and the processor.
    Cuda(Range<usize>),
}

/// One kernel, or copy, with its operands.
pub struct Step {
    /// Index of the node in its graph; of a copy, the node that needs it.
    pub node: usize,
    /// The node before it that the kernel does too.
    pub fused: Option<Fused>,
    /// The work.
    pub work: Work,
    /// Inputs, None where an optional one is absent.
    pub inputs: Vec<Option<Location>>,
    /// Outputs.
    pub outputs: Vec<Location>,
    /// Offset and length of the workspace that its phases share, in the arena of where it runs.
    pub shared: (usize, usize),
    /// Where its operands begin in the run's tables of input views and output views, if it runs on the processor.
    pub tables: (usize, usize),
}

/// A node that has no step of its own.
#[derive(Clone, Copy, Debug)]
pub struct Fused {
    /// Index of the node in its graph.
    pub node: usize,
    /// Its floating-point operations.
    pub flops: u64,
}

/// One phase of a step, in execution order.
#[derive(Clone, Copy, Debug)]
pub struct PhaseOf {
    /// Index of the step.
    pub step: usize,
    /// Index of the phase in the step.
    pub phase: usize,
    /// How the phase is cut into parts.
    pub grid: Grid,
    /// Whether threads wait until the phases before are done.
    pub waits: bool,
}

/// How a segment ends.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// With the graph.
    Done,
    /// Before a node whose shapes depend on these small values, which are to be read.
    Read(Vec<ValueId>),
    /// Before a node that runs by itself: control flow, or an operator whose results' extents depend on data.
    Dynamic,
}

/// A resolved part of a graph.
pub struct Segment {
    /// Distinguishes it from all others of the process.
    pub id: u64,
    /// Steps in execution order.
    pub steps: Vec<Step>,
    /// Phases of all steps on the processor in execution order.
    pub phases: Vec<PhaseOf>,
    /// Which steps run where, in execution order.
    pub stretches: Vec<Stretch>,
    /// Whether a phase has more than one part.
    pub parallel: bool,
    /// Bytes of arena that the segment needs.
    pub arena_bytes: usize,
    /// Largest sum of bytes alive at one time: the least that any placement needs.
    pub live_bytes: usize,
    /// Bytes of arena in the GPU's memory that the segment needs.
    pub device_bytes: usize,
    /// Bytes of pinned memory that copies go through.
    pub staging_bytes: usize,
    /// Bytes of scratch memory that each thread needs.
    pub scratch_bytes: usize,
    /// Values of the graph that the segment writes to kept memory, with their sizes.
    pub kept: Vec<(ValueId, usize)>,
    /// Outputs of the graph, known where the segment is the last.
    pub outputs: Vec<Location>,
    /// First node after the segment.
    pub next_node: usize,
    /// How the segment ends.
    pub end: End,
    /// Which outputs of the graph are to be in the GPU's memory; none if it is empty.
    pub resident: Box<[bool]>,
    /// What is known of each value at the end.
    pub states: Vec<Option<Known>>,
    /// What follows, by the shapes and values that the end brought to light.
    pub next: Cache<NextKey, Segment>,
}

/// What is known of a value.
#[derive(Clone, Debug)]
pub struct Known {
    /// Type with fixed extents.
    pub ty: TensorType,
    /// Where it is; arena offsets are assigned when the segment is complete.
    pub place: Place,
    /// The type of its elements there: that of `ty`, or a smaller one in the GPU's memory.
    pub stored: DType,
    /// Where it is as well, until the end of the segment.
    pub copies: Vec<Location>,
}

/// What distinguishes the segments that may follow a segment.
#[derive(Clone, Debug, PartialEq)]
pub enum NextKey {
    /// The values that were read.
    Read(Vec<Box<[u8]>>),
    /// Element types and dimensions of what the node made.
    Dynamic(Vec<TensorInfo>),
}

impl Known {
    /// A value that is in one place, as its type says.
    pub fn new(ty: TensorType, place: Place) -> Known {
        Known { stored: ty.dtype, ty, place, copies: vec![] }
    }

    /// Element type and dimensions. Panics if the shape is not fixed (states are).
    pub fn info(&self) -> TensorInfo {
        TensorInfo::of(&self.ty).expect("the state of a value has a fixed shape")
    }
}

/// How a GPU computes what the model has in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// In f32.
    #[default]
    F32,
    /// In f32, but for products of matrices and convolutions, whose factors may be rounded to 11 bits (TF32).
    Tf32,
    /// In f16 where that is safe; see `precision.rs`.
    F16,
    /// Likewise in bf16, which has the range of f32.
    Bf16,
}

/// Limits that a session sets.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most bytes of activations and workspace that a context may use.
    pub max_memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { max_memory: isize::MAX as usize }
    }
}

impl Limits {
    /// Checks an arena's size.
    pub fn check(&self, bytes: usize) -> Result<()> {
        if bytes <= self.max_memory {
            return Ok(());
        }
        let limit = self.max_memory;
        Err(Error::no_memory(format!("these input shapes need {bytes} bytes of memory; the limit is {limit}")))
    }
}

/// What distinguishes the first segments of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputKey {
    /// Dimensions of its inputs.
    pub dims: Vec<Dims>,
    /// Of each input, then of each output, whether it is in the GPU's memory; empty if none is.
    pub resident: Box<[bool]>,
}

/// Segments that begin graphs, by the shapes of the graph's inputs.
pub type Segments = Cache<InputKey, Segment>;

/// A segment, shared by the contexts that run it.
pub type SharedSegment = Arc<Segment>;
