//! An update is a slice.

use super::Reduction;
use crate::error::Result;
use crate::ops::scatter_cuda::Updates;
use crate::ops::{CudaKernel, PrepareCuda};

/// The kernel.
pub fn prepare(cx: &PrepareCuda<'_>, reduction: Reduction) -> Result<Option<CudaKernel>> {
    let (data, indices) = (cx.dims(0), cx.dims(1));
    let (outer, axes) = (&indices[..indices.len() - 1], indices[indices.len() - 1]);
    let count = outer.iter().product();
    let steps = |i: usize| data[i + 1..axes].iter().product();
    let updates = Updates {
        count,
        slices: data[..axes].iter().product(),
        len: data[axes..].iter().product(),
        indexed: (0..axes).map(|i| (data[i], steps(i))).collect(),
        axes: vec![],
        lines: (1, count),
    };
    updates.kernel(cx, reduction)
}
