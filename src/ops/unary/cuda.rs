//! A thread for each 16 bytes of floats, or for each integer.

use super::{Unary, UnaryKind};
use crate::cuda::{Launch, Module};
use crate::error::Result;
use crate::ops::cuda::is_single;
use crate::ops::{CudaKernel, PrepareCuda};
use crate::tensor::DType;

static MODULE: Module = crate::cuda_module!("unary");

/// A kernel for every type but f64.
pub fn prepare(op: &Unary, cx: &PrepareCuda<'_>) -> Result<Option<CudaKernel>> {
    let x = cx.input(0).info;
    let (n, size) = (x.numel(), x.dtype.size());
    let launch = |name: &str, threads: usize| -> Result<Launch> {
        Ok(cx.threads(&MODULE, name, threads)?.input(0).output(0).value(n as u32))
    };
    let launch = match op.kind {
        _ if x.dtype == DType::F64 => return Ok(None),
        UnaryKind::IsNan | UnaryKind::IsInf => {
            let infinite = |asked: f32| u32::from(op.kind == UnaryKind::IsInf && asked != 0.0);
            let nan = u32::from(op.kind == UnaryKind::IsNan);
            let launch = launch("unary_test", n)?.value(x.dtype as u32);
            launch.value(nan).value(infinite(op.alpha)).value(infinite(op.beta))
        }
        kind if is_single(x.dtype) => {
            let launch = launch(&format!("unary_{}", x.dtype), n.div_ceil(16 / size))?;
            launch.value(kind as u32).value(op.alpha).value(op.beta)
        }
        kind => {
            let launch = launch("unary_integer", n)?.value(x.dtype as u32);
            launch.value(kind as u32).value(u32::from(x.dtype.is_signed()))
        }
    };
    launch.build().map(Some)
}
