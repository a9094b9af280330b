//! Poolings of every kind and element type, by their definition.

use super::{Pool, PoolKind};
use crate::cpu::conv::{self, Spatial};
use crate::cpu::simd::{Machine, Work};
use crate::error::{Error, Result};
use crate::ops::elementwise::Number;
use crate::ops::window::spatial;
use crate::ops::{Kernel, Prepare, kernel};
use crate::tensor::{DType, Dims, Element, Grid};

/// Elements under windows worth a part of their own.
const GRAIN: usize = 32 * 1024;

/// Extents of a pooling.
#[derive(Clone, Copy)]
struct Geometry {
    window: conv::Window,
    input: Spatial,
    output: Spatial,
    channels: usize,
    column_major: bool,
}

/// The kernel for any pooling of known shape.
pub fn prepare(op: &Pool, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
    let geometry = Geometry::new(op, &cx.dims(0), &cx.out_dims(0));
    let pixels = cx.outputs[0].numel().checked_div(geometry.channels).unwrap_or(0);
    let grid = Grid::by_cost(pixels, geometry.window.taps() * geometry.channels, GRAIN);
    let indices = cx.outputs.len() > 1;
    match (cx.outputs[0].dtype, op.kind) {
        (DType::F32, PoolKind::Max) => Ok(maxima::<f32>(cx, geometry, grid, indices)),
        (DType::F64, PoolKind::Max) => Ok(maxima::<f64>(cx, geometry, grid, indices)),
        (DType::I8, PoolKind::Max) => Ok(maxima::<i8>(cx, geometry, grid, indices)),
        (DType::U8, PoolKind::Max) => Ok(maxima::<u8>(cx, geometry, grid, indices)),
        (DType::F32, kind) => Ok(sums::<f32>(geometry, grid, kind)),
        (DType::F64, kind) => Ok(sums::<f64>(geometry, grid, kind)),
        (dtype, kind) => Err(Error::internal(format!("{kind:?} pooling of {dtype}"))),
    }
}

impl Geometry {
    fn new(op: &Pool, x: &Dims, out: &Dims) -> Self {
        let inner = 1..x.len() - 1;
        Geometry {
            window: op.window.to_cpu(&op.kernel()),
            input: spatial(&x[inner.clone()], 1),
            output: spatial(&out[inner], 1),
            channels: x[x.len() - 1],
            column_major: op.column_major_indices,
        }
    }

    fn image(&self, pixel: usize) -> usize {
        pixel / self.output.iter().product::<usize>()
    }

    /// Calls `f` with the position of every input pixel under the window of output pixel `pixel`; returns the number of
    /// taps inside the padded input.
    #[inline(always)]
    fn each(&self, pixel: usize, mut f: impl FnMut(Spatial)) -> usize {
        let [_, oh, ow] = self.output;
        let at = [pixel / ow / oh % self.output[0], pixel / ow % oh, pixel % ow];
        let [kd, kh, kw] = self.window.kernel;
        let mut padded = 0;
        for tap in 0..kd * kh * kw {
            let tap = [tap / kw / kh, tap / kw % kh, tap % kw];
            let reached: Spatial =
                std::array::from_fn(|d| at[d] * self.window.stride[d] + tap[d] * self.window.dilation[d]);
            let [begin, end] = [self.window.pad_begin, self.window.pad_end];
            padded += usize::from((0..3).all(|d| reached[d] < begin[d] + self.input[d] + end[d]));
            let position: Spatial = std::array::from_fn(|d| reached[d].wrapping_sub(begin[d]));
            if (0..3).all(|d| position[d] < self.input[d]) {
                f(position);
            }
        }
        padded
    }

    /// Index of the first channel of an input pixel in channels-last memory.
    fn memory(&self, image: usize, [d, h, w]: Spatial) -> usize {
        (((image * self.input[0] + d) * self.input[1] + h) * self.input[2] + w) * self.channels
    }

    /// Index of the first channel of an input pixel in channels-first order.
    fn index(&self, image: usize, [d, h, w]: Spatial) -> usize {
        let [depth, height, width] = self.input;
        let place = if self.column_major { d + depth * (h + height * w) } else { (d * height + h) * width + w };
        image * self.channels * self.plane() + place
    }

    fn plane(&self) -> usize {
        self.input.iter().product()
    }
}

/// An element type that has maxima.
trait Ordered: Element + PartialOrd {
    const LOWEST: Self;
}

macro_rules! ordered {
    ($($ty:ident: $lowest:ident),*) => { $(impl Ordered for $ty { const LOWEST: Self = $ty::$lowest; })* };
}

ordered! { f32: NEG_INFINITY, f64: NEG_INFINITY, i8: MIN, u8: MIN }

fn maxima<T: Ordered>(cx: &Prepare<'_>, geometry: Geometry, grid: Grid, indices: bool) -> Box<dyn Kernel> {
    let isa = cx.isa;
    kernel(grid, move |args| {
        let x = args.input::<T>(0);
        let mut out = args.output::<T>(0);
        let mut places = indices.then(|| args.output::<i64>(1));
        for pixel in out.rows() {
            let places = places.as_mut().map(|places| places.row(pixel));
            isa.dispatch(Maxima { geometry: &geometry, pixel, x, out: out.row(pixel), places });
        }
        Ok(())
    })
}

/// The maxima of one output pixel.
struct Maxima<'a, T> {
    geometry: &'a Geometry,
    pixel: usize,
    x: &'a [T],
    out: &'a mut [T],
    places: Option<&'a mut [i64]>,
}

impl<T: Ordered> Work for Maxima<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        let Maxima { geometry, pixel, x, out, mut places } = self;
        let (image, plane) = (geometry.image(pixel), geometry.plane());
        let mut first = true;
        out.fill(T::LOWEST);
        geometry.each(pixel, |position| {
            let x = &x[geometry.memory(image, position)..][..out.len()];
            let index = geometry.index(image, position);
            if let Some(places) = &mut places {
                for (channel, (place, (y, x))) in places.iter_mut().zip(out.iter().zip(x)).enumerate() {
                    if first || exceeds(x, y) {
                        *place = (index + channel * plane) as i64;
                    }
                }
            }
            for (y, x) in out.iter_mut().zip(x) {
                *y = if exceeds(x, y) { *x } else { *y };
            }
            first = false;
        });
    }
}

/// Whether `x` replaces the maximum `y`: it is larger, or the first NaN.
#[inline(always)]
#[allow(clippy::eq_op, reason = "only a NaN differs from itself")]
fn exceeds<T: Ordered>(x: &T, y: &T) -> bool {
    x > y || x != x && y == y
}

fn sums<T: Number>(geometry: Geometry, grid: Grid, kind: PoolKind) -> Box<dyn Kernel> {
    kernel(grid, move |args| {
        let x = args.input::<T>(0);
        let mut out = args.output::<T>(0);
        for pixel in out.rows() {
            for (channel, y) in out.row(pixel).iter_mut().enumerate() {
                *y = T::from_f64(geometry.pool(pixel, kind, |at| x[at + channel].to_f64()));
            }
        }
        Ok(())
    })
}

impl Geometry {
    /// The mean or norm of one element of the output.
    fn pool(&self, pixel: usize, kind: PoolKind, element: impl Fn(usize) -> f64) -> f64 {
        let image = self.image(pixel);
        let (mut sum, mut count) = (0.0, 0);
        let padded = self.each(pixel, |position| {
            let x = element(self.memory(image, position));
            count += 1;
            sum += match kind {
                PoolKind::Norm { p } => x.abs().powi(p as i32),
                _ => x,
            };
        });
        match kind {
            PoolKind::Norm { p } => sum.powf(1.0 / f64::from(p)),
            PoolKind::Mean { count_padding: true } => sum / padded as f64,
            _ => sum / f64::from(count),
        }
    }
}
