//! Depthwise convolution: each channel has its own window.
//!
//! Several neighbouring pixels are summed at once, so that a weight is loaded once for all of them, and for the usual
//! windows an input pixel once for all taps that touch it.

use super::ConvArgs;
use super::lines::{Lines, WindowRow};
use super::shape::{ConvShape, Spatial, Window};
use crate::cpu::Isa;
use crate::cpu::gemm::kernel::PANEL;
use crate::cpu::gemm::{Output, finish_rows};
use crate::cpu::simd::{Machine, Vector, Work};
use std::ops::Range;

/// A depthwise convolution with weights `[C/16][taps][16]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Depthwise {
    isa: Isa,
    lines: Lines,
    /// Elements from one pixel of the input to the next.
    stride: usize,
}

/// Bounds that change nothing.
pub(super) const UNBOUNDED: (f32, f32) = (f32::NEG_INFINITY, f32::INFINITY);
/// Pixels summed at once.
const PIXELS: usize = 4;

impl Depthwise {
    pub fn new(isa: Isa, shape: &ConvShape, stride: usize, output: Spatial) -> Depthwise {
        let ConvShape { window, batch, input, out_channels, .. } = shape;
        Depthwise { isa, stride, lines: Lines::new(window, *batch, *input, output, *out_channels, window.taps()) }
    }

    pub fn phases(&self) -> usize {
        1
    }

    pub fn parts(&self, _phase: usize) -> usize {
        self.lines.parts()
    }

    pub fn shared_bytes(&self) -> usize {
        0
    }

    pub fn scratch_bytes(&self) -> usize {
        self.lines.scratch_bytes()
    }

    /// # Safety
    /// As for [`Conv::run`](super::Conv::run).
    pub unsafe fn run(&self, _phase: usize, part: usize, args: &ConvArgs, _shared: *mut u8, scratch: *mut u8) {
        self.isa.dispatch(Part { plan: self, part, args, scratch });
    }
}

/// One part, as [`Work`]. Made by [`Depthwise::run`] only, whose caller answers for the pointers.
struct Part<'a> {
    plan: &'a Depthwise,
    part: usize,
    args: &'a ConvArgs,
    scratch: *mut u8,
}

impl Work for Part<'_> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        // Copies, which no store to the output can change.
        let Depthwise { lines, stride: step, .. } = *self.plan;
        let Lines { window, input, output, .. } = lines;
        let args = *self.args;
        let bounds = args.output.activation.bounds().unwrap_or(UNBOUNDED);
        let (part_lines, channels) = lines.part(self.part);
        let interior = lines.interior();
        let whole = interior.start + interior.len() / PIXELS * PIXELS;
        let pairs = whole + (interior.end - whole) / 2 * 2;
        for line in part_lines {
            // SAFETY: the pixels and channels are those of this part; the scratch memory is its own.
            unsafe {
                let first = line * output[2];
                let line = Line { window, step, args, bounds, rows: lines.rows(line, self.scratch), first };
                for pixel in (0..interior.start).chain(pairs..output[2]) {
                    line.pixels::<M::Vector, 1>(
                        pixel,
                        &channels,
                        window.taps_inside(2, pixel, input[2]),
                        window.stride[2],
                    );
                }
                for pixel in (interior.start..whole).step_by(PIXELS) {
                    line.interior::<M, PIXELS>(pixel, &channels);
                }
                for pixel in (whole..pairs).step_by(2) {
                    line.interior::<M, 2>(pixel, &channels);
                }
                finish_rows(M::ISA, &args.output, first..first + output[2], channels.clone());
            }
        }
    }
}

/// A line of the output.
struct Line<'a> {
    window: Window,
    step: usize,
    args: ConvArgs,
    bounds: (f32, f32),
    rows: &'a [WindowRow],
    /// Index of its first pixel.
    first: usize,
}

impl Line<'_> {
    /// `P` neighbouring pixels with all taps inside. Constant extents let the compiler unroll the window's rows.
    #[inline(always)]
    unsafe fn interior<M: Machine, const P: usize>(&self, pixel: usize, channels: &Range<usize>) {
        // The baseline has too few registers to gain from it.
        let unrolled = M::ISA != Isa::Scalar && self.window.dilation[2] == 1;
        // SAFETY: the caller's promises.
        unsafe {
            match (self.window.kernel[2], self.window.stride[2]) {
                (3, 1) if unrolled => self.pixels::<M::Vector, P>(pixel, channels, 0..3, 1),
                (3, 2) if unrolled => self.pixels::<M::Vector, P>(pixel, channels, 0..3, 2),
                (5, 1) if unrolled => self.pixels::<M::Vector, P>(pixel, channels, 0..5, 1),
                (5, 2) if unrolled => self.pixels::<M::Vector, P>(pixel, channels, 0..5, 2),
                (7, 1) if unrolled => self.pixels::<M::Vector, P>(pixel, channels, 0..7, 1),
                (kernel, stride) => self.pixels::<M::Vector, P>(pixel, channels, 0..kernel, stride),
            }
        }
    }

    /// `P` neighbouring pixels, for taps `taps` of each window row.
    #[inline(always)]
    unsafe fn pixels<V: Vector, const P: usize>(
        &self,
        pixel: usize,
        channels: &Range<usize>,
        taps: Range<usize>,
        stride: usize,
    ) {
        let whole = channels.start + channels.len() / V::LANES * V::LANES;
        // SAFETY: the caller's promises; the last vector is cut short.
        unsafe {
            for channel in (channels.start..whole).step_by(V::LANES) {
                self.block::<V, P>(pixel, channel, V::LANES, taps.clone(), stride);
            }
            if whole < channels.end {
                self.block::<V, P>(pixel, whole, channels.end - whole, taps, stride);
            }
        }
    }

    /// `n` channels, up to a vector, of `P` pixels.
    #[inline(always)]
    unsafe fn block<V: Vector, const P: usize>(
        &self,
        pixel: usize,
        channel: usize,
        n: usize,
        taps: Range<usize>,
        stride: usize,
    ) {
        let Line { window, step, args, .. } = *self;
        let dilation = if taps.len() > 1 && window.dilation[2] != 1 { window.dilation[2] } else { 1 };
        // SAFETY: the caller's promises. Padding may lie in front of the first tap, but not of those that are read.
        unsafe {
            let mut sums = [V::splat(0.0); P];
            let weights = args.weights.add(channel / PANEL * PANEL * window.taps() + channel % PANEL);
            let first = pixel * window.stride[2] + taps.start * window.dilation[2] - window.pad_begin[2];
            for row in self.rows {
                let from = args.input.add((row.pixel + first) * step + channel);
                let weights = weights.add((row.tap + taps.start) * PANEL);
                for tap in 0..taps.len() {
                    let weight = V::load(weights.add(tap * PANEL));
                    for p in 0..P {
                        let x = V::load_up_to(from.add((p * stride + tap * dilation) * step), n);
                        sums[p] = x.mul_add(weight, sums[p]);
                    }
                }
            }
            for p in 0..P {
                store(&args.output, self.bounds, self.first + pixel + p, channel, n, sums[p]);
            }
        }
    }
}

/// Adds bias and residual to a sum, clips and stores it.
#[inline(always)]
pub(super) unsafe fn store<V: Vector>(
    out: &Output,
    (lo, hi): (f32, f32),
    row: usize,
    channel: usize,
    n: usize,
    mut sum: V,
) {
    // SAFETY: the caller's promises.
    unsafe {
        if !out.bias.is_null() {
            sum = sum.add(V::load_up_to(out.bias.add(channel), n));
        }
        if !out.residual.is_null() {
            sum = sum.add(V::load_up_to(out.residual.add(row * out.residual_stride + channel), n));
        }
        sum.max(V::splat(lo)).min(V::splat(hi)).store_up_to(out.data.add(row * out.stride + channel), n);
    }
}
