//! Convolution in groups of 16 channels or more, or of 8 where tiles of 8 columns exist: a matrix product for each group.
//!
//! All groups read the same pixels, each its own channels: a part locates the rows of a few tiles once, and multiplies
//! them for one group after the other.

use super::dense::trimmed;
use super::patches::Patches;
use super::shape::{ConvShape, Spatial};
use super::{ConvArgs, WeightLayout, after};
use crate::cpu::gemm::kernel::PANEL;
use crate::cpu::gemm::{Gemm, GemmShape, Output, Rows, packed_len, panels};
use crate::cpu::parts::Split;
use crate::cpu::{Isa, scratch};
use crate::error::{Error, Result};
use std::ops::Range;

/// A convolution with weights in either [`WeightLayout`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Wide {
    isa: Isa,
    shape: ConvShape,
    output: Spatial,
    /// Elements from one pixel of the input to the next.
    stride: usize,
    /// The product of one group.
    product: GemmShape,
    /// Columns of the weights from one group to the next.
    pitch: usize,
    /// Rows of each panel of the weights, and those before the first that is used.
    panel_rows: usize,
    unused_rows: usize,
    split: Split,
}

/// Rows that are located at a time: whole tiles of every micro-kernel, and few enough for their table to stay near.
const BLOCK: usize = 96;
/// Rows of a part, at least, and its multiply-adds.
const ROWS: usize = 24;
const PART: usize = 256 << 10;
/// Most parts.
const PARTS: usize = 64;

/// Fewest input channels of groups of 8, whose sums are long enough for a tile.
const FEWEST: usize = 4;

impl Wide {
    /// The instruction set for groups that share panels, if this is an algorithm for them: they are half a panel wide,
    /// and tiles of as many columns exist. AVX-512 has none, as half of its vectors would be idle.
    pub fn for_halves(isa: Isa, shape: &ConvShape) -> Option<Isa> {
        let fits = shape.group_out() == PANEL / 2 && shape.group_in() >= FEWEST;
        let isa = if matches!(isa, Isa::Amx | Isa::Avx512) { Isa::Avx2 } else { isa };
        (fits && isa != Isa::Scalar).then_some(isa)
    }

    pub fn new(isa: Isa, shape: &ConvShape, stride: usize, output: Spatial) -> Result<Wide> {
        let overflow = || Error::no_memory(format!("a convolution of {shape:?} is too large"));
        let panel_rows = shape.window.taps() * shape.group_in();
        let (shape, unused_taps) = trimmed(shape, output);
        let (segments, n) = (shape.window.taps(), shape.group_out());
        let m = output.iter().try_fold(shape.batch, |m, &extent| m.checked_mul(extent)).ok_or_else(overflow)?;
        packed_len(n, panel_rows)?;
        BLOCK.checked_mul(segments).and_then(|x| x.checked_mul(size_of::<usize>())).ok_or_else(overflow)?;
        let product = GemmShape { m, n, segments, depth: shape.group_in() };
        let work = m.saturating_mul(n * shape.groups).saturating_mul(segments * product.depth);
        let parts = (work / PART).clamp(1, PARTS);
        let row_parts = parts.min(m.div_ceil(ROWS)).max(1);
        let split = Split { row_parts, column_parts: (parts / row_parts).clamp(1, shape.groups) };
        let unused_rows = unused_taps * product.depth;
        let pitch = match WeightLayout::of_shape(&shape) {
            WeightLayout::Panels => panels(n) * PANEL,
            WeightLayout::Grouped => n,
        };
        Ok(Wide { pitch, isa, shape, output, stride, product, panel_rows, unused_rows, split })
    }

    pub fn phases(&self) -> usize {
        1
    }

    pub fn parts(&self, _phase: usize) -> usize {
        if self.product.m * self.product.n == 0 { 0 } else { self.split.parts() }
    }

    pub fn shared_bytes(&self) -> usize {
        0
    }

    pub fn scratch_bytes(&self) -> usize {
        self.table_bytes() + self.shape.in_channels * size_of::<f32>()
    }

    /// Bytes for the addresses of a block of rows.
    fn table_bytes(&self) -> usize {
        (BLOCK * self.product.segments * size_of::<*const f32>()).next_multiple_of(64)
    }

    /// # Safety
    /// As for [`Conv::run`](super::Conv::run).
    pub unsafe fn run(&self, _phase: usize, part: usize, args: &ConvArgs, _shared: *mut u8, scratch: *mut u8) {
        let ConvShape { groups, in_channels, input, window, .. } = self.shape;
        let (rows, groups) = self.split.ranges(self.product.m, groups, part);
        // SAFETY: the caller's promises; the zeros follow the table.
        unsafe {
            let zeros = scratch::slice::<f32>(scratch.add(self.table_bytes()), in_channels);
            zeros.fill(0.0);
            let patches = Patches {
                data: args.input,
                zeros: zeros.as_ptr(),
                input,
                output: self.output,
                window,
                pixel: self.stride,
                row: input[2] * self.stride,
                whole_rows: false,
            };
            for first in rows.clone().step_by(BLOCK) {
                let block = first..(first + BLOCK).min(rows.end);
                let table = scratch::slice::<*const f32>(scratch, block.len() * self.product.segments);
                patches.locate(block.clone(), table);
                self.multiply(&block, &groups, table, args);
            }
        }
    }

    /// The products of `rows`, which `table` locates, for some groups.
    ///
    /// # Safety
    /// As for [`Conv::run`](super::Conv::run).
    unsafe fn multiply(&self, rows: &Range<usize>, groups: &Range<usize>, table: &[*const f32], args: &ConvArgs) {
        let GemmShape { n, depth, .. } = self.product;
        let gemm = Gemm::whole(self.isa, GemmShape { m: rows.len(), ..self.product }).in_panels_of(self.panel_rows);
        let weights = |group: usize| {
            let column = group * self.pitch;
            let row = column / PANEL * self.panel_rows + self.unused_rows;
            args.weights.wrapping_add(row * PANEL + column % PANEL)
        };
        for group in groups.clone() {
            let out = block_of(&args.output, rows.start, group * n);
            // SAFETY: the caller's promises; each group has its own columns.
            unsafe { gemm.run_all((table, group * depth), (weights(group), weights(group + 1)), &out) };
        }
    }
}

/// The output from this row and column on.
fn block_of(out: &Output, row: usize, column: usize) -> Output {
    Output {
        data: out.data.wrapping_add(row * out.stride + column),
        bias: after(out.bias, column),
        residual: after(out.residual, row * out.residual_stride + column),
        ..*out
    }
}
