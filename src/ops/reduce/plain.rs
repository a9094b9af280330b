//! Reductions of f64 and of integers, by way of f64 and i64.

use super::{ReduceKind, count, walks};
use crate::error::Result;
use crate::ops::elementwise::{Number, for_type};
use crate::ops::{Kernel, Walk, kernel};
use crate::tensor::{Args, DType, Grid};

/// Elements worth a part of their own.
const GRAIN: usize = 16 * 1024;

/// A kernel that reduces the dimensions marked in `reduced`.
pub fn prepare(kind: ReduceKind, dims: &[usize], reduced: &[bool], dtype: DType) -> Box<dyn Kernel> {
    let (kept, gone) = walks(dims, reduced);
    let (results, count) = (count(dims, reduced, false), count(dims, reduced, true));
    let reduction = Plain { kind, dtype, kept, gone, count };
    let grid = Grid::by_cost(results, count, GRAIN);
    for_type!(dtype, typed(reduction, grid))
}

struct Plain {
    kind: ReduceKind,
    dtype: DType,
    /// The results, and where the elements of each begin.
    kept: Walk<1>,
    /// The elements of a result, relative to the first.
    gone: Walk<1>,
    count: usize,
}

fn typed<T: Number>(reduction: Plain, grid: Grid) -> Box<dyn Kernel> {
    kernel(grid, move |args| run::<T>(&reduction, args))
}

fn run<T: Number>(reduction: &Plain, args: &mut Args<'_>) -> Result<()> {
    let Plain { kind, dtype, ref kept, ref gone, count } = *reduction;
    let x = args.input::<T>(0);
    let tile = args.output::<T>(0);
    let rows = tile.rows();
    let mut out = tile.into_slice().iter_mut();
    let step = kept.inner_strides()[0];
    for run in kept.runs(rows) {
        for (i, y) in (0..run.len).zip(&mut out) {
            // Where there are no elements, there is nowhere to begin.
            let x = x.get(run.at[0] + i * step..).unwrap_or(&[]);
            let elements = Elements { x, gone, count };
            *y = if T::DTYPE.is_float() || kind.is_real() {
                T::from_f64(reduce_floats(kind, count, &|visit| elements.blocks(T::to_f64, visit)))
            } else if count == 0 {
                T::from_f64(if dtype == DType::Bool { empty(kind).min(1.0) } else { empty(kind) })
            } else {
                let unsigned = dtype == DType::U64;
                T::from_i64(reduce_integers(kind, count, unsigned, &|visit| elements.blocks(T::to_i64, visit)))
            };
        }
    }
    Ok(())
}

/// The elements of one result.
struct Elements<'a, T> {
    x: &'a [T],
    gone: &'a Walk<1>,
    count: usize,
}

/// Elements that are converted at a time.
const BLOCK: usize = 128;

impl<T: Number> Elements<'_, T> {
    /// Shows all elements, converted, to `visit`, a block at a time.
    fn blocks<W: Copy + Default>(&self, convert: impl Fn(T) -> W, visit: &mut dyn FnMut(&[W])) {
        let stride = self.gone.inner_strides()[0];
        let mut buffer = [W::default(); BLOCK];
        for run in self.gone.runs(0..self.count) {
            for start in (0..run.len).step_by(BLOCK) {
                let block = &mut buffer[..BLOCK.min(run.len - start)];
                let first = run.at[0] + start * stride;
                block.iter_mut().enumerate().for_each(|(i, to)| *to = convert(self.x[first + i * stride]));
                visit(block);
            }
        }
    }
}

/// Shows the elements of a result to a function, a block at a time.
type Blocks<'a, W> = dyn Fn(&mut dyn FnMut(&[W])) + 'a;

/// Combines all elements, in order.
fn fold<W: Copy>(blocks: &Blocks<'_, W>, init: W, f: impl Fn(W, W) -> W) -> W {
    let mut total = init;
    blocks(&mut |block| total = block.iter().fold(total, |a, &x| f(a, x)));
    total
}

/// The value for no elements: that which changes nothing.
fn empty(kind: ReduceKind) -> f64 {
    match kind {
        ReduceKind::Prod => 1.0,
        ReduceKind::Max => f64::NEG_INFINITY,
        ReduceKind::Min => f64::INFINITY,
        _ => 0.0,
    }
}

#[inline(never)]
fn reduce_floats(kind: ReduceKind, count: usize, blocks: &Blocks<'_, f64>) -> f64 {
    let max = |a: f64, x: f64| if a > x || a.is_nan() { a } else { x };
    let init = empty(kind);
    match kind {
        ReduceKind::Sum => fold(blocks, init, |a, x| a + x),
        ReduceKind::Mean => fold(blocks, init, |a, x| a + x) / count as f64,
        ReduceKind::Prod => fold(blocks, init, |a, x| a * x),
        ReduceKind::Max => fold(blocks, init, max),
        ReduceKind::Min => fold(blocks, init, |a, x| if a < x || a.is_nan() { a } else { x }),
        ReduceKind::L1 => fold(blocks, init, |a, x| a + x.abs()),
        ReduceKind::L2 => fold(blocks, init, |a, x| a + x * x).sqrt(),
        ReduceKind::SumSquare => fold(blocks, init, |a, x| a + x * x),
        ReduceKind::LogSum => fold(blocks, init, |a, x| a + x).ln(),
        ReduceKind::LogSumExp => {
            let top = fold(blocks, f64::NEG_INFINITY, max);
            let top = if top.is_finite() { top } else { 0.0 };
            fold(blocks, init, |a, x| a + (x - top).exp()).ln() + top
        }
    }
}

/// Sums and products modulo 2^64, of which the result has the low bits. There is at least one element.
#[inline(never)]
fn reduce_integers(kind: ReduceKind, count: usize, unsigned: bool, blocks: &Blocks<'_, i64>) -> i64 {
    // u64 compares as i64 once its range is shifted.
    let shift = if unsigned { i64::MIN } else { 0 };
    let sum = |map: fn(i64) -> i64| fold(blocks, 0, |a, x| a.wrapping_add(map(x)));
    match kind {
        ReduceKind::Prod => fold(blocks, 1, i64::wrapping_mul),
        ReduceKind::Max => fold(blocks, i64::MIN ^ shift, |a, x| (a ^ shift).max(x ^ shift) ^ shift),
        ReduceKind::Min => fold(blocks, i64::MAX ^ shift, |a, x| (a ^ shift).min(x ^ shift) ^ shift),
        ReduceKind::L1 if !unsigned => sum(i64::wrapping_abs),
        ReduceKind::SumSquare => sum(|x| x.wrapping_mul(x)),
        ReduceKind::Mean if unsigned => (sum(|x| x) as u64 / count as u64) as i64,
        ReduceKind::Mean => sum(|x| x) / count as i64,
        _ => sum(|x| x),
    }
}
