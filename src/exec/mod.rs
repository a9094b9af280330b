//! Running a graph: segment after segment, each found in the cache or resolved on the way.

mod check;
#[cfg(feature = "cuda")]
mod check_cuda;
mod control;
#[cfg(feature = "cuda")]
mod cuda;
mod occupied;
mod profile;
mod segment;
mod workspace;

pub use occupied::Occupied;
pub use profile::{Profile, ProfiledStep};
pub use workspace::Workspace;

use crate::cpu::isa::Isa;
use crate::cpu::parallel::Gang;
use crate::error::{Error, Result, Status};
use crate::graph::{GraphId, Program, ValueId};
use crate::ops::{Derived, Tensor, TensorInfo};
use crate::plan::{Cache, End, InputKey, Limits, Location, NextKey, Place, Resolver, Segment, Segments, SharedSegment};
use crate::tensor::{Blob, DType, OutView, View};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// A program prepared for a device: immutable, shared by everything that runs it.
pub struct Prepared {
    /// The program.
    pub program: Arc<Program>,
    isa: Isa,
    threads: usize,
    limits: Limits,
    /// Whether each step's results are checked; see `check.rs`.
    pub check: bool,
    derived: Arc<Derived>,
    /// The GPU that runs what it can.
    #[cfg(feature = "cuda")]
    pub(crate) cuda: Option<crate::plan::Cuda>,
    /// First segments of each graph.
    first: Vec<Segments>,
}

/// What watches a run: stops it early, or measures it.
#[derive(Clone, Copy, Default)]
pub struct Control<'a> {
    /// Set to stop the run.
    pub cancel: Option<&'a AtomicBool>,
    /// When to stop the run.
    pub deadline: Option<Instant>,
    /// Where to note what each step takes.
    pub profile: Option<&'a Profile>,
    /// The caller's stream, into which the work for a GPU is put; else the context's own.
    pub stream: Option<RawStream>,
    /// Whether to return as soon as the work for a GPU is in the stream. Outputs in the host's memory are waited for.
    pub asynchronous: bool,
    /// An event of the caller's that is put behind the run's work in the stream of a session on a GPU.
    pub event: Option<RawEvent>,
    /// Told once of a run that has not failed when its work is done, and how that ended: by the driver, behind the work of an
    /// asynchronous run on a GPU; else before the run returns.
    pub done: Option<&'a Done>,
}

/// Told that a run's work is done, on any thread. It must use neither CUDA nor the session.
pub type Done = Arc<dyn Fn(Result<()>) + Send + Sync>;

/// The address of a `cudaEvent_t` or `CUevent` of the caller's, of the device's primary context, that is there until the run returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawEvent(pub usize);

/// The address of a `cudaStream_t` or `CUstream` of the caller's, a stream of the device's primary context that is there until the
/// run's work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawStream(pub usize);

/// An input: what it is and where it is.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// Element type and dimensions.
    pub info: TensorInfo,
    /// The data, row-major.
    pub view: View<'a>,
    /// Its address instead, if it is in the memory of the GPU.
    pub device: Option<u64>,
}

impl Source<'_> {
    /// No elements; fills tables.
    pub const EMPTY: Source<'static> = Source {
        info: TensorInfo { dtype: DType::U8, dims: crate::tensor::Dims::SCALAR },
        view: View::EMPTY,
        device: None,
    };
}

/// Provides memory for a graph's outputs once their sizes are known.
pub trait Sink {
    /// Memory for output `index`, `len` bytes.
    fn memory(&mut self, index: usize, info: &TensorInfo, len: usize) -> Result<OutView<'_>>;

    /// The address of memory of the GPU for output `index`, `len` bytes; asked for those outputs for which the first segment was
    /// resolved so.
    fn device_memory(&mut self, _index: usize, _info: &TensorInfo, _len: usize) -> Result<u64> {
        Err(Error::internal("an output in the memory of a GPU"))
    }
}

/// Runs graphs of a prepared program.
#[derive(Clone, Copy)]
pub struct Executor<'a> {
    /// The program.
    pub prepared: &'a Prepared,
    /// Threads.
    pub gang: &'a Gang,
    /// What watches the run.
    pub control: Control<'a>,
}

impl Control<'_> {
    /// An error if the run is to stop.
    pub fn check(&self) -> Result<()> {
        if self.cancel.is_some_and(|c| c.load(Ordering::Relaxed)) {
            return Err(Error::new(Status::Cancelled, "the run was cancelled"));
        }
        if self.deadline.is_some_and(|d| Instant::now() >= d) {
            return Err(Error::new(Status::Cancelled, "the run's deadline has passed"));
        }
        Ok(())
    }
}

impl Prepared {
    /// Prepares a program, which the verifier has accepted, for runs by so many threads.
    pub fn new(program: Arc<Program>, isa: Isa, threads: usize, limits: Limits, derived: Arc<Derived>) -> Self {
        let first = program.graphs.iter().map(|_| Segments::default()).collect();
        Prepared {
            program,
            isa,
            threads,
            limits,
            check: false,
            derived,
            #[cfg(feature = "cuda")]
            cuda: None,
            first,
        }
    }

    /// As [`Prepared::new`], for a GPU that runs what it can.
    #[cfg(feature = "cuda")]
    ///
    /// It computes with `precision`, but for the nodes that are named in `keep_f32`.
    pub fn on(
        self,
        device: &Arc<crate::cuda::Device>,
        precision: crate::plan::Precision,
        keep_f32: &[String],
    ) -> Result<Self> {
        let (weights, keep_f32) = (crate::cuda::Weights::new(device)?, keep_f32.to_vec());
        Ok(Prepared { cuda: Some(crate::plan::Cuda { weights, precision, keep_f32 }), ..self })
    }

    /// How many segments are kept for shapes that have been seen.
    pub fn plans(&self) -> u32 {
        fn with_next<K>(segments: &Cache<K, Segment>) -> u32 {
            segments.values().iter().map(|segment| 1 + with_next(&segment.next)).sum()
        }
        self.first.iter().map(with_next).sum()
    }

    /// Bytes of constants in a GPU's memory.
    pub fn device_weights(&self) -> u64 {
        #[cfg(feature = "cuda")]
        return self.cuda.as_ref().map_or(0, |cuda| cuda.weights.bytes() as u64);
        #[cfg(not(feature = "cuda"))]
        0
    }

    fn resolver(&self, graph: GraphId) -> Resolver<'_> {
        let graph = &self.program.graphs[graph.0 as usize];
        Resolver {
            graph,
            isa: self.isa,
            threads: self.threads,
            limits: self.limits,
            derived: &self.derived,
            #[cfg(feature = "cuda")]
            cuda: self.cuda.as_ref(),
        }
    }

    /// The first segment of a graph for inputs of these element types and dimensions. `resident` tells of each input, then of
    /// each output, whether it is in the memory of the GPU; none is if it is empty.
    pub fn first(
        &self,
        graph: GraphId,
        inputs: impl Iterator<Item = TensorInfo> + Clone,
        resident: &[bool],
    ) -> Result<SharedSegment> {
        let cache = &self.first[graph.0 as usize];
        // Runs without such memory share their segments with what is resolved before.
        let resident = if resident.contains(&true) { resident } else { &[] };
        let fits =
            |key: &InputKey| key.dims.iter().copied().eq(inputs.clone().map(|i| i.dims)) && *key.resident == *resident;
        if let Some(found) = cache.find(fits) {
            return Ok(found);
        }
        let infos: Vec<TensorInfo> = inputs.clone().collect();
        let key = InputKey { dims: infos.iter().map(|i| i.dims).collect(), resident: resident.into() };
        let segment = Arc::new(self.resolver(graph).begin(&infos, resident)?);
        cache.insert(key, segment.clone());
        Ok(segment)
    }

    fn after_read(&self, graph: GraphId, segment: &Segment, values: &[(ValueId, Tensor)]) -> Result<SharedSegment> {
        let is = |key: &NextKey| match key {
            NextKey::Read(bytes) => bytes.iter().map(|b| &b[..]).eq(values.iter().map(|(_, t)| &t.data[..])),
            NextKey::Dynamic(_) => false,
        };
        if let Some(found) = segment.next.find(is) {
            return Ok(found);
        }
        let next = Arc::new(self.resolver(graph).after_read(segment, values)?);
        segment.next.insert(NextKey::Read(values.iter().map(|(_, t)| t.data[..].into()).collect()), next.clone());
        Ok(next)
    }

    fn after_dynamic(&self, graph: GraphId, segment: &Segment, outputs: &[TensorInfo]) -> Result<SharedSegment> {
        if let Some(found) = segment.next.find(|key| matches!(key, NextKey::Dynamic(infos) if infos == outputs)) {
            return Ok(found);
        }
        let next = Arc::new(self.resolver(graph).after_dynamic(segment, outputs)?);
        segment.next.insert(NextKey::Dynamic(outputs.to_vec()), next.clone());
        Ok(next)
    }
}

impl Executor<'_> {
    /// Runs a graph from `first`, the segment for these inputs, and writes its outputs to the sink's memory.
    pub fn run(
        &self,
        graph: GraphId,
        first: SharedSegment,
        workspace: &mut Workspace,
        inputs: &[Source<'_>],
        sink: &mut dyn Sink,
    ) -> Result<()> {
        let mut segment = first;
        loop {
            let next = match &segment.end {
                End::Done => return self.last(graph, &segment, workspace, inputs, sink),
                End::Read(ids) => {
                    self.execute(graph, &segment, workspace, inputs, &[])?;
                    let read = |id: &ValueId| Ok((*id, self.read(&segment, workspace, inputs, *id)?));
                    let values = ids.iter().map(read).collect::<Result<Vec<_>>>()?;
                    self.prepared.after_read(graph, &segment, &values)?
                }
                End::Dynamic => {
                    self.execute(graph, &segment, workspace, inputs, &[])?;
                    let outputs = self.dynamic(graph, &segment, workspace, inputs)?;
                    self.prepared.after_dynamic(graph, &segment, &outputs)?
                }
            };
            segment = next;
        }
    }

    /// Tells those who wait for it that a whole run is done, or will when it is.
    pub fn finish(&self, workspace: &mut Workspace) -> Result<()> {
        #[cfg(feature = "cuda")]
        if self.prepared.cuda.is_some() && self.finish_on_device(workspace)? {
            return Ok(());
        }
        #[cfg(not(feature = "cuda"))]
        let _ = workspace;
        if let Some(done) = self.control.done {
            done(Ok(()));
        }
        Ok(())
    }

    /// Runs the last segment; its outputs go to the sink's memory.
    fn last(
        &self,
        graph: GraphId,
        segment: &Segment,
        workspace: &mut Workspace,
        inputs: &[Source<'_>],
        sink: &mut dyn Sink,
    ) -> Result<()> {
        let mut outputs = std::mem::take(&mut workspace.outputs);
        outputs.clear();
        workspace.device_outputs.clear();
        for (i, location) in segment.outputs.iter().enumerate() {
            let (host, device) = match location.place {
                Place::DeviceOutput(_) => {
                    (OutView::new(&mut [], DType::U8), sink.device_memory(i, &location.info, location.len)?)
                }
                _ => (sink.memory(i, &location.info, location.len)?, 0),
            };
            outputs.push(segment::unbound(host));
            workspace.device_outputs.push(device);
        }
        let result = self.execute(graph, segment, workspace, inputs, &outputs);
        if result.is_ok() {
            segment::copy_outputs(segment, workspace, inputs, &outputs);
        }
        workspace.outputs = outputs;
        result
    }

    /// A copy of a value at the end of a segment.
    fn read(&self, segment: &Segment, workspace: &mut Workspace, inputs: &[Source<'_>], id: ValueId) -> Result<Tensor> {
        let location = location(segment, id)?;
        let view = segment::view(&location, workspace, inputs, &[]);
        Ok(Tensor { info: location.info, data: Blob::copy_of(view.bytes())? })
    }
}

/// Where a value is at the end of a segment.
fn location(segment: &Segment, id: ValueId) -> Result<Location> {
    let known = segment.states.get(id.0 as usize).and_then(Option::as_ref);
    let known = known.ok_or_else(|| Error::internal(format!("value %{} does not exist yet", id.0)))?;
    let info = known.info();
    Ok(Location::whole(known.place.clone(), info, info.byte_len()?))
}
