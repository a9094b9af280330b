//! Elements and slices by index: read, and written.

use super::{Cx, Table};
use crate::onnx::model::Node;
use infer::error::{Error, Result};
use infer::graph::ValueId;
use infer::ops::binary::BinaryKind;
use infer::ops::scatter_elements::Reduction;
use infer::ops::{GatherElements, GatherNd, OneHot, ScatterElements, ScatterNd};
use infer::tensor::{DType, normalize_axis};

pub const TABLE: Table = &[
    ("Gather", gather),
    ("GatherElements", gather_elements),
    ("GatherND", gather_nd),
    ("OneHot", one_hot),
    ("Scatter", scatter_elements),
    ("ScatterElements", scatter_elements),
    ("ScatterND", scatter_nd),
    ("TensorScatter", tensor_scatter),
];

fn gather(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (x, indices) = (cx.input(n, 0)?, cx.input(n, 1)?);
    let axis = normalize_axis(n.int("axis", 0)?, cx.b.rank(x))?;
    Ok(vec![cx.b.gather(x, indices, axis)?])
}

fn gather_elements(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (x, indices) = (cx.input(n, 0)?, cx.input(n, 1)?);
    let axis = n.int("axis", 0)?;
    Ok(vec![cx.b.emit1(GatherElements { axis }, &[x, indices])?])
}

fn gather_nd(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (x, indices) = (cx.input(n, 0)?, cx.input(n, 1)?);
    let batch_dims = usize::try_from(n.int("batch_dims", 0)?).map_err(|_| Error::format("negative batch_dims"))?;
    Ok(vec![cx.b.emit1(GatherNd { batch_dims }, &[x, indices])?])
}

fn reduction(n: &Node) -> Result<Reduction> {
    match n.string("reduction", "none")? {
        "none" => Ok(Reduction::Replace),
        "add" => Ok(Reduction::Add),
        "mul" => Ok(Reduction::Mul),
        "max" => Ok(Reduction::Max),
        "min" => Ok(Reduction::Min),
        other => Err(Error::format(format!("reduction '{other}' is not defined"))),
    }
}

fn scatter_elements(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let op = ScatterElements { axis: n.int("axis", 0)?, reduction: reduction(n)? };
    let inputs = [cx.input(n, 0)?, cx.input(n, 1)?, cx.input(n, 2)?];
    Ok(vec![cx.b.emit1(op, &inputs)?])
}

fn scatter_nd(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let op = ScatterNd { reduction: reduction(n)? };
    let inputs = [cx.input(n, 0)?, cx.input(n, 1)?, cx.input(n, 2)?];
    Ok(vec![cx.b.emit1(op, &inputs)?])
}

fn one_hot(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (indices, depth, values) = (cx.input(n, 0)?, cx.input(n, 1)?, cx.input(n, 2)?);
    let axis = n.int("axis", -1)?;
    // The depth steers the shape, so it must be an integer.
    let depth = if cx.b.dtype(depth) == DType::I64 { depth } else { cx.b.cast(depth, DType::I64)? };
    Ok(vec![cx.b.emit1(OneHot { axis }, &[indices, depth, values])?])
}

/// Writes a run of updates along an axis of a cache, at an offset for each batch (0 if absent); in circular mode, what
/// would lie behind the end goes to the front.
fn tensor_scatter(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (cache, update, offsets) = (cx.input(n, 0)?, cx.input(n, 1)?, cx.optional(n, 2)?);
    let rank = cx.b.rank(cache);
    let axis = normalize_axis(n.int("axis", -2)?, rank)?;
    let circular = match n.string("mode", "linear")? {
        "linear" => false,
        "circular" => true,
        other => return Err(Error::format(format!("mode '{other}' is not defined"))),
    };
    if axis == 0 {
        return Err(Error::format("TensorScatter along the batch axis"));
    }
    // Indices [1, .., steps, .., 1], plus offsets [batch, 1, ..], in the shape of the update.
    let mut indices = cx.indices((update, axis), 0)?;
    indices = cx.b.unsqueeze(indices, &(1..rank - axis).collect::<Vec<_>>())?;
    if let Some(offsets) = offsets {
        let offsets = cx.b.unsqueeze(offsets, &(1..rank).collect::<Vec<_>>())?;
        indices = cx.b.add(indices, offsets)?;
    }
    if circular {
        let extent = cx.b.extent((cache, axis))?;
        indices = cx.b.binary(BinaryKind::Mod, indices, extent)?;
    }
    let shape = cx.b.shape(update)?;
    let indices = cx.b.expand(indices, shape)?;
    let op = ScatterElements { axis: axis as i64, reduction: Reduction::Replace };
    Ok(vec![cx.b.emit1(op, &[cache, indices, update])?])
}
