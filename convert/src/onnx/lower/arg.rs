//! Places of the largest and smallest elements.

use super::{Cx, Table};
use crate::onnx::model::Node;
use infer::error::Result;
use infer::graph::ValueId;
use infer::ops::TopK;
use infer::tensor::normalize_axis;

pub const TABLE: Table = &[("ArgMax", |cx, n| arg(cx, n, true)), ("ArgMin", |cx, n| arg(cx, n, false))];

/// TopK gives the first of equal elements; the last one is the first from behind. The axis goes last, where images have
/// their channels already and elements are neighbours.
fn arg(cx: &mut Cx<'_>, n: &Node, largest: bool) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    let rank = cx.b.rank(x);
    let axis = normalize_axis(n.int("axis", 0)?, rank)?;
    let mut perm: Vec<usize> = (0..rank).filter(|&i| i != axis).collect();
    perm.push(axis);
    let mut x = cx.b.transpose(x, &perm)?;
    let last = n.flag("select_last_index", false)?;
    if last {
        x = cx.b.reverse(x, rank - 1)?;
    }
    let one = cx.b.ints(&[1])?;
    let mut places = cx.b.emit(TopK { axis: -1, largest, sorted: true }, &[Some(x), Some(one)])?[1];
    if last {
        let extent = cx.b.extent((x, rank - 1))?;
        let end = cx.b.sub(extent, one)?;
        places = cx.b.sub(end, places)?;
    }
    let places = cx.b.squeeze(places, &[rank - 1])?;
    Ok(vec![if n.flag("keepdims", true)? { cx.b.unsqueeze(places, &[axis])? } else { places }])
}
