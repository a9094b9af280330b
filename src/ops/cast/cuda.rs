//! Between f32 and narrower floats, a thread for each 8 elements; otherwise for each one.

use super::Cast;
use crate::cuda::Module;
use crate::error::Result;
use crate::ops::cuda::is_single;
use crate::ops::{CudaKernel, PrepareCuda};
use crate::tensor::DType;

static MODULE: Module = crate::cuda_module!("cast");

/// Elements of a thread of the kernels between f32 and narrower floats.
const WIDE: usize = 8;

/// A kernel for every pair of types.
pub fn prepare(op: &Cast, cx: &PrepareCuda<'_>) -> Result<Option<CudaKernel>> {
    let (x, n) = (cx.input(0).info.dtype, cx.input(0).info.numel());
    let rounded = is_single(x) && is_single(op.to) && (x == DType::F32) != (op.to == DType::F32);
    let (name, threads) = match x {
        _ if rounded => (format!("cast_{x}_{}", op.to), n.div_ceil(WIDE)),
        _ if is_single(x) => ("cast_float".into(), n),
        DType::F64 => ("cast_double".into(), n),
        DType::U64 => ("cast_u64".into(), n),
        _ => ("cast_integer".into(), n),
    };
    let launch = cx.threads(&MODULE, &name, threads)?.input(0).output(0).value(n as u32);
    let launch = if rounded { launch } else { launch.value(x as u32).value(op.to as u32) };
    launch.build().map(Some)
}
