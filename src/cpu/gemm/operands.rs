//! Where a product finds A and leaves C.

use crate::cpu::activation::Activation;
use std::ops::Range;
use std::ptr;

/// Where the rows of A are.
pub trait Rows {
    /// Writes the address of segment `s` of row `rows.start + r` to `table[s * rows.len() + r]`.
    fn locate(&self, rows: Range<usize>, table: &mut [*const f32]);

    /// Elements from each row to the next, if that is the same for all and each is a single segment.
    fn apart(&self) -> Option<usize> {
        None
    }
}

/// A matrix whose rows are contiguous.
#[derive(Clone, Copy, Debug)]
pub struct StridedRows {
    /// The first element.
    pub data: *const f32,
    /// Elements from one row to the next.
    pub stride: usize,
}

impl Rows for StridedRows {
    fn locate(&self, rows: Range<usize>, table: &mut [*const f32]) {
        for (row, entry) in rows.zip(table) {
            *entry = self.data.wrapping_add(row * self.stride);
        }
    }

    fn apart(&self) -> Option<usize> {
        Some(self.stride)
    }
}

/// Where C goes, and what happens on the way.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// The first element.
    pub data: *mut f32,
    /// Elements from one row to the next.
    pub stride: usize,
    /// One value per column, or null.
    pub bias: *const f32,
    /// A matrix of the shape of C, or null. May be C itself.
    pub residual: *const f32,
    /// Elements from one row of the residual to the next.
    pub residual_stride: usize,
    /// Applied last.
    pub activation: Activation,
}

impl Output {
    /// A bare product.
    pub fn new(data: *mut f32, stride: usize) -> Self {
        let activation = Activation::None;
        Output { data, stride, bias: ptr::null(), residual: ptr::null(), residual_stride: 0, activation }
    }
}
