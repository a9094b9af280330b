//! A thread for each element.

use crate::cuda::Module;
use crate::error::Result;
use crate::ops::{CudaKernel, PrepareCuda};

static MODULE: Module = crate::cuda_module!("range");

/// The kernel.
pub fn prepare(cx: &PrepareCuda<'_>) -> Result<Option<CudaKernel>> {
    let out = cx.outputs[0];
    let launch = cx.threads(&MODULE, &format!("range_{}", out.dtype), out.numel())?.input(0).input(2).output(0);
    launch.value(out.numel() as u32).build().map(Some)
}
