//! A dense 1 x 1 convolution of a 1 x 1 depthwise one: scale and bias per channel and an activation in front of a product,
//! which networks have that normalise before they convolve. Their f32 kernel scales what it multiplies on the way.
#![allow(unsafe_code, reason = "calls products on raw parts of the output")]

use super::{Conv, FIRST};
use crate::cpu::Activation;
use crate::cpu::gemm::scaled::{ScaledGemm, Scaling};
use crate::cpu::gemm::{Output, StridedRows, packed_len};
use crate::error::Result;
use crate::ops::{Kernel, Prepare, rows_apart};
use crate::tensor::{Args, DType, Grid, Layout};
use std::ptr;

struct Scaled {
    plan: ScaledGemm,
    pixels: usize,
    channels: (usize, usize),
    /// Elements from one pixel to the next, of the input and of the output.
    strides: (usize, usize),
    /// Of the first convolution and of the second.
    activations: (Activation, Activation),
}

/// The kernel for both convolutions; see [`fuse`](super::fuse).
pub fn prepare(first: (&Conv, &Prepare<'_>), second: (&Conv, &Prepare<'_>)) -> Result<Option<Box<dyn Kernel>>> {
    let (scales, before) = (identity(first), first.1.input(1).layout);
    let depthwise = first.0.groups as usize == first.1.dims(1)[0] && first.1.dims(1).last() == Some(&1);
    let dense = second.0.groups == 1 && second.1.input(1).layout == Layout::ConvPanels { groups: 1 };
    let plain = scales && matches!(before, Layout::RowMajor | Layout::Depthwise) && first.1.optional(3).is_none();
    if !(plain && depthwise && dense && identity(second)) {
        return Ok(None);
    }
    let (x, out) = (second.1.dims(0), second.1.out_dims(0));
    let pixels = out[..out.len() - 1].iter().product();
    let channels = (x[x.len() - 1], out[out.len() - 1]);
    let plan = ScaledGemm::new(second.1.target(), pixels, channels.1, channels.0)?;
    let activations = (first.0.activation, second.0.activation);
    Ok(Some(Box::new(Scaled { plan, pixels, channels, strides: channels, activations })))
}

/// Whether this is a convolution of f32, channels last, whose window maps each pixel to itself.
fn identity((op, cx): (&Conv, &Prepare<'_>)) -> bool {
    let float = cx.outputs[0].dtype == DType::F32;
    float && !op.channels_first_input && op.shape(&cx.dims(0), &cx.dims(1)).window.is_identity()
}

impl Kernel for Scaled {
    fn phases(&self) -> Vec<Grid> {
        vec![Grid::rows(self.plan.parts(), self.plan.parts())]
    }

    fn scratch_bytes(&self) -> usize {
        self.plan.scratch_bytes()
    }

    fn set_apart(&mut self, stride: usize) -> bool {
        self.strides.1 = stride;
        true
    }

    fn read_apart(&mut self, input: usize, stride: usize) -> bool {
        if input == 0 {
            self.strides.0 = stride;
        }
        input == 0
    }

    fn run(&self, _phase: usize, args: &mut Args<'_>) -> Result<()> {
        let (parts, _) = args.ranges();
        let scratch = args.scratch::<u8>().as_mut_ptr();
        let (depth, channels) = self.channels;
        let (x, weights, factors) = (args.input::<f32>(0), args.input::<f32>(1), args.input::<f32>(FIRST));
        let (out, out_len) = (args.raw_output(0), rows_apart(self.pixels, channels, self.strides.1));
        assert!(x.len() == rows_apart(self.pixels, depth, self.strides.0) && factors.len() >= depth);
        assert!(weights.len() == packed_len(channels, depth)? && out.byte_len() == out_len * size_of::<f32>());
        let optional = |input: usize| args.optional::<f32>(input).map_or(ptr::null(), |x| x.as_ptr());
        let rows = StridedRows { data: x.as_ptr(), stride: self.strides.0 };
        let scaling =
            Scaling { factors: factors.as_ptr(), shifts: optional(FIRST + 1), activation: self.activations.0 };
        let output = Output {
            data: out.as_ptr().cast(),
            stride: self.strides.1,
            bias: optional(2),
            residual: optional(3),
            residual_stride: channels,
            activation: self.activations.1,
        };
        for part in parts {
            // SAFETY: the operands have the planned extents, which `infer` has checked; parts write disjoint parts of
            // the output, and the scratch memory was asked for.
            unsafe { self.plan.run_part(part, (&rows, &scaling), weights.as_ptr(), &output, scratch) };
        }
        Ok(())
    }
}
