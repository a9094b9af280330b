//! An update is an element.

use super::ScatterElements;
use crate::error::Result;
use crate::ops::scatter_cuda::Updates;
use crate::ops::{CudaKernel, PrepareCuda};
use crate::tensor::normalize_axis;

/// The kernel.
pub fn prepare(cx: &PrepareCuda<'_>, op: &ScatterElements) -> Result<Option<CudaKernel>> {
    let (data, indices) = (cx.dims(0), cx.dims(1));
    let axis = normalize_axis(op.axis, data.len())?;
    let strides = data.strides();
    let own = |i: usize| if i == axis { 0 } else { strides[i] };
    let updates = Updates {
        count: indices.iter().product(),
        slices: data.iter().product(),
        len: 1,
        indexed: vec![(data[axis], strides[axis])],
        axes: (0..data.len()).map(|i| (indices[i], own(i))).collect(),
        lines: (indices[axis + 1..].iter().product(), indices[axis]),
    };
    updates.kernel(cx, op.reduction)
}
