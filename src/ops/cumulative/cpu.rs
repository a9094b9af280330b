//! Running results of neighbouring columns side by side, so that memory is read in order whatever the axis.

use super::{Cumulative, CumulativeKind};
use crate::ops::elementwise::{Number, for_type};
use crate::ops::{Kernel, Prepare, kernel};
use crate::tensor::{Grid, Tile};

/// Elements worth a part of their own.
const GRAIN: usize = 8 * 1024;

/// Columns whose running results are kept together.
const COLUMNS: usize = 256;

/// The kernel for an input that `infer` has accepted.
pub fn prepare(op: &Cumulative, cx: &Prepare<'_>, axis: usize) -> Box<dyn Kernel> {
    for_type!(cx.input(0).info.dtype, typed(op.clone(), cx, axis))
}

fn typed<T: Number>(op: Cumulative, cx: &Prepare<'_>, axis: usize) -> Box<dyn Kernel> {
    let dims = cx.dims(0);
    let outer: usize = dims[..axis].iter().product();
    let space = Space { op, len: dims[axis], inner: dims[axis + 1..].iter().product() };
    kernel(Grid::by_cost(outer, space.len * space.inner, GRAIN), move |args| {
        let (x, tile) = (args.input::<T>(0), args.output::<T>(0));
        match (T::DTYPE.is_float(), space.op.kind) {
            (true, CumulativeKind::Sum) => space.scan(x, tile, 0.0, |a, x: T| a + x.to_f64(), T::from_f64),
            (true, CumulativeKind::Prod) => space.scan(x, tile, 1.0, |a, x: T| a * x.to_f64(), T::from_f64),
            (false, CumulativeKind::Sum) => space.scan(x, tile, 0, |a: i64, x: T| a.wrapping_add(x.to_i64()), T::from_i64),
            (false, CumulativeKind::Prod) => space.scan(x, tile, 1, |a: i64, x: T| a.wrapping_mul(x.to_i64()), T::from_i64),
        }
        Ok(())
    })
}

/// A tensor seen as `[outer, len, inner]`, accumulated along `len`.
struct Space {
    op: Cumulative,
    len: usize,
    inner: usize,
}

impl Space {
    /// Accumulates the slices of a tile in `A`, from `init` on.
    fn scan<T: Number, A: Copy>(
        &self,
        x: &[T],
        mut tile: Tile<'_, T>,
        init: A,
        join: impl Fn(A, T) -> A,
        round: impl Fn(A) -> T,
    ) {
        let size = self.len * self.inner;
        for slice in tile.rows() {
            let (x, y) = (&x[slice * size..(slice + 1) * size], tile.row(slice));
            for first in (0..self.inner).step_by(COLUMNS) {
                let mut running = [init; COLUMNS];
                let running = &mut running[..COLUMNS.min(self.inner - first)];
                for step in 0..self.len {
                    let i = if self.op.reverse { self.len - 1 - step } else { step };
                    let at = i * self.inner + first..i * self.inner + first + running.len();
                    let elements = running.iter_mut().zip(&x[at.clone()]).zip(&mut y[at]);
                    for ((running, &x), y) in elements {
                        let before = *running;
                        *running = join(before, x);
                        *y = round(if self.op.exclusive { before } else { *running });
                    }
                }
            }
        }
    }
}
