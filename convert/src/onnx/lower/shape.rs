//! Operators that change shapes and leave the elements alone: all become Reshape, or Transpose.

use super::{Cx, Table};
use crate::emit::Extent;
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
    let all: Vec<Extent> = (0..rank).map(|i| (x, i)).collect();
    Ok(vec![cx.b.reshape_as(x, &[all[..axis].to_vec(), all[axis..].to_vec()])?])
}

fn squeeze(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    let dims = cx.b.dims(x);
    let axes = match cx.axes(n, 13, 1)? {
        Axes::Known(axes) => axes.iter().map(|&a| normalize_axis(a, dims.len())).collect::<Result<Vec<_>>>()?,
        Axes::None => (0..dims.len()).filter(|&i| dims[i] == Dim::Fixed(1)).collect(),
        Axes::Computed(axes) => {
            let (mask, kept) = (cx.axis_mask(axes, dims.len())?, cx.rank_without(dims.len(), axes)?);
            let shape = cx.b.shape(x)?;
            let shape = cx.without(shape, mask, kept)?;
            return Ok(vec![cx.b.reshape_by(x, shape)?]);
        }
    };
    if let Some(&i) = axes.iter().find(|&&i| dims[i].fixed().is_some_and(|d| d != 1)) {
        return Err(Error::shape(format!("dimension {i} is {}, and only 1 can be squeezed", dims[i])));
    }
    Ok(vec![cx.b.squeeze(x, &axes)?])
}

fn unsqueeze(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    let axes = match cx.axes(n, 13, 1)? {
        Axes::Known(axes) => axes,
        Axes::None => return Err(Error::format("axes are missing")),
        Axes::Computed(axes) => {
            let rank = cx.b.rank(x) + cx.axis_count(axes)?;
            let (mask, shape) = (cx.axis_mask(axes, rank)?, cx.b.shape(x)?);
            let shape = cx.with_ones(shape, mask, rank)?;
            return Ok(vec![cx.b.reshape_by(x, shape)?]);
        }
    };
    let rank = cx.b.rank(x) + axes.len();
    let mut axes = axes.iter().map(|&a| normalize_axis(a, rank)).collect::<Result<Vec<_>>>()?;
    axes.sort_unstable();
    if axes.windows(2).any(|w| w[0] == w[1]) {
        return Err(Error::format("the axes contain one twice"));
    }
    Ok(vec![cx.b.unsqueeze(x, &axes)?])
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

/// Axes of a node.
pub enum Axes {
    /// They are not given.
    None,
    /// They are these.
    Known(Vec<i64>),
    /// They are known only when the model runs.
    Computed(ValueId),
}

impl Cx<'_> {
    /// Axes that are an attribute before opset `since` and input `index` from then on.
    pub fn axes(&mut self, n: &Node, since: i64, index: usize) -> Result<Axes> {
        if n.opset < since {
            return Ok(n.ints("axes")?.map_or(Axes::None, |axes| Axes::Known(axes.to_vec())));
        }
        let Some(axes) = self.optional(n, index)? else { return Ok(Axes::None) };
        match self.b.known_ints(axes) {
            Some(known) => Ok(Axes::Known(known)),
            // No element, whatever it may be.
            None if self.b.dims(axes)[..] == [Dim::Fixed(0)] => Ok(Axes::Known(vec![])),
            None => Ok(Axes::Computed(axes)),
        }
    }
}
