//! Operators that find elements: by value, rank, position or overlap.

use super::{Cx, Table};
use crate::onnx::model::Node;
use infer::error::{Error, Result};
use infer::graph::ValueId;
use infer::ops::{NonMaxSuppression, NonZero, ReverseSequence, TopK, Trilu, Unique};
use infer::tensor::normalize_axis;

pub const TABLE: Table = &[
    ("Compress", compress),
    ("NonMaxSuppression", non_max_suppression),
    ("NonZero", non_zero),
    ("ReverseSequence", reverse_sequence),
    ("TopK", top_k),
    ("Trilu", trilu),
    ("Unique", unique),
];

/// Slices along an axis (elements, without one) for which a condition holds; it may be shorter than the axis.
fn compress(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (mut x, condition) = (cx.input(n, 0)?, cx.input(n, 1)?);
    let axis = match n.attribute::<i64>("axis")? {
        Some(axis) => normalize_axis(axis, cx.b.rank(x))?,
        None => {
            x = cx.b.reshape(x, &[-1])?;
            0
        }
    };
    let chosen = cx.b.emit1(NonZero, &[condition])?;
    let chosen = cx.b.reshape(chosen, &[-1])?;
    Ok(vec![cx.b.gather(x, chosen, axis)?])
}

fn non_zero(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    Ok(vec![cx.b.emit1(NonZero, &[x])?])
}

/// `k` is an attribute before opset 10; the smallest elements can be asked for since opset 11.
fn top_k(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    let k = if n.opset < 10 { cx.b.ints(&[n.required("k")?])? } else { cx.input(n, 1)? };
    let (axis, largest, sorted) = (n.int("axis", -1)?, n.flag("largest", true)?, n.flag("sorted", true)?);
    cx.b.emit(TopK { axis, largest, sorted }, &[Some(x), Some(k)])
}

fn trilu(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (x, k) = (cx.input(n, 0)?, cx.optional(n, 1)?);
    let k = k.map(|k| cx.single(k)).transpose()?;
    let inputs = [Some(x), k];
    let upper = n.flag("upper", true)?;
    cx.b.emit(Trilu { upper }, if k.is_some() { &inputs } else { &inputs[..1] })
}

fn unique(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    let (axis, sorted) = (n.attribute("axis")?, n.flag("sorted", true)?);
    cx.b.emit(Unique { axis, sorted }, &[Some(x)])
}

fn reverse_sequence(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (x, lengths) = (cx.input(n, 0)?, cx.input(n, 1)?);
    let (batch_axis, time_axis) = (n.int("batch_axis", 1)?, n.int("time_axis", 0)?);
    Ok(vec![cx.b.emit1(ReverseSequence { batch_axis, time_axis }, &[x, lengths])?])
}

fn non_max_suppression(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let mut inputs = cx.optional_inputs(n)?;
    if inputs.len() < 2 || inputs.len() > 5 {
        return Err(Error::format(format!("{} inputs", inputs.len())));
    }
    for v in inputs[2..].iter_mut() {
        *v = v.map(|v| cx.single(v)).transpose()?;
    }
    let center_point_box = n.flag("center_point_box", false)?;
    cx.b.emit(NonMaxSuppression { center_point_box }, &inputs)
}
