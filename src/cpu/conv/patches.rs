//! The rows of the matrix that a convolution multiplies: for each output pixel the input pixels under the window.
//!
//! Nothing is copied: a row is a list of pointers, one per tap, into the input or to a row of zeros (Dukhan, "The
//! Indirect Convolution Algorithm", arXiv 1907.02129). Where no padding interferes, all taps of a window row are one
//! segment, as they lie side by side.

use super::shape::{Spatial, Window};
use crate::cpu::gemm::Rows;
use std::ops::Range;

/// Rows of one group. Pointers are to its first channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patches {
    pub data: *const f32,
    /// As many zeros as a segment has elements.
    pub zeros: *const f32,
    pub input: Spatial,
    pub output: Spatial,
    pub window: Window,
    /// Elements from one pixel of a row to the next, and from one row of pixels to the next.
    pub pixel: usize,
    pub row: usize,
    /// Whether a segment is a whole row of the window: then there is no padding along the width.
    pub whole_rows: bool,
}

impl Patches {
    /// Locates `columns` of output row `line` (batch, depth and height in one index). Segment s starts at
    /// `table[s * stride]`.
    fn locate_line(&self, line: usize, columns: Range<usize>, table: &mut [*const f32], stride: usize) {
        let [kernel_d, kernel_h, kernel_w] = self.window.kernel;
        let [out_d, out_h, _] = self.output;
        let (oh, od, image) = (line % out_h, line / out_h % out_d, line / out_h / out_d);
        let depths = self.window.taps_inside(0, od, self.input[0]);
        let heights = self.window.taps_inside(1, oh, self.input[1]);
        let taps_w = if self.whole_rows { 1 } else { kernel_w };
        for kd in 0..kernel_d {
            for kh in 0..kernel_h {
                let row = (depths.contains(&kd) && heights.contains(&kh)).then(|| {
                    let (id, ih) = (self.window.position(0, od, kd), self.window.position(1, oh, kh));
                    self.data.wrapping_add(((image * self.input[0] + id) * self.input[1] + ih) * self.row)
                });
                for kw in 0..taps_w {
                    let segment = (kd * kernel_h + kh) * taps_w + kw;
                    let entries = &mut table[segment * stride..][..columns.len()];
                    match row {
                        Some(row) => self.locate_tap(row, kw, &columns, entries),
                        None => entries.fill(self.zeros),
                    }
                }
            }
        }
    }

    /// Locates tap `kw` of a window row that lies on the input row `row`.
    fn locate_tap(&self, row: *const f32, kw: usize, columns: &Range<usize>, entries: &mut [*const f32]) {
        let inside = self.window.inside(2, kw, self.input[2], self.output[2]);
        let start = inside.start.clamp(columns.start, columns.end);
        let end = inside.end.clamp(start, columns.end);
        let (before, rest) = entries.split_at_mut(start - columns.start);
        let (within, after) = rest.split_at_mut(end - start);
        before.fill(self.zeros);
        after.fill(self.zeros);
        if within.is_empty() {
            return;
        }
        let first = row.wrapping_add(self.window.position(2, start, kw) * self.pixel);
        let step = self.window.stride[2] * self.pixel;
        for (i, entry) in within.iter_mut().enumerate() {
            *entry = first.wrapping_add(i * step);
        }
    }
}

impl Rows for Patches {
    fn locate(&self, rows: Range<usize>, table: &mut [*const f32]) {
        let width = self.output[2];
        let mut row = rows.start;
        while row < rows.end {
            let (line, column) = (row / width, row % width);
            let count = (width - column).min(rows.end - row);
            self.locate_line(line, column..column + count, &mut table[row - rows.start..], rows.len());
            row += count;
        }
    }
}
