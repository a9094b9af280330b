//! Indices that models compute: i32 or i64, negative ones from the back, checked where they are used.

use super::Inputs;
use crate::error::{Error, Result};
use crate::tensor::{DType, Dims, Element};

/// An element type of indices.
pub trait Index: Element + Into<i64> {}

impl Index for i32 {}
impl Index for i64 {}

/// `index` counted from the front of axis `axis`, which has extent `n`.
#[inline(always)]
pub fn resolve(index: impl Index, n: usize, axis: usize) -> Result<usize> {
    let index: i64 = index.into();
    let from_front = if index < 0 { index.wrapping_add(n as i64) } else { index };
    if (from_front as u64) < n as u64 {
        return Ok(from_front as usize);
    }
    Err(out_of_range(index, n, axis))
}

#[cold]
#[inline(never)]
fn out_of_range(index: i64, n: usize, axis: usize) -> Error {
    Error::invalid(format!("index {index} is out of range for axis {axis} of extent {n}"))
}

/// Checks that an input holds indices.
pub fn expect_indices(inputs: &Inputs<'_>, input: usize) -> Result<()> {
    match inputs.get(input)?.dtype {
        DType::I32 | DType::I64 => Ok(()),
        dtype => Err(Error::dtype(format!("input {input} is {dtype}; indices are i64 or i32"))),
    }
}

/// Tuples of indices, each of which selects a slice of a tensor.
#[derive(Clone, Copy)]
pub struct Tuples {
    /// The first axis that indices count along, and how many follow.
    first: usize,
    axes: usize,
    dims: Dims,
}

impl Tuples {
    /// Tuples for the `axes` axes of a tensor of shape `dims` from axis `first` on.
    pub fn new(dims: &Dims, first: usize, axes: usize) -> Self {
        Tuples { first, axes, dims: *dims }
    }

    /// Elements of a slice.
    pub fn slice_len(&self) -> usize {
        self.dims[self.first + self.axes..].iter().product()
    }

    /// Number of slices that tuples select from.
    pub fn slices(&self) -> usize {
        self.dims[self.first..self.first + self.axes].iter().product()
    }

    /// The slice that tuple `tuple` of `indices` selects, counted in row-major order.
    #[inline(always)]
    pub fn slice<I: Index>(&self, indices: &[I], tuple: usize) -> Result<usize> {
        let tuple = &indices[tuple * self.axes..(tuple + 1) * self.axes];
        let mut slice = 0;
        for (i, &index) in tuple.iter().enumerate() {
            let n = self.dims[self.first + i];
            slice = slice * n + resolve(index, n, self.first + i)?;
        }
        Ok(slice)
    }
}
