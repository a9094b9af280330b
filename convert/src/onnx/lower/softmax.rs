//! Softmax and its relatives.

use super::{Cx, Table};
use crate::emit::Extent;
use crate::onnx::model::Node;
use infer::error::Result;
use infer::graph::ValueId;
use infer::ops::Softmax;
use infer::ops::softmax::SoftmaxKind;
use infer::tensor::normalize_axis;

pub const TABLE: Table = &[
    ("Hardmax", |cx, n| softmax(cx, n, SoftmaxKind::Hardmax)),
    ("LogSoftmax", |cx, n| softmax(cx, n, SoftmaxKind::LogSoftmax)),
    ("Softmax", |cx, n| softmax(cx, n, SoftmaxKind::Softmax)),
];

/// Before opset 13, all axes from the given one on are taken together.
fn softmax(cx: &mut Cx<'_>, n: &Node, kind: SoftmaxKind) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    let rank = cx.b.rank(x);
    let axis = n.int("axis", if n.opset < 13 { 1 } else { -1 })?;
    if n.opset >= 13 {
        return Ok(vec![cx.b.emit1(Softmax { kind, axis }, &[x])?]);
    }
    // An axis equal to the rank leaves single elements.
    let axis = if axis == rank as i64 { rank } else { normalize_axis(axis, rank)? };
    if axis + 1 == rank {
        return Ok(vec![cx.b.emit1(Softmax { kind, axis: -1 }, &[x])?]);
    }
    let all: Vec<Extent> = (0..rank).map(|i| (x, i)).collect();
    let flat = cx.b.reshape_as(x, &[all[..axis].to_vec(), all[axis..].to_vec()])?;
    let y = cx.b.emit1(Softmax { kind, axis: 1 }, &[flat])?;
    let back: Vec<Vec<Extent>> = all.into_iter().map(|e| vec![e]).collect();
    Ok(vec![cx.b.reshape_as(y, &back)?])
}
