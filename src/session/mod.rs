//! What an application holds: a runtime (threads), models (files), sessions (models prepared for a device) and contexts
//! (the memory of one run at a time). Children keep their parents alive.

mod device;
mod io;
mod memory;
mod model;
mod uuid;

pub use crate::exec::Occupied;
pub use device::{DeviceFacts, DeviceId, LibraryFacts, tuning};
pub use io::{DeviceData, Input, Output};
pub use memory::MemoryReport;
pub use model::{Model, OpenOptions, Port, PortDim};
pub use uuid::Uuid;

use crate::cpu::isa::Isa;
use crate::cpu::parallel::Gang;
use crate::error::{Error, Result};
use crate::exec::{Control, Executor, Prepared, Source, Workspace};
use crate::graph::GraphId;
use crate::ops::TensorInfo;
pub use crate::plan::Precision;
use crate::plan::{Limits, SharedSegment, Step};
use crate::tensor::{Bindings, Buffer, Dims};
use io::{CallerOutputs, copy_if_needed, source};
use memory::{Contexts, Share};
use std::sync::{Arc, Mutex, PoisonError};

/// Threads that sessions share.
pub struct Runtime {
    gang: Gang,
}

impl Runtime {
    /// A runtime with `threads` threads, the caller of a run included; 0 means all cores that the process may use.
    ///
    /// # Errors
    /// More than 1024 threads, or the system refuses to start one.
    pub fn new(threads: usize) -> Result<Arc<Runtime>> {
        Ok(Arc::new(Runtime { gang: Gang::new(threads)? }))
    }

    /// Number of threads, the caller of a run included.
    pub fn threads(&self) -> usize {
        self.gang.size()
    }
}

/// How a session runs its model.
#[derive(Clone)]
pub struct SessionOptions {
    /// Where.
    pub device: DeviceId,
    /// How a GPU computes what the model has in f32.
    pub precision: Precision,
    /// Names of nodes that a GPU computes in f32 whatever the precision is.
    pub keep_f32: Vec<String>,
    /// Whether each run checks its inputs and what each step computes: a number that is NaN or infinite ends it. Infinities that
    /// the model itself has, as masks do, may be passed on. Runs are slow then.
    pub check: bool,
    /// Threads to use; None starts a runtime of this session's own.
    pub runtime: Option<Arc<Runtime>>,
    /// Threads of the session's own runtime; 0 means all cores that the process may use.
    pub threads: usize,
    /// Most bytes of activations and workspace of one context.
    pub max_memory: usize,
    /// Most contexts that [`Session::run`] keeps for concurrent callers; further callers wait for none: they get a
    /// context that is freed after the run.
    pub max_contexts: usize,
}

impl Default for SessionOptions {
    fn default() -> Self {
        let max_memory = Limits::default().max_memory;
        SessionOptions {
            device: DeviceId::Cpu,
            precision: Precision::F32,
            keep_f32: vec![],
            check: false,
            runtime: None,
            threads: 0,
            max_memory,
            max_contexts: 8,
        }
    }
}

/// A model prepared for a device: immutable, used by any number of threads at once.
pub struct Session {
    model: Arc<Model>,
    runtime: Arc<Runtime>,
    /// Goes before the weights that its last runs on a GPU may still use.
    idle: Mutex<Vec<Memory>>,
    prepared: Prepared,
    device: DeviceId,
    max_contexts: usize,
    contexts: Arc<Contexts>,
}

/// A step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedStep {
    /// Name of its node; of a copy, of the node that needs it.
    pub node: String,
    /// Operator of that node.
    pub operator: &'static str,
    /// `cpu` or `cuda`; of a copy, `to cuda` or `from cuda`.
    pub place: &'static str,
    /// Bytes that it writes.
    pub bytes: usize,
}

/// Bytes of activations and workspace that a run needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// In the host's memory.
    pub arena: usize,
    /// The least there that any plan would need: what is alive at one time.
    pub least: usize,
    /// In the GPU's memory.
    pub device_arena: usize,
    /// Of the host's memory through which copies go.
    pub staging: usize,
}

/// The shapes of a run's inputs, which inputs and outputs were in the memory of the GPU, and the segment that follows.
struct Last {
    dims: Vec<Dims>,
    resident: Vec<bool>,
    segment: SharedSegment,
}

/// Memory of one run at a time.
struct Memory {
    share: Share,
    workspace: Workspace,
    /// The segment of the last run's shapes.
    last: Option<Last>,
    /// Contiguous copies of inputs that cannot be used in place.
    copied: Vec<Option<Buffer>>,
    /// Results that go to memory where they cannot be written in place.
    staged: Vec<Option<Buffer>>,
    copies: u64,
}

impl Memory {
    fn new(contexts: &Arc<Contexts>) -> Memory {
        let (workspace, copied, staged) = (Workspace::default(), vec![], vec![]);
        Memory { share: Share::new(contexts), workspace, last: None, copied, staged, copies: 0 }
    }

    /// Tells the session what it occupies.
    fn account(&mut self) {
        let mut occupied = self.workspace.occupied();
        occupied.copies += self.copied.iter().chain(&self.staged).flatten().map(|copy| copy.len() as u64).sum::<u64>();
        self.share.set(occupied);
    }
}

impl Session {
    /// Prepares a model.
    ///
    /// # Errors
    /// `Device` if the device cannot be used; the message says why. `INFER_ISA` names an instruction set that the CPU lacks;
    /// threads cannot be started. A node that is to be kept in f32 does not exist.
    pub fn new(model: &Arc<Model>, options: &SessionOptions) -> Result<Arc<Session>> {
        let isa = Isa::from_env()?;
        options.keep_f32.iter().try_for_each(|name| model.check_node(name))?;
        let runtime = match &options.runtime {
            Some(runtime) => runtime.clone(),
            None => Runtime::new(options.threads)?,
        };
        let limits = Limits { max_memory: options.max_memory };
        let mut prepared = Prepared::new(model.program.clone(), isa, runtime.threads(), limits, model.derived.clone());
        prepared.check = options.check;
        let device = options.device.numbered()?;
        let prepared = device.prepare(prepared, options.precision, &options.keep_f32)?;
        let (model, max_contexts) = (model.clone(), options.max_contexts);
        let (idle, contexts) = (Mutex::default(), Arc::default());
        Ok(Arc::new(Session { model, runtime, prepared, device, max_contexts, idle, contexts }))
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Number of threads of a run, the caller included.
    pub fn threads(&self) -> usize {
        self.runtime.threads()
    }

    /// Where it runs.
    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// Resolves the plan for inputs of these element types and dimensions now rather than in their first run.
    pub fn prepare(&self, inputs: &[TensorInfo]) -> Result<()> {
        self.check_inputs(inputs.iter().copied())?;
        self.prepared.first(GraphId(0), inputs.iter().copied(), &[]).map(drop)
    }

    /// What a run with these inputs will need of the first segment's activations and workspace; the rest follows from data.
    pub fn plan(&self, inputs: &[TensorInfo]) -> Result<Planned> {
        self.check_inputs(inputs.iter().copied())?;
        let segment = self.prepared.first(GraphId(0), inputs.iter().copied(), &[])?;
        Ok(Planned {
            arena: segment.arena_bytes,
            least: segment.live_bytes,
            device_arena: segment.device_bytes,
            staging: segment.staging_bytes,
        })
    }

    /// The steps of a run with these inputs, in execution order, up to where shapes depend on data.
    pub fn placement(&self, inputs: &[TensorInfo]) -> Result<Vec<PlacedStep>> {
        self.check_inputs(inputs.iter().copied())?;
        let segment = self.prepared.first(GraphId(0), inputs.iter().copied(), &[])?;
        let nodes = &self.prepared.program.entry().nodes;
        let placed = |step: &Step| PlacedStep {
            node: nodes[step.node].name.clone(),
            operator: nodes[step.node].kind.name(),
            place: step.work.place(),
            bytes: step.outputs.iter().map(|output| output.len).sum(),
        };
        Ok(segment.steps.iter().map(placed).collect())
    }

    /// Runs the model with memory from an internal pool; safe to call from any number of threads.
    ///
    /// # Errors
    /// `Shape`, `Dtype` or `InvalidArgument` if inputs or outputs do not fit, `BufferTooSmall` if an output's memory is
    /// too small (its [`Output::info`] then tells what is needed), `Cancelled`, `NoMemory`.
    pub fn run(&self, inputs: &[Input<'_>], outputs: &mut [Output<'_>], control: Control<'_>) -> Result<()> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut memory = idle().pop().unwrap_or_else(|| Memory::new(&self.contexts));
        let result = self.run_in(&mut memory, inputs, outputs, control);
        let mut idle = idle();
        if idle.len() < self.max_contexts {
            idle.push(memory);
        }
        result
    }

    fn run_in(
        &self,
        memory: &mut Memory,
        inputs: &[Input<'_>],
        outputs: &mut [Output<'_>],
        control: Control<'_>,
    ) -> Result<()> {
        let result = self.run_with(memory, inputs, outputs, control);
        memory.account();
        result
    }

    fn run_with(
        &self,
        memory: &mut Memory,
        inputs: &[Input<'_>],
        outputs: &mut [Output<'_>],
        control: Control<'_>,
    ) -> Result<()> {
        if outputs.len() != self.model.outputs().len() {
            let (got, want) = (outputs.len(), self.model.outputs().len());
            return Err(Error::invalid(format!("{got} outputs are given; the model has {want}")));
        }
        let last = match memory.last.take() {
            Some(last) if last.fits(inputs, outputs) && self.check_dtypes(inputs).is_ok() => last,
            _ => self.first(inputs, outputs)?,
        };
        memory.copied.resize_with(inputs.len(), || None);
        memory.staged.resize_with(outputs.len(), || None);
        let Memory { workspace, copied, staged, copies, .. } = memory;
        let segment = last.segment.clone();
        for (i, (input, copy)) in inputs.iter().zip(&mut *copied).enumerate() {
            let done = copy_if_needed(input, copy).map_err(|e| self.about("input", i, e))?;
            *copies += u64::from(done);
        }
        let executor = Executor { prepared: &self.prepared, gang: &self.runtime.gang, control };
        let mut sink = CallerOutputs { session: self, outputs, staged, copies };
        let sources = inputs.iter().zip(&*copied).map(|(input, copy)| source(input, copy));
        if self.prepared.check {
            let check = |(i, source)| executor.check_input(workspace, &source).map_err(|e| self.about("input", i, e));
            sources.clone().enumerate().try_for_each(check)?;
        }
        // Up to so many inputs cost no allocation.
        let mut few = [Source::EMPTY; 8];
        if inputs.len() <= few.len() {
            few.iter_mut().zip(sources).for_each(|(slot, source)| *slot = source);
            executor.run(GraphId(0), segment, workspace, &few[..inputs.len()], &mut sink)?;
        } else {
            executor.run(GraphId(0), segment, workspace, &sources.collect::<Vec<_>>(), &mut sink)?;
        }
        sink.deliver();
        memory.last = Some(last);
        executor.finish(&mut memory.workspace)
    }

    /// The first segment for these inputs and outputs, which are checked.
    fn first(&self, inputs: &[Input<'_>], outputs: &[Output<'_>]) -> Result<Last> {
        let infos = inputs.iter().map(|i| TensorInfo { dtype: i.dtype, dims: i.dims });
        self.check_inputs(infos.clone())?;
        for device in resident(inputs, outputs).flatten() {
            if self.device != DeviceId::Cuda(device.ordinal) {
                let (ordinal, ours) = (device.ordinal, self.device);
                return Err(Error::device(format!("a tensor is on CUDA device {ordinal}; the session runs on {ours}")));
            }
        }
        let resident: Vec<bool> = resident(inputs, outputs).map(|device| device.is_some()).collect();
        let segment = self.prepared.first(GraphId(0), infos, &resident)?;
        Ok(Last { dims: inputs.iter().map(|i| i.dims).collect(), resident, segment })
    }

    fn check_dtypes(&self, inputs: &[Input<'_>]) -> Result<()> {
        let same = inputs.iter().map(|i| i.dtype).eq(self.model.inputs().iter().map(|p| p.dtype));
        if same { Ok(()) } else { Err(Error::dtype("an input's element type differs")) }
    }

    fn check_inputs(&self, infos: impl ExactSizeIterator<Item = TensorInfo>) -> Result<()> {
        let program = self.model.program();
        let entry = program.entry();
        if infos.len() != entry.inputs.len() {
            let (got, want) = (infos.len(), entry.inputs.len());
            return Err(Error::invalid(format!("{got} inputs are given; the model has {want}")));
        }
        let mut bindings = Bindings::new(program.sym_dims.len());
        for (i, (info, &id)) in infos.zip(&entry.inputs).enumerate() {
            let declared = &entry.value(id).ty;
            if info.dtype != declared.dtype {
                let e = Error::dtype(format!("{} is given; the model takes {}", info.dtype, declared.dtype));
                return Err(self.about("input", i, e));
            }
            info.byte_len().map_err(|e| self.about("input", i, e))?;
            program.bind(declared, &info.dims, &mut bindings).map_err(|e| self.about("input", i, e))?;
        }
        Ok(())
    }

    fn about(&self, what: &str, index: usize, e: Error) -> Error {
        let ports = if what == "input" { self.model.inputs() } else { self.model.outputs() };
        e.context(format!("{what} {index} '{}'", ports.get(index).map_or("", |p| &p.name)))
    }
}

/// Where the inputs and the outputs are on the GPU, if they are there.
fn resident<'a>(inputs: &'a [Input<'_>], outputs: &'a [Output<'_>]) -> impl Iterator<Item = Option<DeviceData>> + 'a {
    inputs.iter().map(|input| input.device).chain(outputs.iter().map(|output| output.device))
}

impl Last {
    /// Whether the segment is the one for these inputs and outputs.
    fn fits(&self, inputs: &[Input<'_>], outputs: &[Output<'_>]) -> bool {
        self.dims.iter().eq(inputs.iter().map(|i| &i.dims))
            && self.resident.iter().copied().eq(resident(inputs, outputs).map(|device| device.is_some()))
    }
}

/// Memory for runs of one session by one thread at a time; repeated runs of one shape allocate nothing.
pub struct Context {
    /// Goes before the session's weights, as its last run on a GPU may still use them.
    memory: Memory,
    session: Arc<Session>,
}

impl Context {
    /// A context of a session.
    pub fn new(session: &Arc<Session>) -> Context {
        Context { session: session.clone(), memory: Memory::new(&session.contexts) }
    }

    /// The session.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Runs the model; see [`Session::run`].
    pub fn run(&mut self, inputs: &[Input<'_>], outputs: &mut [Output<'_>], control: Control<'_>) -> Result<()> {
        self.session.run_in(&mut self.memory, inputs, outputs, control)
    }

    /// How often an input or output had to be copied because it was strided or misaligned.
    pub fn copies(&self) -> u64 {
        self.memory.copies
    }

    /// What the context occupied after its last run.
    pub fn occupied(&self) -> Occupied {
        self.memory.share.occupied()
    }
}
