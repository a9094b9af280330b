//! Convolution in groups of fewer than 16 channels: one vector of output channels spans several groups.
//!
//! The input channel with index i of each lane's group comes from one load and at most one permutation, where the groups
//! of a vector lie within a vector of input channels; otherwise lanes are filled one by one. Under windows of the usual
//! widths it serves all taps of a row that touch the pixel ([`columns`](super::columns)): permutations and multiply-adds
//! share a port. Under others pixels in the padding are read from zeros.

use super::ConvArgs;
use super::columns::{Columns, Load, PIXELS, Pixels};
use super::depthwise::store;
use super::lines::{Lines, WindowRow};
use super::shape::{ConvShape, Spatial, Window};
use crate::cpu::Isa;
use crate::cpu::activation::Simple;
use crate::cpu::gemm::finish_rows;
use crate::cpu::gemm::kernel::PANEL;
use crate::cpu::parts::even;
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

/// Most pixels summed at once under any window.
const MOST_PIXELS: usize = 8;
/// The widest vector.
const MOST_LANES: usize = 16;

impl Grouped {
    pub fn new(isa: Isa, shape: &ConvShape, stride: usize, output: Spatial) -> Grouped {
        let ConvShape { window, batch, input, in_channels, out_channels, .. } = *shape;
        let (group_in, group_out) = (shape.group_in(), shape.group_out());
        let lines = Lines::new(&window, batch, input, output, out_channels, window.taps() * group_in);
        Grouped { isa, lines, stride, group_in, group_out, in_channels }
    }

    /// Whether each pixel under such a window is loaded once for all taps of a row that touch it.
    pub fn keeps_columns(isa: Isa, window: &Window) -> bool {
        // The baseline has too few registers to gain from it.
        let widths = matches!((window.kernel[2], window.stride[2]), (3, 1 | 2) | (7, 2));
        isa != Isa::Scalar && window.dilation[2] == 1 && widths
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
        let Lines { output, .. } = plan.lines;
        let simple = args.output.activation.simple(M::ISA).unwrap_or(Simple::NONE);
        let (part_lines, channels) = plan.lines.part(self.part);
        let zeros = [0.0; MOST_LANES * PANEL];
        for line in part_lines {
            // SAFETY: the pixels and channels are those of this part; the scratch memory is its own.
            unsafe {
                let first = line * output[2];
                let line = Line { plan, args, simple, rows: plan.lines.rows(line, self.scratch), first, zeros: &zeros };
                for channel in channels.clone().step_by(M::LANES) {
                    let lanes = Lanes::new(&plan, channel, M::LANES, M::LANES.min(channels.end - channel));
                    match lanes.from {
                        From::One => line.all::<M, ONE>(&lanes),
                        From::Fours => line.all::<M, FOURS>(&lanes),
                        From::Within => line.all::<M, WITHIN>(&lanes),
                        From::Near => line.all::<M, NEAR>(&lanes),
                        From::Far => line.any_window::<M::Vector, FAR>(&lanes),
                    }
                }
                finish_rows(M::ISA, &args.output, first..first + output[2], channels.clone());
            }
        }
    }
}

/// Where the lanes of a vector find their input channels.
#[derive(Clone, Copy, PartialEq)]
enum From {
    /// All in the same group.
    One,
    /// Four lanes each in a group of four channels.
    Fours,
    /// Within a vector that is as long in the input.
    Within,
    /// Within a vector.
    Near,
    Far,
}

/// Values of [`From`] that have code of their own.
const ONE: u8 = From::One as u8;
const FOURS: u8 = From::Fours as u8;
const WITHIN: u8 = From::Within as u8;
const NEAR: u8 = From::Near as u8;
const FAR: u8 = From::Far as u8;

/// A vector of output channels and where their input channels are.
struct Lanes {
    channel: usize,
    n: usize,
    /// First input channel of the first lane's group.
    first: usize,
    /// Distance of each lane's group from it.
    offsets: [u32; MOST_LANES],
    from: From,
}

impl Lanes {
    /// `n` channels in a vector of `lanes`.
    #[inline(always)]
    fn new(plan: &Grouped, channel: usize, lanes: usize, n: usize) -> Lanes {
        let Grouped { group_in, group_out, in_channels, .. } = *plan;
        let group = channel / group_out;
        let mut offsets = [0; MOST_LANES];
        for (lane, offset) in offsets.iter_mut().enumerate().take(n) {
            *offset = (((channel + lane) / group_out - group) * group_in) as u32;
        }
        let first = group * group_in;
        let last = offsets[n - 1] as usize;
        let fours = group_in == 4 && group_out == 4 && channel.is_multiple_of(4);
        let from = match last {
            _ if fours && n == lanes => From::Fours,
            0 => From::One,
            _ if last < n && first + group_in - 1 + lanes <= in_channels => From::Within,
            _ if last < n => From::Near,
            _ => From::Far,
        };
        Lanes { channel, n, first, offsets, from }
    }

    /// For each lane, input channel `i` of its group. `group` points to the first lane's, in a pixel of `channels`.
    #[inline(always)]
    unsafe fn gather<V: Vector, const FROM: u8>(&self, group: *const f32, i: usize, channels: usize) -> V {
        // SAFETY: the caller's promises; a load never passes the end of the pixel.
        unsafe {
            let from = group.add(i);
            if FROM == ONE {
                return V::splat(*from);
            }
            if FROM == WITHIN {
                return V::load(from).permute(&self.offsets[..V::LANES]);
            }
            if FROM == NEAR || FROM == FOURS {
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

/// Input channel `i` of each lane's group, of pixels of so many channels.
struct Channel<'a, const FROM: u8> {
    lanes: &'a Lanes,
    i: usize,
    channels: usize,
}

impl<const FROM: u8> Load for Channel<'_, FROM> {
    #[inline(always)]
    unsafe fn load<V: Vector>(&self, from: *const f32) -> V {
        // SAFETY: the caller's promise.
        unsafe { self.lanes.gather::<V, FROM>(from, self.i, self.channels) }
    }
}

/// A line of the output.
struct Line<'a> {
    plan: Grouped,
    args: ConvArgs,
    simple: Simple,
    rows: &'a [WindowRow],
    /// Index of its first pixel.
    first: usize,
    /// What the padding has for the groups of a vector.
    zeros: &'a [f32; MOST_LANES * PANEL],
}

impl Line<'_> {
    /// Where each of `pixels` has input channel `channel` for a tap.
    #[inline(always)]
    fn groups(&self, row: &WindowRow, tap: usize, pixels: &Range<usize>, channel: usize) -> [*const f32; MOST_PIXELS] {
        let Grouped { lines: Lines { window, input, .. }, stride: step, .. } = self.plan;
        let first = (pixels.start * window.stride[2] + tap * window.dilation[2]).wrapping_sub(window.pad_begin[2]);
        let from = self.args.input.wrapping_add(row.pixel * step + channel);
        let last = first.wrapping_add((pixels.len() - 1) * window.stride[2]);
        if first <= last && last < input[2] {
            // Pixels that are not there repeat the last one.
            let apart = window.stride[2] * step;
            return std::array::from_fn(|p| from.wrapping_add(first * step + p.min(pixels.len() - 1) * apart));
        }
        std::array::from_fn(|p| {
            let column = first.wrapping_add(p * window.stride[2]);
            if column < input[2] && p < pixels.len() { from.wrapping_add(column * step) } else { self.zeros.as_ptr() }
        })
    }

    /// A vector of channels of all pixels.
    #[inline(always)]
    unsafe fn all<M: Machine, const FROM: u8>(&self, lanes: &Lanes) {
        let window = &self.plan.lines.window;
        let unrolled = Grouped::keeps_columns(M::ISA, window);
        // SAFETY: the caller's promises.
        unsafe {
            match (window.kernel[2], window.stride[2]) {
                (3, 1) if unrolled => self.blocks::<M::Vector, FROM, 3, 1>(lanes),
                (3, 2) if unrolled => self.blocks::<M::Vector, FROM, 3, 2>(lanes),
                (7, 2) if unrolled => self.blocks::<M::Vector, FROM, 7, 2>(lanes),
                _ => self.any_window::<M::Vector, FROM>(lanes),
            }
        }
    }

    /// A vector of channels of all pixels, under a window of `K` taps and stride `S`.
    #[inline(always)]
    unsafe fn blocks<V: Vector, const FROM: u8, const K: usize, const S: usize>(&self, lanes: &Lanes) {
        let lines = &self.plan.lines;
        let (width, blocks) = (lines.output[2], lines.output[2].div_ceil(PIXELS));
        for block in 0..blocks {
            let pixels = Pixels::new::<K, S>(lines, 0, even(width, blocks, block));
            // SAFETY: the caller's promises.
            unsafe {
                if pixels.full {
                    self.columns::<V, FROM, K, S, true>(&pixels, lanes);
                } else {
                    self.columns::<V, FROM, K, S, false>(&pixels, lanes);
                }
            }
        }
    }

    /// A vector of channels of a block of pixels; a `FULL` one has all its pixels and columns.
    #[inline(always)]
    unsafe fn columns<V: Vector, const FROM: u8, const K: usize, const S: usize, const FULL: bool>(
        &self,
        pixels: &Pixels,
        lanes: &Lanes,
    ) {
        let Grouped { lines: Lines { window, .. }, stride: step, group_in, in_channels, .. } = self.plan;
        let columns = Columns { apart: step, there: pixels.there, tap: group_in * PANEL };
        let (panel, lane) = (lanes.channel / PANEL * PANEL, lanes.channel % PANEL);
        let first = self.args.input.wrapping_add(pixels.start * S * step + lanes.first);
        let first = first.wrapping_sub(window.pad_begin[2] * step);
        // SAFETY: the caller's promises. Pointers to columns that are not there are not read.
        unsafe {
            let weights = self.args.weights.add(panel * window.taps() * group_in + lane);
            let mut sums = [V::splat(0.0); PIXELS];
            for row in self.rows {
                for i in 0..group_in {
                    let from = first.wrapping_add(row.pixel * step);
                    let weights = weights.add((row.tap * group_in + i) * PANEL);
                    let channel = Channel::<FROM> { lanes, i, channels: in_channels };
                    sums = columns.add::<V, K, S, FULL>(from, weights, sums, &channel);
                }
            }
            for p in 0..PIXELS {
                if FULL || p < pixels.count {
                    let pixel = self.first + pixels.start + p;
                    store(&self.args.output, self.simple, pixel, lanes.channel, lanes.n, sums[p]);
                }
            }
        }
    }

    /// A vector of channels of all pixels, under any window.
    #[inline(always)]
    unsafe fn any_window<V: Vector, const FROM: u8>(&self, lanes: &Lanes) {
        let width = self.plan.lines.output[2];
        let blocks = width.div_ceil(MOST_PIXELS);
        for block in 0..blocks {
            // SAFETY: the caller's promises.
            unsafe { self.block::<V, FROM>(&even(width, blocks, block), lanes) };
        }
    }

    /// One vector of channels of up to [`MOST_PIXELS`] neighbouring pixels.
    #[inline(always)]
    unsafe fn block<V: Vector, const FROM: u8>(&self, pixels: &Range<usize>, lanes: &Lanes) {
        let Grouped { lines: Lines { window, .. }, group_in, in_channels, .. } = self.plan;
        let args = &self.args;
        // SAFETY: the caller's promises. Groups are read where the pixel lies inside the input, or from the zeros.
        unsafe {
            let mut sums = [V::splat(0.0); MOST_PIXELS];
            let weights =
                args.weights.add(lanes.channel / PANEL * PANEL * window.taps() * group_in + lanes.channel % PANEL);
            for row in self.rows {
                for tap in 0..window.kernel[2] {
                    let groups = self.groups(row, tap, pixels, lanes.first);
                    let weights = weights.add((row.tap + tap) * group_in * PANEL);
                    if FROM == FOURS {
                        let weights: [V; 4] = std::array::from_fn(|i| V::load(weights.add(i * PANEL)));
                        for p in 0..MOST_PIXELS {
                            let x = V::load(groups[p]).spread_fours();
                            for i in 0..4 {
                                sums[p] = x[i].mul_add(weights[i], sums[p]);
                            }
                        }
                        continue;
                    }
                    for i in 0..group_in {
                        let weight = V::load(weights.add(i * PANEL));
                        for p in 0..MOST_PIXELS {
                            let x: V = lanes.gather::<V, FROM>(groups[p], i, in_channels);
                            sums[p] = x.mul_add(weight, sums[p]);
                        }
                    }
                }
            }
            for p in 0..MOST_PIXELS {
                if p < pixels.len() {
                    let pixel = self.first + pixels.start + p;
                    store(&args.output, self.simple, pixel, lanes.channel, lanes.n, sums[p]);
                }
            }
        }
    }
}
