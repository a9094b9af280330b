//! Stretches of a run on a GPU: copies and launches are put into a stream, and waited for where the host needs a result. What has
//! run before with the same addresses is captured the second time, and started with one call from then on.
#![allow(unsafe_code, reason = "copies between a context's own memory and the GPU's")]

use super::segment::{result, view};
use super::{Control, Executor, RawEvent, RawStream, Source, Workspace};
use crate::cuda::{Address, Args, Counter, Device, Event, Graph, Memory, Pinned, Stream, nvtx};
use crate::error::{Error, Result};
use crate::graph::{GraphId, Node};
use crate::plan::{Location, Place, Segment, Step, Work};
use crate::tensor::OutView;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Most stretches of which a context remembers that they have run, or what was captured of them.
const STRETCHES: usize = 32;

/// The nodes of the graph that runs, by which steps are called.
#[derive(Clone, Copy)]
pub(super) struct Nodes<'a>(&'a [Node]);

impl Nodes<'_> {
    /// The error with the name of the step's node.
    pub(super) fn about(self, step: &Step, e: Error) -> Error {
        let node = &self.0[step.node];
        e.at_node(&node.name, node.kind.name())
    }

    /// What a profiler calls the step.
    fn range(self, step: &Step) -> Option<nvtx::Range> {
        let node = &self.0[step.node];
        nvtx::range(|| match &step.work {
            Work::Cuda(_) => format!("{} ({})", node.name, node.kind.name()),
            copy => format!("{}: {}", copy.place(), node.name),
        })
    }
}

/// What a context has for its GPU.
pub struct DeviceSpace {
    /// Of the context's own; its memory is allocated and freed in it.
    pub(super) stream: Arc<Stream>,
    /// Into which the run's work goes.
    current: Option<(RawStream, Arc<Stream>)>,
    /// Behind the last work that nobody has waited for.
    pending: Option<Event>,
    /// Whether work was put into the stream that nobody has waited for.
    unfinished: bool,
    /// Whether to wait for each step, so that a fault of a kernel is found where it happens.
    blocking: bool,
    arena: Option<Memory>,
    staging: Option<Pinned>,
    /// Stretches that have run, the least recent first.
    seen: Vec<Seen>,
    /// Checks what steps compute, once a session has asked for that.
    pub(super) counter: Option<Counter>,
    /// Addresses of the caller's inputs and outputs in the GPU's memory, 0 for others.
    caller: (Vec<u64>, Vec<u64>),
    /// Operands of the step that is put into the stream.
    operands: (Vec<Address>, Vec<Address>),
}

/// A stretch that has run with the arena and staging memory that are there now.
struct Seen {
    segment: u64,
    first: usize,
    caller: (Vec<u64>, Vec<u64>),
    captured: Option<Graph>,
}

impl DeviceSpace {
    fn new(device: &Arc<Device>) -> Result<DeviceSpace> {
        Ok(DeviceSpace {
            stream: Arc::new(Stream::new(device)?),
            current: None,
            pending: None,
            unfinished: false,
            blocking: std::env::var_os("INFER_CUDA_BLOCKING").is_some_and(|v| v != "0"),
            arena: None,
            staging: None,
            seen: vec![],
            counter: None,
            caller: Default::default(),
            operands: Default::default(),
        })
    }

    /// Bytes of the GPU's memory, and of pinned memory.
    pub(super) fn occupied(&self) -> (u64, u64) {
        let (arena, staging) =
            (self.arena.as_ref().map_or(0, Memory::len), self.staging.as_ref().map_or(0, |s| s.len()));
        (arena as u64, staging as u64)
    }

    /// The stream of the run.
    pub(super) fn stream(&self) -> &Arc<Stream> {
        self.current.as_ref().map_or(&self.stream, |(_, stream)| stream)
    }

    /// Takes the stream that the run asks for. Work of the run before comes first.
    pub(super) fn choose_stream(&mut self, wanted: Option<RawStream>) -> Result<()> {
        if wanted == self.current.as_ref().map(|(raw, _)| *raw) {
            return Ok(());
        }
        let borrow = |raw: RawStream| {
            // SAFETY: who gives a run a stream promises that it is one of the device's, and there.
            let stream = unsafe { Stream::borrow(self.stream.device(), std::ptr::with_exposed_provenance_mut(raw.0)) };
            (raw, Arc::new(stream))
        };
        let stream = wanted.map(borrow);
        self.current = stream;
        match &self.pending {
            // What is captured cannot wait for what is not.
            Some(_) if self.is_captured_by_caller()? => self.settle(),
            Some(event) => self.stream().wait(event),
            None => Ok(()),
        }
    }

    /// Makes room for a segment. What was captured with other addresses is forgotten.
    fn reserve(&mut self, segment: &Segment) -> Result<()> {
        if self.arena.as_ref().is_none_or(|arena| arena.len() < segment.device_bytes) {
            self.settle()?;
            self.seen.clear();
            // The old memory goes first: both together may not fit.
            self.arena = None;
            self.arena = Some(Memory::new(&self.stream, segment.device_bytes)?);
            self.stream.synchronize()?;
        }
        if self.staging.as_ref().is_none_or(|staging| staging.len() < segment.staging_bytes) {
            self.settle()?;
            self.seen.clear();
            self.staging = None;
            self.staging = Some(Pinned::zeroed(self.stream.device(), segment.staging_bytes)?);
        }
        Ok(())
    }

    /// Waits for what is pending.
    fn settle(&mut self) -> Result<()> {
        self.pending.take().map_or(Ok(()), |event| event.synchronize())
    }

    pub(super) fn address(&self, location: &Location) -> Result<Address> {
        let arena = self.arena.as_ref().map_or(Address::default(), Memory::address);
        let start = match &location.place {
            Place::Weights(memory) => memory.address(),
            Place::Device(offset) => arena.offset(*offset),
            Place::DeviceInput(index) => Address(self.caller.0[*index]),
            Place::DeviceOutput(index) => Address(self.caller.1[*index]),
            _ => return Err(Error::internal("an operand of the GPU is in the host's memory")),
        };
        Ok(start.offset(location.offset))
    }

    /// Puts one step into the stream, in a range of its name. An error names its node.
    pub(super) fn enqueue(&mut self, step: &Step, nodes: Nodes<'_>) -> Result<()> {
        let _range = nodes.range(step);
        self.enqueue_work(step).map_err(|e| nodes.about(step, e))
    }

    fn enqueue_work(&mut self, step: &Step) -> Result<()> {
        match &step.work {
            Work::Cpu(_) => Err(Error::internal("a step of the processor among those of the GPU")),
            Work::Cuda(_) => self.enqueue_kernel(step),
            Work::Upload(offset) => {
                let (address, len) = (self.address(&step.outputs[0])?, step.outputs[0].len);
                let staged = self.staged(*offset, len).as_ptr();
                // SAFETY: both are that long; the staging memory is written again only after the stream was waited for.
                unsafe { self.stream().write(address, staged, len) }
            }
            Work::Download(offset) => {
                let (address, len) = (self.address(source(step)?)?, step.outputs[0].len);
                let staged = self.staged(*offset, len).as_mut_ptr();
                // SAFETY: both are that long; the staging memory is read only after the stream was waited for.
                unsafe { self.stream().read(staged, address, len) }
            }
            Work::Move => {
                let (from, to) = (self.address(source(step)?)?, self.address(&step.outputs[0])?);
                // SAFETY: both are that long: the arena or a constant, and an output of the caller's.
                unsafe { self.stream().copy(to, from, step.outputs[0].len) }
            }
        }
    }

    fn enqueue_kernel(&mut self, step: &Step) -> Result<()> {
        let Work::Cuda(kernel) = &step.work else { return Ok(()) };
        let (mut inputs, mut outputs) = std::mem::take(&mut self.operands);
        inputs.clear();
        outputs.clear();
        for input in &step.inputs {
            inputs.push(input.as_ref().map_or(Ok(Address::default()), |at| self.address(at))?);
        }
        for output in &step.outputs {
            outputs.push(self.address(output)?);
        }
        let arena = self.arena.as_ref().map_or(Address::default(), Memory::address);
        let args = Args { inputs: &inputs, outputs: &outputs, workspace: arena.offset(step.shared.0) };
        let result = kernel.enqueue(self.stream(), &args);
        self.operands = (inputs, outputs);
        result
    }

    fn staged(&mut self, offset: usize, len: usize) -> &mut [u8] {
        &mut self.staging.as_mut().expect("staging memory is reserved")[offset..offset + len]
    }

    /// Puts steps into the stream, one after another.
    fn enqueue_all(&mut self, steps: &[Step], nodes: Nodes<'_>) -> Result<()> {
        steps.iter().try_for_each(|step| {
            self.enqueue(step, nodes)?;
            if self.blocking { self.stream().synchronize().map_err(|e| nodes.about(step, e)) } else { Ok(()) }
        })
    }

    /// Puts a stretch into the stream: step by step the first time, captured the second time, with one call from then on. A profiler
    /// that wants ranges sees each step every time.
    fn start(&mut self, segment: &Segment, range: Range<usize>, nodes: Nodes<'_>) -> Result<()> {
        let steps = &segment.steps[range.clone()];
        if self.blocking || nvtx::wanted() || self.is_captured_by_caller()? {
            return self.enqueue_all(steps, nodes);
        }
        let same = |s: &Seen| s.segment == segment.id && s.first == range.start && s.caller == self.caller;
        let Some(at) = self.seen.iter().position(same) else {
            self.enqueue_all(steps, nodes)?;
            if self.seen.len() == STRETCHES {
                // What was captured of it may be running still.
                self.settle()?;
                self.seen.remove(0);
            }
            let caller = self.caller.clone();
            self.seen.push(Seen { segment: segment.id, first: range.start, caller, captured: None });
            return Ok(());
        };
        let mut seen = self.seen.remove(at);
        if seen.captured.is_none() {
            seen.captured = Some(self.capture(steps, nodes)?);
        }
        let launched = seen.captured.as_ref().map_or(Ok(()), |graph| graph.launch(self.stream()));
        self.seen.push(seen);
        launched
    }

    /// Captures steps in the context's own stream: the caller's may be the default stream, which cannot be captured.
    fn capture(&mut self, steps: &[Step], nodes: Nodes<'_>) -> Result<Graph> {
        let current = self.current.take();
        let captured = self.stream.clone().capture(|| self.enqueue_all(steps, nodes));
        self.current = current;
        captured
    }

    /// Whether the stream is the caller's, who captures what is put into it.
    pub(super) fn is_captured_by_caller(&self) -> Result<bool> {
        self.current.as_ref().map_or(Ok(false), |(_, stream)| stream.is_capturing())
    }

    /// As [`DeviceSpace::start`], with the time that each step takes.
    fn start_timed(&mut self, steps: &[Step], nodes: Nodes<'_>) -> Result<Vec<Duration>> {
        let event = |space: &DeviceSpace| {
            let event = Event::new(space.stream.device())?;
            event.record(space.stream()).map(|()| event)
        };
        let mut events = vec![event(self)?];
        for step in steps {
            self.enqueue(step, nodes)?;
            events.push(event(self)?);
        }
        self.stream().synchronize()?;
        events.windows(2).map(|pair| pair[1].since(&pair[0])).collect()
    }

    /// Leaves a segment: waits for its work, or notes what to wait for.
    fn leave(&mut self, control: &Control<'_>) -> Result<()> {
        if !std::mem::take(&mut self.unfinished) {
            return Ok(());
        }
        if self.is_captured_by_caller()? {
            return Ok(());
        }
        if !control.asynchronous {
            return self.stream().synchronize();
        }
        let event = self.pending.take().map_or_else(|| Event::new(self.stream.device()), Ok)?;
        event.record(self.stream())?;
        self.pending = Some(event);
        Ok(())
    }
}

impl Drop for DeviceSpace {
    /// Waits for work that uses the memory which goes now.
    fn drop(&mut self) {
        drop(self.settle());
    }
}

fn source(step: &Step) -> Result<&Location> {
    step.inputs[0].as_ref().ok_or_else(|| Error::internal("a copy of nothing"))
}

impl Executor<'_> {
    /// Runs a stretch of steps on the GPU; waits for it if the host needs a result of it.
    pub(super) fn launch(
        &self,
        graph: GraphId,
        (segment, range): (&Segment, Range<usize>),
        workspace: &mut Workspace,
        inputs: &[Source<'_>],
        outputs: &[OutView<'static>],
    ) -> Result<()> {
        self.control.check()?;
        // The stretch uses the rest of the workspace beside it.
        let mut space = self.take_device(workspace)?;
        let nodes = Nodes(&self.prepared.program.graphs[graph.0 as usize].nodes);
        let result = self.launch_in(&mut space, graph, (segment, range, nodes), workspace, inputs, outputs);
        // What is in the stream already must not meet the next run; its own failure is no news.
        let result = result.inspect_err(|_| drop(space.stream().synchronize()));
        workspace.device = Some(space);
        result
    }

    /// What the workspace has for its GPU.
    fn take_device(&self, workspace: &mut Workspace) -> Result<DeviceSpace> {
        let cuda = self.prepared.cuda.as_ref().ok_or_else(|| Error::internal("a step of a GPU, and no GPU"))?;
        workspace.device.take().map_or_else(|| DeviceSpace::new(cuda.weights.device()), Ok)
    }

    /// Calls `use_it` with what the workspace has for its GPU.
    pub(super) fn on_device<T>(
        &self,
        workspace: &mut Workspace,
        use_it: impl FnOnce(&mut DeviceSpace) -> Result<T>,
    ) -> Result<T> {
        let space = self.take_device(workspace)?;
        use_it(workspace.device.insert(space))
    }

    fn launch_in(
        &self,
        space: &mut DeviceSpace,
        graph: GraphId,
        (segment, range, nodes): (&Segment, Range<usize>, Nodes<'_>),
        workspace: &mut Workspace,
        inputs: &[Source<'_>],
        outputs: &[OutView<'static>],
    ) -> Result<()> {
        space.choose_stream(self.control.stream)?;
        space.reserve(segment)?;
        space.caller.0.clear();
        space.caller.0.extend(inputs.iter().map(|input| input.device.unwrap_or(0)));
        space.caller.1.clone_from(&workspace.device_outputs);
        let steps = &segment.steps[range.clone()];
        for step in steps {
            if let (Work::Upload(offset), Some(from)) = (&step.work, &step.inputs[0]) {
                // The run before may still be reading there.
                space.settle()?;
                let bytes = view(from, workspace, inputs, outputs).bytes();
                space.staged(*offset, bytes.len()).copy_from_slice(bytes);
            }
        }
        match self.control.profile {
            _ if self.prepared.check => self.start_checked(space, graph, (segment, range), nodes)?,
            None => space.start(segment, range, nodes)?,
            Some(profile) => {
                let times = space.start_timed(steps, nodes)?;
                range.zip(times).for_each(|(step, time)| profile.step(step, time));
            }
        }
        space.unfinished = true;
        if steps.iter().any(|step| matches!(step.work, Work::Download(_))) {
            space.stream().synchronize()?;
            space.unfinished = false;
        }
        for step in steps {
            if let Work::Download(offset) = &step.work {
                let to = result(&step.outputs[0], workspace, outputs);
                let staged = space.staged(*offset, to.byte_len());
                // SAFETY: the plan gives the copy a result of that many bytes, which nothing else uses now.
                unsafe { std::ptr::copy_nonoverlapping(staged.as_ptr(), to.as_ptr(), staged.len()) }
            }
        }
        Ok(())
    }

    /// Puts the caller's event behind the run's work, and who is to be told of its end; true if the driver will tell him.
    pub(super) fn finish_on_device(&self, workspace: &mut Workspace) -> Result<bool> {
        let Control { event, done, asynchronous, stream, .. } = self.control;
        let done = done.filter(|_| asynchronous).cloned();
        if event.is_none() && done.is_none() {
            return Ok(false);
        }
        self.on_device(workspace, |space| {
            space.choose_stream(stream)?;
            let stream = space.stream();
            let record = |event: RawEvent| {
                // SAFETY: who gives a run an event promises that it is one of the device's, and there.
                unsafe { stream.record(std::ptr::with_exposed_provenance_mut(event.0)) }
            };
            let told = done.is_some();
            let put = event.map_or(Ok(()), record);
            let put = put.and_then(|()| done.map_or(Ok(()), |done| stream.notify(move |result| done(result))));
            // A run that fails leaves nothing behind.
            put.inspect_err(|_| drop(stream.synchronize())).map(|()| told)
        })
    }

    /// The segment's steps are done, or in the stream.
    pub(super) fn leave(&self, workspace: &mut Workspace) -> Result<()> {
        workspace.device.as_mut().map_or(Ok(()), |space| space.leave(&self.control))
    }
}
