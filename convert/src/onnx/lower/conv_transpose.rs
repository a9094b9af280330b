//! Transposed convolutions.

use super::conv::groups;
use super::window::{AutoPad, check_len, given_pads, positive, unsigned};
use super::{Cx, Table};
use crate::onnx::model::Node;
use infer::error::{Error, Result};
use infer::graph::ValueId;
use infer::ops::ConvTranspose;
use infer::ops::window::Window;
use infer::tensor::Dim;

pub const TABLE: Table = &[("ConvTranspose", conv_transpose)];

fn conv_transpose(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (x, w, bias) = (cx.input(n, 0)?, cx.input(n, 1)?, cx.optional(n, 2)?);
    let kernel = cx.kernel(n, w)?;
    let spatial = cx.spatial(x, kernel.len())?;
    let groups = groups(n)?;
    let (window, output_padding) = window(n, &spatial, &kernel)?;
    let op = ConvTranspose { window, output_padding, groups, ..ConvTranspose::default() };
    let (x, w) = (cx.b.channels_last(x)?, weights(cx, w, groups)?);
    let y = cx.b.emit(op, &[Some(x), Some(w), bias])?[0];
    Ok(vec![cx.b.channels_first(y)?])
}

/// Weights `[C, OC / groups, taps..]` as `[OC, taps.., C / groups]`.
fn weights(cx: &mut Cx<'_>, w: ValueId, groups: u32) -> Result<ValueId> {
    let rank = cx.b.rank(w);
    if groups == 1 {
        let perm: Vec<usize> = (1..rank).chain([0]).collect();
        return cx.b.transpose(w, &perm);
    }
    let dims = cx.b.dims(w);
    let channels = dims[0].fixed().filter(|c| c % i64::from(groups) == 0);
    let channels = channels.ok_or_else(|| Error::shape(format!("weights {} in {groups} groups", cx.b.ty(w))))?;
    let each = Dim::Fixed(channels / i64::from(groups));
    let split = [&[Dim::Fixed(groups.into()), each.clone()], &dims[1..]].concat();
    let split = cx.b.reshape_to(w, &split)?;
    let perm: Vec<usize> = [0].into_iter().chain(2..rank + 1).chain([1]).collect();
    let split = cx.b.transpose(split, &perm)?;
    let out_channels = dims[1].mul(&Dim::Fixed(groups.into()));
    cx.b.reshape_to(split, &[&[out_channels], &dims[2..], &[each]].concat())
}

/// The node's window over extents `spatial`, and what it adds to the output's extents.
fn window(n: &Node, spatial: &[Dim], kernel: &[usize]) -> Result<(Window, Vec<u32>)> {
    let rank = spatial.len();
    let (strides, dilations) = (positive(n, "strides", rank)?, positive(n, "dilations", rank)?);
    let mut extra = n.ints("output_padding")?.map_or_else(|| vec![0; rank], <[i64]>::to_vec);
    check_len("output_padding", extra.len(), rank)?;
    let mut pads = given_pads(n, rank)?;
    let auto = AutoPad::read(n)?;
    let extents = output_shape(n, rank)?;
    if extents.is_none() && auto == AutoPad::Valid {
        pads.fill(0);
    }
    for i in 0..rank {
        let stride = i64::from(strides[i]);
        let reach = (kernel[i] as i64 - 1).saturating_mul(dilations[i].into()).saturating_add(1);
        let full = reach.saturating_add(extra[i]);
        let total = match (extents, auto) {
            (Some(extents), _) => {
                let about = "output_shape for an input whose extents are not numbers";
                let input = spatial[i].fixed().ok_or_else(|| Error::unsupported(about))?;
                (input - 1).saturating_mul(stride).saturating_add(full).saturating_sub(extents[i])
            }
            // The output's extent is the input's times the stride.
            (None, AutoPad::SameUpper | AutoPad::SameLower) => full.saturating_sub(stride),
            (None, AutoPad::Given | AutoPad::Valid) => continue,
        };
        // Where the windows do not reach so far, the output goes on behind them.
        extra[i] = extra[i].saturating_sub(total.min(0));
        let total = total.max(0);
        let (less, more) = (total / 2, total - total / 2);
        (pads[i], pads[i + rank]) = if auto == AutoPad::SameUpper { (less, more) } else { (more, less) };
    }
    Ok((Window { strides, pads: unsigned(&pads)?, dilations }, unsigned(&extra)?))
}

/// The output's spatial extents, if they are given. Batch and channels in front of them are ignored.
fn output_shape(n: &Node, rank: usize) -> Result<Option<&[i64]>> {
    let Some(extents) = n.ints("output_shape")? else { return Ok(None) };
    let extents = if extents.len() == rank + 2 { &extents[2..] } else { extents };
    check_len("output_shape", extents.len(), rank)?;
    if extents.iter().any(|&e| e < 0) {
        return Err(Error::format(format!("output_shape {extents:?}")));
    }
    Ok(Some(extents))
}
