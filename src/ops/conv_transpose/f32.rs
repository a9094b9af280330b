//! Transposed convolutions in f32 as ordinary ones (Shi et al., arXiv 1609.07009).
//!
//! Outputs whose position, counted from the padding's start, leaves the same remainder by the stride are reached by the
//! same taps. So each remainder is a convolution of stride 1 with some of the taps, and every tap belongs to one of them.
//! A first phase packs the taps of each; then lines of the output are matrix products, one per remainder along the width.
#![allow(unsafe_code, reason = "calls the matrix product driver on raw parts of the output and of the workspace")]

use super::ConvTranspose;
use super::geometry::Geometry;
use crate::cpu::gemm::{Gemm, GemmShape, Matrix, Output, Rows, pack, panels};
use crate::cpu::{Activation, Isa};
use crate::error::{Error, Result};
use crate::ops::{Kernel, Prepare};
use crate::tensor::{Args, Grid, Layout, PANEL};
use std::ops::Range;
use std::ptr;

/// Elements packed, and multiply-adds, worth a part of their own.
const PACK_GRAIN: usize = 32 * 1024;
const GRAIN: usize = 128 * 1024;
/// Output channels of a group below which panels would mostly be padding.
const FEWEST: usize = 4;

struct Transposed {
    isa: Isa,
    geometry: Geometry,
    activation: Activation,
    /// The taps of each remainder, along each dimension.
    taps: [Vec<Vec<usize>>; 3],
    /// For each remainder along all dimensions, the segments of the packed weights before its own.
    starts: Vec<usize>,
    phases: [Grid; 2],
}

/// Whether groups are wide enough for matrix products.
pub fn fits(op: &ConvTranspose, cx: &Prepare<'_>) -> bool {
    let geometry = Geometry::new(op, cx);
    geometry.group_out >= FEWEST && geometry.group_in > 0 && geometry.window.stride.iter().product::<usize>() <= 4096
}

/// The kernel for a transposed convolution of known shape.
pub fn prepare(op: &ConvTranspose, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
    if cx.input(1).layout != Layout::RowMajor {
        return Err(Error::format(format!("transposed convolution weights stored as {:?}", cx.input(1).layout)));
    }
    let geometry = Geometry::new(op, cx);
    let taps = [0, 1, 2].map(|d| taps_by_remainder(&geometry, d));
    let mut starts = vec![];
    let mut segments = 0;
    for (depths, heights) in taps[0].iter().flat_map(|d| taps[1].iter().map(move |h| (d, h))) {
        for widths in &taps[2] {
            starts.push(segments);
            segments += depths.len() * heights.len() * widths.len();
        }
    }
    let Geometry { batch, groups, group_in, group_out, output, .. } = geometry;
    let lines = groups * batch * output[0] * output[1];
    let panel = PANEL * group_in * segments.div_ceil(starts.len());
    let cost = (output[2] * group_out).saturating_mul(panel / PANEL);
    let phases = [
        Grid::by_cost(groups * starts.len() * panels(group_out), panel, PACK_GRAIN),
        Grid::by_cost(lines, cost, GRAIN),
    ];
    let (isa, activation) = (cx.isa, op.activation);
    Ok(Box::new(Transposed { isa, geometry, activation, taps, starts, phases }))
}

/// The taps along dimension `d` for every remainder of an output's position by the stride.
fn taps_by_remainder(geometry: &Geometry, d: usize) -> Vec<Vec<usize>> {
    let window = &geometry.window;
    let (stride, dilation) = (window.stride[d], window.dilation[d]);
    let of = |remainder: usize| (0..window.kernel[d]).filter(|tap| tap * dilation % stride == remainder).collect();
    (0..stride).map(of).collect()
}

impl Kernel for Transposed {
    fn phases(&self) -> Vec<Grid> {
        self.phases.to_vec()
    }

    fn shared_bytes(&self) -> usize {
        self.geometry.groups * self.group_len() * size_of::<f32>()
    }

    fn scratch_bytes(&self) -> usize {
        let table = self.geometry.output[2] * self.most_segments() * size_of::<*const f32>();
        self.zeros() * size_of::<f32>() + table
    }

    fn run(&self, phase: usize, args: &mut Args<'_>) -> Result<()> {
        let (share, _) = args.ranges();
        if phase == 0 {
            share.for_each(|piece| self.pack(piece, args));
            return Ok(());
        }
        let scratch = args.scratch::<f32>();
        let (zeros, table) = scratch.split_at_mut(self.zeros());
        zeros.fill(0.0);
        for line in share {
            for remainder in 0..self.taps[2].len() {
                self.line(line, remainder, args, zeros, table);
            }
        }
        Ok(())
    }
}

/// Part of an output line: every `stride`-th pixel, and the taps that reach it.
struct Line<'a> {
    geometry: &'a Geometry,
    /// The image, from the group's first channel on.
    image: &'a [f32],
    /// As many zeros as a segment has elements.
    zeros: &'a [f32],
    taps: [&'a [usize]; 3],
    /// Depth and height of the line, and its first pixel.
    at: [usize; 3],
}

impl Rows for Line<'_> {
    fn locate(&self, rows: Range<usize>, table: &mut [*const f32]) {
        let (geometry, [depths, heights, widths]) = (self.geometry, self.taps);
        let taps = depths.iter().flat_map(|d| heights.iter().flat_map(move |h| widths.iter().map(move |w| (d, h, w))));
        for ((d, h, w), entries) in taps.zip(table.chunks_exact_mut(rows.len().max(1))) {
            let row = geometry.source(0, self.at[0], *d).zip(geometry.source(1, self.at[1], *h));
            for (i, entry) in rows.clone().zip(entries) {
                let column = geometry.source(2, self.at[2] + i * geometry.window.stride[2], *w);
                *entry = match (row, column) {
                    (Some((depth, height)), Some(width)) => {
                        let pixel = (depth * geometry.input[1] + height) * geometry.input[2] + width;
                        self.image[pixel * geometry.in_channels()..].as_ptr()
                    }
                    _ => self.zeros.as_ptr(),
                };
            }
        }
    }
}

impl Transposed {
    /// Floats of scratch memory that stay zero: a segment.
    fn zeros(&self) -> usize {
        self.geometry.group_in.next_multiple_of(PANEL)
    }

    fn most_segments(&self) -> usize {
        self.taps.iter().map(|taps| taps.iter().map(Vec::len).max().unwrap_or(0)).product()
    }

    /// Elements of a group's packed weights.
    fn group_len(&self) -> usize {
        let Geometry { group_in, group_out, window, .. } = &self.geometry;
        window.taps() * group_in * panels(*group_out) * PANEL
    }

    /// Taps along all dimensions of remainder `r`, in the order of segments.
    fn taps_of(&self, r: usize) -> [&[usize]; 3] {
        let [_, heights, widths] = &self.taps;
        let at = [r / widths.len() / heights.len(), r / widths.len() % heights.len(), r % widths.len()];
        [&self.taps[0][at[0]], &heights[at[1]], &widths[at[2]]]
    }

    /// First element of the packed weights of a group and remainder.
    fn start(&self, group: usize, r: usize) -> usize {
        let Geometry { group_in, group_out, .. } = self.geometry;
        group * self.group_len() + self.starts[r] * group_in * panels(group_out) * PANEL
    }

    /// Packs one panel of one remainder's taps.
    fn pack(&self, piece: usize, args: &Args<'_>) {
        let Geometry { group_in, group_out, window, .. } = &self.geometry;
        let (panel, rest) = (piece % panels(*group_out), piece / panels(*group_out));
        let (group, r) = (rest / self.starts.len(), rest % self.starts.len());
        let [depths, heights, widths] = self.taps_of(r);
        let len = depths.len() * heights.len() * widths.len() * group_in * PANEL;
        let first = self.start(group, r) + panel * len;
        // SAFETY: each panel is written by one part.
        let to = unsafe { args.shared::<f32>(first * size_of::<f32>(), len) };
        let w = &args.input::<f32>(1)[group * group_out * window.taps() * group_in..];
        let taps = depths.iter().flat_map(|d| heights.iter().flat_map(move |h| widths.iter().map(move |w| (d, h, w))));
        for ((d, h, w_tap), to) in taps.zip(to.chunks_exact_mut(group_in * PANEL)) {
            let tap = (d * window.kernel[1] + h) * window.kernel[2] + w_tap;
            let stride = window.taps() * group_in;
            let data = &w[tap * group_in..];
            let from = Matrix { data, k: *group_in, n: *group_out, k_stride: 1, n_stride: stride };
            pack(&from, panel..panel + 1, to);
        }
    }

    /// Computes the pixels of an output line that have remainder `r` along the width.
    fn line(&self, line: usize, r: usize, args: &Args<'_>, zeros: &[f32], table: &mut [f32]) {
        let Geometry { group_in, group_out, input, output: [od, oh, ow], window, batch, .. } = self.geometry;
        let (group, line) = (line / (batch * od * oh), line % (batch * od * oh));
        let (image, at) = (line / (od * oh), [line / oh % od, line % oh]);
        let remainder = |d: usize, o: usize| (o + window.pad_begin[d]) % window.stride[d];
        let step = window.stride[2];
        let first = (r + step - remainder(2, 0)) % step;
        let count = ow.saturating_sub(first).div_ceil(step);
        if count == 0 {
            return;
        }
        let outer = remainder(0, at[0]) * self.taps[1].len() + remainder(1, at[1]);
        let r = outer * self.taps[2].len() + r;
        let taps = self.taps_of(r);
        let segments = taps.iter().map(|taps| taps.len()).product();
        let gemm = Gemm::whole(self.isa, GemmShape { m: count, n: group_out, segments, depth: group_in });
        let channels = self.geometry.out_channels();
        let pixel = line * ow + first;
        let out = args.raw_output(0);
        assert!(((pixel + (count - 1) * step) * channels + (group + 1) * group_out) * 4 <= out.byte_len());
        assert!(size_of_val(table) >= count * segments * size_of::<*const f32>());
        let image_len = input.iter().product::<usize>() * self.geometry.in_channels();
        let x = &args.input::<f32>(0)[image * image_len..][..image_len];
        let rows =
            Line { geometry: &self.geometry, image: &x[group * group_in..], zeros, taps, at: [at[0], at[1], first] };
        let bias = args.optional::<f32>(2).map_or(ptr::null(), |bias| bias[group * group_out..].as_ptr());
        // SAFETY: the weights were packed in the phase before this one; the output's pixels were just checked to be
        // there, and those of this group belong to one part.
        unsafe {
            let len = segments * group_in * panels(group_out) * PANEL;
            let b = args.shared::<f32>(self.start(group, r) * size_of::<f32>(), len).as_ptr();
            let data = out.as_ptr().cast::<f32>().add(pixel * channels + group * group_out);
            let out = Output { bias, activation: self.activation, ..Output::new(data, step * channels) };
            gemm.run_part(0, &rows, b, &out, table.as_mut_ptr().cast());
        }
    }
}
