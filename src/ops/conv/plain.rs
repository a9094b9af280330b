//! Convolutions of any element type, by their definition.

use super::Conv;
use crate::cpu::conv::{ConvShape, Spatial};
use crate::cpu::simd::{Machine, Work};
use crate::error::{Error, Result};
use crate::ops::arith::Arith;
use crate::ops::window::spatial;
use crate::ops::{Kernel, Prepare, kernel};
use crate::tensor::{Grid, Layout, Tile};

/// Multiply-adds worth a part of their own.
const GRAIN: usize = 64 * 1024;

/// Extents of a convolution, and how its input is arranged.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    /// Batch, channels, groups, input and window.
    pub shape: ConvShape,
    /// Spatial extents of the output.
    pub output: Spatial,
    /// The input is `[N, C, spatial..]`.
    pub channels_first: bool,
}

impl Geometry {
    /// The geometry of a convolution of known shape.
    pub fn new(op: &Conv, cx: &Prepare<'_>) -> Self {
        let out = cx.out_dims(0);
        let output = spatial(&out[1..out.len() - 1], 1);
        Geometry { shape: op.shape(&cx.dims(0), &cx.dims(1)), output, channels_first: op.channels_first_input }
    }

    /// How the output, a matrix of pixels and channels, is cut into parts.
    pub fn grid(&self) -> Grid {
        let pixels = self.shape.batch * self.output.iter().product::<usize>();
        let row_cost = (self.shape.window.taps() * self.shape.group_in()).saturating_mul(self.shape.out_channels);
        Grid::by_cost(pixels, row_cost, GRAIN)
    }

    /// Computes this part of the output without bias.
    #[inline(always)]
    pub fn run<T: Arith, M: Machine>(&self, x: &[T], w: &[T], out: &mut Tile<'_, T>) {
        for pixel in out.rows() {
            for (channel, y) in out.row(pixel).iter_mut().enumerate() {
                *y = self.element::<T, M>(x, w, pixel, channel);
            }
        }
    }

    #[inline(always)]
    fn element<T: Arith, M: Machine>(&self, x: &[T], w: &[T], pixel: usize, channel: usize) -> T {
        let ConvShape { window, in_channels, input, .. } = &self.shape;
        let (group_in, taps) = (self.shape.group_in(), window.taps());
        let first = channel / self.shape.group_out() * group_in;
        let [od, oh, ow] = self.output;
        let at = [pixel / ow / oh % od, pixel / ow % oh, pixel % ow];
        let image = pixel / (od * oh * ow);
        let plane: usize = input.iter().product();
        let mut sum = T::default();
        for tap in 0..taps {
            let Some(position) = self.position(at, tap) else { continue };
            let w = &w[(channel * taps + tap) * group_in..][..group_in];
            if self.channels_first {
                let x = &x[(image * in_channels + first) * plane + position..];
                for (x, w) in x.iter().step_by(plane).zip(w) {
                    sum = T::mul_add::<M>(*x, *w, sum);
                }
            } else {
                let x = &x[(image * plane + position) * in_channels + first..];
                for (x, w) in x.iter().zip(w) {
                    sum = T::mul_add::<M>(*x, *w, sum);
                }
            }
        }
        sum
    }

    /// Index of the input pixel under tap `tap` of the output pixel at `at`; None if it is padding.
    #[inline(always)]
    fn position(&self, at: Spatial, tap: usize) -> Option<usize> {
        let ConvShape { window, input, .. } = &self.shape;
        let [_, kh, kw] = window.kernel;
        let tap = [tap / kw / kh, tap / kw % kh, tap % kw];
        let mut position = 0;
        for d in 0..3 {
            let i = (at[d] * window.stride[d] + tap[d] * window.dilation[d]).wrapping_sub(window.pad_begin[d]);
            if i >= input[d] {
                return None;
            }
            position = position * input[d] + i;
        }
        Some(position)
    }
}

/// The kernel for element type `T`.
pub fn prepare<T: Arith>(op: &Conv, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
    if cx.input(1).layout != Layout::RowMajor {
        return Err(Error::format(format!("{} weights stored as {:?}", T::DTYPE, cx.input(1).layout)));
    }
    let (isa, geometry) = (cx.isa, Geometry::new(op, cx));
    Ok(kernel(geometry.grid(), move |args| {
        let mut out = args.output::<T>(0);
        let (x, w) = (args.input(0), args.input(1));
        let (bias, residual) = (args.optional(2), args.optional(3));
        isa.dispatch(Part { geometry: &geometry, x, w, bias, residual, out: &mut out });
        Ok(())
    }))
}

struct Part<'a, 'b, T> {
    geometry: &'a Geometry,
    x: &'a [T],
    w: &'a [T],
    bias: Option<&'a [T]>,
    residual: Option<&'a [T]>,
    out: &'a mut Tile<'b, T>,
}

impl<T: Arith> Work for Part<'_, '_, T> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        self.geometry.run::<T, M>(self.x, self.w, self.out);
        for pixel in self.out.rows() {
            let out = self.out.row(pixel);
            if let Some(residual) = self.residual {
                let first = pixel * out.len();
                out.iter_mut().zip(&residual[first..]).for_each(|(y, r)| *y = y.plus(*r));
            }
            if let Some(bias) = self.bias {
                out.iter_mut().zip(bias).for_each(|(y, b)| *y = y.plus(*b));
            }
        }
    }
}
