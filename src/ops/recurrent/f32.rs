//! Recurrent layers in f32.
//!
//! The products of all steps with W are one matrix product. Then the steps: where the products with R are large, a phase
//! for each, cut along the units of the hidden state; else all of them in one phase, cut along the batch. A GRU that resets
//! before its product takes two stages per step.
#![allow(unsafe_code, reason = "parts write disjoint ranges of the shared workspace and of interleaved outputs")]

use super::step::Place;
use super::{CellKind, Recurrent};
use crate::cpu::Isa;
use crate::cpu::gemm::{Gemm, GemmShape, Matrix, Output, StridedRows, pack, panels};
use crate::error::{Error, Result};
use crate::ops::{Kernel, Prepare};
use crate::tensor::{Args, Grid, Layout, PANEL};
use std::ops::Range;

/// Multiply-adds of a step from which it is worth a phase, and worth a part.
const LARGE: usize = 256 * 1024;
const GRAIN: usize = 128 * 1024;
/// Steps that may each be a phase.
const MOST_PHASES: usize = 1 << 16;
/// Sequences that a part takes at least when it takes all steps.
const SEQUENCES: usize = 8;

/// A layer of known shape.
pub(super) struct Layer {
    pub isa: Isa,
    pub op: Recurrent,
    pub steps: usize,
    pub batch: usize,
    width: usize,
    pub hidden: usize,
    pub gates: usize,
    pub directions: usize,
    /// Steps are phases, cut into this many ranges of units; else they are one phase, cut into ranges of the batch.
    stepwise: bool,
    pub ranges: usize,
    /// Whether W and R are packed at run time.
    packs: [bool; 2],
    project: Gemm,
    /// The product of a part of a step for one gate, or for neighbouring ones, if the parts are even.
    product: Gemm,
    /// Outputs that are wanted.
    outputs: usize,
    pub places: Places,
    phases: Vec<(Phase, Grid)>,
}

#[derive(Clone, Copy)]
enum Phase {
    /// Weights are packed, biases added, states set.
    Begin,
    Project,
    Step(usize, usize),
    AllSteps,
    /// States are given out.
    End,
}

/// Regions of the workspace: first element and elements per direction.
#[derive(Clone, Copy, Default)]
pub(super) struct Places {
    weights: [Region; 2],
    bias: Region,
    pub projected: Region,
    /// The hidden state before even and odd steps.
    pub hidden: [Region; 2],
    /// Cell state, or the update gate of a GRU.
    pub state: Region,
    /// The hidden state times the reset gate.
    pub reset: Region,
    elements: usize,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Region {
    start: usize,
    len: usize,
}

impl Region {
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The kernel of a layer of known shape.
pub fn prepare(op: &Recurrent, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
    let x = cx.dims(0);
    let (steps, batch) = if op.batch_first { (x[1], x[0]) } else { (x[0], x[1]) };
    let packs = [pack_needed(cx.input(1).layout)?, pack_needed(cx.input(2).layout)?];
    let (width, hidden, gates) = (x[2], op.hidden as usize, op.kind.gates());
    let directions = op.direction.count();
    let too_large = || Error::no_memory(format!("{steps} steps of {batch} sequences are too large"));
    let rows = steps.checked_mul(batch).ok_or_else(too_large)?;
    // Bytes, several times as many as the workspace has.
    rows.checked_mul(16 * size_of::<f32>() * directions * gates * hidden).ok_or_else(too_large)?;
    let shape = GemmShape::matrix(rows, gates * hidden, width);
    let work = batch.saturating_mul(gates * hidden).saturating_mul(hidden);
    let stepwise = hidden.is_multiple_of(PANEL) && work >= LARGE && steps <= MOST_PHASES;
    let ranges = match stepwise {
        true => (work / GRAIN).clamp(1, (hidden / PANEL).min(16)),
        false => (work.saturating_mul(steps) / GRAIN).clamp(1, batch.div_ceil(SEQUENCES).max(1)),
    };
    let columns = if stepwise { hidden / ranges } else { gates * hidden };
    let mut layer = Layer {
        isa: cx.isa,
        op: op.clone(),
        steps,
        batch,
        width,
        hidden,
        gates,
        directions,
        stepwise,
        ranges,
        packs,
        project: Gemm::new(cx.target(), shape)?,
        product: Gemm::whole(cx.isa, GemmShape::matrix(batch, columns, hidden)),
        outputs: cx.outputs.len(),
        places: Places::default(),
        phases: vec![],
    };
    layer.place();
    layer.plan();
    Ok(Box::new(layer))
}

fn pack_needed(layout: Layout) -> Result<bool> {
    match layout {
        Layout::RowMajor => Ok(true),
        Layout::Panels => Ok(false),
        other => Err(Error::format(format!("recurrent weights stored as {other:?}"))),
    }
}

impl Kernel for Layer {
    fn phases(&self) -> Vec<Grid> {
        self.phases.iter().map(|p| p.1).collect()
    }

    fn shared_bytes(&self) -> usize {
        self.places.elements * size_of::<f32>()
    }

    fn scratch_bytes(&self) -> usize {
        let table = self.batch * size_of::<*const f32>();
        (self.gate_floats() * size_of::<f32>() + table).max(self.project.scratch_bytes())
    }

    fn run(&self, phase: usize, args: &mut Args<'_>) -> Result<()> {
        let (share, _) = args.ranges();
        match self.phases[phase].0 {
            Phase::Begin => share.for_each(|piece| self.begin(piece, args)),
            Phase::Project => {
                let scratch = args.scratch::<u8>().as_mut_ptr();
                share.for_each(|part| self.project(part, args, scratch));
            }
            Phase::Step(step, stage) => {
                let scratch = args.scratch::<f32>();
                share.for_each(|part| self.part_of_step(part, step, stage, args, scratch));
            }
            Phase::AllSteps => {
                let scratch = args.scratch::<f32>();
                share.for_each(|part| self.all_steps(part, args, scratch));
            }
            Phase::End => self.end(args),
        }
        Ok(())
    }
}

impl Layer {
    /// Whether steps are cut along the units.
    pub fn is_cut(&self) -> bool {
        self.stepwise
    }

    /// Lays out the workspace.
    fn place(&mut self) {
        let mut next = 0;
        let directions = self.directions;
        let mut region = |len: usize, wanted: bool| {
            let len = if wanted { len.next_multiple_of(PANEL) } else { 0 };
            let start = next;
            next += len * directions;
            Region { start, len }
        };
        let (columns, states) = (self.gates * self.hidden, self.batch * self.hidden);
        let packed = panels(columns) * PANEL;
        let stages = self.stages() > 1;
        self.places = Places {
            weights: [region(packed * self.width, self.packs[0]), region(packed * self.hidden, self.packs[1])],
            bias: region(columns, true),
            projected: region(self.steps * self.batch * columns, true),
            hidden: [region(states, true), region(states, true)],
            state: region(states, self.op.kind == CellKind::Lstm || stages),
            reset: region(states, stages),
            elements: 0,
        };
        self.places.elements = next;
    }

    fn plan(&mut self) {
        let one = |rows: usize| Grid::rows(rows, rows);
        let columns = self.directions * self.gates * self.hidden;
        let pack_cost = usize::from(self.packs[0]) * self.width + usize::from(self.packs[1]) * self.hidden;
        self.phases.push((Phase::Begin, Grid::by_cost(self.pieces(), columns * (pack_cost + 1) / self.pieces(), GRAIN)));
        self.phases.push((Phase::Project, one(self.directions * self.project.parts())));
        let parts = one(self.directions * self.ranges);
        if self.stepwise {
            let stages = self.stages();
            let steps = (0..self.steps).flat_map(|step| (0..stages).map(move |stage| Phase::Step(step, stage)));
            self.phases.extend(steps.map(|phase| (phase, parts)));
        } else {
            self.phases.push((Phase::AllSteps, parts));
        }
        self.phases.push((Phase::End, Grid::ONE));
    }

    /// A product with R.
    pub fn product(&self, m: usize, n: usize) -> Gemm {
        let shape = GemmShape::matrix(m, n, self.hidden);
        if self.product.shape() == shape { self.product } else { Gemm::whole(self.isa, shape) }
    }

    /// Stages of a step, between which all units must be done.
    pub fn stages(&self) -> usize {
        if self.op.kind == CellKind::Gru && !self.op.linear_before_reset { 2 } else { 1 }
    }

    /// Pieces of the first phase: for each direction one for biases and states, and panels of the weights.
    fn pieces(&self) -> usize {
        let packed = self.packs.iter().filter(|&&p| p).count();
        self.directions * (1 + packed * panels(self.gates * self.hidden))
    }

    /// Elements `range` of direction `d` in a region.
    ///
    /// # Safety
    /// As for [`Args::shared`].
    pub unsafe fn slice<'a>(&self, region: Region, d: usize, range: Range<usize>, args: &Args<'a>) -> &'a mut [f32] {
        assert!(range.end <= region.len);
        // SAFETY: the caller's promise.
        unsafe { args.shared((region.start + d * region.len + range.start) * size_of::<f32>(), range.len()) }
    }

    fn begin(&self, piece: usize, args: &Args<'_>) {
        let (d, piece) = (piece % self.directions, piece / self.directions);
        let Some(panel) = piece.checked_sub(1) else { return self.set(d, args) };
        let columns = self.gates * self.hidden;
        let which = if self.packs[0] { panel / panels(columns) } else { 1 };
        let (panel, k) = (panel % panels(columns), [self.width, self.hidden][which]);
        let from = &args.input::<f32>(1 + which)[d * k * columns..][..k * columns];
        // SAFETY: each panel is written by one part.
        let to = unsafe { self.slice(self.places.weights[which], d, panel * k * PANEL..(panel + 1) * k * PANEL, args) };
        pack(&Matrix::row_major(from, k, columns), panel..panel + 1, to);
    }

    /// Adds up the biases of direction `d` and sets its states.
    fn set(&self, d: usize, args: &Args<'_>) {
        let columns = self.gates * self.hidden;
        // SAFETY: these regions of direction `d` are written by one part.
        let (sums, hidden) = unsafe {
            let states = 0..self.batch * self.hidden;
            (self.slice(self.places.bias, d, 0..columns, args), self.slice(self.places.hidden[0], d, states, args))
        };
        sums.fill(0.0);
        if let Some(bias) = args.optional::<f32>(3) {
            let (w, r) = bias[2 * d * columns..][..2 * columns].split_at(columns);
            sums.copy_from_slice(w);
            // With the product before the reset, its bias comes before it, too.
            let early = self.op.kind == CellKind::Gru && self.op.linear_before_reset;
            let summed = if early { 2 * self.hidden } else { columns };
            sums.iter_mut().zip(&r[..summed]).for_each(|(sum, r)| *sum += r);
        }
        self.set_state(d, hidden, args.optional::<f32>(5));
        if self.op.kind == CellKind::Lstm {
            // SAFETY: as above.
            let state = unsafe { self.slice(self.places.state, d, 0..self.batch * self.hidden, args) };
            self.set_state(d, state, args.optional::<f32>(6));
        }
    }

    fn set_state(&self, d: usize, to: &mut [f32], initial: Option<&[f32]>) {
        match initial {
            None => to.fill(0.0),
            Some(from) => {
                for (b, to) in to.chunks_exact_mut(self.hidden).enumerate() {
                    to.copy_from_slice(&from[self.state_row(d, b) * self.hidden..][..self.hidden]);
                }
            }
        }
    }

    /// Row of sequence `b` in direction `d` of a state tensor.
    fn state_row(&self, d: usize, b: usize) -> usize {
        if self.op.batch_first { b * self.directions + d } else { d * self.batch + b }
    }

    /// The packed weights of direction `d`: W (0) or R (1).
    pub fn weights<'a>(&self, which: usize, d: usize, args: &Args<'a>) -> &'a [f32] {
        let len = panels(self.gates * self.hidden) * PANEL * [self.width, self.hidden][which];
        match self.packs[which] {
            // SAFETY: written in the first phase, only read since.
            true => unsafe { self.slice(self.places.weights[which], d, 0..len, args) },
            false => &args.input::<f32>(1 + which)[d * len..][..len],
        }
    }

    fn project(&self, part: usize, args: &Args<'_>, scratch: *mut u8) {
        let (d, part) = (part / self.project.parts(), part % self.project.parts());
        let columns = self.gates * self.hidden;
        let x = args.input::<f32>(0);
        assert!(x.len() == self.steps * self.batch * self.width);
        let b = self.weights(0, d, args);
        // SAFETY: parts write disjoint parts of the product; biases were written in the first phase.
        unsafe {
            let bias = self.slice(self.places.bias, d, 0..columns, args).as_ptr();
            let first = self.places.projected.start + d * self.places.projected.len;
            assert!((first + x.len() / self.width.max(1) * columns) * size_of::<f32>() <= args.raw_shared().byte_len());
            let out = Output { bias, ..Output::new(args.raw_shared().as_ptr().cast::<f32>().add(first), columns) };
            let a = StridedRows { data: x.as_ptr(), stride: self.width };
            self.project.run_part(part, &a, b.as_ptr(), &out, scratch);
        }
    }

    fn part_of_step(&self, part: usize, step: usize, stage: usize, args: &Args<'_>, scratch: &mut [f32]) {
        let (d, range) = (part / self.ranges, part % self.ranges);
        let cut = |i: usize| self.hidden / PANEL * i / self.ranges * PANEL;
        let place = Place { d, step, stage, batch: 0..self.batch, units: cut(range)..cut(range + 1) };
        self.step(&place, args, scratch);
    }

    fn all_steps(&self, part: usize, args: &Args<'_>, scratch: &mut [f32]) {
        let (d, range) = (part / self.ranges, part % self.ranges);
        let batch = self.batch * range / self.ranges..self.batch * (range + 1) / self.ranges;
        if batch.is_empty() {
            return;
        }
        for step in 0..self.steps {
            for stage in 0..self.stages() {
                let place = Place { d, step, stage, batch: batch.clone(), units: 0..self.hidden };
                self.step(&place, args, scratch);
            }
        }
    }

    /// Gives out the last states.
    fn end(&self, args: &mut Args<'_>) {
        for (output, region) in [(1, self.places.hidden[self.steps % 2]), (2, self.places.state)] {
            if output >= self.outputs {
                return;
            }
            let to = args.output::<f32>(output).into_slice();
            for (d, b) in (0..self.directions).flat_map(|d| (0..self.batch).map(move |b| (d, b))) {
                // SAFETY: written in earlier phases, only read now.
                let from = unsafe { self.slice(region, d, b * self.hidden..(b + 1) * self.hidden, args) };
                to[self.state_row(d, b) * self.hidden..][..self.hidden].copy_from_slice(from);
            }
        }
    }
}
