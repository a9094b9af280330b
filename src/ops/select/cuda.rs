//! A thread for each 16 bytes of results where all operands are vectors along them or single values, otherwise for each element.

use super::Where;
use crate::cuda::Module;
use crate::error::Result;
use crate::ops::{CudaKernel, PrepareCuda, Walk};

static MODULE: Module = crate::cuda_module!("select");

/// A kernel for every type.
pub fn prepare(_: &Where, cx: &PrepareCuda<'_>) -> Result<Option<CudaKernel>> {
    let [c, x, y] = [cx.dims(0), cx.dims(1), cx.dims(2)];
    let walk = Walk::broadcast(&cx.out_dims(0), [&c, &x, &y])?;
    let (n, size) = (cx.outputs[0].numel(), cx.outputs[0].dtype.size());
    let wide = 16 / size;
    let (suffix, threads) = if walk.inner_len().is_multiple_of(wide) { ("_wide", n / wide) } else { ("", n) };
    let launch = cx.threads(&MODULE, &format!("select_b{}{suffix}", 8 * size), threads)?.input(0).input(1).input(2).output(0);
    launch.value(n as u32).structure(&walk.words()).build().map(Some)
}
