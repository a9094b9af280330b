//! Transposed convolutions: a product computes what each input pixel contributes by each tap, and outputs gather it; groups of few
//! channels are done directly. A library that knows the GPU better takes its place at [`prepare`].

use super::ConvTranspose;
use super::geometry::Geometry;
use crate::cpu::Activation;
use crate::cuda::{MAX_ELEMENTS, Module};
use crate::error::Result;
use crate::ops::cuda::is_single;
use crate::ops::matmul::cuda::gemm::{Axis, Gemm};
use crate::ops::{CudaKernel, PrepareCuda, activation};

static MODULE: Module = crate::cuda_module!("conv_transpose");

/// Least number of channels of a group of the input that are done as a product.
const LEAST_GROUP: usize = 8;

/// Most contributions that may be in memory: 256 MiB.
const MOST: usize = 64 << 20;

/// Reaches have to be smaller, so that coordinates do not wrap.
const MAX_EXTENT: usize = 1 << 30;

/// A kernel for f32, f16 and bf16.
pub fn prepare(op: &ConvTranspose, cx: &PrepareCuda<'_>) -> Result<Option<CudaKernel>> {
    if !is_single(cx.outputs[0].dtype) || cx.has_empty_input() {
        return Ok(None);
    }
    let geometry = Geometry::new(op, cx);
    let Geometry { output, window: w, .. } = geometry;
    if (0..3).any(|d| (output[d] + w.pad_begin[d]).max(w.kernel[d].saturating_mul(w.dilation[d])) >= MAX_EXTENT) {
        return Ok(None);
    }
    let gemm = product(&geometry);
    let contributions = geometry.groups * gemm.m * gemm.n;
    let direct = geometry.group_in < LEAST_GROUP || contributions > MOST.min(MAX_ELEMENTS);
    let kernel = if direct { compute(&geometry, op, cx) } else { gather(&geometry, &gemm, op, cx) };
    kernel.map(Some)
}

/// The products of all input pixels and the weights of all taps, a batch of groups.
fn product(geometry: &Geometry) -> Gemm {
    let Geometry { batch, groups, group_in, group_out, input, window, .. } = *geometry;
    let (m, n) = (batch * input.iter().product::<usize>(), group_out * window.taps());
    Gemm {
        operands: [0, 1],
        m,
        n,
        k: group_in,
        a: [geometry.in_channels(), 1],
        b: [1, group_in],
        y: [n, 1, m * n],
        bias: [0, 0],
        batch: if groups > 1 { vec![Axis { extent: groups, a: group_in, b: n * group_in, bias: 0 }] } else { vec![] },
        alpha: 1.0,
        activation: Activation::None,
    }
}

fn gather(geometry: &Geometry, gemm: &Gemm, op: &ConvTranspose, cx: &PrepareCuda<'_>) -> Result<CudaKernel> {
    let (product, slices) = gemm.sums(cx)?;
    let n = cx.outputs[0].numel();
    let launch = cx.threads(&MODULE, &format!("conv_transpose_gather_{}", cx.outputs[0].dtype), n)?;
    let launch = launch.workspace(0, product.workspace_bytes()).input(2).output(0);
    let launch = launch.structure(&words(geometry)).value(n as u32).value(slices as u32);
    Ok(Box::new(vec![product, launch.value(activation::words(op.activation)).build()?]))
}

fn compute(geometry: &Geometry, op: &ConvTranspose, cx: &PrepareCuda<'_>) -> Result<CudaKernel> {
    let n = cx.outputs[0].numel();
    let launch = cx.threads(&MODULE, &format!("conv_transpose_direct_{}", cx.outputs[0].dtype), n)?;
    let launch = launch.input(0).input(1).input(2).output(0);
    launch.structure(&words(geometry)).value(n as u32).value(activation::words(op.activation)).build()
}

/// Reach of `conv_transpose.cu`.
fn words(geometry: &Geometry) -> Vec<u32> {
    let Geometry { batch, groups, group_in, group_out, input, output, window: w } = *geometry;
    let extents = [input, output, w.kernel, w.stride, w.dilation, w.pad_begin].into_iter().flatten();
    [batch].into_iter().chain(extents).chain([groups, group_in, group_out]).map(|n| n as u32).collect()
}
