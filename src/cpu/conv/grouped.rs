//! Convolution in groups of fewer than 16 channels: one vector of output channels spans several groups.
//!
//! The input channel with index i of each lane's group comes from one load and one permutation, where the groups of a
//! vector lie within a vector of input channels; otherwise lanes are filled one by one.

use super::ConvArgs;
use super::depthwise::{UNBOUNDED, store};
use super::lines::{Lines, WindowRow};
use super::shape::{ConvShape, Spatial};
use crate::cpu::Isa;
use crate::cpu::gemm::finish_rows;
use crate::cpu::gemm::kernel::PANEL;
use crate::cpu::simd::{Machine, Vector, Work};
use std::ops::Range;

/// A convolution with weights `[out_channels/16][taps * group_in][16]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grouped {
    isa: Isa,
    lines: Lines,
    /// Elements from one pixel of the input to the next.
    stride: usize,
    group_in: usize,
    group_out: usize,
    in_channels: usize,
}

/// Pixels summed at once.
const PIXELS: usize = 4;
/// The widest vector.
const MOST_LANES: usize = 16;

impl Grouped {
    pub fn new(isa: Isa, shape: &ConvShape, stride: usize, output: Spatial) -> Grouped {
        let ConvShape { window, batch, input, in_channels, out_channels, .. } = *shape;
        let (group_in, group_out) = (shape.group_in(), shape.group_out());
        let lines = Lines::new(&window, batch, input, output, out_channels, window.taps() * group_in);
        Grouped { isa, lines, stride, group_in, group_out, in_channels }
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

/// One part, as [`Work`]. Made by [`Grouped::run`] only, whose caller answers for the pointers.
struct Part<'a> {
    plan: &'a Grouped,
    part: usize,
    args: &'a ConvArgs,
    scratch: *mut u8,
}

impl Work for Part<'_> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        // Copies, which no store to the output can change.
        let (plan, args) = (*self.plan, *self.args);
        let Lines { window, input, output, .. } = plan.lines;
        let bounds = args.output.activation.bounds().unwrap_or(UNBOUNDED);
        let (part_lines, channels) = plan.lines.part(self.part);
        let interior = plan.lines.interior();
        let whole = interior.start + interior.len() / PIXELS * PIXELS;
        for line in part_lines {
            // SAFETY: the pixels and channels are those of this part; the scratch memory is its own.
            unsafe {
                let first = line * output[2];
                let line = Line { plan, args, bounds, rows: plan.lines.rows(line, self.scratch), first };
                for channel in channels.clone().step_by(M::LANES) {
                    let lanes = Lanes::new(&plan, channel, M::LANES.min(channels.end - channel));
                    for pixel in (0..interior.start).chain(whole..output[2]) {
                        line.block::<M::Vector, 1>(pixel, &lanes, window.taps_inside(2, pixel, input[2]));
                    }
                    for pixel in (interior.start..whole).step_by(PIXELS) {
                        line.block::<M::Vector, PIXELS>(pixel, &lanes, 0..window.kernel[2]);
                    }
                }
                finish_rows(M::ISA, &args.output, first..first + output[2], channels.clone());
            }
        }
    }
}

/// A vector of output channels and where their input channels are.
struct Lanes {
    channel: usize,
    n: usize,
    /// First input channel of the first lane's group.
    first: usize,
    /// Distance of each lane's group from it.
    offsets: [u32; MOST_LANES],
    /// Whether all distances are below the length of the vector.
    near: bool,
}

impl Lanes {
    #[inline(always)]
    fn new(plan: &Grouped, channel: usize, n: usize) -> Lanes {
        let group = channel / plan.group_out;
        let mut offsets = [0; MOST_LANES];
        for (lane, offset) in offsets.iter_mut().enumerate().take(n) {
            *offset = (((channel + lane) / plan.group_out - group) * plan.group_in) as u32;
        }
        Lanes { channel, n, first: group * plan.group_in, offsets, near: (offsets[n - 1] as usize) < n }
    }

    /// For each lane, input channel `i` of its group, of a pixel with `channels` channels.
    #[inline(always)]
    unsafe fn gather<V: Vector>(&self, pixel: *const f32, i: usize, channels: usize) -> V {
        // SAFETY: the caller's promises; a load never passes the end of the pixel.
        unsafe {
            let from = pixel.add(self.first + i);
            if self.near {
                return V::load_up_to(from, channels - self.first - i).permute(&self.offsets[..V::LANES]);
            }
            let mut values = [0.0; MOST_LANES];
            for lane in 0..self.n {
                values[lane] = *from.add(self.offsets[lane] as usize);
            }
            V::load(values.as_ptr())
        }
    }
}

/// A line of the output.
struct Line<'a> {
    plan: Grouped,
    args: ConvArgs,
    bounds: (f32, f32),
    rows: &'a [WindowRow],
    /// Index of its first pixel.
    first: usize,
}

impl Line<'_> {
    /// One vector of channels of `P` neighbouring pixels, for taps `taps` of each window row.
    #[inline(always)]
    unsafe fn block<V: Vector, const P: usize>(&self, pixel: usize, lanes: &Lanes, taps: Range<usize>) {
        let Grouped { lines: Lines { window, .. }, stride: step, group_in, in_channels, .. } = self.plan;
        let args = &self.args;
        let (dilation, stride) = (window.dilation[2], window.stride[2]);
        let channel = lanes.channel;
        // SAFETY: the caller's promises. Padding may lie in front of the first tap, but not of those that are read.
        unsafe {
            let mut sums = [V::splat(0.0); P];
            let weights = args.weights.add(channel / PANEL * PANEL * window.taps() * group_in + channel % PANEL);
            let first = pixel * stride + taps.start * dilation - window.pad_begin[2];
            for row in self.rows {
                let from = args.input.add((row.pixel + first) * step);
                let weights = weights.add((row.tap + taps.start) * group_in * PANEL);
                for tap in 0..taps.len() {
                    for i in 0..group_in {
                        let weight = V::load(weights.add((tap * group_in + i) * PANEL));
                        for p in 0..P {
                            let x: V = lanes.gather(from.add((p * stride + tap * dilation) * step), i, in_channels);
                            sums[p] = x.mul_add(weight, sums[p]);
                        }
                    }
                }
            }
            for p in 0..P {
                store(&args.output, self.bounds, self.first + pixel + p, channel, lanes.n, sums[p]);
            }
        }
    }
}
