//! A thread for each element of the output.

use super::GridSample;
use crate::cuda::{Module, divisor};
use crate::error::Result;
use crate::ops::cuda::is_single;
use crate::ops::{CudaKernel, PrepareCuda};

static MODULE: Module = crate::cuda_module!("grid_sample");

/// Most axes that are sampled.
const AXES: usize = 3;

/// The kernel for f32, f16 and bf16, in up to three dimensions.
pub fn prepare(op: &GridSample, cx: &PrepareCuda<'_>) -> Result<Option<CudaKernel>> {
    let (from, out, grid) = (cx.dims(0), cx.outputs[0], cx.input(1).info.dtype);
    let last = from.len() - 1;
    let axes = last - 1;
    if axes > AXES || !is_single(out.dtype) || !is_single(grid) || cx.has_empty_input() {
        return Ok(None);
    }
    let (mut data, strides) = ([1, 1, 1, 0, 0, 0, 0], from.strides());
    for (slot, i) in (AXES - axes..AXES).zip(1..) {
        (data[slot], data[AXES + slot]) = (from[i] as u32, strides[i] as u32);
    }
    data[2 * AXES] = strides[0] as u32;
    let (count, points) = (out.numel(), out.dims[1..last].iter().product());
    let launch = cx.threads(&MODULE, "grid_sample", count)?.input(0).input(1).output(0).value(count as u32);
    let launch = launch.value(divisor(from[last])).value(divisor(points));
    let types = [out.dtype as u32, grid as u32];
    let sampling = [op.mode as u32, op.padding as u32, op.align_corners.into(), types[0], types[1], axes as u32];
    launch.value(sampling).value(data).build().map(Some)
}
