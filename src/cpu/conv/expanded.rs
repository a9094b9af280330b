//! A pointwise convolution and the depthwise one that reads its result, as in inverted residuals (Sandler et al.,
//! "MobileNetV2", arXiv 1801.04381).
//!
//! The expanded tensor, the largest of such a network, never exists: a block of channels of a few lines is expanded into
//! scratch memory, and read by the depthwise convolution while it is in a near cache. Lines under the windows of two
//! strips are expanded once, unless the strips are in different parts: each takes the place of one that is not needed any
//! more.

use super::depthwise::Depthwise;
use super::shape::ConvShape;
use super::{ConvArgs, after};
use crate::cpu::Target;
use crate::cpu::gemm::kernel::PANEL;
use crate::cpu::gemm::{Gemm, GemmShape, Output, StridedRows, panels};
use crate::cpu::parts::Split;
use crate::error::Result;
use std::ops::Range;

/// A pair of convolutions of known shape on a known instruction set.
#[derive(Clone, Copy, Debug)]
pub struct Expanded {
    /// All pixels of the input by a block of channels.
    expansion: Gemm,
    /// Channels before the expansion, and elements from one of their pixels to the next.
    in_channels: usize,
    stride: usize,
    shape: ConvShape,
    depthwise: Depthwise,
    /// Lines of the output, and of its strips.
    lines: usize,
    strip: usize,
    /// Lines of the input that are kept at a time.
    kept: usize,
    split: Split,
}

/// Channels of a block: whole tiles of every micro-kernel.
const BLOCK: usize = 3 * PANEL;
/// Expanded elements of a strip: a quarter of a small second-level cache.
const STRIP: usize = 32 << 10;
/// Expanded elements under the windows of one line, at most.
const MOST: usize = 4 * STRIP;
/// Expanded elements that a second-level cache may keep whole.
const KEPT: usize = 384 << 10;
/// Multiply-adds per cycle of the two convolutions, input values fetched per cycle, and cycles per part: the scale of the
/// cost model.
const RATE: f32 = 32.0;
const DEPTHWISE_RATE: f32 = 8.0;
const FETCH: f32 = 8.0;
const PART: f32 = 1_000.0;

impl Expanded {
    /// Plans a depthwise convolution of `shape` on what a pointwise one makes of `in_channels` channels. None if it has
    /// three dimensions, lines that are too long to be kept, or no output.
    ///
    /// # Errors
    /// The shape is not that of a convolution, or a size overflows.
    pub fn new(target: Target, in_channels: usize, shape: &ConvShape) -> Result<Option<Expanded>> {
        let output = shape.output()?;
        let ConvShape { batch, out_channels, input, window, .. } = *shape;
        let span = (window.kernel[1] - 1) * window.dilation[1] + 1;
        let line = input[2].saturating_mul(BLOCK);
        let flat = input[0] == 1 && output[0] == 1 && window.kernel[0] == 1;
        let depthwise = Depthwise::new(target, shape, BLOCK, output);
        let empty = depthwise.parts(0) == 0 || in_channels == 0 || line == 0;
        if !flat || window.stride[1] > span || span.min(input[1]).saturating_mul(line) > MOST || empty {
            return Ok(None);
        }
        let strip = (STRIP / line).saturating_sub(span) / window.stride[1] + 1;
        let (lines, all) = (batch * output[1], panels(out_channels));
        // Lines under the windows of two parts are expanded twice, so there are parts for a few threads only.
        let threads = target.thread_counts();
        let split = Split::cheapest(&threads, 1..=lines, all, |_, split| {
            let (lines, panels) = (lines.div_ceil(split.row_parts), all.div_ceil(split.column_parts));
            let (under, columns) = ((lines - 1) * window.stride[1] + span, (panels * PANEL) as f32);
            let read = (under.min(batch * input[1]) * input[2]) as f32 * in_channels as f32;
            let taps = (lines * output[2]) as f32 * window.taps() as f32 * columns;
            let blocks = (panels * PANEL).div_ceil(BLOCK) as f32;
            PART + read * (columns / RATE + blocks / FETCH) + taps / DEPTHWISE_RATE
        });
        let (strip, stride) = (strip.min(output[1]), in_channels);
        let kept = ((strip - 1) * window.stride[1] + span).min(input[1]);
        let depthwise = depthwise.keeping(kept);
        let pixels = batch * input[1] * input[2];
        let expansion = Gemm::whole(target.isa, GemmShape::matrix(pixels, BLOCK, in_channels));
        Ok(Some(Expanded { expansion, in_channels, stride, shape: *shape, depthwise, lines, strip, kept, split }))
    }

    /// Whether this is faster than one convolution after the other: an expanded image is too large for a cache.
    pub fn pays(&self) -> bool {
        self.shape.input.iter().product::<usize>() * self.shape.out_channels >= KEPT
    }

    /// The same pair on an input whose pixels are so many elements apart.
    pub fn reading_apart(self, stride: usize) -> Expanded {
        Expanded { stride, ..self }
    }

    /// Number of parts.
    pub fn parts(&self) -> usize {
        self.split.parts()
    }

    /// Bytes of scratch memory for each part that runs at the same time. It need not be initialised.
    pub fn scratch_bytes(&self) -> usize {
        self.table_bytes()
            + self.depthwise.scratch_bytes().next_multiple_of(64)
            + self.pixels() * BLOCK * size_of::<f32>()
    }

    /// Bytes for the addresses of the pixels that are expanded.
    fn table_bytes(&self) -> usize {
        (self.pixels() * size_of::<*const f32>()).next_multiple_of(64)
    }

    /// Pixels that are kept at a time.
    fn pixels(&self) -> usize {
        self.kept * self.shape.input[2]
    }

    /// Runs one part: `expand` has the input, and of its output bias and activation count; `depthwise` has the output.
    ///
    /// # Safety
    /// As for [`Conv::run`](super::Conv::run).
    pub unsafe fn run(&self, part: usize, expand: &ConvArgs, depthwise: &ConvArgs, scratch: *mut u8) {
        let channels = self.shape.out_channels;
        let (lines, panels) = self.split.ranges(self.lines, panels(channels), part);
        let end = (panels.end * PANEL).min(channels);
        for first in (panels.start * PANEL..end).step_by(BLOCK) {
            // SAFETY: the caller's promises.
            unsafe { self.run_block(lines.clone(), first..(first + BLOCK).min(end), expand, depthwise, scratch) }
        }
    }

    /// These lines and channels of the output, strip by strip.
    ///
    /// # Safety
    /// As for [`Expanded::run`].
    unsafe fn run_block(
        &self,
        lines: Range<usize>,
        channels: Range<usize>,
        expand: &ConvArgs,
        depthwise: &ConvArgs,
        scratch: *mut u8,
    ) {
        let image_lines = self.lines / self.shape.batch;
        // SAFETY: the scratch memory has room for the tables and the pixels that are kept, by the caller's promises.
        unsafe {
            let rows = scratch.add(self.table_bytes());
            let pixels = rows.add(self.depthwise.scratch_bytes().next_multiple_of(64)).cast::<f32>();
            let input = pixels.cast_const().wrapping_sub(channels.start);
            let (mut line, mut expanded) = (lines.start, 0);
            while line < lines.end {
                let image = line / image_lines;
                let end = (line + self.strip).min(lines.end).min((image + 1) * image_lines);
                if line == image * image_lines {
                    expanded = 0;
                }
                let under = self.under(line - image * image_lines..end - image * image_lines);
                let fresh = under.start.max(expanded)..under.end;
                self.expand_lines(image, fresh, &channels, expand, pixels, scratch);
                self.depthwise.run_lines(line..end, channels.clone(), &ConvArgs { input, ..*depthwise }, rows);
                (line, expanded) = (end, under.end);
            }
        }
    }

    /// The lines of an image under the windows of these lines of its output.
    fn under(&self, lines: Range<usize>) -> Range<usize> {
        let ConvShape { window, input, .. } = &self.shape;
        let end = ((lines.end - 1) * window.stride[1] + (window.kernel[1] - 1) * window.dilation[1] + 1)
            .saturating_sub(window.pad_begin[1])
            .min(input[1]);
        (lines.start * window.stride[1]).saturating_sub(window.pad_begin[1]).min(end)..end
    }

    /// Expands these lines of an image to a block of channels, each to its place among the `pixels`.
    ///
    /// # Safety
    /// As for [`Expanded::run`]; as many pixels are there as are kept.
    unsafe fn expand_lines(
        &self,
        image: usize,
        lines: Range<usize>,
        channels: &Range<usize>,
        args: &ConvArgs,
        pixels: *mut f32,
        scratch: *mut u8,
    ) {
        let [_, height, width] = self.shape.input;
        let mut line = lines.start;
        while line < lines.end {
            let place = line % self.kept;
            let count = (lines.end - line).min(self.kept - place);
            let input = args.input.wrapping_add((image * height + line) * width * self.stride);
            // SAFETY: the caller's promises; the lines are neighbours in the input and where they are kept.
            unsafe {
                let to = pixels.add(place * width * BLOCK);
                self.expand(&ConvArgs { input, ..*args }, count * width, channels, to, scratch);
            }
            line += count;
        }
    }

    /// Expands `count` pixels to a block of channels.
    ///
    /// # Safety
    /// As for [`Expanded::run`]; there is room for the pixels at `to`.
    unsafe fn expand(&self, args: &ConvArgs, count: usize, channels: &Range<usize>, to: *mut f32, scratch: *mut u8) {
        let k = self.in_channels;
        let product = self.expansion.of_rows_and_columns(count, channels.len());
        let rows = StridedRows { data: args.input, stride: self.stride };
        // SAFETY: the caller's promises; panels have K rows.
        unsafe {
            let weights = args.weights.add(channels.start * k);
            let bias = after(args.output.bias, channels.start);
            let out = Output { bias, activation: args.output.activation, ..Output::new(to, BLOCK) };
            product.run_part(0, &rows, weights, &out, scratch);
        }
    }
}
