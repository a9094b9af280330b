//! Three launches: extremes of each block, the scale and zero point that follow from them, the quantization.

use super::DynamicQuantize;
use crate::cuda::{Module, blocks};
use crate::error::Result;
use crate::ops::{CudaKernel, PrepareCuda};

static MODULE: Module = crate::cuda_module!("dynamic_quantize");

/// Most blocks that look for extremes, and elements of a thread in one and in the quantization.
const MOST: usize = 512;
const EACH: usize = 8;
const WIDE: usize = 4;

/// A kernel for every input.
pub fn prepare(_: &DynamicQuantize, cx: &PrepareCuda<'_>) -> Result<Option<CudaKernel>> {
    let n = cx.input(0).info.numel();
    let count = (blocks(n.div_ceil(EACH)) as usize).min(MOST);
    let pair = size_of::<[f32; 2]>();
    // The scale and zero point lie behind the extremes.
    let extremes = (count * pair).next_multiple_of(256);

    let first = cx.grid(&MODULE, "dynamic_quantize_extremes", [count, 1, 1])?;
    let first = first.input(0).workspace(0, extremes).value(n as u32);
    let second = cx.grid(&MODULE, "dynamic_quantize_scale", [1, 1, 1])?;
    let mut second = second.workspace(0, extremes).value(count as u32).workspace(extremes, pair);
    for output in [1, 2] {
        second = if output < cx.outputs.len() { second.output(output) } else { second.value(0u64) };
    }
    let third = cx.threads(&MODULE, "dynamic_quantize", n.div_ceil(WIDE))?;
    let third = third.input(0).output(0).workspace(extremes, pair).value(n as u32);
    Ok(Some(Box::new(vec![first.build()?, second.build()?, third.build()?])))
}
