//! Convolutions by cuDNN, where it is installed and faster: what of one it computes itself, and what is left to the kernel that
//! ends products.

use super::Window;
use crate::cpu::Activation;
use crate::cpu::conv::ConvShape;
use crate::cuda::dnn::{Convolution, Function, faster};
use crate::error::Result;
use crate::ops::matmul::cuda::gemm::Slices;
use crate::ops::{CudaKernel, PrepareCuda};
use crate::tensor::DType;

/// The kernel for a convolution of an input that has elements: `own`, or a faster one.
pub fn prepare(window: &Window, own: CudaKernel, cx: &PrepareCuda<'_>) -> Result<CudaKernel> {
    if cx.device.dnn().is_err() {
        return Ok(own);
    }
    let finish = window.all_groups().finish(cx, Slices::ONE)?;
    Ok(faster(cx.device, convolution(window, cx), own, finish, &cx.scratch()?))
}

fn convolution(window: &Window, cx: &PrepareCuda<'_>) -> Convolution {
    let ConvShape { batch, groups, in_channels, out_channels, input, window: w } = window.geometry.shape;
    let dtype = cx.outputs[0].dtype;
    Convolution {
        dtype,
        tf32: cx.tf32 && dtype == DType::F32,
        batch,
        in_channels,
        out_channels,
        groups,
        input,
        output: window.geometry.output,
        kernel: w.kernel,
        stride: w.stride,
        dilation: w.dilation,
        pad_begin: w.pad_begin,
        pad_end: w.pad_end,
        channels_first: window.geometry.channels_first,
        bias: cx.optional(2).is_some(),
        residual: cx.optional(3).is_some(),
        function: function(window.activation, dtype),
    }
}

/// The library's function, if it has it. Of those that it may approximate, it is asked where f32 would not show that.
fn function(activation: Activation, dtype: DType) -> Option<Function> {
    let exact = match activation {
        Activation::None => Some(Function::Identity),
        Activation::Relu => Some(Function::Relu),
        // Infinite bounds are not told apart from the largest number there.
        Activation::Clip { lo, hi } if lo.is_finite() && hi.is_finite() => Some(Function::Clip(lo, hi)),
        Activation::LeakyRelu { alpha } => Some(Function::LeakyRelu(alpha)),
        _ => None,
    };
    let close = || match activation {
        Activation::Elu { alpha } => Some(Function::Elu(alpha)),
        Activation::Sigmoid => Some(Function::Sigmoid),
        Activation::Tanh => Some(Function::Tanh),
        Activation::Silu => Some(Function::Swish),
        Activation::Gelu => Some(Function::Gelu),
        Activation::GeluTanh => Some(Function::GeluTanh),
        Activation::Softplus => Some(Function::Softplus),
        _ => None,
    };
    exact.or_else(|| if dtype == DType::F32 { None } else { close() })
}
