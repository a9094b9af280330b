//! A thread for each element of the output.

use crate::cuda::{Launch, Module, blocks, dims, divisors};
use crate::error::Result;
use crate::ops::{CudaKernel, PrepareCuda};
use crate::tensor::{DType, normalize_axis};

static MODULE: Module = crate::cuda_module!("gather_elements");

/// The kernel.
pub fn prepare(cx: &PrepareCuda<'_>, axis: i64) -> Result<Option<CudaKernel>> {
    let (from, to) = (cx.dims(0), cx.out_dims(0));
    let axis = normalize_axis(axis, from.len())?;
    let (count, size, wide) = (to.iter().product(), cx.outputs[0].dtype.size(), cx.input(1).info.dtype == DType::I64);
    let function = cx.function(&MODULE, &format!("gather_elements_b{}", 8 * size))?;
    let launch = Launch::new(function, [blocks(count), 1, 1]).input(0).input(1).output(0).value(count as u32);
    let strides = from.strides();
    let own = |i: usize| if i == axis { 0 } else { strides[i] };
    let launch = launch.value(u32::from(wide)).value(from[axis] as u32).value(strides[axis] as u32);
    let launch = launch.value(to.len() as u32).value(divisors(to.iter().copied()));
    launch.value(dims((0..to.len()).map(own))).build().map(Some)
}
