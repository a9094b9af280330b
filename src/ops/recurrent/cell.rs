//! One step of cells: what follows the product of the hidden state with R.

use super::{CellKind, Function};
use crate::cpu::Isa;
use crate::cpu::simd::{Machine, Work};

/// What cells of one direction compute.
#[derive(Clone, Copy, Debug)]
pub struct Cell<'a> {
    pub kind: CellKind,
    pub functions: &'a [Function],
    pub linear_before_reset: bool,
    pub input_forget: bool,
    /// Bound on arguments; infinite for none.
    pub clip: f32,
}

/// One sequence's units of a step. All slices but `gates` and `x` have an element per unit.
pub struct Step<'a> {
    pub isa: Isa,
    pub cell: Cell<'a>,
    /// Products with R, one row per gate; overwritten.
    pub gates: &'a mut [f32],
    /// Products with W and biases, a row per gate, each `x_stride` after the one before.
    pub x: &'a [f32],
    pub x_stride: usize,
    /// The hidden state before, and where the new one goes.
    pub before: &'a [f32],
    pub after: &'a mut [f32],
    /// LSTM: the cell state, updated. GRU in two stages: the update gate, from the first to the second.
    pub state: &'a mut [f32],
    /// LSTM: weights of the cell state for gates i, o, f. GRU with `linear_before_reset`: the bias of R for the last gate.
    pub extra: [Option<&'a [f32]>; 3],
    /// GRU without `linear_before_reset`: 0 up to the reset gate, 1 from there on.
    pub stage: usize,
}

impl Work for Step<'_> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(mut self) {
        match self.cell.kind {
            CellKind::Rnn => self.rnn(),
            CellKind::Gru if self.cell.linear_before_reset => self.gru::<M>(),
            CellKind::Gru if self.stage == 0 => self.gru_gates(),
            CellKind::Gru => self.gru_state::<M>(),
            CellKind::Lstm => self.lstm::<M>(),
        }
    }
}

/// Adds, elementwise.
#[inline(always)]
fn add(to: &mut [f32], from: &[f32]) {
    for (a, b) in to.iter_mut().zip(from) {
        *a += b;
    }
}

impl Step<'_> {
    fn units(&self) -> usize {
        self.before.len()
    }

    #[inline(always)]
    fn x(&self, gate: usize) -> &[f32] {
        &self.x[gate * self.x_stride..][..self.units()]
    }

    /// The function `f` of clipped arguments, in place. The cell state is no argument that is clipped.
    #[inline(never)]
    fn apply(&self, f: usize, values: &mut [f32]) {
        let clip = self.cell.clip;
        if clip.is_finite() && f < 2 {
            for x in values.iter_mut() {
                let y = if *x < -clip { -clip } else { *x };
                *x = if y > clip { clip } else { y };
            }
        }
        self.cell.functions[f].map(self.isa, values);
    }

    #[inline(always)]
    fn rnn(&mut self) {
        let gates = std::mem::take(&mut self.gates);
        add(gates, self.x(0));
        self.apply(0, gates);
        self.after.copy_from_slice(gates);
    }

    #[inline(always)]
    fn gru<M: Machine>(&mut self) {
        let n = self.units();
        let gates = std::mem::take(&mut self.gates);
        let (z, rest) = gates.split_at_mut(n);
        let (r, h) = rest.split_at_mut(n);
        add(z, self.x(0));
        add(r, self.x(1));
        self.apply(0, z);
        self.apply(0, r);
        if let Some(bias) = self.extra[0] {
            add(h, bias);
        }
        for ((h, r), x) in h.iter_mut().zip(r.iter()).zip(self.x(2)) {
            *h = M::mul_add(*h, *r, *x);
        }
        self.apply(1, h);
        self.blend::<M>(z, h);
    }

    /// The update gate, and the hidden state times the reset gate.
    #[inline(always)]
    fn gru_gates(&mut self) {
        let n = self.units();
        let gates = std::mem::take(&mut self.gates);
        let (z, r) = gates.split_at_mut(n);
        add(z, self.x(0));
        add(r, self.x(1));
        self.apply(0, z);
        self.apply(0, r);
        self.state.copy_from_slice(z);
        for ((a, h), r) in self.after.iter_mut().zip(self.before).zip(r.iter()) {
            *a = h * r;
        }
    }

    #[inline(always)]
    fn gru_state<M: Machine>(&mut self) {
        let h = std::mem::take(&mut self.gates);
        let z = std::mem::take(&mut self.state);
        add(h, self.x(2));
        self.apply(1, h);
        self.blend::<M>(z, h);
    }

    /// The new state: z of the one before, the rest of the candidate.
    #[inline(always)]
    fn blend<M: Machine>(&mut self, z: &[f32], candidate: &[f32]) {
        for (((after, before), z), h) in self.after.iter_mut().zip(self.before).zip(z).zip(candidate) {
            *after = M::mul_add(*z, before - h, *h);
        }
    }

    #[inline(always)]
    fn lstm<M: Machine>(&mut self) {
        let n = self.units();
        let gates = std::mem::take(&mut self.gates);
        let c = std::mem::take(&mut self.state);
        for gate in 0..4 {
            add(&mut gates[gate * n..][..n], self.x(gate));
        }
        let (i, rest) = gates.split_at_mut(n);
        let (o, rest) = rest.split_at_mut(n);
        let (f, candidate) = rest.split_at_mut(n);
        add_product::<M>(i, self.extra[0], c);
        self.apply(0, i);
        if self.cell.input_forget {
            f.iter_mut().zip(i.iter()).for_each(|(f, i)| *f = 1.0 - i);
        } else {
            add_product::<M>(f, self.extra[2], c);
            self.apply(0, f);
        }
        self.apply(1, candidate);
        for (((c, f), i), g) in c.iter_mut().zip(f.iter()).zip(i.iter()).zip(candidate.iter()) {
            *c = M::mul_add(*f, *c, i * g);
        }
        add_product::<M>(o, self.extra[1], c);
        self.apply(0, o);
        candidate.copy_from_slice(c);
        self.apply(2, candidate);
        for ((h, o), g) in self.after.iter_mut().zip(o.iter()).zip(candidate.iter()) {
            *h = o * g;
        }
    }
}

/// Adds weights times the cell state, if there are weights.
#[inline(always)]
fn add_product<M: Machine>(to: &mut [f32], weights: Option<&[f32]>, c: &[f32]) {
    if let Some(weights) = weights {
        for ((x, w), c) in to.iter_mut().zip(weights).zip(c) {
            *x = M::mul_add(*w, *c, *x);
        }
    }
}
