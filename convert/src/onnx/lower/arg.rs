//! Places of the largest and smallest elements.

use super::{Cx, Table};
use crate::onnx::model::Node;
use infer::error::Result;
use infer::graph::ValueId;
use infer::ops::TopK;
use infer::tensor::normalize_axis;

pub const TABLE: Table = &[("ArgMax", |cx, n| arg(cx, n, true)), ("ArgMin", |cx, n| arg(cx, n, false))];

/// TopK gives the first of equal elements; the last one is the first from behind.
fn arg(cx: &mut Cx<'_>, n: &Node, largest: bool) -> Result<Vec<ValueId>> {
    let mut x = cx.input(n, 0)?;
    let axis = normalize_axis(n.int("axis", 0)?, cx.b.rank(x))?;
    let last = n.flag("select_last_index", false)?;
    if last {
        x = cx.b.reverse(x, axis)?;
    }
    let one = cx.b.ints(&[1])?;
    let op = TopK { axis: axis as i64, largest, sorted: true };
    let mut places = cx.b.emit(op, &[Some(x), Some(one)])?[1];
    if last {
        let extent = cx.b.extent((x, axis))?;
        let end = cx.b.sub(extent, one)?;
        places = cx.b.sub(end, places)?;
    }
    let keep = n.flag("keepdims", true)?;
    Ok(vec![if keep { places } else { cx.b.squeeze(places, &[axis])? }])
}
