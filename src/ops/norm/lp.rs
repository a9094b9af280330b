//! Division by the 1-norm or 2-norm along one dimension.

use crate::cpu::simd::{Machine, Work};
use crate::error::Result;
use crate::ops::arith::{Real, sum_of_absolutes};
use crate::ops::{Kernel, Prepare};
use crate::cpu::Isa;
use crate::tensor::{Args, Grid, normalize_axis};
use std::marker::PhantomData;

/// Elements worth a part of their own.
const GRAIN: usize = 16 * 1024;

struct Lp<T> {
    isa: Isa,
    p: u32,
    /// Elements along the dimension, and between neighbours along it.
    len: usize,
    inner: usize,
    grid: Grid,
    element: PhantomData<fn() -> T>,
}

/// The kernel of the division by the `p`-norm along `axis`.
pub fn prepare<T: Real>(cx: &Prepare<'_>, axis: i32, p: u32) -> Result<Box<dyn Kernel>> {
    let dims = cx.dims(0);
    let axis = normalize_axis(axis.into(), dims.len())?;
    let (outer, len, inner) = (dims[..axis].iter().product(), dims[axis], dims[axis + 1..].iter().product());
    let grid = Grid::by_cost(outer, len * inner, GRAIN);
    Ok(Box::new(Lp::<T> { isa: cx.isa, p, len, inner, grid, element: PhantomData }))
}

impl<T: Real> Kernel for Lp<T> {
    fn phases(&self) -> Vec<Grid> {
        vec![self.grid]
    }

    fn scratch_bytes(&self) -> usize {
        self.inner * size_of::<T>()
    }

    fn run(&self, _phase: usize, args: &mut Args<'_>) -> Result<()> {
        let (x, mut out) = (args.input::<T>(0), args.output::<T>(0));
        let norms = args.scratch::<T>();
        let size = self.len * self.inner;
        for block in out.rows() {
            let x = &x[block * size..][..size];
            self.isa.dispatch(Block { op: self, x, out: out.row(block), norms });
        }
        Ok(())
    }
}

/// `inner` neighbouring columns of `len` elements.
struct Block<'a, T> {
    op: &'a Lp<T>,
    x: &'a [T],
    out: &'a mut [T],
    norms: &'a mut [T],
}

impl<T: Real> Work for Block<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        let Block { op: Lp { p, inner, .. }, x, out, norms } = self;
        let (inner, norms) = (*inner, &mut norms[..*inner]);
        if inner == 1 {
            norms[0] = if *p == 1 { sum_of_absolutes(x) } else { T::sum_of_squares::<M>(x, T::default()) };
        } else {
            norms.fill(T::default());
            for row in x.chunks_exact(inner.max(1)) {
                for (norm, x) in norms.iter_mut().zip(row) {
                    *norm = if *p == 1 { *norm + x.magnitude() } else { T::mul_add::<M>(*x, *x, *norm) };
                }
            }
        }
        for norm in norms.iter_mut() {
            let value = if *p == 1 { norm.to_f64() } else { norm.to_f64().sqrt() };
            // Where the norm is zero all elements are, and any divisor gives the zeros that are wanted.
            *norm = T::from_f64(if value == 0.0 { 1.0 } else { value });
        }
        for (out, x) in out.chunks_exact_mut(inner.max(1)).zip(x.chunks_exact(inner.max(1))) {
            for ((y, x), norm) in out.iter_mut().zip(x).zip(norms.iter()) {
                *y = *x / *norm;
            }
        }
    }
}
