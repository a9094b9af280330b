//! A copy for each output.

use crate::error::Result;
use crate::ops::strided_cuda::Copy;
use crate::ops::{CudaKernel, PrepareCuda};
use crate::tensor::normalize_axis;

/// The kernel.
pub fn prepare(cx: &PrepareCuda<'_>, axis: i64) -> Result<Option<CudaKernel>> {
    let dims = cx.dims(0);
    let axis = normalize_axis(axis, dims.len())?;
    let width = |dims: &[usize]| dims[axis..].iter().product::<usize>();
    let (rows, total) = (dims[..axis].iter().product(), width(&dims));
    let mut start = 0;
    let mut copies = vec![];
    for (i, out) in cx.outputs.iter().enumerate() {
        let n = width(&out.dims);
        if n == 0 {
            continue;
        }
        let axes = [(rows, total as isize, n as isize), (n, 1, 1)];
        copies.extend(Copy::new(out.dtype.size(), (start, 0), axes).kernel(cx, 0, i)?);
        start += n;
    }
    Ok(Some(Box::new(copies)))
}
