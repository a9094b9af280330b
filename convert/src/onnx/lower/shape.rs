//! Operators that change shapes and leave the elements alone: all become Reshape, or Transpose.

use super::{Cx, Table};
use crate::onnx::model::Node;
use infer::error::{Error, Result};
use infer::graph::ValueId;
use infer::ops::{Reshape, Transpose};
use infer::tensor::{Dim, normalize_axis};

pub const TABLE: Table = &[
    ("Flatten", flatten),
    ("Reshape", reshape),
    ("Squeeze", squeeze),
    ("Transpose", transpose),
    ("Unsqueeze", unsqueeze),
];

fn reshape(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    if n.opset < 5 {
        let shape = n.ints("shape")?.unwrap_or(&[]).to_vec();
        return Ok(vec![cx.b.reshape(x, &shape)?]);
    }
    let target = cx.input(n, 1)?;
    let keep_zero = n.flag("allowzero", false)?;
    Ok(vec![cx.b.emit1(Reshape { keep_zero }, &[x, target])?])
}

fn flatten(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    let rank = cx.b.rank(x);
    // An axis equal to the rank is legal: everything goes into the first dimension.
    let axis = match n.int("axis", 1)? {
        a if a == rank as i64 => rank,
        a => normalize_axis(a, rank)?,
    };
    let dims = cx.b.dims(x);
    let product = |dims: &[Dim]| dims.iter().fold(Dim::Fixed(1), |p, d| p.mul(d));
    let target = match (product(&dims[..axis]), product(&dims[axis..])) {
        (Dim::Fixed(a), Dim::Fixed(b)) => vec![a, b],
        (Dim::Fixed(a), _) => vec![a, -1],
        (_, Dim::Fixed(b)) if b != 0 => vec![-1, b],
        _ if axis == 1 => vec![0, -1],
        _ => return Err(Error::unsupported("Flatten of a shape with unknown extents on both sides of the axis")),
    };
    let target = cx.b.ints(&target)?;
    Ok(vec![cx.b.emit1(Reshape { keep_zero: axis != 1 }, &[x, target])?])
}

fn squeeze(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    let dims = cx.b.dims(x);
    let axes = match cx.axes(n, 13, 1)? {
        Some(axes) => axes.iter().map(|&a| normalize_axis(a, dims.len())).collect::<Result<Vec<_>>>()?,
        None => (0..dims.len()).filter(|&i| dims[i] == Dim::Fixed(1)).collect(),
    };
    if let Some(&i) = axes.iter().find(|&&i| dims[i].fixed().is_some_and(|d| d != 1)) {
        return Err(Error::shape(format!("dimension {i} is {}, and only 1 can be squeezed", dims[i])));
    }
    let kept: Vec<usize> = (0..dims.len()).filter(|i| !axes.contains(i)).collect();
    Ok(vec![cx.pick_dims(x, &kept.iter().map(|&i| Some(i)).collect::<Vec<_>>())?])
}

fn unsqueeze(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    let axes = cx.axes(n, 13, 1)?.ok_or_else(|| Error::format("axes are missing"))?;
    let rank = cx.b.rank(x) + axes.len();
    let axes = axes.iter().map(|&a| normalize_axis(a, rank)).collect::<Result<Vec<_>>>()?;
    let mut old = 0..;
    let picks: Vec<Option<usize>> = (0..rank).map(|i| if axes.contains(&i) { None } else { old.next() }).collect();
    if picks.iter().flatten().count() != cx.b.rank(x) {
        return Err(Error::format("the axes contain one twice"));
    }
    Ok(vec![cx.pick_dims(x, &picks)?])
}

fn transpose(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    let rank = cx.b.rank(x);
    let perm = match n.ints("perm")? {
        Some(perm) => perm.iter().map(|&p| normalize_axis(p, rank)).collect::<Result<Vec<_>>>()?,
        None => (0..rank).rev().collect(),
    };
    Ok(vec![cx.b.emit1(Transpose { perm }, &[x])?])
}

impl Cx<'_> {
    /// Axes that are an attribute before opset `since` and input `index` from then on; None if they are not given.
    pub fn axes(&mut self, n: &Node, since: i64, index: usize) -> Result<Option<Vec<i64>>> {
        if n.opset < since {
            return Ok(n.ints("axes")?.map(<[i64]>::to_vec));
        }
        let Some(axes) = self.optional(n, index)? else { return Ok(None) };
        let known = self.b.known_ints(axes);
        known.map(Some).ok_or_else(|| Error::unsupported(format!("input {index} (axes) is not a constant")))
    }

    /// `x` under the shape that has dimension i of `x` for Some(i) and 1 for None. Only 1s may be left out.
    fn pick_dims(&mut self, x: ValueId, picks: &[Option<usize>]) -> Result<ValueId> {
        let dims = self.b.dims(x);
        let picked: Vec<Dim> = picks.iter().map(|p| p.map_or(Dim::Fixed(1), |i| dims[i].clone())).collect();
        self.b.reshape_to(x, &picked)
    }
}
