//! Local response normalisation across neighbouring channels.

use crate::cpu::Isa;
use crate::cpu::simd::{Machine, Work};
use crate::error::Result;
use crate::ops::arith::Real;
use crate::ops::{Kernel, Prepare};
use crate::tensor::{Args, Grid};
use std::marker::PhantomData;

/// Elements worth a part of their own.
const GRAIN: usize = 8 * 1024;

/// See [`Norm::Response`](super::Norm::Response).
#[derive(Clone, Copy, Debug)]
pub struct Attributes {
    pub size: usize,
    pub alpha: f32,
    pub beta: f32,
    pub bias: f32,
}

struct Response<T> {
    isa: Isa,
    attributes: Attributes,
    channels: usize,
    grid: Grid,
    element: PhantomData<fn() -> T>,
}

/// The kernel of a local response normalisation of `[.., channels]`.
pub fn prepare<T: Real>(cx: &Prepare<'_>, attributes: Attributes) -> Box<dyn Kernel> {
    let dims = cx.dims(0);
    let channels = dims[dims.len() - 1];
    let pixels: usize = dims[..dims.len() - 1].iter().product();
    let grid = Grid::by_cost(pixels, channels * attributes.size.min(channels), GRAIN);
    Box::new(Response::<T> { isa: cx.isa, attributes, channels, grid, element: PhantomData })
}

impl<T: Real> Kernel for Response<T> {
    fn phases(&self) -> Vec<Grid> {
        vec![self.grid]
    }

    fn scratch_bytes(&self) -> usize {
        2 * self.channels * size_of::<T>()
    }

    fn run(&self, _phase: usize, args: &mut Args<'_>) -> Result<()> {
        let (x, mut out) = (args.input::<T>(0), args.output::<T>(0));
        let (squares, sums) = args.scratch::<T>().split_at_mut(self.channels);
        for pixel in out.rows() {
            let x = &x[pixel * self.channels..][..self.channels];
            self.isa.dispatch(Pixel { attributes: &self.attributes, x, out: out.row(pixel), squares, sums });
        }
        Ok(())
    }
}

struct Pixel<'a, T> {
    attributes: &'a Attributes,
    x: &'a [T],
    out: &'a mut [T],
    squares: &'a mut [T],
    sums: &'a mut [T],
}

impl<T: Real> Work for Pixel<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        let Pixel { attributes, x, out, squares, sums } = self;
        let n = x.len();
        let (squares, sums) = (&mut squares[..n], &mut sums[..n]);
        for (square, x) in squares.iter_mut().zip(x) {
            *square = *x * *x;
        }
        sums.copy_from_slice(squares);
        let (before, after) = ((attributes.size - 1) / 2, attributes.size / 2);
        for shift in 1..=before.min(n.saturating_sub(1)) {
            for (sum, square) in sums[shift..].iter_mut().zip(&squares[..n - shift]) {
                *sum = *sum + *square;
            }
        }
        for shift in 1..=after.min(n.saturating_sub(1)) {
            for (sum, square) in sums[..n - shift].iter_mut().zip(&squares[shift..]) {
                *sum = *sum + *square;
            }
        }
        let factor = T::from_f64(f64::from(attributes.alpha) / attributes.size as f64);
        let bias = T::from_f64(attributes.bias.into());
        for ((y, x), sum) in out.iter_mut().zip(x).zip(sums.iter()) {
            *y = *x * T::mul_add::<M>(*sum, factor, bias).power::<M>(-attributes.beta);
        }
    }
}
