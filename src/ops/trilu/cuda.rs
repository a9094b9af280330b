//! A thread for each element.

use crate::cuda::{Module, divisor};
use crate::error::Result;
use crate::ops::{CudaKernel, PrepareCuda};

static MODULE: Module = crate::cuda_module!("trilu");

/// The kernel.
pub fn prepare(cx: &PrepareCuda<'_>, upper: bool) -> Result<Option<CudaKernel>> {
    let info = cx.input(0).info;
    let (rank, count) = (info.dims.len(), info.numel());
    let launch = cx.threads(&MODULE, &format!("trilu_b{}", 8 * info.dtype.size()), count)?.input(0).input(1).output(0).value(count as u32);
    let launch = launch.value(u32::from(upper));
    launch.value(divisor(info.dims[rank - 1])).value(divisor(info.dims[rank - 2])).build().map(Some)
}
