//! Padding.

use super::{Cx, Table};
use crate::onnx::model::Node;
use infer::error::{Error, Result};
use infer::graph::ValueId;
use infer::ops::Pad;
use infer::ops::pad::PadMode;

pub const TABLE: Table = &[("Pad", pad)];

fn pad(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    let mode = match n.string("mode", "constant")? {
        "constant" => PadMode::Constant,
        "reflect" => PadMode::Reflect,
        "edge" => PadMode::Edge,
        "wrap" => PadMode::Wrap,
        other => return Err(Error::format(format!("padding mode '{other}' is not defined"))),
    };
    let (mut pads, value) = if n.opset < 11 {
        let pads: &[i64] = n.required(if n.opset < 2 { "paddings" } else { "pads" })?;
        let value = f64::from(n.float("value", 0.0)?);
        (cx.b.ints(pads)?, Some(cx.b.scalar(cx.b.dtype(x), value)?))
    } else {
        (cx.input(n, 1)?, cx.optional(n, 2)?)
    };
    let mut axes = vec![];
    if let Some(given) = cx.optional(n, 3)? {
        match cx.b.known_ints(given) {
            Some(known) if known.is_empty() => return Ok(vec![x]),
            Some(known) => axes = known,
            None => pads = cx.pads_by(pads, given, cx.b.rank(x))?,
        }
    }
    let value = value.filter(|_| mode == PadMode::Constant);
    let inputs = [Some(x), Some(pads), value];
    cx.b.emit(Pad { mode, axes }, if value.is_some() { &inputs } else { &inputs[..2] })
}

impl Cx<'_> {
    /// Pads of all axes from those of axes that are known only when the model runs.
    fn pads_by(&mut self, pads: ValueId, axes: ValueId, rank: usize) -> Result<ValueId> {
        let count = self.axis_count(axes)? as i64;
        let before = self.b.slice(pads, 0, 0, count)?;
        let after = self.b.slice(pads, 0, count, 2 * count)?;
        let before = self.spread(axes, rank, before, 0)?;
        let after = self.spread(axes, rank, after, 0)?;
        self.b.concat(0, &[before, after])
    }
}
