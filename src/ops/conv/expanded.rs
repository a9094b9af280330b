//! A depthwise convolution of a dense 1 x 1 one, as inverted residuals begin. Their f32 kernel keeps what lies between
//! them in a near cache.
#![allow(unsafe_code, reason = "calls convolution plans on raw parts of the output")]

use super::{Conv, FIRST, Geometry};
use crate::cpu::Activation;
use crate::cpu::conv::{self, ConvArgs};
use crate::cpu::gemm::{Output, packed_len};
use crate::error::Result;
use crate::ops::{Kernel, Prepare, rows_apart};
use crate::tensor::{Args, DType, Grid, Layout};
use std::ptr;

pub(super) struct Expanded {
    plan: conv::Expanded,
    /// Pixels of the input and of the output.
    pixels: (usize, usize),
    /// Channels of the input and of the output.
    channels: (usize, usize),
    /// Elements from one pixel to the next, of the input and of the output.
    strides: (usize, usize),
    /// Of the first convolution and of the second.
    activations: (Activation, Activation),
}

/// The kernel for both convolutions, if it is faster than one for each; see [`fuse`](super::fuse).
pub fn prepare(first: (&Conv, &Prepare<'_>), second: (&Conv, &Prepare<'_>)) -> Result<Option<Box<dyn Kernel>>> {
    let kernel = plan(first, second)?.filter(|kernel| kernel.plan.pays());
    Ok(kernel.map(|kernel| Box::new(kernel) as Box<dyn Kernel>))
}

/// The kernel for both convolutions; None where there is none for such a pair.
pub(super) fn plan(first: (&Conv, &Prepare<'_>), second: (&Conv, &Prepare<'_>)) -> Result<Option<Expanded>> {
    let (expand, depthwise) = (Geometry::new(first.0, first.1), Geometry::new(second.0, second.1));
    let ready = |cx: &Prepare<'_>, of: &Geometry, layout: Layout| {
        cx.outputs[0].dtype == DType::F32 && !of.channels_first && cx.input(1).layout == layout
    };
    let dense = ready(first.1, &expand, Layout::ConvPanels { groups: 1 }) && expand.shape.groups == 1;
    let plain = dense && expand.shape.window.is_identity() && first.1.optional(3).is_none();
    let shape = &depthwise.shape;
    let each_channel = shape.group_in() == 1 && shape.group_out() == 1;
    if !(plain && each_channel && ready(second.1, &depthwise, Layout::Depthwise)) {
        return Ok(None);
    }
    let channels = (expand.shape.in_channels, shape.out_channels);
    let Some(plan) = conv::Expanded::new(first.1.target(), channels.0, shape)? else { return Ok(None) };
    let count = |extents: [usize; 3]| shape.batch * extents.iter().product::<usize>();
    let pixels = (count(shape.input), count(depthwise.output));
    let activations = (first.0.activation, second.0.activation);
    Ok(Some(Expanded { plan, pixels, channels, strides: channels, activations }))
}

impl Kernel for Expanded {
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
            self.plan = self.plan.reading_apart(stride);
        }
        input == 0
    }

    fn run(&self, _phase: usize, args: &mut Args<'_>) -> Result<()> {
        let (parts, _) = args.ranges();
        let scratch = args.scratch::<u8>().as_mut_ptr();
        let (depth, channels) = self.channels;
        let (x, expand, taps) = (args.input::<f32>(0), args.input::<f32>(FIRST), args.input::<f32>(1));
        let (out, out_len) = (args.raw_output(0), rows_apart(self.pixels.1, channels, self.strides.1));
        assert!(x.len() == rows_apart(self.pixels.0, depth, self.strides.0) && expand.len() == packed_len(channels, depth)?);
        assert!(out.byte_len() == out_len * size_of::<f32>());
        let optional = |input: usize| args.optional::<f32>(input).map_or(ptr::null(), |x| x.as_ptr());
        let between = Output::new(ptr::null_mut(), 0);
        let expand = ConvArgs {
            input: x.as_ptr(),
            weights: expand.as_ptr(),
            output: Output { bias: optional(FIRST + 1), activation: self.activations.0, ..between },
        };
        let output = Output {
            data: out.as_ptr().cast(),
            stride: self.strides.1,
            bias: optional(2),
            residual: optional(3),
            residual_stride: channels,
            activation: self.activations.1,
        };
        let depthwise = ConvArgs { input: ptr::null(), weights: taps.as_ptr(), output };
        for part in parts {
            // SAFETY: the operands have the planned extents, which `infer` has checked; parts write disjoint parts of the
            // output, and the scratch memory was asked for.
            unsafe { self.plan.run(part, &expand, &depthwise, scratch) };
        }
        Ok(())
    }
}
