//! Reductions of f64 and of integers, by way of f64 and i64.

use super::ReduceKind;
use crate::error::Result;
use crate::ops::elementwise::{Number, for_type};
use crate::ops::{Kernel, Walk, kernel};
use crate::tensor::{Args, DType, Dims, Grid};

/// Elements worth a part of their own.
const GRAIN: usize = 16 * 1024;

/// A kernel that reduces the dimensions marked in `reduced`.
pub fn prepare(kind: ReduceKind, dims: &[usize], reduced: &[bool], dtype: DType) -> Box<dyn Kernel> {
    let strides = Dims::new(dims).strides();
    let pick = |want: bool| -> (Vec<usize>, Vec<[usize; 1]>) {
        (0..dims.len()).filter(|&i| reduced[i] == want).map(|i| (dims[i], [strides[i]])).unzip()
    };
    let ((kept, kept_strides), (gone, gone_strides)) = (pick(false), pick(true));
    let walks = (Walk::new(&kept, &kept_strides), Walk::new(&gone, &gone_strides));
    let (results, count) = (kept.iter().product::<usize>(), gone.iter().product::<usize>());
    for_type!(dtype, typed(kind, walks, results, count))
}

fn typed<T: Number>(kind: ReduceKind, walks: (Walk<1>, Walk<1>), results: usize, count: usize) -> Box<dyn Kernel> {
    kernel(Grid::by_cost(results, count, GRAIN), move |args| run::<T>(kind, &walks, count, args))
}

fn run<T: Number>(kind: ReduceKind, (kept, gone): &(Walk<1>, Walk<1>), count: usize, args: &mut Args<'_>) -> Result<()> {
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
            *y = if T::DTYPE.is_float() { reduce_float(kind, &elements) } else { reduce_int(kind, &elements) };
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

impl<T: Number> Elements<'_, T> {
    fn fold<A>(&self, init: A, mut f: impl FnMut(A, T) -> A) -> A {
        let stride = self.gone.inner_strides()[0];
        let runs = self.gone.runs(0..self.count);
        runs.fold(init, |a, run| (0..run.len).fold(a, |a, i| f(a, self.x[run.at[0] + i * stride])))
    }
}

fn reduce_float<T: Number>(kind: ReduceKind, e: &Elements<'_, T>) -> T {
    let sum = |map: fn(f64) -> f64| e.fold(0.0, |a, x| a + map(x.to_f64()));
    let max = |a: f64, x: f64| if a > x || a.is_nan() { a } else { x };
    T::from_f64(match kind {
        ReduceKind::Sum => sum(|x| x),
        ReduceKind::Mean => sum(|x| x) / e.count as f64,
        ReduceKind::Prod => e.fold(1.0, |a, x| a * x.to_f64()),
        ReduceKind::Max => e.fold(f64::NEG_INFINITY, |a, x| max(a, x.to_f64())),
        ReduceKind::Min => -e.fold(f64::NEG_INFINITY, |a, x| max(a, -x.to_f64())),
        ReduceKind::L1 => sum(f64::abs),
        ReduceKind::L2 => sum(|x| x * x).sqrt(),
        ReduceKind::SumSquare => sum(|x| x * x),
        ReduceKind::LogSum => sum(|x| x).ln(),
        ReduceKind::LogSumExp => {
            let top = e.fold(f64::NEG_INFINITY, |a, x| max(a, x.to_f64()));
            let top = if top.is_finite() { top } else { 0.0 };
            e.fold(0.0, |a, x| a + (x.to_f64() - top).exp()).ln() + top
        }
    })
}

/// Sums and products of integers modulo 2^64, of which the result has the low bits.
fn reduce_int<T: Number>(kind: ReduceKind, e: &Elements<'_, T>) -> T {
    // u64 compares as i64 once its range is shifted.
    let shift = if T::DTYPE == DType::U64 { i64::MIN } else { 0 };
    let key = |x: T| x.to_i64() ^ shift;
    let sum = |map: fn(i64) -> i64| e.fold(0i64, |a, x| a.wrapping_add(map(x.to_i64())));
    T::from_i64(match kind {
        ReduceKind::Sum => sum(|x| x),
        ReduceKind::Mean => sum(|x| x).checked_div(e.count as i64).unwrap_or(0),
        ReduceKind::Prod => e.fold(1i64, |a, x| a.wrapping_mul(x.to_i64())),
        ReduceKind::Max => match e.fold(None, |a: Option<i64>, x| Some(a.map_or(key(x), |a| a.max(key(x))))) {
            Some(key) => key ^ shift,
            None => T::from_f64(f64::NEG_INFINITY).to_i64(),
        },
        ReduceKind::Min => match e.fold(None, |a: Option<i64>, x| Some(a.map_or(key(x), |a| a.min(key(x))))) {
            Some(key) => key ^ shift,
            None => T::from_f64(f64::INFINITY).to_i64(),
        },
        ReduceKind::L1 => sum(i64::wrapping_abs),
        ReduceKind::SumSquare => sum(|x| x.wrapping_mul(x)),
        ReduceKind::L2 | ReduceKind::LogSum | ReduceKind::LogSumExp => return reduce_float(kind, e),
    })
}
