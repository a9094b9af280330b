//! The run loop: all threads walk a segment's phases together.
#![allow(unsafe_code, reason = "all threads of a run share the context's memory, in parts that the plan keeps apart")]

use super::{Executor, Source, Workspace};
use crate::cpu::parallel::Rank;
use crate::error::{Error, Result};
use crate::graph::GraphId;
use crate::plan::{Location, PhaseOf, Place, Segment};
use crate::tensor::{Args, DType, OutView, View};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// What the threads of a run share.
struct Run<'a> {
    segment: &'a Segment,
    inputs: &'a [Option<View<'static>>],
    results: &'a [OutView<'static>],
    shared: &'a [OutView<'static>],
    scratch: &'a [OutView<'static>],
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
        let run = Run {
            segment,
            inputs: &workspace.inputs,
            results: &workspace.results,
            shared: &workspace.shared,
            scratch: &workspace.scratch_views,
            failed: AtomicBool::new(false),
            error: Mutex::new(None),
        };
        if let Some(profile) = self.control.profile {
            profile.begin(segment.phases.len());
        }
        if segment.parallel {
            self.gang.run(&|rank: &Rank<'_>| self.walk(graph, &run, rank.index, rank.size, &|| rank.barrier()))?;
        } else {
            self.walk(graph, &run, 0, 1, &|| ());
        }
        if let Some(profile) = self.control.profile {
            profile.end(&self.prepared.program, graph, segment);
        }
        run.error.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// One thread's way through the phases. After a failure the threads still meet at every barrier.
    ///
    /// The phases of a step take their parts in turns from the first and from the last, so that each begins with what
    /// the one before has left in the cache.
    fn walk(&self, graph: GraphId, run: &Run<'_>, rank: usize, ranks: usize, barrier: &dyn Fn()) {
        let (mut step, mut backwards) = (usize::MAX, false);
        for phase in &run.segment.phases {
            (step, backwards) = (phase.step, phase.step == step && !backwards);
            if phase.barrier {
                barrier();
            }
            if rank == 0 {
                self.lead(run);
            }
            let parts = own_parts(phase.grid.parts(), rank, ranks);
            for nth in 0..parts.len() {
                let part = if backwards { parts.end - 1 - nth } else { parts.start + nth };
                if run.failed.load(Ordering::Relaxed) {
                    break;
                }
                let result = catch_unwind(AssertUnwindSafe(|| run.part(phase, part, rank)));
                if let Err(e) = result.unwrap_or_else(|panic| Err(panicked(&*panic))) {
                    let node =
                        &self.prepared.program.graphs[graph.0 as usize].nodes[run.segment.steps[phase.step].node];
                    run.fail(e.at_node(&node.name, node.kind.name()));
                }
            }
        }
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
}

/// The parts of a phase that a rank runs. A part alone stays with rank 0, where no barrier surrounds it.
fn own_parts(parts: usize, rank: usize, ranks: usize) -> Range<usize> {
    match (parts, rank) {
        (1, 0) => 0..1,
        (1, _) => 0..0,
        _ => parts * rank / ranks..parts * (rank + 1) / ranks,
    }
}

impl Run<'_> {
    fn part(&self, phase: &PhaseOf, part: usize, rank: usize) -> Result<()> {
        let step = &self.segment.steps[phase.step];
        let inputs = &self.inputs[step.tables.0..][..step.inputs.len()];
        let results = &self.results[step.tables.1..][..step.outputs.len()];
        let scratch = self.scratch[rank];
        // SAFETY: each rank has scratch memory of its own and runs one part at a time.
        let scratch = unsafe { std::slice::from_raw_parts_mut(scratch.as_ptr(), scratch.byte_len()) };
        // SAFETY: `own_parts` gives each part to one rank; the plan gives the results and the shared workspace memory
        // that nothing else uses while the step runs; barriers keep steps apart.
        let mut args = unsafe { Args::new(inputs, results, self.shared[phase.step], scratch, phase.grid, part) };
        step.kernel.run(phase.phase, &mut args)
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
fn result(location: &Location, workspace: &mut Workspace, outputs: &[OutView<'static>]) -> OutView<'static> {
    let dtype = location.info.dtype;
    match &location.place {
        Place::Arena(offset) => arena(workspace, *offset, location.len, dtype),
        Place::Kept(id) => {
            let kept = workspace.kept[id.0 as usize].as_mut().expect("kept memory is reserved");
            unbound(OutView::new(&mut kept[..location.len], dtype))
        }
        Place::Output(i) => {
            assert!(outputs[*i].byte_len() >= location.len, "output memory is too small");
            // SAFETY: a part of the output's memory.
            unsafe { OutView::from_raw(pointer(outputs[*i]), location.len, dtype) }
        }
        Place::Constant(_) | Place::Input(_) => unreachable!("a step writes neither constants nor inputs"),
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
        if location.place == Place::Output(i) {
            continue;
        }
        let from = view(location, workspace, inputs, outputs).bytes();
        assert!(outputs[i].byte_len() >= from.len(), "output memory is too small");
        // SAFETY: the output's memory holds at least as many bytes; the ranges may overlap if the caller passes one
        // buffer as input and output.
        unsafe { std::ptr::copy(from.as_ptr(), outputs[i].as_ptr(), from.len()) }
    }
}
