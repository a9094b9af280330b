//! P16, the layout of weights: panels of 16 columns, `[N/16][K][16]`, the last one padded with zeros.
//!
//! One row of a panel is 64 bytes, whatever vectors the CPU has, so that one file serves every machine. Files hold
//! weights packed; operands that appear at run time are packed into workspace, in parallel ranges of panels.

use super::kernel::PANEL;
use crate::cpu::transpose::transpose_into;
use crate::error::{Error, Result};
use std::ops::Range;

/// Panels of a matrix with `n` columns.
pub fn panels(n: usize) -> usize {
    n.div_ceil(PANEL)
}

/// Elements of a packed `k` x `n` matrix.
///
/// # Errors
/// The size overflows.
pub fn packed_len(n: usize, k: usize) -> Result<usize> {
    panels(n)
        .checked_mul(PANEL)
        .and_then(|columns| columns.checked_mul(k))
        .filter(|&len| len <= isize::MAX as usize / size_of::<f32>())
        .ok_or_else(|| Error::no_memory(format!("a packed matrix of {k} x {n} elements exceeds the address space")))
}

/// A `k` x `n` matrix anywhere in memory: element (i, j) is `data[i * k_stride + j * n_stride]`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// The elements.
    pub data: &'a [f32],
    /// Rows, the dimension that products sum over.
    pub k: usize,
    /// Columns.
    pub n: usize,
    /// Elements from one row to the next.
    pub k_stride: usize,
    /// Elements from one column to the next.
    pub n_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major `[k, n]` matrix.
    pub fn row_major(data: &'a [f32], k: usize, n: usize) -> Self {
        Matrix { data, k, n, k_stride: n, n_stride: 1 }
    }

    /// The transpose of a row-major `[n, k]` matrix.
    pub fn transposed(data: &'a [f32], k: usize, n: usize) -> Self {
        Matrix { data, k, n, k_stride: 1, n_stride: k }
    }

    fn column(&self, j: usize) -> &'a [f32] {
        &self.data[j * self.n_stride..]
    }
}

/// Packs `panels` of `b` into `packed`, which has exactly their `panels.len() * k * 16` elements.
///
/// Panics if `b.data` is too short for its shape, if `packed` has another length, or if there are fewer panels.
pub fn pack(b: &Matrix, panels: Range<usize>, packed: &mut [f32]) {
    assert_eq!(packed.len(), panels.len() * b.k * PANEL, "length of the packed panels");
    if b.k == 0 {
        return;
    }
    for (panel, out) in panels.zip(packed.chunks_exact_mut(b.k * PANEL)) {
        let first = panel * PANEL;
        let columns = PANEL.min(b.n - first);
        if b.n_stride == 1 {
            pack_rows(b, first, columns, out);
        } else {
            pack_columns(b, first, columns, out);
        }
    }
}

/// Rows of a panel lie contiguous in `b`.
fn pack_rows(b: &Matrix, first: usize, columns: usize, out: &mut [f32]) {
    let rows = out.as_chunks_mut::<PANEL>().0.iter_mut().enumerate();
    let from = |i: usize| &b.data[i * b.k_stride + first..][..columns];
    if columns == PANEL {
        // Of constant length, so that each row is a few instructions.
        rows.for_each(|(i, row)| row.copy_from_slice(&from(i)[..PANEL]));
    } else {
        rows.for_each(|(i, row)| {
            row[..columns].copy_from_slice(from(i));
            row[columns..].fill(0.0);
        });
    }
}

/// Any strides, among them contiguous columns, which are transposed.
fn pack_columns(b: &Matrix, first: usize, columns: usize, out: &mut [f32]) {
    let last = (b.k - 1) * b.k_stride + 1;
    if columns < PANEL {
        out.fill(0.0);
        for j in 0..columns {
            let column = &b.column(first + j)[..last];
            for (row, x) in out.as_chunks_mut::<PANEL>().0.iter_mut().zip(column.iter().step_by(b.k_stride)) {
                row[j] = *x;
            }
        }
        return;
    }
    if b.k_stride == 1 {
        return transpose_into(b.column(first), b.n_stride, PANEL, out);
    }
    let from: [&[f32]; PANEL] = std::array::from_fn(|j| &b.column(first + j)[..last]);
    for (i, row) in out.as_chunks_mut::<PANEL>().0.iter_mut().enumerate() {
        for j in 0..PANEL {
            row[j] = from[j][i * b.k_stride];
        }
    }
}

/// Writes a packed `k` x `n` matrix to `unpacked[i * n + j]` (row-major): the exact inverse of [`pack`].
///
/// Panics if a length does not match the shape.
pub fn unpack(packed: &[f32], k: usize, n: usize, unpacked: &mut [f32]) {
    assert_eq!(packed.len(), panels(n) * k * PANEL, "length of the packed matrix");
    assert_eq!(unpacked.len(), k * n, "length of the unpacked matrix");
    for j in 0..n {
        let panel = &packed[j / PANEL * k * PANEL..];
        for i in 0..k {
            unpacked[i * n + j] = panel[i * PANEL + j % PANEL];
        }
    }
}
