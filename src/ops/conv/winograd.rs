//! Which convolutions run by Winograd's algorithm: those that gain from it, and whose transformed weights, four times the
//! size of the weights themselves, may be kept.
#![allow(unsafe_code, reason = "transforms weights through raw pointers")]

use super::Conv;
use crate::cpu::conv::{self, ConvShape, InputLayout, winograd_len, winograd_weights};
use crate::cpu::gemm::panels;
use crate::cpu::Isa;
use crate::error::Result;
use crate::ops::{Inputs, Prepare};
use crate::tensor::{Blob, DType, Dim, Layout, PANEL};

/// What an extent is taken for that is not known when a model is opened.
const USUAL_EXTENT: i64 = 64;

/// See [`OpDef::derives`](crate::ops::OpDef::derives).
pub fn wanted(op: &Conv, inputs: &Inputs<'_>) -> Option<(usize, usize)> {
    let (x, w) = (inputs.opt(0)?, inputs.opt(1)?);
    if x.dtype != DType::F32 || op.channels_first_input {
        return None;
    }
    let extent = |d: &Dim| usize::try_from(d.fixed().unwrap_or(USUAL_EXTENT)).ok();
    let x: Vec<usize> = x.shape.iter().map(extent).collect::<Option<_>>()?;
    let shape = op.shape(&x, &w.shape.as_fixed()?);
    let stride = shape.in_channels;
    // An unknown name is refused when a session is made.
    let isa = Isa::from_env().ok()?;
    conv::Conv::winograd(isa, &shape, InputLayout::ChannelsLast { stride }).ok()??;
    Some((1, bytes(&shape).ok()?))
}

/// The plan and its weights; None for a convolution that is better done directly.
pub fn prepare(shape: &ConvShape, layout: InputLayout, cx: &Prepare<'_>) -> Result<Option<(conv::Conv, Blob)>> {
    let weights = cx.input(1);
    let Some(packed) = weights.data.filter(|_| weights.layout == Layout::ConvPanels { groups: 1 }) else {
        return Ok(None);
    };
    let Some(plan) = conv::Conv::winograd(cx.isa, shape, layout)? else { return Ok(None) };
    let transform = |to: &mut [u8]| {
        let (from, panels) = (packed.slice::<f32>(), panels(shape.out_channels));
        assert_eq!(from.len(), panels * shape.window.taps() * shape.in_channels * PANEL);
        // SAFETY: the weights are as long as their layout says, the copy is as long as asked for, and only it is written.
        unsafe {
            winograd_weights(cx.isa, shape, from.as_ptr(), 0..panels, to.as_mut_ptr().cast());
        }
    };
    Ok(cx.derived.get(&packed, bytes(shape)?, transform).map(|copy| (plan, copy)))
}

fn bytes(shape: &ConvShape) -> Result<usize> {
    Ok(winograd_len(shape)? * size_of::<f32>())
}
