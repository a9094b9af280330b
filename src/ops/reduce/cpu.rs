//! f32 reductions: along rows when the innermost dimension is reduced, down columns when it is kept.
//!
//! Either way each result has accumulators whose number and order depend on shapes alone, and long sums go through
//! partial sums, so that rounding errors stay small.

use super::{ReduceKind, count, walks};
use super::slices::Slices;
use crate::cpu::Isa;
use crate::cpu::math;
use crate::cpu::simd::{Machine, Work};
use crate::error::Result;
use crate::ops::{Kernel, Walk};
use crate::tensor::{Args, Grid};
use std::ops::Range;

/// Elements worth a part of their own.
const GRAIN: usize = 16 * 1024;

/// Columns that a part reduces at a time: their accumulators stay in the L1 cache.
pub(super) const COLUMNS: usize = 512;

/// Elements (or rows) in a partial sum.
const PARTIAL: usize = 1024;

/// Independent accumulators of a row.
const LANES: usize = 16;

/// A kernel that reduces the dimensions marked in `reduced`.
pub fn prepare(kind: ReduceKind, dims: &[usize], reduced: &[bool], isa: Isa) -> Box<dyn Kernel> {
    let (kept_walk, gone_walk) = walks(dims, reduced);
    let innermost = (0..dims.len()).rev().find(|&i| dims[i] != 1);
    let columns = innermost.is_some_and(|i| !reduced[i]);
    let (results, count) = (count(dims, reduced, false), count(dims, reduced, true));
    let width = if columns { kept_walk.inner_len() } else { 1 };
    let rows = results.checked_div(width).unwrap_or(0);
    let cols = if width.is_multiple_of(16) { width / 16 } else { width };
    let parts = (results.saturating_mul(count) / GRAIN).clamp(1, Grid::MAX_PARTS);
    let row_parts = parts.min(rows.max(1));
    let col_parts = parts.div_ceil(row_parts).min(cols.max(1));
    let grid = Grid { rows, cols, row_parts, col_parts };
    let kernel = ReduceKernel { kind, isa, kept: kept_walk, gone: gone_walk, count, columns, width, grid };
    match Slices::count(&kernel, parts) {
        1 => Box::new(kernel),
        slices => Box::new(Slices { kernel, slices }),
    }
}

/// A reduction of known shape, of which a part has a range of the results.
pub(super) struct ReduceKernel {
    pub kind: ReduceKind,
    pub isa: Isa,
    /// The results, and where the elements of each begin.
    pub kept: Walk<1>,
    /// The elements of a result, relative to the first.
    gone: Walk<1>,
    pub count: usize,
    pub columns: bool,
    /// Results that are neighbours in the input.
    pub width: usize,
    pub grid: Grid,
}

impl Kernel for ReduceKernel {
    fn phases(&self) -> Vec<Grid> {
        vec![self.grid]
    }

    fn scratch_bytes(&self) -> usize {
        if self.columns { 3 * COLUMNS * size_of::<f32>() } else { 0 }
    }

    fn run(&self, _phase: usize, args: &mut Args<'_>) -> Result<()> {
        let x = args.input::<f32>(0);
        let mut tile = args.output::<f32>(0);
        let scratch = args.scratch::<f32>();
        for row in tile.rows() {
            let cols = tile.cols();
            let first = row * self.width + cols.start;
            let Some(run) = self.kept.runs(first..first + cols.len()).next() else { continue };
            // Where there are no elements, there is nowhere to begin.
            let (x, out) = (x.get(run.at[0]..).unwrap_or(&[]), tile.row(row));
            self.isa.dispatch(Reduction { kernel: self, x, out, scratch: &mut *scratch });
        }
        Ok(())
    }
}

/// The reduction of neighbouring results.
struct Reduction<'a> {
    kernel: &'a ReduceKernel,
    x: &'a [f32],
    out: &'a mut [f32],
    scratch: &'a mut [f32],
}

impl Work for Reduction<'_> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        match self.kernel.kind {
            ReduceKind::LogSumExp => self.log_sum_exp::<M>(),
            kind => by_kind!(kind, F => self.fold::<M, F>()),
        }
    }
}

/// Evaluates an expression with the [`Fold`] of a kind; the logarithm of a sum of exponentials has none.
macro_rules! by_kind {
    ($kind:expr, $fold:ident => $value:expr) => {
        by_kind!(@ $kind, $fold => $value,
            Sum: Sum | Mean | LogSum | LogSumExp; Prod: Prod; Max: Max; Min: Min; L1: L1; SumSquare: SumSquare | L2;)
    };
    (@ $kind:expr, $fold:ident => $value:expr, $($name:ident: $($of:ident)|+;)*) => {
        match $kind {
            $($(ReduceKind::$of)|+ => {
                type $fold = $crate::ops::reduce::cpu::$name;
                $value
            })*
        }
    };
}
pub(super) use by_kind;

/// How elements are combined.
pub(super) trait Fold {
    const INIT: f32;
    fn map(x: f32) -> f32;
    fn join(a: f32, b: f32) -> f32;
}

macro_rules! folds {
    ($($name:ident: $init:expr, $map:expr, $join:expr;)*) => {$(
        pub(super) struct $name;

        impl Fold for $name {
            const INIT: f32 = $init;

            #[inline(always)]
            fn map(x: f32) -> f32 {
                $map(x)
            }

            #[inline(always)]
            fn join(a: f32, b: f32) -> f32 {
                $join(a, b)
            }
        }
    )*};
}

folds! {
    Sum: 0.0, |x| x, |a, b| a + b;
    Prod: 1.0, |x| x, |a, b| a * b;
    Max: f32::NEG_INFINITY, |x| x, |a: f32, b: f32| if a > b || a.is_nan() { a } else { b };
    Min: f32::INFINITY, |x| x, |a: f32, b: f32| if a < b || a.is_nan() { a } else { b };
    L1: 0.0, f32::abs, |a, b| a + b;
    SumSquare: 0.0, |x| x * x, |a, b| a + b;
}

impl Reduction<'_> {
    #[inline(always)]
    fn fold<M: Machine, F: Fold>(self) {
        let k = self.kernel;
        if k.columns {
            for (c, out) in self.out.chunks_mut(COLUMNS).enumerate() {
                let x = self.x.get(c * COLUMNS..).unwrap_or(&[]);
                k.fold_columns::<F>(0..k.count, x, out, &mut self.scratch[2 * COLUMNS..]);
            }
        } else {
            self.out[0] = fold_row::<F>(k, self.x);
        }
        k.finish::<M>(self.out);
    }

    /// Largest elements first, then sums of exponentials of the distance from them.
    #[inline(always)]
    fn log_sum_exp<M: Machine>(self) {
        let k = self.kernel;
        let finite = |m: f32| if m.is_finite() { m } else { 0.0 };
        if !k.columns {
            let top = finite(fold_row::<Max>(k, self.x));
            let mut total = 0.0;
            for run in k.gone.runs(0..k.count) {
                for x in &self.x[run.at[0]..run.at[0] + run.len] {
                    total += math::exp::<M>(x - top);
                }
            }
            self.out[0] = math::log::<M>(total) + top;
            return;
        }
        for (c, out) in self.out.chunks_mut(COLUMNS).enumerate() {
            let (x, n) = (self.x.get(c * COLUMNS..).unwrap_or(&[]), out.len());
            k.fold_columns::<Max>(0..k.count, x, out, &mut self.scratch[2 * COLUMNS..]);
            let (top, sum) = self.scratch.split_at_mut(COLUMNS);
            let (top, sum) = (&mut top[..n], &mut sum[..n]);
            for i in 0..n {
                (top[i], sum[i]) = (finite(out[i]), 0.0);
            }
            for at in k.rows(0..k.count) {
                let x = &x[at..at + n];
                for i in 0..n {
                    sum[i] += math::exp::<M>(x[i] - top[i]);
                }
            }
            for i in 0..n {
                out[i] = math::log::<M>(sum[i]) + top[i];
            }
        }
    }
}

impl ReduceKernel {
    /// The offsets of some of a result's elements, one by one.
    #[inline(always)]
    fn rows(&self, elements: Range<usize>) -> impl Iterator<Item = usize> {
        let stride = self.gone.inner_strides()[0];
        self.gone.runs(elements).flat_map(move |run| (0..run.len).map(move |i| run.at[0] + i * stride))
    }

    /// Reduces `elements` of each of `out.len()` neighbouring results into `out`.
    #[inline(always)]
    pub fn fold_columns<F: Fold>(&self, elements: Range<usize>, x: &[f32], out: &mut [f32], scratch: &mut [f32]) {
        let n = out.len();
        let partial = &mut scratch[..n];
        out.fill(F::INIT);
        partial.fill(F::INIT);
        let mut rows = 0;
        for at in self.rows(elements) {
            let x = &x[at..at + n];
            for i in 0..n {
                partial[i] = F::join(partial[i], F::map(x[i]));
            }
            rows += 1;
            if rows == PARTIAL {
                for i in 0..n {
                    out[i] = F::join(out[i], partial[i]);
                    partial[i] = F::INIT;
                }
                rows = 0;
            }
        }
        for i in 0..n {
            out[i] = F::join(out[i], partial[i]);
        }
    }

    /// What is done to a result when all elements are in it.
    #[inline(always)]
    pub fn finish<M: Machine>(&self, out: &mut [f32]) {
        match self.kind {
            ReduceKind::Mean => out.iter_mut().for_each(|y| *y /= self.count as f32),
            ReduceKind::L2 => out.iter_mut().for_each(|y| *y = y.sqrt()),
            ReduceKind::LogSum => out.iter_mut().for_each(|y| *y = math::log::<M>(*y)),
            _ => {}
        }
    }
}

/// Reduces a result's elements, which come in runs of neighbours.
#[inline(always)]
fn fold_row<F: Fold>(k: &ReduceKernel, x: &[f32]) -> f32 {
    let mut total = F::INIT;
    for run in k.gone.runs(0..k.count) {
        for block in x[run.at[0]..run.at[0] + run.len].chunks(PARTIAL * LANES) {
            total = F::join(total, fold_slice::<F>(block));
        }
    }
    total
}

#[inline(always)]
fn fold_slice<F: Fold>(x: &[f32]) -> f32 {
    let mut lanes = [F::INIT; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] = F::join(lanes[i], F::map(chunk[i]));
        }
    }
    let total = lanes.into_iter().fold(F::INIT, F::join);
    rest.iter().fold(total, |total, &x| F::join(total, F::map(x)))
}
