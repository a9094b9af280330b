//! What the steps of a run took.

use crate::graph::{GraphId, NodeKind, Program};
use crate::ops::TensorInfo;
use crate::plan::{Fused, Location, PhaseOf, Place, Segment};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Collects what each step of a run takes; given to the run by [`Control::profile`](super::Control::profile).
///
/// It is for one run at a time: runs that share one at the same time spoil each other's figures.
#[derive(Debug, Default)]
pub struct Profile(Mutex<Record>);

#[derive(Debug, Default)]
struct Record {
    steps: Vec<ProfiledStep>,
    /// When each phase of the stretch that runs began.
    begun: Vec<Instant>,
    /// What each step of the segment that runs took.
    times: Vec<Duration>,
}

/// One step of a run.
#[derive(Clone, Debug)]
pub struct ProfiledStep {
    /// The graph of its node.
    pub graph: GraphId,
    /// Index of the node in that graph.
    pub node: usize,
    /// Index of the node before it that the step does too.
    pub fused: Option<usize>,
    /// Name of the node, after that of the node before it.
    pub name: String,
    /// Name of the operator.
    pub operator: &'static str,
    /// Where it ran, or between what it copied: as [`PlacedStep::place`](crate::session::PlacedStep::place).
    pub place: &'static str,
    /// Its inputs, None where an optional one is absent.
    pub inputs: Vec<Option<TensorInfo>>,
    /// Its outputs.
    pub outputs: Vec<TensorInfo>,
    /// From its first part to the end of its last one, on whichever thread.
    pub time: Duration,
    /// Floating-point operations of the direct algorithm; 0 for operators that are bound by memory. See
    /// [`OpDef::flops`](crate::ops::OpDef::flops).
    pub flops: u64,
    /// Bytes of inputs, weights as they are packed, and outputs; all of them, also where a step reads a part.
    pub bytes: u64,
}

impl Profile {
    /// The steps so far, in the order in which they ran; a step of a loop's body stands there once for each trip.
    pub fn steps(&self) -> Vec<ProfiledStep> {
        self.lock().steps.clone()
    }

    /// Prepares for a segment.
    pub(super) fn begin(&self, segment: &Segment) {
        let mut record = self.lock();
        record.begun.clear();
        record.begun.reserve(segment.phases.len() + 1);
        record.times.clear();
        record.times.resize(segment.steps.len(), Duration::ZERO);
    }

    /// The phase before has ended, as rank 0 sees it, and the next one begins.
    pub(super) fn mark(&self) {
        let mut record = self.lock();
        record.begun.push(Instant::now());
    }

    /// These phases, of which each has been marked, have ended.
    pub(super) fn phases(&self, phases: &[PhaseOf]) {
        self.mark();
        let Record { begun, times, .. } = &mut *self.lock();
        for (phase, begun) in phases.iter().zip(begun.windows(2)) {
            times[phase.step] += begun[1] - begun[0];
        }
        begun.clear();
    }

    /// A step has taken `time`.
    #[cfg(feature = "cuda")]
    pub(super) fn step(&self, step: usize, time: Duration) {
        self.lock().times[step] += time;
    }

    /// The segment has ended.
    pub(super) fn end(&self, program: &Program, graph: GraphId, segment: &Segment) {
        let mut record = self.lock();
        let times = std::mem::take(&mut record.times);
        for (step, time) in segment.steps.iter().zip(times) {
            let inputs = step.inputs.iter().map(|input| input.as_ref().map(|input| input.info)).collect();
            let outputs = step.outputs.iter().map(|output| output.info).collect();
            let bytes = step.inputs.iter().flatten().chain(&step.outputs).map(bytes).sum();
            let profiled = ProfiledStep::new(program, (graph, step.node), (inputs, outputs), time);
            let profiled = ProfiledStep { bytes, place: step.work.place(), ..profiled };
            record.steps.push(profiled.with(program, step.fused));
        }
    }

    /// A node that runs by itself has taken `time`. Control flow does not count: what it runs are steps of their own.
    pub(super) fn dynamic(
        &self,
        program: &Program,
        (graph, node): (GraphId, usize),
        (inputs, outputs): (Vec<Option<TensorInfo>>, Vec<TensorInfo>),
        time: Duration,
    ) {
        if matches!(program.graphs[graph.0 as usize].nodes[node].kind, NodeKind::Op(_)) {
            self.lock().steps.push(ProfiledStep::new(program, (graph, node), (inputs, outputs), time));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of an operand, without what lies between its rows.
fn bytes(operand: &Location) -> u64 {
    let len = match operand.place {
        Place::Constant(_) => operand.len,
        _ => operand.info.numel() * operand.info.dtype.size(),
    };
    len as u64
}

impl ProfiledStep {
    fn new(
        program: &Program,
        (graph, index): (GraphId, usize),
        (inputs, outputs): (Vec<Option<TensorInfo>>, Vec<TensorInfo>),
        time: Duration,
    ) -> ProfiledStep {
        let node = &program.graphs[graph.0 as usize].nodes[index];
        let flops = match &node.kind {
            NodeKind::Op(op) => op.flops(&inputs, &outputs),
            NodeKind::If { .. } | NodeKind::Loop { .. } => 0,
        };
        let tensors = inputs.iter().flatten().chain(&outputs);
        let bytes = tensors.filter_map(|info| info.byte_len().ok()).map(|n| n as u64).sum();
        let (name, operator, place) = (node.name.clone(), node.kind.name(), "cpu");
        ProfiledStep { graph, node: index, fused: None, name, operator, place, inputs, outputs, time, flops, bytes }
    }

    /// The step with what it does of another node.
    fn with(self, program: &Program, fused: Option<Fused>) -> ProfiledStep {
        let Some(Fused { node, flops }) = fused else { return self };
        let first = &program.graphs[self.graph.0 as usize].nodes[node].name;
        let (name, flops) = (format!("{first} + {}", self.name), self.flops + flops);
        ProfiledStep { name, flops, fused: Some(node), ..self }
    }
}
