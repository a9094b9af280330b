//! A thread for each 16 bytes of floats where the operands are vectors of them, otherwise for each element.

use super::{Binary, BinaryKind};
use crate::cuda::{Launch, Module};
use crate::error::Result;
use crate::ops::{CudaKernel, PrepareCuda, Walk, activation};
use crate::tensor::DType;

static MODULE: Module = crate::cuda_module!("binary");

/// A kernel for every type but f64 (even as an exponent); there is none for powers of integers to floats.
pub fn prepare(op: &Binary, cx: &PrepareCuda<'_>) -> Result<Option<CudaKernel>> {
    let (kind, order) = op.kind.ordered();
    let (a, b) = (cx.input(order[0]).info, cx.input(order[1]).info);
    let walk = Walk::broadcast(&cx.out_dims(0), [&a.dims, &b.dims])?;
    let power = kind == BinaryKind::Pow && (a.dtype != b.dtype || a.dtype.is_int());
    if [a.dtype, b.dtype].contains(&DType::F64) || power && a.dtype.is_int() && b.dtype.is_float() {
        return Ok(None);
    }
    let n = cx.outputs[0].numel();
    let launch = |name: &str, threads: usize| -> Result<Launch> {
        let launch = cx.threads(&MODULE, name, threads)?;
        Ok(launch.input(order[0]).input(order[1]).output(0).value(n as u32).structure(&walk.words()))
    };
    let (code, dtype) = (kind as u32, a.dtype);
    let launch = if power {
        launch("binary_power", n)?.value(dtype as u32).value(b.dtype as u32)
    } else if !dtype.is_float() {
        launch("binary_integer", n)?.value(code).value(dtype as u32).value(8 * dtype.size() as u32)
    } else {
        let wide = 16 / dtype.size();
        let activation = activation::words(op.activation);
        match !kind.is_relation() && walk.inner_len().is_multiple_of(wide) {
            true => launch(&format!("binary_{dtype}_wide"), n / wide)?.value(code).value(activation),
            false => launch("binary_float", n)?.value(code).value(activation).value(dtype as u32),
        }
    };
    launch.build().map(Some)
}
