//! The kernel of Gather, with several indices for each slice.

use crate::error::Result;
use crate::ops::gather::cuda::{Slices, slices};
use crate::ops::{CudaKernel, PrepareCuda};

/// The kernel.
pub fn prepare(cx: &PrepareCuda<'_>, batch_dims: usize) -> Result<Option<CudaKernel>> {
    let (data, indices) = (cx.dims(0), cx.dims(1));
    let outer = indices.len() - 1;
    let used = batch_dims + indices[outer];
    let (len, count) = (data[used..].iter().product(), indices[batch_dims..outer].iter().product());
    slices(cx, &Slices { len, count, shared: false, extents: &data[batch_dims..used] })
}
