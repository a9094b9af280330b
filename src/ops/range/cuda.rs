//! A thread for each element.

use crate::cuda::{Launch, Module, blocks};
use crate::error::Result;
use crate::ops::{CudaKernel, PrepareCuda};

static MODULE: Module = crate::cuda_module!("range");

/// The kernel.
pub fn prepare(cx: &PrepareCuda<'_>) -> Result<Option<CudaKernel>> {
    let out = cx.outputs[0];
    let function = cx.function(&MODULE, &format!("range_{}", out.dtype))?;
    let launch = Launch::new(function, [blocks(out.numel()), 1, 1]).input(0).input(2).output(0);
    launch.value(out.numel() as u32).build().map(Some)
}
