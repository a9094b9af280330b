//! A thread for each element of the output.

use crate::cuda::{Module, walk};
use crate::error::Result;
use crate::ops::{CudaKernel, PrepareCuda};
use crate::tensor::{DType, normalize_axis};

static MODULE: Module = crate::cuda_module!("gather_elements");

/// The kernel.
pub fn prepare(cx: &PrepareCuda<'_>, axis: i64) -> Result<Option<CudaKernel>> {
    let (from, to) = (cx.dims(0), cx.out_dims(0));
    let axis = normalize_axis(axis, from.len())?;
    let (count, size, wide) = (to.iter().product(), cx.outputs[0].dtype.size(), cx.input(1).info.dtype == DType::I64);
    let launch = cx.threads(&MODULE, &format!("gather_elements_b{}", 8 * size), count)?.input(0).input(1).output(0).value(count as u32);
    let strides = from.strides();
    let own = |i: usize| if i == axis { 0 } else { strides[i] };
    let launch = launch.value(u32::from(wide)).value(from[axis] as u32).value(strides[axis] as u32);
    launch.structure(&walk((0..to.len()).map(|i| (to[i], [own(i)])))).build().map(Some)
}
