//! Cumulative sums and products.

use super::{Cx, Table};
use crate::onnx::model::Node;
use infer::error::Result;
use infer::graph::ValueId;
use infer::ops::Cumulative;
use infer::ops::cumulative::CumulativeKind;

pub const TABLE: Table = &[
    ("CumProd", |cx, n| cumulative(cx, n, CumulativeKind::Prod)),
    ("CumSum", |cx, n| cumulative(cx, n, CumulativeKind::Sum)),
];

fn cumulative(cx: &mut Cx<'_>, n: &Node, kind: CumulativeKind) -> Result<Vec<ValueId>> {
    let (mut x, axis) = (cx.input(n, 0)?, cx.input(n, 1)?);
    let (exclusive, reverse) = (n.flag("exclusive", false)?, n.flag("reverse", false)?);
    let op = |axis| Cumulative { kind, axis, exclusive, reverse };
    if let Some([axis]) = cx.b.known_ints(axis).as_deref() {
        return Ok(vec![cx.b.emit1(op(*axis), &[x])?]);
    }
    let rank = cx.b.rank(x);
    let mask = cx.axis_mask(axis, rank)?;
    for i in 0..rank {
        x = cx.if_axis(mask, i, x, |b, x| b.emit1(op(i as i64), &[x]))?;
    }
    Ok(vec![x])
}
