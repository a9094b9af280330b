//! Functions of two tensors, element by element, and of any number of them.

use super::{Cx, Table};
use crate::onnx::model::Node;
use infer::error::{Error, Result};
use infer::graph::ValueId;
use infer::ops::binary::BinaryKind;
use infer::tensor::normalize_axis;

pub const TABLE: Table = &[
    ("Add", |cx, n| binary(cx, n, BinaryKind::Add)),
    ("And", |cx, n| binary(cx, n, BinaryKind::And)),
    ("BitShift", bit_shift),
    ("BitwiseAnd", |cx, n| binary(cx, n, BinaryKind::BitAnd)),
    ("BitwiseOr", |cx, n| binary(cx, n, BinaryKind::BitOr)),
    ("BitwiseXor", |cx, n| binary(cx, n, BinaryKind::BitXor)),
    ("Div", |cx, n| binary(cx, n, BinaryKind::Div)),
    ("Equal", |cx, n| binary(cx, n, BinaryKind::Equal)),
    ("Greater", |cx, n| binary(cx, n, BinaryKind::Greater)),
    ("GreaterOrEqual", |cx, n| binary(cx, n, BinaryKind::GreaterOrEqual)),
    ("Less", |cx, n| binary(cx, n, BinaryKind::Less)),
    ("LessOrEqual", |cx, n| binary(cx, n, BinaryKind::LessOrEqual)),
    ("Max", |cx, n| variadic(cx, n, BinaryKind::Max)),
    ("Mean", mean),
    ("Min", |cx, n| variadic(cx, n, BinaryKind::Min)),
    ("Mod", modulo),
    ("Mul", |cx, n| binary(cx, n, BinaryKind::Mul)),
    ("Or", |cx, n| binary(cx, n, BinaryKind::Or)),
    ("PRelu", prelu),
    ("Pow", |cx, n| binary(cx, n, BinaryKind::Pow)),
    ("Sub", |cx, n| binary(cx, n, BinaryKind::Sub)),
    ("Sum", |cx, n| variadic(cx, n, BinaryKind::Add)),
    ("Xor", |cx, n| binary(cx, n, BinaryKind::Xor)),
];

fn binary(cx: &mut Cx<'_>, n: &Node, kind: BinaryKind) -> Result<Vec<ValueId>> {
    let (a, mut b) = (cx.input(n, 0)?, cx.input(n, 1)?);
    if n.opset < 7 {
        b = aligned(cx, n, a, b)?;
    }
    Ok(vec![cx.b.binary(kind, a, b)?])
}

/// `b` under a shape that broadcasts to `a` as before opset 7: only with `broadcast`, and with its first axis at `axis`.
fn aligned(cx: &mut Cx<'_>, n: &Node, a: ValueId, b: ValueId) -> Result<ValueId> {
    n.ints("consumed_inputs")?;
    let broadcast = n.flag("broadcast", false)?;
    let axis: Option<i64> = n.attribute("axis")?;
    let (rank, own) = (cx.b.rank(a), cx.b.rank(b));
    let Some(axis) = axis.filter(|_| broadcast && own > 0) else { return Ok(b) };
    let axis = normalize_axis(axis, rank)?;
    if axis + own > rank {
        return Err(Error::shape(format!("axis {axis} for {} and {}", cx.b.ty(a), cx.b.ty(b))));
    }
    cx.b.unsqueeze(b, &(own..rank - axis).collect::<Vec<_>>())
}

fn variadic(cx: &mut Cx<'_>, n: &Node, kind: BinaryKind) -> Result<Vec<ValueId>> {
    n.ints("consumed_inputs")?;
    let inputs = cx.inputs(n)?;
    let (&first, rest) = inputs.split_first().ok_or_else(|| Error::format("no inputs"))?;
    let mut y = first;
    for &x in rest {
        y = cx.b.binary(kind, y, x)?;
    }
    Ok(vec![y])
}

fn mean(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let sum = variadic(cx, n, BinaryKind::Add)?[0];
    Ok(vec![cx.b.binary_with(BinaryKind::Div, sum, n.inputs.len() as f64)?])
}

fn modulo(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let kind = if n.flag("fmod", false)? { BinaryKind::Fmod } else { BinaryKind::Mod };
    binary(cx, n, kind)
}

fn bit_shift(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let kind = match n.required::<&str>("direction")? {
        "LEFT" => BinaryKind::ShiftLeft,
        "RIGHT" => BinaryKind::ShiftRight,
        other => return Err(Error::format(format!("direction '{other}' is not defined"))),
    };
    binary(cx, n, kind)
}

/// Before opset 7, a slope of rank 1 stands for channels, whatever the input's rank.
fn prelu(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    n.ints("consumed_inputs")?;
    let (x, mut slope) = (cx.input(n, 0)?, cx.input(n, 1)?);
    let rank = cx.b.rank(x);
    if n.opset < 7 && cx.b.rank(slope) == 1 && rank > 2 && cx.b.dims(slope)[0].fixed() != Some(1) {
        slope = cx.b.unsqueeze(slope, &(1..rank - 1).collect::<Vec<_>>())?;
    }
    Ok(vec![cx.b.binary(BinaryKind::PRelu, x, slope)?])
}
