//! What an application holds: a runtime (threads), models (files), sessions (models prepared for a device) and contexts
//! (the memory of one run at a time). Children keep their parents alive.

use crate::cpu::isa::Isa;
use crate::cpu::parallel::Gang;
use crate::error::{Error, Result, Status};
use crate::exec::{Control, Executor, Prepared, Sink, Source, Workspace};
use crate::graph::{GraphId, Program, State, ValueId};
use crate::model::{self, Mode, ReadOptions};
use crate::ops::TensorInfo;
use crate::plan::{Limits, SharedSegment};
use crate::tensor::{Bindings, Blob, Buffer, DType, Dim, Dims, MAX_RANK, OutView, View};
use std::fs::File;
use std::path::Path;
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

/// How a model is opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenOptions {
    /// Mapped or copied.
    pub mode: Mode,
    /// Also check the hashes of the weights, which reads the whole file.
    pub verify_data: bool,
}

/// An opened model file: immutable, shared by any number of sessions.
pub struct Model {
    program: Arc<Program>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

/// An input or output of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// Name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Dimensions.
    pub dims: Vec<PortDim>,
}

/// A dimension of an input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortDim {
    /// Always this extent.
    Fixed(u64),
    /// An extent that the caller chooses (inputs) or that follows from the inputs (outputs).
    Named {
        /// Name; equal names have equal extents.
        name: String,
        /// Smallest extent.
        min: u64,
        /// Largest extent, if there is one.
        max: Option<u64>,
    },
    /// An extent computed from named ones, as text.
    Expr(String),
}

impl Model {
    /// Opens a file.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Arc<Model>> {
        let file = model::open_path(path, options.mode)?;
        Model::open_bytes(&file, options).map_err(|e| e.context(path.display()))
    }

    /// Opens `len` bytes from `offset` of an open file, e.g. an asset inside an application package.
    pub fn open_fd(file: File, offset: u64, len: u64, options: &OpenOptions) -> Result<Arc<Model>> {
        Model::open_bytes(&model::open_fd(file, offset, len, options.mode)?, options)
    }

    /// Opens a model file that is in memory. Weights are used in place if the bytes start on a cache line.
    pub fn open_bytes(file: &Blob, options: &OpenOptions) -> Result<Arc<Model>> {
        let program = model::read(file, &ReadOptions { verify_data: options.verify_data })?;
        Ok(Model::from_program(program))
    }

    /// A model from a program that the verifier has accepted.
    pub fn from_program(program: Program) -> Arc<Model> {
        let entry = program.entry();
        let ports = |ids: &[ValueId]| ids.iter().map(|&v| port(&program, v)).collect();
        let (inputs, outputs) = (ports(&entry.inputs), ports(&entry.outputs));
        Arc::new(Model { inputs, outputs, program: Arc::new(program) })
    }

    /// The model's inputs, in the order in which runs take them.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// The model's outputs, in the order in which runs give them.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// Key-value pairs stored with the model.
    pub fn metadata(&self) -> &[(String, String)] {
        &self.program.metadata
    }

    /// Outputs that feed inputs of the next run.
    pub fn states(&self) -> &[State] {
        &self.program.states
    }

    /// The graph.
    pub fn program(&self) -> &Program {
        &self.program
    }
}

fn port(program: &Program, id: ValueId) -> Port {
    let value = program.entry().value(id);
    let dim = |d: &Dim| match (d.fixed(), d.as_sym()) {
        (Some(n), _) => PortDim::Fixed(n.max(0) as u64),
        (_, Some(sym)) => {
            let s = &program.sym_dims[sym.0 as usize];
            PortDim::Named { name: s.name.clone(), min: s.min.max(0) as u64, max: s.max.map(|m| m.max(0) as u64) }
        }
        _ => PortDim::Expr(d.display(&|s| program.sym_name(s)).to_string()),
    };
    Port { name: value.name.clone(), dtype: value.ty.dtype, dims: value.ty.shape.iter().map(dim).collect() }
}

/// How a session runs its model.
#[derive(Clone)]
pub struct SessionOptions {
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
        SessionOptions { runtime: None, threads: 0, max_memory, max_contexts: 8 }
    }
}

/// A model prepared for a device: immutable, used by any number of threads at once.
pub struct Session {
    model: Arc<Model>,
    runtime: Arc<Runtime>,
    prepared: Prepared,
    max_contexts: usize,
    idle: Mutex<Vec<Memory>>,
}

/// An input of a run.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// Element type.
    pub dtype: DType,
    /// Dimensions.
    pub dims: Dims,
    /// Distances in elements between neighbours along each dimension; None if the data is contiguous.
    pub strides: Option<[i64; MAX_RANK]>,
    /// The bytes. With strides, the first element of the tensor is the first byte, and the last one lies inside.
    pub data: &'a [u8],
}

/// An output of a run.
#[derive(Default)]
pub struct Output<'a> {
    /// Memory for the result; None lets the library allocate it ([`Output::owned`]).
    pub data: Option<&'a mut [u8]>,
    /// Element type and dimensions that the caller expects; the run fails if the result differs.
    pub expected: Option<TensorInfo>,
    /// Distances in elements between neighbours along each dimension of `data`; None writes a contiguous result.
    pub strides: Option<[i64; MAX_RANK]>,
    /// After a run: what the result is. Also set when `data` is too small.
    pub info: Option<TensorInfo>,
    /// After a run: the result, if `data` was None.
    pub owned: Option<Buffer>,
}

/// Memory of one run at a time.
#[derive(Default)]
struct Memory {
    workspace: Workspace,
    /// The segment of the last run's shapes.
    last: Option<(Vec<Dims>, SharedSegment)>,
    /// Contiguous copies of inputs that cannot be used in place.
    copied: Vec<Option<Buffer>>,
    /// Results that go to memory where they cannot be written in place.
    staged: Vec<Option<Buffer>>,
    copies: u64,
}

impl Session {
    /// Prepares a model.
    ///
    /// # Errors
    /// [`Unsupported`](Status::Unsupported) if an operator cannot run on this device; `INFER_ISA` names an instruction
    /// set that the CPU lacks; threads cannot be started.
    pub fn new(model: &Arc<Model>, options: &SessionOptions) -> Result<Arc<Session>> {
        let isa = Isa::from_env()?;
        let runtime = match &options.runtime {
            Some(runtime) => runtime.clone(),
            None => Runtime::new(options.threads)?,
        };
        let limits = Limits { max_memory: options.max_memory };
        let prepared = Prepared::new(model.program.clone(), isa, limits);
        let (model, max_contexts) = (model.clone(), options.max_contexts);
        Ok(Arc::new(Session { model, runtime, prepared, max_contexts, idle: Mutex::default() }))
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Number of threads of a run, the caller included.
    pub fn threads(&self) -> usize {
        self.runtime.threads()
    }

    /// Resolves the plan for inputs of these element types and dimensions now rather than in their first run.
    pub fn prepare(&self, inputs: &[TensorInfo]) -> Result<()> {
        self.check_inputs(inputs.iter().copied())?;
        self.prepared.first(GraphId(0), inputs.iter().copied()).map(drop)
    }

    /// Bytes of activations and workspace that the first segment for these inputs needs, and the least that any
    /// placement would need.
    pub fn memory(&self, inputs: &[TensorInfo]) -> Result<(usize, usize)> {
        self.check_inputs(inputs.iter().copied())?;
        let segment = self.prepared.first(GraphId(0), inputs.iter().copied())?;
        Ok((segment.arena_bytes, segment.live_bytes))
    }

    /// Runs the model with memory from an internal pool; safe to call from any number of threads.
    ///
    /// # Errors
    /// [`Shape`](Status::Shape), [`Dtype`](Status::Dtype) or [`InvalidArgument`](Status::InvalidArgument) if inputs or
    /// outputs do not fit, [`BufferTooSmall`](Status::BufferTooSmall) if an output's memory is too small (its
    /// [`Output::info`] then tells what is needed), [`Cancelled`](Status::Cancelled), [`NoMemory`](Status::NoMemory).
    pub fn run(&self, inputs: &[Input<'_>], outputs: &mut [Output<'_>], control: Control<'_>) -> Result<()> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut memory = idle().pop().unwrap_or_default();
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
        if outputs.len() != self.model.outputs.len() {
            let (got, want) = (outputs.len(), self.model.outputs.len());
            return Err(Error::invalid(format!("{got} outputs are given; the model has {want}")));
        }
        let infos = inputs.iter().map(|i| TensorInfo { dtype: i.dtype, dims: i.dims });
        let first = match memory.last.take() {
            Some(last) if last.0.iter().eq(inputs.iter().map(|i| &i.dims)) && self.check_dtypes(inputs).is_ok() => last,
            _ => {
                self.check_inputs(infos.clone())?;
                (inputs.iter().map(|i| i.dims).collect(), self.prepared.first(GraphId(0), infos)?)
            }
        };
        memory.copied.resize_with(inputs.len(), || None);
        memory.staged.resize_with(outputs.len(), || None);
        let Memory { workspace, copied, staged, copies, .. } = memory;
        let segment = first.1.clone();
        for (i, (input, copy)) in inputs.iter().zip(&mut *copied).enumerate() {
            let done = copy_if_needed(input, copy).map_err(|e| self.about("input", i, e))?;
            *copies += u64::from(done);
        }
        let executor = Executor { prepared: &self.prepared, gang: &self.runtime.gang, control };
        let mut sink = CallerOutputs { session: self, outputs, staged, copies };
        let sources = inputs.iter().zip(&*copied).map(|(input, copy)| source(input, copy));
        // Up to so many inputs cost no allocation.
        let mut few = [Source::EMPTY; 8];
        if inputs.len() <= few.len() {
            few.iter_mut().zip(sources).for_each(|(slot, source)| *slot = source);
            executor.run(GraphId(0), segment, workspace, &few[..inputs.len()], &mut sink)?;
        } else {
            executor.run(GraphId(0), segment, workspace, &sources.collect::<Vec<_>>(), &mut sink)?;
        }
        sink.deliver();
        memory.last = Some(first);
        Ok(())
    }

    fn check_dtypes(&self, inputs: &[Input<'_>]) -> Result<()> {
        let same = inputs.iter().map(|i| i.dtype).eq(self.model.inputs.iter().map(|p| p.dtype));
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
        let ports = if what == "input" { &self.model.inputs } else { &self.model.outputs };
        e.context(format!("{what} {index} '{}'", ports.get(index).map_or("", |p| &p.name)))
    }
}

/// Makes a contiguous, aligned copy of an input that is neither; returns whether it did.
fn copy_if_needed(input: &Input<'_>, copy: &mut Option<Buffer>) -> Result<bool> {
    let info = TensorInfo { dtype: input.dtype, dims: input.dims };
    let (len, size) = (info.byte_len()?, input.dtype.size());
    let strides = input.strides.filter(|s| !is_contiguous(&input.dims, s));
    if strides.is_none() {
        if input.data.len() < len {
            let got = input.data.len();
            return Err(Error::invalid(format!(
                "{got} bytes of data; {:?} of {} needs {len}",
                input.dims, input.dtype
            )));
        }
        if input.data.as_ptr().align_offset(size) == 0 {
            *copy = None;
            return Ok(false);
        }
    }
    if copy.as_ref().is_none_or(|c| c.len() != len) {
        *copy = Some(Buffer::zeroed(len)?);
    }
    let target = copy.as_mut().expect("just filled");
    match strides {
        None => target.copy_from_slice(&input.data[..len]),
        Some(strides) => {
            check_strides(&input.dims, &strides, input.data.len(), size)?;
            each_element(&input.dims, &strides, |i, at| {
                target[i * size..][..size].copy_from_slice(&input.data[at * size..][..size]);
            });
        }
    }
    Ok(true)
}

fn source<'a>(input: &'a Input<'_>, copy: &'a Option<Buffer>) -> Source<'a> {
    let info = TensorInfo { dtype: input.dtype, dims: input.dims };
    let len = info.numel() * input.dtype.size();
    let bytes = copy.as_ref().map_or_else(|| &input.data[..len], |c| &c[..len]);
    Source { info, view: View::new(bytes, input.dtype) }
}

fn is_contiguous(dims: &Dims, strides: &[i64; MAX_RANK]) -> bool {
    let want = dims.strides();
    dims.contains(&0) || (0..dims.len()).all(|i| dims[i] == 1 || strides[i] == want[i] as i64)
}

/// Checks that all elements of a strided tensor lie inside `len` bytes.
fn check_strides(dims: &Dims, strides: &[i64; MAX_RANK], len: usize, size: usize) -> Result<()> {
    let wrong =
        || Error::invalid(format!("strides {:?} of {dims:?} reach outside {len} bytes", &strides[..dims.len()]));
    let mut last = 0usize;
    for (&dim, &stride) in dims.iter().zip(strides) {
        let stride = usize::try_from(stride).map_err(|_| wrong())?;
        let reach = dim.saturating_sub(1).checked_mul(stride);
        last = reach.and_then(|r| last.checked_add(r)).ok_or_else(wrong)?;
    }
    let end = last.checked_add(1).and_then(|n| n.checked_mul(size)).ok_or_else(wrong)?;
    if end <= len || dims.contains(&0) { Ok(()) } else { Err(wrong()) }
}

/// Calls `visit` with the row-major index and the strided position of each element.
fn each_element(dims: &Dims, strides: &[i64; MAX_RANK], mut visit: impl FnMut(usize, usize)) {
    let total: usize = dims.iter().product();
    let mut index = [0usize; MAX_RANK];
    let mut at = 0usize;
    for i in 0..total {
        visit(i, at);
        for axis in (0..dims.len()).rev() {
            index[axis] += 1;
            at += strides[axis] as usize;
            if index[axis] < dims[axis] {
                break;
            }
            at -= dims[axis] * strides[axis] as usize;
            index[axis] = 0;
        }
    }
}

/// The caller's outputs as the executor's sink.
struct CallerOutputs<'s, 'o, 'd> {
    session: &'s Session,
    outputs: &'o mut [Output<'d>],
    staged: &'s mut [Option<Buffer>],
    copies: &'s mut u64,
}

impl Sink for CallerOutputs<'_, '_, '_> {
    fn memory(&mut self, index: usize, info: &TensorInfo, len: usize) -> Result<OutView<'_>> {
        let output = &mut self.outputs[index];
        output.info = Some(*info);
        if let Some(expected) = output.expected.filter(|e| e != info) {
            let e = Error::shape(format!(
                "{}{:?} is expected; the result is {}{:?}",
                expected.dtype, expected.dims, info.dtype, info.dims
            ));
            return Err(self.session.about("output", index, e));
        }
        let strides = output.strides.filter(|s| !is_contiguous(&info.dims, s));
        if let (Some(strides), Some(data)) = (&strides, &output.data) {
            let (dims, size) = (&info.dims, info.dtype.size());
            check_strides(dims, strides, data.len(), size).map_err(|e| self.session.about("output", index, e))?;
        }
        match &mut output.data {
            Some(data) if strides.is_none() && data.len() < len => {
                let message = format!("{} bytes of memory; the result needs {len}", data.len());
                Err(self.session.about("output", index, Error::new(Status::BufferTooSmall, message)))
            }
            Some(data) if strides.is_none() && data.as_ptr().align_offset(info.dtype.size()) == 0 => {
                self.staged[index] = None;
                Ok(OutView::new(&mut data[..len], info.dtype))
            }
            Some(_) => {
                *self.copies += 1;
                let staged = self.staged[index].take().filter(|s| s.len() == len);
                let staged = staged.map_or_else(|| Buffer::zeroed(len), Ok)?;
                Ok(OutView::new(self.staged[index].insert(staged), info.dtype))
            }
            None => Ok(OutView::new(output.owned.insert(Buffer::zeroed(len)?), info.dtype)),
        }
    }
}

impl CallerOutputs<'_, '_, '_> {
    /// Copies staged results to the caller's memory.
    fn deliver(self) {
        for (output, staged) in self.outputs.iter_mut().zip(&*self.staged) {
            let (Some(data), Some(staged), Some(info)) = (&mut output.data, staged, output.info) else { continue };
            let size = info.dtype.size();
            match output.strides.filter(|s| !is_contiguous(&info.dims, s)) {
                None => data[..staged.len()].copy_from_slice(staged),
                Some(strides) => each_element(&info.dims, &strides, |i, at| {
                    data[at * size..][..size].copy_from_slice(&staged[i * size..][..size]);
                }),
            }
        }
    }
}

/// Memory for runs of one session by one thread at a time; repeated runs of one shape allocate nothing.
pub struct Context {
    session: Arc<Session>,
    memory: Memory,
}

impl Context {
    /// A context of a session.
    pub fn new(session: &Arc<Session>) -> Context {
        Context { session: session.clone(), memory: Memory::default() }
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

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.memory.workspace.bytes()
    }
}
