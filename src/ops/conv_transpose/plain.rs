//! Transposed convolutions of any element type, by their definition.

use super::ConvTranspose;
use super::geometry::Geometry;
use crate::cpu::Activation;
use crate::cpu::simd::{Machine, Work};
use crate::error::{Error, Result};
use crate::ops::arith::Arith;
use crate::ops::{Kernel, Prepare, kernel};
use crate::tensor::{Grid, Layout, Tile};

/// Multiply-adds worth a part of their own.
const GRAIN: usize = 64 * 1024;

/// The kernel for element type `T`.
pub fn prepare<T: Arith>(op: &ConvTranspose, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
    if cx.input(1).layout != Layout::RowMajor {
        return Err(Error::format(format!("transposed convolution weights stored as {:?}", cx.input(1).layout)));
    }
    let (isa, geometry, activation) = (cx.isa, Geometry::new(op, cx), op.activation);
    let pixels = geometry.batch * geometry.output.iter().product::<usize>();
    let cost = (geometry.window.taps() * geometry.group_in).saturating_mul(geometry.out_channels());
    Ok(kernel(Grid::by_cost(pixels, cost, GRAIN), move |args| {
        let (x, w, bias) = (args.input::<T>(0), args.input(1), args.optional(2));
        let mut out = args.output(0);
        isa.dispatch(Part { geometry: &geometry, x, w, bias, activation, out: &mut out });
        Ok(())
    }))
}

struct Part<'a, 'b, T> {
    geometry: &'a Geometry,
    x: &'a [T],
    w: &'a [T],
    bias: Option<&'a [T]>,
    activation: Activation,
    out: &'a mut Tile<'b, T>,
}

impl<T: Arith> Work for Part<'_, '_, T> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        let Part { geometry, x, w, bias, activation, out } = self;
        for pixel in out.rows() {
            let out = out.row(pixel);
            match bias {
                Some(bias) => out.copy_from_slice(bias),
                None => out.fill(T::default()),
            }
            geometry.each_source(pixel, |source, tap| geometry.add::<T, M>(x, w, source, tap, out));
            T::activate::<M>(activation, out);
        }
    }
}

impl Geometry {
    /// Calls `f` with every input pixel that reaches output pixel `pixel`, and the tap by which it does.
    #[inline(always)]
    fn each_source(&self, pixel: usize, mut f: impl FnMut(usize, usize)) {
        let [od, oh, ow] = self.output;
        let at = [pixel / ow / oh % od, pixel / ow % oh, pixel % ow];
        let image = pixel / (od * oh * ow);
        let [_, kh, kw] = self.window.kernel;
        for tap in 0..self.window.taps() {
            let taps = [tap / kw / kh, tap / kw % kh, tap % kw];
            let source = (0..3).try_fold(image, |index, d| {
                Some(index * self.input[d] + self.source(d, at[d], taps[d])?)
            });
            if let Some(source) = source {
                f(source, tap);
            }
        }
    }

    /// Adds what one input pixel contributes by one tap.
    #[inline(always)]
    fn add<T: Arith, M: Machine>(&self, x: &[T], w: &[T], source: usize, tap: usize, out: &mut [T]) {
        let x = &x[source * self.in_channels()..][..self.in_channels()];
        let taps = self.window.taps();
        for (channel, y) in out.iter_mut().enumerate() {
            let x = &x[channel / self.group_out * self.group_in..][..self.group_in];
            let w = &w[(channel * taps + tap) * self.group_in..][..self.group_in];
            for (x, w) in x.iter().zip(w) {
                *y = T::mul_add::<M>(*x, *w, *y);
            }
        }
    }
}
