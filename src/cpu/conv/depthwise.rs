//! Depthwise convolution: each channel has its own window.
//!
//! Several neighbouring pixels are summed at once, so that a weight is loaded once for all of them, and for the usual
//! windows an input pixel once for all taps that touch it.

use super::ConvArgs;
use super::lines::Lines;
use super::shape::{ConvShape, Spatial};
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
        0
    }

    /// # Safety
    /// As for [`Conv::run`](super::Conv::run).
    pub unsafe fn run(&self, _phase: usize, part: usize, args: &ConvArgs, _shared: *mut u8, _scratch: *mut u8) {
        self.isa.dispatch(Part { plan: self, part, args });
    }
}

/// One part, as [`Work`]. Made by [`Depthwise::run`] only, whose caller answers for the pointers.
struct Part<'a> {
    plan: &'a Depthwise,
    part: usize,
    args: &'a ConvArgs,
}

impl Work for Part<'_> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        let (lines, channels) = self.plan.lines.part(self.part);
        let interior = self.plan.lines.interior();
        let width = self.plan.lines.output[2];
        for line in lines {
            let whole = interior.start + interior.len() / PIXELS * PIXELS;
            // SAFETY: the pixels and channels are those of this part.
            unsafe {
                for pixel in (0..interior.start).chain(whole..width) {
                    let taps = self.plan.lines.window.taps_inside(2, pixel, self.plan.lines.input[2]);
                    self.pixels::<M::Vector, 1>(line, pixel, &channels, taps, self.plan.lines.window.stride[2]);
                }
                for pixel in (interior.start..whole).step_by(PIXELS) {
                    self.interior::<M::Vector>(line, pixel, &channels);
                }
                finish_rows::<M>(&self.args.output, line * width..(line + 1) * width, channels.clone());
            }
        }
    }
}

impl Part<'_> {
    /// [`PIXELS`] neighbouring pixels with all taps inside. Constant extents let the compiler unroll the window's rows
    /// and load each input pixel of them once.
    #[inline(always)]
    unsafe fn interior<V: Vector>(&self, line: usize, pixel: usize, channels: &Range<usize>) {
        let window = &self.plan.lines.window;
        let dense = window.dilation[2] == 1;
        // SAFETY: the caller's promises.
        unsafe {
            match (window.kernel[2], window.stride[2]) {
                (3, 1) if dense => self.pixels::<V, PIXELS>(line, pixel, channels, 0..3, 1),
                (3, 2) if dense => self.pixels::<V, PIXELS>(line, pixel, channels, 0..3, 2),
                (5, 1) if dense => self.pixels::<V, PIXELS>(line, pixel, channels, 0..5, 1),
                (5, 2) if dense => self.pixels::<V, PIXELS>(line, pixel, channels, 0..5, 2),
                (kernel, stride) => self.pixels::<V, PIXELS>(line, pixel, channels, 0..kernel, stride),
            }
        }
    }

    /// `P` neighbouring pixels of a line, for taps `taps` of each window row.
    #[inline(always)]
    unsafe fn pixels<V: Vector, const P: usize>(
        &self,
        line: usize,
        pixel: usize,
        channels: &Range<usize>,
        taps: Range<usize>,
        stride: usize,
    ) {
        let whole = channels.start + channels.len() / V::LANES * V::LANES;
        // SAFETY: the caller's promises; the last vector is cut short.
        unsafe {
            for channel in (channels.start..whole).step_by(V::LANES) {
                self.block::<V, P>(line, pixel, channel, V::LANES, taps.clone(), stride);
            }
            if whole < channels.end {
                self.block::<V, P>(line, pixel, whole, channels.end - whole, taps, stride);
            }
        }
    }

    /// `n` channels, up to a vector, of `P` pixels.
    #[inline(always)]
    unsafe fn block<V: Vector, const P: usize>(
        &self,
        line: usize,
        pixel: usize,
        channel: usize,
        n: usize,
        taps: Range<usize>,
        stride: usize,
    ) {
        let Lines { window, input, output, .. } = self.plan.lines;
        let (step, dilation) = (self.plan.stride, window.dilation[2]);
        // SAFETY: the caller's promises.
        unsafe {
            let mut sums = [V::splat(0.0); P];
            let weights = self.args.weights.add(channel / PANEL * PANEL * window.taps() + channel % PANEL);
            for (row, input_line) in self.plan.lines.rows(line) {
                // Padding may lie in front of the first tap, but not in front of those that are read.
                let first = pixel * stride + taps.start * dilation - window.pad_begin[2];
                let from = self.args.input.add((input_line * input[2] + first) * step + channel);
                let weights = weights.add((row * window.kernel[2] + taps.start) * PANEL);
                for tap in 0..taps.len() {
                    let weight = V::load(weights.add(tap * PANEL));
                    for p in 0..P {
                        let x = V::load_up_to(from.add((p * stride + tap * dilation) * step), n);
                        sums[p] = x.mul_add(weight, sums[p]);
                    }
                }
            }
            let row = line * output[2] + pixel;
            for p in 0..P {
                store(&self.args.output, row + p, channel, n, sums[p]);
            }
        }
    }
}

/// Adds bias and residual to a sum, clips and stores it.
#[inline(always)]
pub(super) unsafe fn store<V: Vector>(out: &Output, row: usize, channel: usize, n: usize, mut sum: V) {
    // SAFETY: the caller's promises.
    unsafe {
        if !out.bias.is_null() {
            sum = sum.add(V::load_up_to(out.bias.add(channel), n));
        }
        if !out.residual.is_null() {
            sum = sum.add(V::load_up_to(out.residual.add(row * out.residual_stride + channel), n));
        }
        if let Some((lo, hi)) = out.activation.bounds() {
            sum = sum.max(V::splat(lo)).min(V::splat(hi));
        }
        sum.store_up_to(out.data.add(row * out.stride + channel), n);
    }
}
