//! A thread for 4 elements.

use super::Quantize;
use super::scales::Scales;
use crate::cuda::Module;
use crate::error::Result;
use crate::ops::{CudaKernel, PrepareCuda};
use crate::tensor::DType;

static MODULE: Module = crate::cuda_module!("quantize");

/// Elements of a thread.
const WIDE: usize = 4;

/// A kernel for every type.
pub fn prepare(op: &Quantize, cx: &PrepareCuda<'_>) -> Result<Option<CudaKernel>> {
    let (x, scale) = (cx.input(0).info, cx.input(1).info);
    let scales = Scales::new(&x, &scale, op.axis, op.block)?;
    let (low, high) = match op.to {
        DType::I8 => (i8::MIN.into(), i8::MAX.into()),
        DType::U16 => (u16::MIN.into(), u16::MAX.into()),
        DType::I16 => (i16::MIN.into(), i16::MAX.into()),
        _ => (f32::from(u8::MIN), f32::from(u8::MAX)),
    };
    let n = x.numel();
    let launch = cx.threads(&MODULE, "quantize", n.div_ceil(WIDE))?;
    let launch = launch.input(0).input(1).input(2).output(0).value(n as u32);
    let launch = launch.value(scales.words(scale.dtype, cx.optional(2).map(|zero| zero.info.dtype)));
    let [from, to, precision] = [x.dtype, op.to, op.divided_in(x.dtype, scale.dtype)].map(|dtype| dtype as u32);
    launch.value([from, to, precision, f32::to_bits(low), f32::to_bits(high)]).build().map(Some)
}
