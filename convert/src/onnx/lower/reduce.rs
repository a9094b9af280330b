//! Reductions over axes.

use super::shape::Axes;
use super::{Cx, Table};
use crate::onnx::model::Node;
use infer::error::Result;
use infer::graph::ValueId;
use infer::ops::reduce::ReduceKind;
use infer::tensor::normalize_axis;

pub const TABLE: Table = &[
    ("ReduceL1", |cx, n| reduce(cx, n, ReduceKind::L1)),
    ("ReduceL2", |cx, n| reduce(cx, n, ReduceKind::L2)),
    ("ReduceLogSum", |cx, n| reduce(cx, n, ReduceKind::LogSum)),
    ("ReduceLogSumExp", |cx, n| reduce(cx, n, ReduceKind::LogSumExp)),
    ("ReduceMax", |cx, n| reduce(cx, n, ReduceKind::Max)),
    ("ReduceMean", |cx, n| reduce(cx, n, ReduceKind::Mean)),
    ("ReduceMin", |cx, n| reduce(cx, n, ReduceKind::Min)),
    ("ReduceProd", |cx, n| reduce(cx, n, ReduceKind::Prod)),
    ("ReduceSum", |cx, n| reduce(cx, n, ReduceKind::Sum)),
    ("ReduceSumSquare", |cx, n| reduce(cx, n, ReduceKind::SumSquare)),
];

/// Axes are an attribute before opset 18 (13 for sums) and an input from then on. Without axes everything is reduced,
/// or nothing if the node says so; what is computed of each element is then computed all the same.
fn reduce(cx: &mut Cx<'_>, n: &Node, kind: ReduceKind) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    let keep = n.flag("keepdims", true)?;
    let since = if kind == ReduceKind::Sum { 13 } else { 18 };
    let nothing = n.opset >= since && n.flag("noop_with_empty_axes", false)?;
    let axes = match cx.axes(n, since, 1)? {
        Axes::None => vec![],
        Axes::Known(axes) => axes,
        Axes::Computed(axes) => return Ok(vec![cx.reduce_by(kind, x, axes, keep)?]),
    };
    let rank = cx.b.rank(x);
    let axes = match axes.is_empty() && !nothing {
        true => (0..rank).collect(),
        false => axes.iter().map(|&a| normalize_axis(a, rank)).collect::<Result<Vec<_>>>()?,
    };
    Ok(vec![cx.b.reduce(kind, x, &axes, keep)?])
}

impl Cx<'_> {
    /// A reduction over axes that are known only when the model runs, one after another.
    fn reduce_by(&mut self, kind: ReduceKind, x: ValueId, axes: ValueId, keep: bool) -> Result<ValueId> {
        let rank = self.b.rank(x);
        // Those that are not the same in steps as at once are sums of something, or something of a sum.
        let (mut y, step) = match kind {
            ReduceKind::SumSquare => (self.b.mul(x, x)?, ReduceKind::Sum),
            ReduceKind::LogSum => (x, ReduceKind::Sum),
            _ => (x, kind),
        };
        let mask = self.axis_mask(axes, rank)?;
        for i in 0..rank {
            y = self.if_axis(mask, i, y, |b, y| b.reduce(step, y, &[i], true))?;
        }
        if kind == ReduceKind::LogSum {
            // Each element by itself.
            y = self.b.reduce(kind, y, &[], true)?;
        }
        if keep {
            return Ok(y);
        }
        let kept = self.rank_without(rank, axes)?;
        let shape = self.b.shape(y)?;
        let shape = self.without(shape, mask, kept)?;
        self.b.reshape_by(y, shape)
    }
}
