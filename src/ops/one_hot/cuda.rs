//! A thread for each element of the output.

use crate::cuda::{Module, divisor};
use crate::error::Result;
use crate::ops::{CudaKernel, PrepareCuda};

static MODULE: Module = crate::cuda_module!("one_hot");

/// The kernel for a depth along `axis` of the output.
pub fn prepare(cx: &PrepareCuda<'_>, axis: usize) -> Result<Option<CudaKernel>> {
    let out = cx.outputs[0];
    let inner = out.dims[axis + 1..].iter().product();
    let launch = cx.threads(&MODULE, &format!("one_hot_b{}", 8 * out.dtype.size()), out.numel())?.input(0).input(2).output(0);
    let launch = launch.value(out.numel() as u32).value(cx.input(0).info.dtype as u32);
    launch.value(divisor(inner)).value(divisor(out.dims[axis])).build().map(Some)
}
