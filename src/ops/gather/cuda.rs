//! A thread for each word of the output; GatherNd runs the same kernel.

use crate::cuda::{Module, dims, divisor};
use crate::error::Result;
use crate::ops::strided_cuda::words;
use crate::ops::{CudaKernel, PrepareCuda};
use crate::tensor::{DType, normalize_axis};

static MODULE: Module = crate::cuda_module!("gather");

/// Slices of the data that indices select.
pub struct Slices<'a> {
    /// Elements of a slice.
    pub len: usize,
    /// Slices of the output in each batch.
    pub count: usize,
    /// Whether batches have the same indices.
    pub shared: bool,
    /// Extents of the axes that indices count along, as many as a slice has indices.
    pub extents: &'a [usize],
}

/// The kernel of Gather.
pub fn prepare(cx: &PrepareCuda<'_>, axis: i64) -> Result<Option<CudaKernel>> {
    let data = cx.dims(0);
    let axis = normalize_axis(axis, data.len())?;
    let len = data[axis + 1..].iter().product();
    slices(cx, &Slices { len, count: cx.input(1).info.numel(), shared: true, extents: &data[axis..=axis] })
}

/// The kernel for any slices.
pub fn slices(cx: &PrepareCuda<'_>, slices: &Slices<'_>) -> Result<Option<CudaKernel>> {
    let (size, wide) = (cx.outputs[0].dtype.size(), cx.input(1).info.dtype == DType::I64);
    let (word, len) = words(size, slices.len, []);
    let batch = len * slices.extents.iter().product::<usize>();
    let total = cx.outputs[0].numel() / slices.len * len;
    let launch = cx.threads(&MODULE, &format!("gather_b{}", 8 * word), total)?.input(0).input(1).output(0).value(total as u32);
    let ([a, b, c], [d, e, f]) = (divisor(len), divisor(slices.count));
    let (shared, axes) = (slices.shared.into(), slices.extents.len() as u32);
    let parameters = [a, b, c, d, e, f, batch as u32, shared, axes, wide.into()];
    launch.value(parameters).value(dims(slices.extents.iter().copied())).build().map(Some)
}
