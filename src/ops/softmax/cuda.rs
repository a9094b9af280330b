//! A team of threads for each row.

use super::Softmax;
use crate::cuda::Module;
use crate::error::Result;
use crate::ops::cuda::{Teams, is_single};
use crate::ops::{CudaKernel, PrepareCuda};
use crate::tensor::normalize_axis;

static MODULE: Module = crate::cuda_module!("softmax");

/// A kernel for f32, f16 and bf16.
pub fn prepare(op: &Softmax, cx: &PrepareCuda<'_>) -> Result<Option<CudaKernel>> {
    let x = cx.input(0).info;
    if !is_single(x.dtype) {
        return Ok(None);
    }
    let axis = normalize_axis(op.axis, x.dims.len())?;
    let (len, stride) = (x.dims[axis], x.dims[axis + 1..].iter().product::<usize>());
    let rows = x.numel() / len;
    let teams = Teams::new(rows, len, stride, true);
    let launch = teams.launch(cx, &MODULE, &format!("softmax_{}{}", x.dtype, teams.suffix()))?;
    let launch = launch.input(0).output(0).value(rows as u32).value(len as u32).value(stride as u32);
    launch.value(teams.lanes).value(op.kind as u32).build().map(Some)
}
