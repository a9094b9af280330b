//! Rows when the axis is the last one (or what follows has extent 1), blocks of columns otherwise. A few columns are folded:
//! neighbours along the axis lie side by side as further columns, until there are enough for vectors.

use super::SoftmaxKind;
use crate::cpu::simd::{Machine, Work};
use crate::cpu::{Isa, fold, math};
use crate::error::Result;
use crate::ops::{Kernel, kernel};
use crate::tensor::{Args, Grid};

/// Elements worth a part of their own; each costs several passes and an exponential.
const GRAIN: usize = 4 * 1024;

/// Columns that are handled together: their sums stay in the L1 cache.
const COLUMNS: usize = 256;

/// Columns that few are folded to.
const FOLDED: usize = 64;

/// Independent accumulators of a row.
const LANES: usize = 16;

/// A kernel for f32.
pub fn prepare(kind: SoftmaxKind, dims: &[usize], axis: usize, isa: Isa) -> Box<dyn Kernel> {
    let (outer, len, inner) = split(dims, axis);
    if inner == 1 {
        return kernel(Grid::by_cost(outer, len, GRAIN), move |args| {
            let (x, mut tile) = (args.input::<f32>(0), args.output::<f32>(0));
            for row in tile.rows() {
                isa.dispatch(Row { kind, x: &x[row * len..(row + 1) * len], y: tile.row(row) });
            }
            Ok(())
        });
    }
    let grid = Grid::by_cost(outer, len * inner, GRAIN);
    // Of equal elements Hardmax takes the first one along the axis.
    let fold = if kind == SoftmaxKind::Hardmax { 1 } else { (FOLDED / inner.max(1)).clamp(1, len.max(1)) };
    Box::new(Columns { kind, isa, inner, step: inner * fold, size: len * inner, grid })
}

/// Extents before the axis, along it, and behind it.
fn split(dims: &[usize], axis: usize) -> (usize, usize, usize) {
    (dims[..axis].iter().product(), dims[axis], dims[axis + 1..].iter().product())
}

/// One row.
struct Row<'a> {
    kind: SoftmaxKind,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Work for Row<'_> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        let Row { kind, x, y } = self;
        let top = fold::largest::<M>(x);
        match kind {
            SoftmaxKind::Softmax => {
                let scale = 1.0 / exponentials::<M>(x, top, y);
                y.iter_mut().for_each(|y| *y *= scale);
            }
            SoftmaxKind::LogSoftmax => {
                let shift = math::log::<M>(exponentials::<M>(x, top, y));
                for (y, x) in y.iter_mut().zip(x) {
                    *y = (x - top) - shift;
                }
            }
            SoftmaxKind::Hardmax => {
                y.fill(0.0);
                if let Some(first) = x.iter().position(|&v| v == top) {
                    y[first] = 1.0;
                }
            }
        }
    }
}

/// Writes e^(x - top) to `y` and returns the sum.
#[inline(always)]
fn exponentials<M: Machine>(x: &[f32], top: f32, y: &mut [f32]) -> f32 {
    let ((xs, x_rest), (ys, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks_mut::<LANES>());
    let mut lanes = [0.0; LANES];
    for (x, y) in xs.iter().zip(ys) {
        for i in 0..LANES {
            y[i] = math::exp_weight::<M>(x[i] - top);
            lanes[i] += y[i];
        }
    }
    let mut last = [f32::NEG_INFINITY; LANES];
    for (last, x) in last.iter_mut().zip(x_rest) {
        *last = x - top;
    }
    for i in 0..LANES {
        last[i] = math::exp_weight::<M>(last[i]);
        lanes[i] += last[i];
    }
    y_rest.copy_from_slice(&last[..y_rest.len()]);
    fold::sum::<M>(&lanes)
}

/// Many columns side by side.
struct Columns {
    kind: SoftmaxKind,
    isa: Isa,
    inner: usize,
    /// Folded columns.
    step: usize,
    /// Elements of all columns.
    size: usize,
    grid: Grid,
}

impl Kernel for Columns {
    fn phases(&self) -> Vec<Grid> {
        vec![self.grid]
    }

    fn scratch_bytes(&self) -> usize {
        2 * COLUMNS * size_of::<f32>()
    }

    fn run(&self, _phase: usize, args: &mut Args<'_>) -> Result<()> {
        let (x, mut tile) = (args.input::<f32>(0), args.output::<f32>(0));
        let scratch = args.scratch::<f32>();
        for row in tile.rows() {
            let (x, y) = (&x[row * self.size..(row + 1) * self.size], tile.row(row));
            for first in (0..self.step).step_by(COLUMNS) {
                let n = COLUMNS.min(self.step - first);
                let scratch = &mut *scratch;
                self.isa.dispatch(Block { kernel: self, x, y: &mut *y, scratch, first, n });
            }
        }
        Ok(())
    }
}

/// `n` folded columns from `first` on.
struct Block<'a> {
    kernel: &'a Columns,
    x: &'a [f32],
    y: &'a mut [f32],
    scratch: &'a mut [f32],
    first: usize,
    n: usize,
}

impl Work for Block<'_> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        let Block { kernel: k, x, y, scratch, first, n } = self;
        let (top, sum) = scratch.split_at_mut(COLUMNS);
        let (top, sum) = (&mut top[..n], &mut sum[..n]);
        let steps = k.size.div_ceil(k.step);
        let at = |i: usize| i * k.step + first..(i * k.step + first + n).min(k.size);
        let larger = |a: f32, b: f32| if b > a { b } else { a };
        top.fill(f32::NEG_INFINITY);
        sum.fill(0.0);
        for i in 0..steps {
            for (top, x) in top.iter_mut().zip(&x[at(i)]) {
                *top = larger(*top, *x);
            }
        }
        unfold(top, k.inner, larger);
        for i in 0..steps {
            let (x, y) = (&x[at(i)], &mut y[at(i)]);
            for c in 0..x.len() {
                // For Hardmax, the sum counts the largest elements so far.
                let largest = if x[c] == top[c] && sum[c] == 0.0 { 1.0 } else { 0.0 };
                y[c] = if k.kind == SoftmaxKind::Hardmax { largest } else { math::exp_weight::<M>(x[c] - top[c]) };
                sum[c] += y[c];
            }
        }
        unfold(sum, k.inner, |a, b| a + b);
        match k.kind {
            SoftmaxKind::Hardmax => return,
            SoftmaxKind::Softmax => sum.iter_mut().for_each(|s| *s = 1.0 / *s),
            SoftmaxKind::LogSoftmax => sum.iter_mut().for_each(|s| *s = math::log::<M>(*s)),
        }
        for i in 0..steps {
            let (x, y) = (&x[at(i)], &mut y[at(i)]);
            for c in 0..x.len() {
                y[c] = if k.kind == SoftmaxKind::Softmax { y[c] * sum[c] } else { (x[c] - top[c]) - sum[c] };
            }
        }
    }
}

/// Joins what folded columns have of the same column, and gives it to all of them.
#[inline(always)]
fn unfold(columns: &mut [f32], inner: usize, join: impl Fn(f32, f32) -> f32) {
    for c in inner..columns.len() {
        columns[c % inner] = join(columns[c % inner], columns[c]);
    }
    for c in inner..columns.len() {
        columns[c] = columns[c % inner];
    }
}

/// A kernel for f64, element by element.
pub fn prepare_f64(kind: SoftmaxKind, dims: &[usize], axis: usize) -> Box<dyn Kernel> {
    let (outer, len, inner) = split(dims, axis);
    kernel(Grid::by_cost(outer, len * inner, GRAIN), move |args: &mut Args<'_>| {
        let (x, mut tile) = (args.input::<f64>(0), args.output::<f64>(0));
        let size = len * inner;
        for row in tile.rows() {
            let (x, y) = (&x[row * size..(row + 1) * size], tile.row(row));
            for column in 0..inner {
                column_f64(kind, (0..len).map(|i| i * inner + column), x, y);
            }
        }
        Ok(())
    })
}

fn column_f64(kind: SoftmaxKind, at: impl Iterator<Item = usize> + Clone, x: &[f64], y: &mut [f64]) {
    let top = at.clone().fold(f64::NEG_INFINITY, |a, i| a.max(x[i]));
    let sum: f64 = at.clone().map(|i| (x[i] - top).exp()).sum();
    let first = at.clone().find(|&i| x[i] == top);
    for i in at {
        y[i] = match kind {
            SoftmaxKind::Softmax => (x[i] - top).exp() / sum,
            SoftmaxKind::LogSoftmax => (x[i] - top) - sum.ln(),
            SoftmaxKind::Hardmax => f64::from(u8::from(Some(i) == first)),
        };
    }
}
