//! Three launches: extremes of each block, the scale and zero point that follow from them, the quantization.

use super::DynamicQuantize;
use crate::cuda::{Launch, Module, blocks};
use crate::error::Result;
use crate::ops::{CudaKernel, PrepareCuda};

static MODULE: Module = crate::cuda_module!("dynamic_quantize");

/// Most blocks that look for extremes, and elements of a thread in one and in the quantization.
const MOST: u32 = 512;
const EACH: usize = 8;
const WIDE: usize = 4;

/// A kernel for every input.
pub fn prepare(_: &DynamicQuantize, cx: &PrepareCuda<'_>) -> Result<Option<CudaKernel>> {
    let n = cx.input(0).info.numel();
    let count = blocks(n.div_ceil(EACH)).min(MOST);
    let pair = size_of::<[f32; 2]>();
    // The scale and zero point lie behind the extremes.
    let extremes = (count as usize * pair).next_multiple_of(256);
    let function = |name: &str| cx.function(&MODULE, name);

    let first = Launch::new(function("dynamic_quantize_extremes")?, [count, 1, 1]);
    let first = first.input(0).workspace(0, extremes).value(n as u32);
    let second = Launch::new(function("dynamic_quantize_scale")?, [1, 1, 1]);
    let mut second = second.workspace(0, extremes).value(count).workspace(extremes, pair);
    for output in [1, 2] {
        second = if output < cx.outputs.len() { second.output(output) } else { second.value(0u64) };
    }
    let third = Launch::new(function("dynamic_quantize")?, [blocks(n.div_ceil(WIDE)), 1, 1]);
    let third = third.input(0).output(0).workspace(extremes, pair).value(n as u32);
    Ok(Some(Box::new(vec![first.build()?, second.build()?, third.build()?])))
}
