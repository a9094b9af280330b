//! Convolutions of few input channels, as the first of a model is, and of channels-first input.
//!
//! Each part copies the input under a strip of output lines, with its padding, into scratch memory that a near cache holds.
//! There no tap needs to be looked at for padding, and one table says for all outputs how far from the first each tap and
//! channel lies. So K is one loop, however short the runs of neighbouring taps are.

use super::ConvArgs;
use super::depthwise::store;
use super::shape::{ConvShape, Spatial};
use crate::cpu::activation::Simple;
use crate::cpu::gemm::kernel::{PANEL, for_rows};
use crate::cpu::gemm::{Output, finish_rows, packed_len, panels};
use crate::cpu::parts::Split;
use crate::cpu::simd::{Machine, Vector, Work};
use crate::cpu::{Isa, scratch};
use crate::error::{Error, Result};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr;

/// Multiply-adds of a part, at least.
const PART: usize = 128 << 10;
/// Elements of a strip's input, about, and outputs of a line that it takes at most.
const STRIP: usize = 8 << 10;
const WIDTH: usize = 256;
/// Panels of a part, about, for which it is worth copying a strip.
const PANELS: usize = 8;
/// Longest sums: the weights of a panel stay in a near cache.
const DEPTH: usize = 384;
/// Most outputs of a line that are summed at once.
const PIXELS: usize = 14;

/// A convolution in one group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strips {
    isa: Isa,
    shape: ConvShape,
    output: Spatial,
    /// Elements from one pixel of the input to the next; None for channels first.
    stride: Option<usize>,
    /// Blocks of each output line, and the most outputs that a block has.
    blocks: usize,
    width: usize,
    /// Output lines of a strip; one where a line has several blocks.
    lines: usize,
    /// Extents of the input under a strip.
    extent: Spatial,
    split: Split,
}

impl Strips {
    /// Whether the convolution is in one group, and its sums are short.
    pub fn fits(shape: &ConvShape) -> bool {
        shape.groups == 1 && shape.window.taps().saturating_mul(shape.in_channels) <= DEPTH
    }

    pub fn new(isa: Isa, shape: &ConvShape, stride: Option<usize>, output: Spatial) -> Result<Strips> {
        let ConvShape { window, in_channels, out_channels, .. } = *shape;
        let overflow = || Error::no_memory(format!("the input under {window:?} exceeds the address space"));
        let k = window.taps() * in_channels;
        packed_len(out_channels, k)?;
        let blocks = output[2].div_ceil(WIDTH).max(1);
        let width = output[2].div_ceil(blocks);
        let reach = |d: usize, outputs: usize| {
            outputs.saturating_sub(1) * window.stride[d] + (window.kernel[d] - 1) * window.dilation[d] + 1
        };
        let row = reach(2, width).saturating_mul(in_channels).saturating_mul(window.kernel[0]);
        let room = (STRIP / row.max(1)).saturating_sub(reach(1, 1)) / window.stride[1];
        let lines = if blocks > 1 { 1 } else { (room + 1).min(output[1]).max(1) };
        let extent = [window.kernel[0], reach(1, lines), reach(2, width)];
        let elements = extent.iter().try_fold(in_channels, |n, &e| n.checked_mul(e));
        elements.filter(|&n| n < isize::MAX as usize / 16).ok_or_else(overflow)?;
        let units = shape.batch * output[0] * output[1] * blocks;
        let work = width.saturating_mul(k).saturating_mul(panels(out_channels).min(PANELS) * PANEL);
        let split = Split::new(units, panels(out_channels).div_ceil(PANELS), work, PART);
        Ok(Strips { isa, shape: *shape, output, stride, blocks, width, lines, extent, split })
    }

    pub fn phases(&self) -> usize {
        1
    }

    pub fn parts(&self, _phase: usize) -> usize {
        let ConvShape { batch, out_channels, .. } = self.shape;
        if batch * out_channels * self.output.iter().product::<usize>() == 0 { 0 } else { self.split.parts() }
    }

    pub fn shared_bytes(&self) -> usize {
        0
    }

    pub fn scratch_bytes(&self) -> usize {
        let k = self.shape.window.taps() * self.shape.in_channels;
        k * size_of::<usize>() + self.strip() * size_of::<f32>()
    }

    /// Elements of the copy of a strip's input. The last tile of a line may read past its end.
    fn strip(&self) -> usize {
        self.extent[0] * self.extent[1] * self.row() + PIXELS * self.step()
    }

    /// Elements of a row of the copy: for each channel its columns.
    fn row(&self) -> usize {
        self.shape.in_channels * self.extent[2]
    }

    /// Elements from what an output reads to what the next reads.
    fn step(&self) -> usize {
        if self.width > 1 { self.shape.window.stride[2] } else { 1 }
    }

    /// Where each element of a row of the matrix is, from the first on.
    fn offsets(&self, offsets: &mut [usize]) {
        let ConvShape { window, in_channels, .. } = self.shape;
        let [_, kernel_h, kernel_w] = window.kernel;
        for (tap, offsets) in offsets.chunks_exact_mut(in_channels.max(1)).enumerate() {
            let (kd, kh, kw) = (tap / (kernel_h * kernel_w), tap / kernel_w % kernel_h, tap % kernel_w);
            let column = kw * window.dilation[2];
            let row = (kd * self.extent[1] + kh * window.dilation[1]) * self.row();
            for (c, offset) in offsets.iter_mut().enumerate() {
                *offset = row + c * self.extent[2] + column;
            }
        }
    }

    /// # Safety
    /// As for [`Conv::run`](super::Conv::run).
    pub unsafe fn run(&self, _phase: usize, part: usize, args: &ConvArgs, _shared: *mut u8, scratch: *mut u8) {
        let (units, panels) =
            (self.shape.batch * self.output[0] * self.output[1] * self.blocks, panels(self.shape.out_channels));
        let (units, panels) = self.split.ranges(units, panels, part);
        let k = self.shape.window.taps() * self.shape.in_channels;
        // SAFETY: the scratch memory belongs to this call and has room for both.
        let (offsets, strip) = unsafe {
            let offsets = scratch::slice::<usize>(scratch, k);
            (offsets, scratch::slice::<f32>(scratch.add(k * size_of::<usize>()), self.strip()))
        };
        self.offsets(offsets);
        let mut unit = units.start;
        while unit < units.end {
            let (line, block) = (unit / self.blocks, unit % self.blocks);
            // The lines of a strip are neighbours in one image.
            let lines = self.lines.min(units.end - unit).min(self.output[1] - line % self.output[1]);
            let first = block * self.width;
            let columns = first..(first + self.width).min(self.output[2]);
            self.isa.dispatch(Strip {
                plan: self,
                args,
                offsets,
                input: strip,
                lines: line..line + lines,
                columns,
                panels: panels.clone(),
            });
            unit += lines;
        }
    }
}

/// Some output lines and panels, as [`Work`]. Made by [`Strips::run`] only, whose caller answers for the pointers.
struct Strip<'a> {
    plan: &'a Strips,
    args: &'a ConvArgs,
    offsets: &'a [usize],
    input: &'a mut [f32],
    lines: Range<usize>,
    columns: Range<usize>,
    panels: Range<usize>,
}

impl Work for Strip<'_> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(mut self) {
        self.copy();
        let n = self.plan.shape.out_channels;
        let mut panel = self.panels.start;
        while panel < self.panels.end {
            let left = self.panels.end - panel;
            // As many sums as there are registers for. SAFETY: the panels are those of this part.
            let taken = unsafe {
                match (M::LANES, left) {
                    // A load for each multiply-add: its address had better be part of the instruction.
                    (16, 1) if self.plan.step() == 2 => self.lines::<M::Vector, 14, 12, 10, 1, 2>(panel),
                    (16, 1) => self.lines::<M::Vector, 14, 12, 10, 1, 0>(panel),
                    (16, 2 | 4) => self.lines::<M::Vector, 8, 7, 5, 2, 0>(panel),
                    (16, _) => self.lines::<M::Vector, 8, 7, 5, 3, 0>(panel),
                    (8, _) => self.lines::<M::Vector, 6, 5, 4, 2, 0>(panel),
                    _ if M::ISA == Isa::Neon => self.lines::<M::Vector, 6, 5, 4, 4, 0>(panel),
                    _ => self.lines::<M::Vector, 3, 2, 1, 4, 0>(panel),
                }
            };
            let channels = panel * PANEL..((panel + taken) * PANEL).min(n);
            for line in self.lines.clone() {
                let first = line * self.plan.output[2];
                // SAFETY: these pixels and channels belong to this part.
                unsafe {
                    finish_rows(
                        M::ISA,
                        &self.args.output,
                        first + self.columns.start..first + self.columns.end,
                        channels.clone(),
                    )
                };
            }
            panel += taken;
        }
    }
}

impl Strip<'_> {
    /// Copies the input under the lines.
    #[inline(always)]
    fn copy(&mut self) {
        let plan = *self.plan;
        let ConvShape { window, in_channels: channels, input: [depth, height, width], .. } = plan.shape;
        let [depths, heights, _] = plan.output;
        let line = self.lines.start;
        let (oh, od, image) = (line % heights, line / heights % depths, line / heights / depths);
        let rows = (self.lines.len() - 1) * window.stride[1] + (window.kernel[1] - 1) * window.dilation[1] + 1;
        // The first column of the padded input that is copied, and those of the copy that are not padding.
        let (first, pad) = (self.columns.start * window.stride[2], window.pad_begin[2]);
        let end = (width + pad).saturating_sub(first).min(plan.extent[2]);
        let inside = pad.saturating_sub(first).min(end)..end;
        for kd in 0..window.kernel[0] {
            let id = (od * window.stride[0] + kd * window.dilation[0]).wrapping_sub(window.pad_begin[0]);
            for r in 0..rows {
                let ih = (oh * window.stride[1] + r).wrapping_sub(window.pad_begin[1]);
                let to = &mut self.input[(kd * plan.extent[1] + r) * plan.row()..][..plan.row()];
                if id >= depth || ih >= height {
                    to.fill(0.0);
                    continue;
                }
                let row = (id * height + ih) * width;
                for (c, to) in to.chunks_exact_mut(plan.extent[2]).enumerate() {
                    let (element, pixel) = match plan.stride {
                        Some(pixel) => ((image * depth * height * width + row) * pixel + c, pixel),
                        None => ((image * channels + c) * depth * height * width + row, 1),
                    };
                    let skipped = (first + inside.start).wrapping_sub(pad).wrapping_mul(pixel);
                    copy_columns(
                        self.args.input.wrapping_add(element).wrapping_add(skipped),
                        pixel,
                        inside.clone(),
                        to,
                    );
                }
            }
        }
    }

    /// All tiles of the panels from `panel` on that `VECTORS` hold; how many these are. Tiles have `MOST` pixels, or
    /// fewer so that a line comes out even. Pixels are `STEP` elements apart, if it is not 0.
    #[inline(always)]
    unsafe fn lines<
        V: Vector,
        const MOST: usize,
        const MORE: usize,
        const SOME: usize,
        const VECTORS: usize,
        const STEP: usize,
    >(
        &self,
        panel: usize,
    ) -> usize {
        let Strips { output, shape, .. } = self.plan;
        let row = self.plan.row();
        let count = self.columns.len().div_ceil(MOST);
        let (size, rest) = (self.columns.len() / count, self.columns.len() % count);
        let tiles = Tiles::new(self, panel, VECTORS * V::LANES);
        for (i, line) in self.lines.clone().enumerate() {
            let mut from = self.input.as_ptr().wrapping_add(i * shape.window.stride[1] * row);
            let mut pixel = line * output[2] + self.columns.start;
            for tile in 0..count {
                let pixels = size + usize::from(tile < rest);
                // SAFETY: the caller's promises.
                unsafe {
                    if pixels > MORE {
                        tiles.tile::<V, MOST, VECTORS, STEP>(from, pixel, pixels);
                    } else if pixels > SOME {
                        tiles.tile::<V, MORE, VECTORS, STEP>(from, pixel, pixels);
                    } else {
                        tiles.tile::<V, SOME, VECTORS, STEP>(from, pixel, pixels);
                    }
                }
                from = from.wrapping_add(pixels * tiles.step);
                pixel += pixels;
            }
        }
        VECTORS * V::LANES / PANEL
    }
}

/// Copies elements that are `step` apart, of which `from` points to the first, to where `inside` says, and zeros elsewhere.
/// The caller answers for the pointer.
#[inline(always)]
fn copy_columns(from: *const f32, step: usize, inside: Range<usize>, to: &mut [f32]) {
    to[..inside.start].fill(0.0);
    to[inside.end..].fill(0.0);
    let to = &mut to[inside];
    if step == 1 {
        // SAFETY: the caller's promise.
        to.copy_from_slice(unsafe { std::slice::from_raw_parts(from, to.len()) });
        return;
    }
    for (i, x) in to.iter_mut().enumerate() {
        // SAFETY: as above.
        *x = unsafe { *from.add(i * step) };
    }
}

/// What the tiles of some panels share.
struct Tiles<'a> {
    offsets: &'a [usize],
    step: usize,
    /// The panels, and the elements from one to the next.
    weights: *const f32,
    panel_stride: usize,
    /// Valid columns, of so many as the panels have.
    columns: usize,
    /// From the first column on.
    out: Output,
    simple: Simple,
}

impl Tiles<'_> {
    /// Not inlined, or its arithmetic ends up in the loops over K.
    #[inline(never)]
    fn new<'a>(strip: &Strip<'a>, panel: usize, columns: usize) -> Tiles<'a> {
        let (out, column) = (&strip.args.output, panel * PANEL);
        let panel_stride = strip.offsets.len() * PANEL;
        let shift = |p: *const f32| if p.is_null() { p } else { p.wrapping_add(column) };
        Tiles {
            offsets: strip.offsets,
            step: strip.plan.step(),
            weights: strip.args.weights.wrapping_add(panel * panel_stride),
            panel_stride,
            columns: (strip.plan.shape.out_channels - column).min(columns),
            out: Output {
                data: out.data.wrapping_add(column),
                bias: shift(out.bias),
                residual: shift(out.residual),
                ..*out
            },
            simple: out.activation.simple(strip.plan.isa).unwrap_or(Simple::NONE),
        }
    }

    /// The output for `pixels` pixels, at most `PIXELS`, from `pixel` on. The first reads from `from` on.
    #[inline(always)]
    unsafe fn tile<V: Vector, const PIXELS: usize, const VECTORS: usize, const STEP: usize>(
        &self,
        from: *const f32,
        pixel: usize,
        pixels: usize,
    ) {
        // SAFETY: the caller's promises.
        unsafe {
            let mut sums = [self.bias::<V, VECTORS>(); PIXELS];
            let mut b = self.weights;
            for &offset in self.offsets {
                self.accumulate::<V, PIXELS, VECTORS, STEP>(&mut sums, from.add(offset), b);
                b = b.add(PANEL);
            }
            let simple = self.out.residual.is_null() && self.columns == VECTORS * V::LANES;
            if simple && pixels == PIXELS {
                self.finish(sums, pixel);
            } else {
                self.finish_edge(&sums, pixel, pixels);
            }
        }
    }

    /// One step of K: the pixels' elements from `from` on times the weights at `b`.
    #[inline(always)]
    unsafe fn accumulate<V: Vector, const PIXELS: usize, const VECTORS: usize, const STEP: usize>(
        &self,
        sums: &mut [[V; VECTORS]; PIXELS],
        from: *const f32,
        b: *const f32,
    ) {
        // SAFETY: the caller's promises.
        unsafe {
            let mut weights = [V::splat(0.0); VECTORS];
            for v in 0..VECTORS {
                let at = v * V::LANES;
                weights[v] = V::load(b.add(at / PANEL * self.panel_stride + at % PANEL));
            }
            let step = if STEP == 0 { self.step } else { STEP };
            for_rows!(p < PIXELS {
                let x = V::splat(*from.add(p * step));
                for v in 0..VECTORS {
                    sums[p][v] = x.mul_add(weights[v], sums[p][v]);
                }
            });
        }
    }

    /// What all sums start with.
    #[inline(always)]
    unsafe fn bias<V: Vector, const VECTORS: usize>(&self) -> [V; VECTORS] {
        // SAFETY: the caller's promises.
        unsafe {
            let mut bias = [V::splat(0.0); VECTORS];
            if !self.out.bias.is_null() {
                for v in 0..VECTORS {
                    let (channel, n) = (v * V::LANES, self.columns.saturating_sub(v * V::LANES));
                    bias[v] = V::load_up_to(self.out.bias.wrapping_add(channel), n);
                }
            }
            bias
        }
    }

    /// Applies the activation and stores a whole tile.
    #[inline(always)]
    unsafe fn finish<V: Vector, const PIXELS: usize, const VECTORS: usize>(
        &self,
        mut sums: [[V; VECTORS]; PIXELS],
        pixel: usize,
    ) {
        // SAFETY: the caller's promises.
        unsafe {
            let (lo, hi) = (V::splat(self.simple.lo), V::splat(self.simple.hi));
            if self.simple.hi < f32::INFINITY {
                for_rows!(p < PIXELS {
                    for v in 0..VECTORS {
                        sums[p][v] = sums[p][v].min(hi);
                    }
                });
            }
            if self.simple.gates::<V>() {
                for_rows!(p < PIXELS {
                    for v in 0..VECTORS {
                        sums[p][v] = Simple::gate(sums[p][v].max(lo));
                    }
                });
            }
            let to = self.out.data.add(pixel * self.out.stride);
            for_rows!(p < PIXELS {
                for v in 0..VECTORS {
                    sums[p][v].max(lo).store(to.add(p * self.out.stride + v * V::LANES));
                }
            });
        }
    }

    /// As [`Tiles::finish`] for fewer pixels, fewer channels or with a residual: plain loops over sums in memory.
    #[inline(always)]
    unsafe fn finish_edge<V: Vector, const PIXELS: usize, const VECTORS: usize>(
        &self,
        sums: &[[V; VECTORS]; PIXELS],
        pixel: usize,
        pixels: usize,
    ) {
        let mut memory = MaybeUninit::<[[V; VECTORS]; PIXELS]>::uninit();
        let memory = memory.as_mut_ptr().cast::<f32>();
        // SAFETY: the caller's promises; the memory has room for all sums. They have the bias.
        unsafe {
            for_rows!(p < PIXELS {
                for v in 0..VECTORS {
                    sums[p][v].store(memory.add((p * VECTORS + v) * V::LANES));
                }
            });
            let out = Output { bias: ptr::null(), ..self.out };
            for p in 0..pixels {
                for channel in (0..self.columns).step_by(V::LANES) {
                    let sum = V::load(memory.add(p * VECTORS * V::LANES + channel));
                    store(&out, self.simple, pixel + p, channel, self.columns - channel, sum);
                }
            }
        }
    }
}
