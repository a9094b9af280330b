//! Normalisations of contiguous rows by their statistics: layer and root mean square.

use crate::cpu::Isa;
use crate::cpu::simd::{Machine, Work};
use crate::error::Result;
use crate::ops::arith::Real;
use crate::ops::elementwise::gather;
use crate::ops::{Kernel, Prepare, Walk};
use crate::tensor::{Args, Dims, Grid, Tile, normalize_axis};
use std::marker::PhantomData;

/// Elements worth a part of their own.
const GRAIN: usize = 16 * 1024;

/// What a row is normalised by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Mean and variance.
    Layer,
    /// Mean square.
    Rms,
}

struct Rows<T> {
    isa: Isa,
    kind: Kind,
    epsilon: f64,
    len: usize,
    /// Scale and bias, if they have to be repeated to fill a row.
    repeated: [Option<Walk<1>>; 2],
    /// Whether mean and inverse standard deviation are wanted.
    statistics: [bool; 2],
    grid: Grid,
    element: PhantomData<fn() -> T>,
}

/// The kernel of a normalisation over the dimensions from `axis` on.
pub fn prepare<T: Real>(cx: &Prepare<'_>, axis: i32, kind: Kind, epsilon: f32) -> Result<Box<dyn Kernel>> {
    let dims = cx.dims(0);
    let axis = normalize_axis(axis.into(), dims.len())?;
    let (rows, inner) = (dims[..axis].iter().product(), Dims::new(&dims[axis..]));
    let len = inner.iter().product();
    let walk = |i: usize| -> Result<Option<Walk<1>>> {
        let Some(vector) = cx.optional(i).filter(|v| v.info.numel() != len) else { return Ok(None) };
        let own = &vector.info.dims;
        let own = Dims::new(&own[own.len().saturating_sub(inner.len())..]);
        Walk::broadcast(&inner, [&own]).map(Some)
    };
    Ok(Box::new(Rows::<T> {
        isa: cx.isa,
        kind,
        epsilon: epsilon.into(),
        len,
        repeated: [walk(1)?, walk(2)?],
        statistics: [cx.outputs.len() > 1, cx.outputs.len() > 2],
        grid: Grid::by_cost(rows, len, GRAIN),
        element: PhantomData,
    }))
}

impl<T: Real> Kernel for Rows<T> {
    fn phases(&self) -> Vec<Grid> {
        vec![self.grid]
    }

    fn scratch_bytes(&self) -> usize {
        self.repeated.iter().flatten().count() * self.len * size_of::<T>()
    }

    fn run(&self, _phase: usize, args: &mut Args<'_>) -> Result<()> {
        let mut scratch = args.scratch::<T>();
        let mut vectors = [args.optional::<T>(1), args.optional::<T>(2)];
        for (vector, walk) in vectors.iter_mut().zip(&self.repeated) {
            if let (Some(from), Some(walk)) = (&vector, walk) {
                let (to, rest) = scratch.split_at_mut(self.len);
                gather((walk, 0, 0..self.len), from, to, |from, to| to.copy_from_slice(from));
                (*vector, scratch) = (Some(&*to), rest);
            }
        }
        let statistics = [1, 2].map(|i| self.statistics[i - 1].then(|| args.output::<f32>(i)));
        let (x, out) = (args.input(0), args.output(0));
        self.isa.dispatch(Part { op: self, x, scale: vectors[0], bias: vectors[1], out, statistics });
        Ok(())
    }
}

struct Part<'k, 'a, T> {
    op: &'k Rows<T>,
    x: &'a [T],
    scale: Option<&'a [T]>,
    bias: Option<&'a [T]>,
    out: Tile<'a, T>,
    statistics: [Option<Tile<'a, f32>>; 2],
}

impl<T: Real> Work for Part<'_, '_, T> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(mut self) {
        let len = self.op.len;
        for row in self.out.rows() {
            let x = &self.x[row * len..][..len];
            let (mean, inverse) = self.op.statistics::<M>(x);
            for (statistic, value) in self.statistics.iter_mut().zip([mean, inverse]) {
                if let Some(tile) = statistic {
                    tile.row(row)[0] = value.to_f64() as f32;
                }
            }
            let out = self.out.row(row);
            match (self.scale, self.bias) {
                (Some(scale), Some(bias)) => {
                    for (((y, x), s), b) in out.iter_mut().zip(x).zip(scale).zip(bias) {
                        *y = T::mul_add::<M>((*x - mean) * inverse, *s, *b);
                    }
                }
                (Some(scale), None) => {
                    for ((y, x), s) in out.iter_mut().zip(x).zip(scale) {
                        *y = (*x - mean) * inverse * *s;
                    }
                }
                (None, Some(bias)) => {
                    for ((y, x), b) in out.iter_mut().zip(x).zip(bias) {
                        *y = T::mul_add::<M>(*x - mean, inverse, *b);
                    }
                }
                (None, None) => {
                    for (y, x) in out.iter_mut().zip(x) {
                        *y = (*x - mean) * inverse;
                    }
                }
            }
        }
    }
}

impl<T: Real> Rows<T> {
    /// The mean that is subtracted, and the inverse of the root of the variance about it.
    #[inline(always)]
    fn statistics<M: Machine>(&self, x: &[T]) -> (T, T) {
        let n = x.len() as f64;
        let mean = if self.kind == Kind::Layer { T::from_f64(T::sum_of::<M>(x).to_f64() / n) } else { T::default() };
        let variance = T::sum_of_squares::<M>(x, mean).to_f64() / n;
        (mean, T::from_f64(1.0 / (variance + self.epsilon).sqrt()))
    }
}
