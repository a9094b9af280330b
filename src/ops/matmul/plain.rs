//! Products of any element type, by loops that compilers vectorise.

use super::shape::{Offsets, Problem};
use crate::cpu::Isa;
use crate::cpu::simd::{Machine, Work};
use crate::error::Result;
use crate::ops::arith::Arith;
use crate::ops::{Kernel, Prepare};
use crate::tensor::{Args, Grid, PANEL};
use std::marker::PhantomData;

/// Multiply-adds worth a part of their own.
const GRAIN: usize = 64 * 1024;

/// `A · B + bias + residual`. Integers wrap, so that the signed types serve the unsigned ones too.
pub struct Plain<T> {
    isa: Isa,
    problem: Problem,
    bias: Option<Offsets>,
    grid: Grid,
    element: PhantomData<fn() -> T>,
}

impl<T: Arith> Plain<T> {
    pub fn prepare(problem: Problem, cx: &Prepare<'_>) -> Box<dyn Kernel> {
        let rows = problem.batch * problem.m;
        let work = rows.saturating_mul(problem.n).saturating_mul(problem.k.max(1));
        let parts = (work / GRAIN).clamp(1, Grid::MAX_PARTS);
        let row_parts = parts.min(rows.max(1));
        let col_parts = (parts / row_parts).clamp(1, problem.n.div_ceil(PANEL).max(1));
        let grid = Grid { rows, cols: problem.n, row_parts, col_parts };
        let bias = cx.optional(2).map(|bias| Offsets::new(&bias.info.dims, &cx.out_dims(0), 1));
        Box::new(Plain::<T> { isa: cx.isa, problem, bias, grid, element: PhantomData })
    }
}

impl<T: Arith> Kernel for Plain<T> {
    fn phases(&self) -> Vec<Grid> {
        vec![self.grid]
    }

    fn run(&self, _phase: usize, args: &mut Args<'_>) -> Result<()> {
        self.isa.dispatch(Part { kernel: self, args });
        Ok(())
    }
}

struct Part<'k, 'a, 'b, T> {
    kernel: &'k Plain<T>,
    args: &'a mut Args<'b>,
}

impl<T: Arith> Work for Part<'_, '_, '_, T> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        let Part { kernel: Plain { problem: p, bias, .. }, args } = self;
        let (a, b): (&[T], &[T]) = (args.words(p.swapped.into()), args.words((!p.swapped).into()));
        let mut out = args.output_words::<T>(0);
        let cols = out.cols();
        for row in out.rows() {
            let (batch, i) = (row / p.m, row % p.m);
            let a = &a[p.a.index(batch) * p.m * p.k..];
            let b = &b[p.b.index(batch) * p.b_len()..];
            let (a, a_step) = if p.a.transposed { (&a[i..], p.m) } else { (&a[i * p.k..], 1) };
            let out = out.row(row);
            let mut col = cols.start;
            while col < cols.end {
                // A chunk lies inside one panel.
                let width = (PANEL - col % PANEL).min(cols.end - col);
                let sums = chunk::<T, M>(p, a, a_step, b, col, width);
                out[col - cols.start..][..width].copy_from_slice(&sums[..width]);
                col += width;
            }
            add(out, row * p.n + cols.start, bias, args);
        }
    }
}

/// `width` columns of one row of the product, from column `col` on.
#[inline(always)]
fn chunk<T: Arith, M: Machine>(
    p: &Problem,
    a: &[T],
    a_step: usize,
    b: &[T],
    col: usize,
    width: usize,
) -> [T; PANEL] {
    let mut sums = [T::default(); PANEL];
    let (start, k_step, n_step) = match () {
        _ if p.b.panels => (col / PANEL * p.k * PANEL + col % PANEL, PANEL, 1),
        _ if p.b.transposed => (col * p.k, 1, p.k),
        _ => (col, p.n, 1),
    };
    for k in 0..p.k {
        let a = a[k * a_step];
        let b = &b[start + k * k_step..];
        if let (true, PANEL, Some(b)) = (n_step == 1, width, b.first_chunk::<PANEL>()) {
            for (sum, &b) in sums.iter_mut().zip(b) {
                *sum = T::mul_add::<M>(a, b, *sum);
            }
        } else if n_step == 1 {
            for (sum, &b) in sums[..width].iter_mut().zip(b) {
                *sum = T::mul_add::<M>(a, b, *sum);
            }
        } else {
            for (sum, &b) in sums[..width].iter_mut().zip(b.iter().step_by(n_step)) {
                *sum = T::mul_add::<M>(a, b, *sum);
            }
        }
    }
    sums
}

/// Adds bias and residual to elements of the output that start at position `first`.
#[inline(always)]
fn add<T: Arith>(out: &mut [T], first: usize, bias: &Option<Offsets>, args: &Args<'_>) {
    if let (Some(offsets), Some(bias)) = (bias, args.optional_words(2)) {
        offsets.add(out, first, bias);
    }
    if let Some(residual) = args.optional_words::<T>(3) {
        out.iter_mut().zip(&residual[first..]).for_each(|(x, r)| *x = x.plus(*r));
    }
}
