//! A copy for each input.

use super::Concat;
use crate::error::Result;
use crate::ops::strided_cuda::Copy;
use crate::ops::{CudaKernel, PrepareCuda};
use crate::tensor::normalize_axis;

/// The kernel.
pub fn prepare(op: &Concat, cx: &PrepareCuda<'_>) -> Result<Option<CudaKernel>> {
    let out = cx.outputs[0];
    let axis = normalize_axis(op.axis, out.dims.len())?;
    let width = |dims: &[usize]| dims[axis..].iter().product::<usize>();
    let rows = out.dims[..axis].iter().product();
    let inner: usize = out.dims[axis + 1..].iter().product();
    let mut end = 0;
    let mut copies = vec![];
    for i in 0..cx.inputs.len() {
        let from = cx.dims(i);
        let (first, count) = op.parts.get(i).copied().unwrap_or((0, from[axis]));
        if count == 0 {
            continue;
        }
        let axes = [(rows, width(&from) as isize, width(&out.dims) as isize), (count * inner, 1, 1)];
        copies.extend(Copy::new(out.dtype.size(), (first * inner, end), axes).kernel(cx, i, 0)?);
        end += count * inner;
    }
    Ok(Some(Box::new(copies)))
}
