//! One step of a recurrent layer, for a range of sequences and of units.
#![allow(unsafe_code, reason = "parts write disjoint ranges of the shared workspace and of interleaved outputs")]

use super::CellKind;
use super::cell::{Cell, Step};
use super::f32::{Layer, Region};
use crate::cpu::gemm::{Output, StridedRows, panels};
use crate::tensor::{Args, PANEL};
use std::ops::Range;

/// A part of a step.
pub(super) struct Place {
    /// Direction.
    pub d: usize,
    pub step: usize,
    pub stage: usize,
    pub batch: Range<usize>,
    /// Units; whole panels, unless all.
    pub units: Range<usize>,
}

/// Where the products of a part are in scratch memory: gate g of sequence b at `offset + b * stride + g * units`.
struct Products {
    offset: usize,
    stride: usize,
}

impl Layer {
    /// Floats of scratch memory for the products of a part. The driver's table follows.
    pub fn gate_floats(&self) -> usize {
        let units = match self.is_cut() {
            true => (self.hidden / PANEL).div_ceil(self.ranges) * PANEL,
            false => self.hidden,
        };
        (self.batch * (self.gates * units + 2 * PANEL)).next_multiple_of(PANEL)
    }

    /// The gates whose products with R a stage needs.
    fn gates_of(&self, stage: usize) -> Range<usize> {
        match (self.stages(), stage) {
            (1, _) => 0..self.gates,
            (_, 0) => 0..2,
            _ => 2..3,
        }
    }

    /// Computes a part of a step.
    pub fn step(&self, place: &Place, args: &Args<'_>, scratch: &mut [f32]) {
        if place.batch.is_empty() {
            return;
        }
        let (gates, table) = scratch.split_at_mut(self.gate_floats());
        let products = self.products(place, args, gates, table);
        let functions = self.op.functions(place.d);
        let clip = if self.op.clip > 0.0 { self.op.clip } else { f32::INFINITY };
        let cell = Cell {
            kind: self.op.kind,
            functions,
            linear_before_reset: self.op.linear_before_reset,
            input_forget: self.op.input_forget,
            clip,
        };
        for (i, b) in place.batch.clone().enumerate() {
            let gates = &mut gates[products.offset + i * products.stride..];
            let gates = &mut gates[..self.gates_of(place.stage).len() * place.units.len()];
            self.sequence(place, b, cell, gates, args);
        }
    }

    /// The hidden state times R, or, in a second stage, the reset one.
    fn products(&self, place: &Place, args: &Args<'_>, to: &mut [f32], table: &mut [f32]) -> Products {
        let Place { d, batch, units, .. } = place;
        let gates = self.gates_of(place.stage);
        let from = if place.stage == 0 { self.places.hidden[place.step % 2] } else { self.places.reset };
        // SAFETY: written in the stage before this one; no part writes it now.
        let a = unsafe { self.slice(from, *d, batch.start * self.hidden..batch.end * self.hidden, args) };
        let multiply = |columns: Range<usize>, to: &mut [f32], stride: usize, table: &mut [f32]| {
            let b = &self.weights(1, *d, args)[columns.start * self.hidden..];
            let a = StridedRows { data: a.as_ptr(), stride: self.hidden };
            let out = Output::new(to.as_mut_ptr(), stride);
            assert!(to.len() >= (batch.len() - 1) * stride + columns.len());
            assert!(table.len() >= 2 * batch.len() && b.len() >= panels(columns.len()) * PANEL * self.hidden);
            // SAFETY: the operands have the extents of the product, checked above and by `slice`.
            unsafe { self.product(batch.len(), columns.len()).run_part(0, &a, b.as_ptr(), &out, table.as_mut_ptr().cast()) };
        };
        if units.len() == self.hidden {
            // Neighbouring gates are one product, from the panel on in which they begin.
            let start = gates.start * self.hidden / PANEL * PANEL;
            let columns = start..gates.end * self.hidden;
            let stride = columns.len();
            multiply(columns, to, stride, table);
            return Products { offset: gates.start * self.hidden - start, stride };
        }
        let stride = gates.len() * units.len();
        for (i, gate) in gates.enumerate() {
            let first = gate * self.hidden;
            multiply(first + units.start..first + units.end, &mut to[i * units.len()..], stride, table);
        }
        Products { offset: 0, stride }
    }

    /// One sequence's cells.
    fn sequence(&self, place: &Place, b: usize, cell: Cell<'_>, gates: &mut [f32], args: &Args<'_>) {
        let Place { d, step, stage, .. } = *place;
        let last_stage = stage + 1 == self.stages();
        let own = |region: Region| {
            let units = b * self.hidden + place.units.start..b * self.hidden + place.units.end;
            // SAFETY: these units of this sequence belong to one part; regions differ.
            unsafe { self.slice(region, d, units, args) }
        };
        let (before, after) = (own(self.places.hidden[step % 2]), own(self.places.hidden[(step + 1) % 2]));
        let length = args.optional::<i32>(4).map_or(self.steps, |l| l[b].clamp(0, self.steps as i32) as usize);
        if step >= length {
            if last_stage {
                after.copy_from_slice(before);
                self.give_out(place, b, step, None, args);
            }
            return;
        }
        let reverse = self.op.direction.is_reverse(d);
        let time = if reverse { length - 1 - step } else { step };
        let row = if self.op.batch_first { b * self.steps + time } else { time * self.batch + b };
        let columns = self.gates * self.hidden;
        // SAFETY: written by the projection; no part writes it now.
        let x = unsafe { self.slice(self.places.projected, d, row * columns..(row + 1) * columns, args) };
        let work = Step {
            isa: self.isa,
            cell,
            gates,
            x: &x[place.units.start..],
            x_stride: self.hidden,
            before,
            after: if last_stage { after } else { own(self.places.reset) },
            state: if self.places.state.is_empty() { &mut [] } else { own(self.places.state) },
            extra: self.extra(place, args),
            stage,
        };
        self.isa.dispatch(work);
        if last_stage {
            // SAFETY: as above; the cells are done.
            let after = own(self.places.hidden[(step + 1) % 2]);
            self.give_out(place, b, time, Some(after), args);
        }
    }

    /// Vectors that cells of a kind need besides.
    fn extra<'a>(&self, place: &Place, args: &Args<'a>) -> [Option<&'a [f32]>; 3] {
        let Place { d, units, .. } = place;
        let part = |from: &'a [f32], first: usize| &from[first + units.start..first + units.end];
        match self.op.kind {
            CellKind::Rnn => [None; 3],
            CellKind::Gru => {
                let first = 2 * d * self.gates * self.hidden + (self.gates + 2) * self.hidden;
                let bias = args.optional::<f32>(3).filter(|_| self.op.linear_before_reset);
                [bias.map(|bias| part(bias, first)), None, None]
            }
            CellKind::Lstm => [0, 1, 2].map(|i| {
                args.optional::<f32>(7).map(|peepholes| part(peepholes, (3 * d + i) * self.hidden))
            }),
        }
    }

    /// Writes a sequence's units of Y at a step; zeros if there is no state.
    fn give_out(&self, place: &Place, b: usize, time: usize, state: Option<&[f32]>, args: &Args<'_>) {
        let row = match self.op.batch_first {
            true => (b * self.steps + time) * self.directions + place.d,
            false => (time * self.directions + place.d) * self.batch + b,
        };
        let (first, len) = (row * self.hidden + place.units.start, place.units.len());
        let out = args.raw_output(0);
        assert!((first + len) * size_of::<f32>() <= out.byte_len());
        // SAFETY: inside the output, checked above; these units of this sequence and direction belong to one part.
        let to = unsafe { std::slice::from_raw_parts_mut(out.as_ptr().cast::<f32>().add(first), len) };
        match state {
            Some(state) => to.copy_from_slice(state),
            None => to.fill(0.0),
        }
    }
}
