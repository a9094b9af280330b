//! Depthwise convolution: each channel has its own window.
//!
//! A block is a few neighbouring pixels of one vector of channels, whose sums stay in registers. An input pixel is loaded
//! once for all taps that touch it, a weight once for all pixels. Blocks that see padding or have fewer pixels pass over
//! the columns of the input that are not there. Blocks below each other come one after the other, so that what lies under
//! several is fetched into the nearest cache once.

use super::ConvArgs;
use super::columns::{Columns, PIXELS, Pixels, UpTo};
use super::lines::{Lines, WindowRow};
use super::shape::{ConvShape, Spatial};
use crate::cpu::activation::Simple;
use crate::cpu::gemm::kernel::PANEL;
use crate::cpu::gemm::{Output, finish_rows};
use crate::cpu::parts::even;
use crate::cpu::simd::{Machine, Vector, Work};
use crate::cpu::{Isa, Target};
use std::ops::Range;

/// A depthwise convolution with weights `[C/16][taps][16]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Depthwise {
    isa: Isa,
    lines: Lines,
    /// Elements from one pixel of the input to the next.
    stride: usize,
}

/// Pixels of a block with any other window.
const FEW: usize = 4;
/// Bytes of the input under a row of blocks; they stay in the first-level cache.
const NEAR: usize = 20 << 10;
/// Lines whose blocks come one after the other, at most.
const STRIP: usize = 32;

impl Depthwise {
    pub fn new(target: Target, shape: &ConvShape, stride: usize, output: Spatial) -> Depthwise {
        let ConvShape { window, batch, input, out_channels, .. } = shape;
        let lines = Lines::new(window, *batch, *input, output, *out_channels, window.taps());
        Depthwise { isa: target.isa, stride, lines: lines.in_tall_parts(&target.thread_counts()) }
    }

    /// The same, of whose input, an image in two dimensions, `lines` lines are kept at a time: each where the one so many
    /// lines before it was.
    pub fn keeping(self, lines: usize) -> Depthwise {
        Depthwise { lines: self.lines.keeping(lines), ..self }
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

    /// Memory for what is known of the lines of a strip.
    pub fn scratch_bytes(&self) -> usize {
        STRIP.saturating_mul(size_of::<Line>().saturating_add(self.lines.scratch_bytes()))
    }

    /// # Safety
    /// As for [`Conv::run`](super::Conv::run).
    pub unsafe fn run(&self, _phase: usize, part: usize, args: &ConvArgs, _shared: *mut u8, scratch: *mut u8) {
        let (lines, channels) = self.lines.part(part);
        // SAFETY: the caller's promises.
        unsafe { self.run_lines(lines, channels, args, scratch) }
    }

    /// These lines and channels of the output. Only the pixels of the input under their windows are read.
    ///
    /// # Safety
    /// As for [`Conv::run`](super::Conv::run).
    pub unsafe fn run_lines(&self, lines: Range<usize>, channels: Range<usize>, args: &ConvArgs, scratch: *mut u8) {
        self.isa.dispatch(Part { plan: self, lines, channels, args, scratch });
    }
}

/// One part, as [`Work`]. Made by [`Depthwise::run_lines`] only, whose caller answers for the pointers.
struct Part<'a> {
    plan: &'a Depthwise,
    lines: Range<usize>,
    channels: Range<usize>,
    args: &'a ConvArgs,
    scratch: *mut u8,
}

impl Work for Part<'_> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        // Copies, which no store to the output can change.
        let Depthwise { lines, stride: step, .. } = *self.plan;
        let (window, args, channels) = (lines.window, *self.args, self.channels);
        let simple = args.output.activation.simple(M::ISA);
        // The baseline has too few registers to gain from it.
        let unrolled = M::ISA != Isa::Scalar && (window.dilation[2] == 1 || window.stride[2] == 1);
        for start in self.lines.clone().step_by(STRIP) {
            let these = start..(start + STRIP).min(self.lines.end);
            // SAFETY: the pixels and channels are those of this part; the scratch memory is its own.
            unsafe {
                let strip = Strip {
                    isa: M::ISA,
                    lines,
                    step,
                    args,
                    simple: simple.unwrap_or(Simple::NONE),
                    finished: simple.is_some(),
                    table: table(&lines, these, self.scratch),
                    taps: window.taps(),
                    padding: window.pad_begin[2],
                };
                match (window.kernel[2], window.stride[2]) {
                    (3, 1) if unrolled => strip.blocks::<M::Vector, 3, 1>(&channels),
                    (3, 2) if unrolled => strip.blocks::<M::Vector, 3, 2>(&channels),
                    (5, 1) if unrolled => strip.blocks::<M::Vector, 5, 1>(&channels),
                    (5, 2) if unrolled => strip.blocks::<M::Vector, 5, 2>(&channels),
                    (7, 1) if unrolled => strip.blocks::<M::Vector, 7, 1>(&channels),
                    _ => strip.any_window::<M::Vector>(&channels),
                }
            }
        }
    }
}

/// What is known of up to [`STRIP`] lines.
///
/// # Safety
/// `scratch` is aligned to 8 bytes and has [`Depthwise::scratch_bytes`].
unsafe fn table<'a>(lines: &Lines, these: Range<usize>, scratch: *mut u8) -> &'a [Line<'a>] {
    // SAFETY: the caller's promises; each entry is written before it is read.
    unsafe {
        let (table, rows) = (scratch.cast::<Line>(), scratch.add(STRIP * size_of::<Line>()));
        for (i, line) in these.clone().enumerate() {
            let rows = lines.rows(line, rows.add(i * lines.scratch_bytes()));
            table.add(i).write(Line { rows, first: line * lines.output[2] });
        }
        std::slice::from_raw_parts(table, these.len())
    }
}

/// A line of the output.
#[derive(Clone, Copy)]
struct Line<'a> {
    rows: &'a [WindowRow],
    /// Index of its first pixel.
    first: usize,
}

/// Lines of the output below each other, maybe of several images.
struct Strip<'a> {
    isa: Isa,
    lines: Lines,
    step: usize,
    args: ConvArgs,
    /// What of the activation happens in registers, and whether that is all of it.
    simple: Simple,
    finished: bool,
    table: &'a [Line<'a>],
    /// Taps of the window, and pixels of padding in front of a line: asked once, not for each block.
    taps: usize,
    padding: usize,
}

impl Strip<'_> {
    /// All lines with a window of `K` taps and stride `S`, one of which or the dilation is 1.
    #[inline(always)]
    unsafe fn blocks<V: Vector, const K: usize, const S: usize>(&self, channels: &Range<usize>) {
        let Lines { window, output, .. } = self.lines;
        let apart = window.dilation[2];
        let under = (window.kernel[0] * window.kernel[1]).saturating_mul(((PIXELS - 1) * S + K) * size_of::<f32>());
        let near = (NEAR / under / PANEL).max(1) * PANEL;
        for remainder in 0..apart.min(output[2]) {
            let count = (output[2] - remainder).div_ceil(apart);
            let blocks = count.div_ceil(PIXELS);
            for block in 0..blocks {
                let pixels = Pixels::new::<K, S>(&self.lines, remainder, even(count, blocks, block));
                for first in channels.clone().step_by(near) {
                    let channels = first..(first + near).min(channels.end);
                    for line in self.table {
                        // SAFETY: the caller's promises.
                        unsafe { self.row::<V, K, S>(line, &pixels, &channels) };
                    }
                }
            }
        }
    }

    /// A block of pixels of a line, for each vector of these channels.
    #[inline(always)]
    unsafe fn row<V: Vector, const K: usize, const S: usize>(
        &self,
        line: &Line<'_>,
        pixels: &Pixels,
        channels: &Range<usize>,
    ) {
        let whole = channels.start + channels.len() / V::LANES * V::LANES;
        // SAFETY: the caller's promises; the last vector is cut short.
        unsafe {
            if pixels.full {
                for channel in (channels.start..whole).step_by(V::LANES) {
                    self.block::<V, K, S, true>(line, pixels, channel, V::LANES);
                }
            } else {
                for channel in (channels.start..whole).step_by(V::LANES) {
                    self.block::<V, K, S, false>(line, pixels, channel, V::LANES);
                }
            }
            if whole < channels.end {
                self.block::<V, K, S, false>(line, pixels, whole, channels.end - whole);
            }
            if !self.finished {
                let together = if pixels.apart == 1 { pixels.count } else { 1 };
                for pixel in (0..pixels.count).step_by(together) {
                    let pixel = line.first + pixels.start + pixel * pixels.apart;
                    finish_rows(self.isa, &self.args.output, pixel..pixel + together, channels.clone());
                }
            }
        }
    }

    /// `n` channels, up to a vector, of a block of pixels; a `FULL` one has all its pixels and columns.
    #[inline(always)]
    unsafe fn block<V: Vector, const K: usize, const S: usize, const FULL: bool>(
        &self,
        line: &Line<'_>,
        pixels: &Pixels,
        channel: usize,
        n: usize,
    ) {
        let Strip { step, args, taps, padding, .. } = *self;
        let Line { rows, first: first_pixel } = *line;
        // SAFETY: the caller's promises. Pointers to columns that are not there are not read.
        unsafe {
            let bias = args.output.bias;
            let mut sums = [if bias.is_null() { V::splat(0.0) } else { V::load_up_to(bias.add(channel), n) }; PIXELS];
            let weights = args.weights.add(channel / PANEL * PANEL * taps + channel % PANEL);
            let first = args.input.wrapping_add(pixels.start * S * step + channel).wrapping_sub(padding * step);
            let columns = Columns { apart: pixels.apart * step, there: pixels.there, tap: PANEL };
            let add = |row: &WindowRow, sums| {
                let (from, weights) = (first.wrapping_add(row.pixel * step), weights.add(row.tap * PANEL));
                columns.add::<V, K, S, FULL>(from, weights, sums, &UpTo(n))
            };
            match rows {
                // A tenth faster than the loop, of so few rounds.
                [above, middle, below] if K == 3 => {
                    sums = add(above, sums);
                    sums = add(middle, sums);
                    sums = add(below, sums);
                }
                rows => {
                    for row in rows {
                        sums = add(row, sums);
                    }
                }
            }
            let Output { data, stride, residual, residual_stride, .. } = args.output;
            let pixel = first_pixel + pixels.start;
            if !residual.is_null() {
                for p in 0..PIXELS {
                    if p < pixels.count {
                        let more = residual.add((pixel + p * pixels.apart) * residual_stride + channel);
                        sums[p] = sums[p].add(V::load_up_to(more, n));
                    }
                }
            }
            if self.simple.gates::<V>() {
                for p in 0..PIXELS {
                    sums[p] = self.simple.apply(sums[p]);
                }
            }
            // Once more changes nothing.
            let (lo, hi) = (V::splat(self.simple.lo), V::splat(self.simple.hi));
            let mut to = data.add(pixel * stride + channel);
            for p in 0..PIXELS {
                if FULL || p < pixels.count {
                    sums[p].max(lo).min(hi).store_up_to(to, n);
                }
                to = to.wrapping_add(pixels.apart * stride);
            }
        }
    }

    /// All lines with any window.
    #[inline(always)]
    unsafe fn any_window<V: Vector>(&self, channels: &Range<usize>) {
        let Lines { window, input, output, .. } = self.lines;
        let interior = self.lines.interior();
        let whole = interior.start + interior.len() / FEW * FEW;
        for line in self.table {
            // SAFETY: the caller's promises; the last vector is cut short.
            unsafe {
                for channel in channels.clone().step_by(V::LANES) {
                    let n = V::LANES.min(channels.end - channel);
                    for pixel in (0..interior.start).chain(whole..output[2]) {
                        self.few::<V, 1>(line, pixel, channel, n, window.taps_inside(2, pixel, input[2]));
                    }
                    for pixel in (interior.start..whole).step_by(FEW) {
                        self.few::<V, FEW>(line, pixel, channel, n, 0..window.kernel[2]);
                    }
                }
                finish_rows(self.isa, &self.args.output, line.first..line.first + output[2], channels.clone());
            }
        }
    }

    /// `n` channels, up to a vector, of `P` neighbouring pixels, for taps `taps` of each window row.
    #[inline(always)]
    unsafe fn few<V: Vector, const P: usize>(
        &self,
        line: &Line<'_>,
        pixel: usize,
        channel: usize,
        n: usize,
        taps: Range<usize>,
    ) {
        let Strip { step, args, lines: Lines { window, .. }, .. } = *self;
        // SAFETY: the caller's promises.
        unsafe {
            let mut sums = [V::splat(0.0); P];
            let weights = args.weights.add(channel / PANEL * PANEL * window.taps() + channel % PANEL);
            // Without a tap inside the input there is no such pixel, and nothing is read.
            let first = (pixel * window.stride[2] + taps.start * window.dilation[2]).wrapping_sub(window.pad_begin[2]);
            for row in line.rows {
                let pixel = row.pixel.wrapping_add(first);
                let from = args.input.wrapping_add(pixel.wrapping_mul(step).wrapping_add(channel));
                let weights = weights.add((row.tap + taps.start) * PANEL);
                for tap in 0..taps.len() {
                    let weight = V::load(weights.add(tap * PANEL));
                    for p in 0..P {
                        let x = from.add((p * window.stride[2] + tap * window.dilation[2]) * step);
                        sums[p] = V::load_up_to(x, n).mul_add(weight, sums[p]);
                    }
                }
            }
            for p in 0..P {
                store(&args.output, self.simple, line.first + pixel + p, channel, n, sums[p]);
            }
        }
    }
}

/// Adds bias and residual to a sum, applies the activation and stores it.
#[inline(always)]
pub(super) unsafe fn store<V: Vector>(out: &Output, simple: Simple, row: usize, channel: usize, n: usize, mut sum: V) {
    // SAFETY: the caller's promises.
    unsafe {
        if !out.bias.is_null() {
            sum = sum.add(V::load_up_to(out.bias.add(channel), n));
        }
        if !out.residual.is_null() {
            sum = sum.add(V::load_up_to(out.residual.add(row * out.residual_stride + channel), n));
        }
        simple.apply(sum).store_up_to(out.data.add(row * out.stride + channel), n);
    }
}
