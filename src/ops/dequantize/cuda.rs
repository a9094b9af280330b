//! A thread for each element.

use super::Dequantize;
use crate::cuda::Module;
use crate::error::Result;
use crate::ops::quantize::scales::Scales;
use crate::ops::{CudaKernel, PrepareCuda};

static MODULE: Module = crate::cuda_module!("dequantize");

/// A kernel for every type.
pub fn prepare(op: &Dequantize, cx: &PrepareCuda<'_>) -> Result<Option<CudaKernel>> {
    let (x, scale) = (cx.input(0).info, cx.input(1).info);
    let scales = Scales::new(&x, &scale, op.axis, op.block)?;
    let n = x.numel();
    let launch = cx.threads(&MODULE, "dequantize", n)?;
    let launch = launch.input(0).input(1).input(2).output(0).value(n as u32);
    let launch = launch.value(scales.words(scale.dtype, cx.optional(2).map(|zero| zero.info.dtype)));
    launch.value(x.dtype as u32).value(op.to as u32).build().map(Some)
}
