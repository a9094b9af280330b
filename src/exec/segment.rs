//! The run loop: all threads walk a segment's phases together, stretch by stretch.
#![allow(unsafe_code, reason = "all threads of a run share the context's memory, in parts that the plan keeps apart")]

use super::{Executor, Source, Workspace};
use crate::cpu::parallel::{Gang, Ledger, Rank};
use crate::error::{Error, Result};
use crate::graph::GraphId;
use crate::plan::{Location, PhaseOf, Place, Segment, Stretch};
use crate::tensor::{Args, DType, OutView, View};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// What the threads of a run share.
struct Run<'a> {
    segment: &'a Segment,
    phases: &'a [PhaseOf],
    inputs: &'a [Option<View<'static>>],
    results: &'a [OutView<'static>],
    shared: &'a [OutView<'static>],
    scratch: &'a [OutView<'static>],
    ledger: &'a Ledger,
    failed: AtomicBool,
    error: Mutex<Option<Error>>,
}

impl Executor<'_> {
    /// Runs a segment's steps. `outputs` is the memory of the graph's outputs, if the segment is the last.
    pub(super) fn execute(
        &self,
        graph: GraphId,
        segment: &Segment,
        workspace: &mut Workspace,
        inputs: &[Source<'_>],
        outputs: &[OutView<'static>],
    ) -> Result<()> {
        workspace.reserve(segment, self.gang.size())?;
        bind(segment, workspace, inputs, outputs);
        if let Some(profile) = self.control.profile {
            profile.begin(segment);
        }
        for stretch in &segment.stretches {
            match stretch {
                Stretch::Cpu(phases) if self.prepared.check => {
                    self.phases_checked(graph, (segment, phases.clone()), workspace, inputs, outputs)?;
                }
                Stretch::Cpu(phases) => self.phases(graph, segment, phases.clone(), workspace)?,
                #[cfg(feature = "cuda")]
                Stretch::Cuda(steps) => self.launch(graph, (segment, steps.clone()), workspace, inputs, outputs)?,
                #[cfg(not(feature = "cuda"))]
                Stretch::Cuda(_) => unreachable!("no step runs on a GPU"),
            }
        }
        #[cfg(feature = "cuda")]
        self.leave(workspace)?;
        if let Some(profile) = self.control.profile {
            profile.end(&self.prepared.program, graph, segment);
        }
        Ok(())
    }

    /// Runs phases on the processor.
    pub(super) fn phases(
        &self,
        graph: GraphId,
        segment: &Segment,
        phases: Range<usize>,
        workspace: &mut Workspace,
    ) -> Result<()> {
        workspace.ledger.open(self.gang.size());
        let run = Run {
            segment,
            phases: &segment.phases[phases],
            inputs: &workspace.inputs,
            results: &workspace.results,
            shared: &workspace.shared,
            scratch: &workspace.scratch_views,
            ledger: &workspace.ledger,
            failed: AtomicBool::new(false),
            error: Mutex::new(None),
        };
        let walk = |rank: &Rank<'_>| self.walk(graph, &run, rank);
        if segment.parallel {
            self.gang.run(&walk)?;
        } else {
            Gang::alone(&walk)?;
        }
        if let Some(profile) = self.control.profile {
            profile.phases(run.phases);
        }
        run.error.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// One thread's way through the phases. After a failure parts are taken, but not run.
    ///
    /// Phases take their parts in turns from the first and from the last, so that each begins with what the one before has
    /// left in the cache.
    fn walk(&self, graph: GraphId, run: &Run<'_>, rank: &Rank<'_>) {
        let mut backwards = false;
        // Parts before the phase, and those that this rank has finished and not told.
        let (mut before, mut finished) = (0, 0);
        for (number, phase) in (1..).zip(run.phases) {
            let parts = phase.grid.parts();
            backwards = parts > 1 && !backwards;
            if phase.waits {
                run.ledger.finish(rank, std::mem::take(&mut finished), before);
                if !run.ledger.wait(rank, before) {
                    return;
                }
            }
            if rank.index == 0 {
                self.lead(run);
            }
            if parts > 1 {
                finished += self.share_parts(graph, run, rank, (number, phase, backwards));
            } else if parts == 1 && rank.index == 0 {
                // Stays with one rank, as nothing separates it from phases of one part around it.
                self.run_part(graph, run, (phase, 0), rank.index);
                finished += 1;
            }
            before += parts as u64;
        }
        run.ledger.finish(rank, finished, before);
    }

    /// What rank 0 does when a phase begins.
    fn lead(&self, run: &Run<'_>) {
        if let Err(e) = self.control.check() {
            run.fail(e);
        }
        if let Some(profile) = self.control.profile {
            profile.mark();
        }
    }

    /// Runs parts of a phase until all are taken: this rank's own, then those that others have not come to. Returns how
    /// many.
    fn share_parts(
        &self,
        graph: GraphId,
        run: &Run<'_>,
        rank: &Rank<'_>,
        (number, phase, backwards): (u32, &PhaseOf, bool),
    ) -> u64 {
        let mut finished = 0;
        for turn in 0..rank.size {
            let owner = (rank.index + turn) % rank.size;
            let share = share(phase.grid.parts(), owner, rank.size);
            while let Some(nth) = run.ledger.take(owner, number, share.len()) {
                let part = if backwards { share.end - 1 - nth } else { share.start + nth };
                self.run_part(graph, run, (phase, part), rank.index);
                finished += 1;
            }
        }
        finished
    }

    fn run_part(&self, graph: GraphId, run: &Run<'_>, (phase, part): (&PhaseOf, usize), rank: usize) {
        if run.failed.load(Ordering::Relaxed) {
            return;
        }
        let result = catch_unwind(AssertUnwindSafe(|| run.part(phase, part, rank)));
        if let Err(e) = result.unwrap_or_else(|panic| Err(panicked(&*panic))) {
            let node = &self.prepared.program.graphs[graph.0 as usize].nodes[run.segment.steps[phase.step].node];
            run.fail(e.at_node(&node.name, node.kind.name()));
        }
    }
}

/// The parts of a phase that belong to a rank.
fn share(parts: usize, rank: usize, ranks: usize) -> Range<usize> {
    parts * rank / ranks..parts * (rank + 1) / ranks
}

impl Run<'_> {
    fn part(&self, phase: &PhaseOf, part: usize, rank: usize) -> Result<()> {
        let step = &self.segment.steps[phase.step];
        let inputs = &self.inputs[step.tables.0..][..step.inputs.len()];
        let results = &self.results[step.tables.1..][..step.outputs.len()];
        let scratch = self.scratch[rank];
        // SAFETY: each rank has scratch memory of its own and runs one part at a time.
        let scratch = unsafe { std::slice::from_raw_parts_mut(scratch.as_ptr(), scratch.byte_len()) };
        // SAFETY: the ledger gives each part to one rank; the plan gives the results and the shared workspace memory
        // that nothing else uses while the step runs; no step begins before the parts of the one before are finished.
        let mut args = unsafe { Args::new(inputs, results, self.shared[phase.step], scratch, phase.grid, part) };
        step.work.cpu().expect("a phase of a step on the processor").run(phase.phase, &mut args)
    }

    fn fail(&self, error: Error) {
        self.failed.store(true, Ordering::Relaxed);
        self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    Error::internal(format!("a kernel panicked: {}", text.unwrap_or("no message")))
}

/// Fills the workspace's tables with the addresses of this run.
fn bind(segment: &Segment, workspace: &mut Workspace, inputs: &[Source<'_>], outputs: &[OutView<'static>]) {
    let (mut views, mut results) = (std::mem::take(&mut workspace.inputs), std::mem::take(&mut workspace.results));
    let (mut shared, mut scratch) =
        (std::mem::take(&mut workspace.shared), std::mem::take(&mut workspace.scratch_views));
    views.clear();
    results.clear();
    shared.clear();
    scratch.clear();
    for step in &segment.steps {
        if step.work.cpu().is_none() {
            // Found by its place in the table.
            shared.push(arena(workspace, 0, 0, DType::U8));
            continue;
        }
        views.extend(step.inputs.iter().map(|l| l.as_ref().map(|l| view(l, workspace, inputs, outputs))));
        results.extend(step.outputs.iter().map(|l| result(l, workspace, outputs)));
        shared.push(arena(workspace, step.shared.0, step.shared.1, DType::U8));
    }
    scratch.extend(workspace.scratch.iter_mut().map(|b| unbound(OutView::new(b, DType::U8))));
    (workspace.inputs, workspace.results) = (views, results);
    (workspace.shared, workspace.scratch_views) = (shared, scratch);
}

/// The view of a location. It is valid until the workspace or the caller's memory changes.
pub(super) fn view(
    location: &Location,
    workspace: &mut Workspace,
    inputs: &[Source<'_>],
    outputs: &[OutView<'static>],
) -> View<'static> {
    let dtype = location.info.dtype;
    let ptr = match &location.place {
        Place::Constant(data) => NonNull::from(&data[..]).cast(),
        Place::Input(i) => NonNull::from(inputs[*i].view.bytes()).cast(),
        _ => pointer(result(location, workspace, outputs)),
    };
    // SAFETY: the location lies in memory of `len` bytes, aligned for every element type (an arena offset, a buffer's
    // start, a checked constant, input or output), which outlives the run in whose tables the view stands; the plan
    // lets no step write it while another one reads it.
    unsafe { View::from_raw(ptr, location.len, dtype) }
}

/// The memory of a location that a step writes.
pub(super) fn result(location: &Location, workspace: &mut Workspace, outputs: &[OutView<'static>]) -> OutView<'static> {
    let dtype = location.info.dtype;
    match &location.place {
        Place::Arena(start) => arena(workspace, start + location.offset, location.len, dtype),
        Place::Kept(id) => {
            let kept = workspace.kept[id.0 as usize].as_mut().expect("kept memory is reserved");
            unbound(OutView::new(&mut kept[location.offset..][..location.len], dtype))
        }
        Place::Output(i) => {
            assert!(outputs[*i].byte_len() >= location.offset + location.len, "output memory is too small");
            // SAFETY: a part of the output's memory.
            unsafe { OutView::from_raw(pointer(outputs[*i]).add(location.offset), location.len, dtype) }
        }
        Place::Constant(_) | Place::Input(_) => unreachable!("a step writes neither constants nor inputs"),
        #[cfg(feature = "cuda")]
        Place::Weights(_) => unreachable!("constants of the GPU are not in the host's memory"),
        Place::Device(_) | Place::DeviceInput(_) | Place::DeviceOutput(_) => {
            unreachable!("memory of the GPU is not the host's")
        }
    }
}

fn arena(workspace: &mut Workspace, offset: usize, len: usize, dtype: DType) -> OutView<'static> {
    let arena = workspace.arena.as_mut().expect("the arena is reserved");
    unbound(OutView::new(&mut arena[offset..offset + len], dtype))
}

fn pointer(view: OutView<'_>) -> NonNull<u8> {
    NonNull::new(view.as_ptr()).expect("memory is not at address 0")
}

/// The view without the lifetime of the borrow it was made from, for tables that are filled anew for each run.
pub(super) fn unbound(view: OutView<'_>) -> OutView<'static> {
    // SAFETY: the tables are read only while the memory is there: during the run for which they were filled.
    unsafe { OutView::from_raw(pointer(view), view.byte_len(), view.dtype()) }
}

/// Copies those outputs that no step has written in place: inputs, constants, kept values, and second copies.
pub(super) fn copy_outputs(
    segment: &Segment,
    workspace: &mut Workspace,
    inputs: &[Source<'_>],
    outputs: &[OutView<'static>],
) {
    for (i, location) in segment.outputs.iter().enumerate() {
        if matches!(location.place, Place::Output(at) | Place::DeviceOutput(at) if at == i) {
            continue;
        }
        let from = view(location, workspace, inputs, outputs).bytes();
        assert!(outputs[i].byte_len() >= from.len(), "output memory is too small");
        // SAFETY: the output's memory holds at least as many bytes; the ranges may overlap if the caller passes one
        // buffer as input and output.
        unsafe { std::ptr::copy(from.as_ptr(), outputs[i].as_ptr(), from.len()) }
    }
}
