//! A thread for each 16 bytes of results where all operands are vectors along them or single values, otherwise for each element.

use super::Where;
use crate::cuda::{Launch, Module, blocks};
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
    let function = cx.function(&MODULE, &format!("where_b{}{suffix}", 8 * size))?;
    let launch = Launch::new(function, [blocks(threads), 1, 1]).input(0).input(1).input(2).output(0);
    walk.give(launch.value(n as u32)).build().map(Some)
}
