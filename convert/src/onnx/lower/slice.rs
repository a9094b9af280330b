//! Operators that take tensors apart and put them together along axes.

use super::{Cx, Table};
use crate::onnx::model::Node;
use infer::error::{Error, Result};
use infer::graph::ValueId;
use infer::ops::{Slice, Split};
use infer::tensor::normalize_axis;

pub const TABLE: Table = &[("Concat", concat), ("Slice", slice), ("Split", split)];

fn concat(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let parts = cx.inputs(n)?;
    let axis = if n.opset < 4 { n.int("axis", 1)? } else { n.required("axis")? };
    if parts.is_empty() {
        return Err(Error::format("a Concat of nothing"));
    }
    Ok(vec![cx.b.concat(axis, &parts)?])
}

fn slice(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    if n.opset < 10 {
        let (starts, ends): (&[i64], &[i64]) = (n.required("starts")?, n.required("ends")?);
        let axes = n.ints("axes")?.unwrap_or(&[]).to_vec();
        let (starts, ends) = (cx.b.ints(starts)?, cx.b.ints(ends)?);
        return Ok(vec![cx.b.emit1(Slice { axes }, &[x, starts, ends])?]);
    }
    let (starts, ends, steps) = (cx.input(n, 1)?, cx.input(n, 2)?, cx.optional(n, 4)?);
    let bounds = [Some(x), Some(starts), Some(ends), steps];
    let Some(axes) = cx.optional(n, 3)? else {
        if cx.b.dims(starts).iter().all(|d| d.fixed().is_some()) {
            return cx.b.emit(Slice::default(), trim(&bounds));
        }
        // The first ones, as many as there are starts.
        let axes = cx.indices((starts, 0), 0)?;
        return cx.slice_by(&bounds, axes);
    };
    match cx.b.known_ints(axes) {
        Some(axes) if axes.is_empty() => Ok(vec![x]),
        Some(axes) => cx.b.emit(Slice { axes }, trim(&bounds)),
        None => cx.slice_by(&bounds, axes),
    }
}

/// The inputs without absent ones at the end.
fn trim(inputs: &[Option<ValueId>]) -> &[Option<ValueId>] {
    let present = inputs.iter().rposition(Option::is_some).map_or(0, |i| i + 1);
    &inputs[..present]
}

/// Sizes are an attribute before opset 13 (in opset 1, either); without them, parts are equal. From opset 18 on the last
/// one may be smaller.
fn split(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    let axis = normalize_axis(n.int("axis", 0)?, cx.b.rank(x))?;
    let parts = if n.opset < 18 { n.outputs.len() } else { n.int("num_outputs", n.outputs.len() as i64)? as usize };
    let given = cx.optional(n, 1)?;
    let known = match given {
        Some(sizes) => cx.b.known_ints(sizes),
        None if n.opset < 13 => n.ints("split")?.map(<[i64]>::to_vec),
        None => None,
    };
    match (known, given) {
        (Some(sizes), _) => {
            let sizes = sizes.iter().map(|&s| usize::try_from(s)).collect::<Result<Vec<_>, _>>();
            let sizes = sizes.map_err(|_| Error::format("a negative size"))?;
            cx.b.emit(Split { axis: axis as i64, sizes, parts: 0 }, &[Some(x)])
        }
        (None, Some(sizes)) => cx.split_by(x, axis, sizes, n.outputs.len()),
        (None, None) => {
            let extent = cx.b.dims(x)[axis].fixed();
            if n.opset < 18 && extent.is_some_and(|e| e % parts.max(1) as i64 != 0) {
                return Err(Error::shape(format!("an extent of {} in {parts} equal parts", cx.b.dims(x)[axis])));
            }
            cx.b.emit(Split { axis: axis as i64, sizes: vec![], parts }, &[Some(x)])
        }
    }
}

impl Cx<'_> {
    /// Slices of the sizes that a vector gives when the model runs.
    fn split_by(&mut self, x: ValueId, axis: usize, sizes: ValueId, parts: usize) -> Result<Vec<ValueId>> {
        let mut start = self.b.ints(&[0])?;
        let mut out = vec![];
        for i in 0..parts as i64 {
            let size = self.b.slice(sizes, 0, i, i + 1)?;
            let end = self.b.add(start, size)?;
            out.push(self.b.emit1(Slice { axes: vec![axis as i64] }, &[x, start, end])?);
            start = end;
        }
        Ok(out)
    }

    /// A Slice along axes that are known only when the model runs: one along all axes.
    fn slice_by(&mut self, bounds: &[Option<ValueId>], axes: ValueId) -> Result<Vec<ValueId>> {
        let &[Some(x), Some(starts), Some(ends), steps] = bounds else {
            return Err(Error::internal("a Slice without bounds"));
        };
        let rank = self.b.rank(x);
        let starts = self.spread(axes, rank, starts, 0)?;
        let ends = self.spread(axes, rank, ends, i64::MAX)?;
        let steps = steps.map(|steps| self.spread(axes, rank, steps, 1)).transpose()?;
        self.b.emit(Slice::default(), trim(&[Some(x), Some(starts), Some(ends), steps]))
    }
}
