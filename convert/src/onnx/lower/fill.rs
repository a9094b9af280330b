//! Operators that make tensors from shapes, and repeat what there is.

use super::{Cx, Table};
use crate::onnx::model::Node;
use infer::error::{Error, Result};
use infer::graph::ValueId;
use infer::ops::binary::BinaryKind;
use infer::ops::{Range, Tensor, Tile};
use infer::tensor::DType;

pub const TABLE: Table = &[
    ("ConstantOfShape", constant_of_shape),
    ("Expand", expand),
    ("EyeLike", eye_like),
    ("Range", range),
    ("Shape", shape),
    ("Size", size),
    ("Tile", tile),
];

fn constant_of_shape(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let shape = cx.input(n, 0)?;
    let value = match n.attribute::<&Tensor>("value")? {
        Some(value) if value.info.numel() == 1 => cx.b.tensor(value.clone()),
        Some(_) => return Err(Error::format("the value has more than one element")),
        None => cx.b.scalar(DType::F32, 0.0)?,
    };
    let value = cx.b.reshape(value, &[])?;
    Ok(vec![cx.b.expand(value, shape)?])
}

fn expand(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (x, shape) = (cx.input(n, 0)?, cx.input(n, 1)?);
    Ok(vec![cx.b.expand(x, shape)?])
}

fn tile(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (x, repeats) = (cx.input(n, 0)?, cx.input(n, 1)?);
    if n.opset < 6 {
        return Err(Error::unsupported("Tile before opset 6"));
    }
    Ok(vec![cx.b.emit1(Tile, &[x, repeats])?])
}

/// Elements of the 16-bit types are rounded once, so the type of intermediate results makes no difference.
fn range(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    n.attribute::<i64>("stash_type")?;
    let mut scalars = cx.inputs(n)?;
    for v in &mut scalars {
        *v = cx.single(*v)?;
    }
    Ok(vec![cx.b.emit1(Range, &scalars)?])
}

fn shape(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    // Beyond 32 bits, every number is clamped to the rank.
    let clamp = |v: i64| v.clamp(i32::MIN.into(), i32::MAX.into());
    let op = infer::ops::Shape { start: clamp(n.int("start", 0)?), end: clamp(n.int("end", i64::MAX)?) };
    Ok(vec![cx.b.emit1(op, &[x])?])
}

fn size(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    let all = (0..cx.b.rank(x)).map(|i| (x, i)).collect();
    let size = cx.b.extents(&[all])?;
    Ok(vec![cx.b.reshape(size, &[])?])
}

/// 1 on the k-th diagonal of a matrix with the input's extents, 0 elsewhere.
fn eye_like(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    if cx.b.rank(x) != 2 {
        return Err(Error::shape(format!("EyeLike of {}; a matrix is needed", cx.b.ty(x))));
    }
    let dtype = match n.attribute::<i64>("dtype")? {
        Some(code) => Cx::dtype(code)?,
        None => cx.b.dtype(x),
    };
    let k: i64 = n.int("k", 0)?;
    let rows = cx.indices((x, 0), k)?;
    let rows = cx.b.unsqueeze(rows, &[1])?;
    let columns = cx.indices((x, 1), 0)?;
    let here = cx.b.binary(BinaryKind::Equal, rows, columns)?;
    Ok(vec![cx.b.cast(here, dtype)?])
}

impl Cx<'_> {
    /// The i64 vector of all indices of an axis, each plus `offset`.
    pub fn indices(&mut self, extent: crate::emit::Extent, offset: i64) -> Result<ValueId> {
        let end = self.b.extent_scalar(extent)?;
        let (start, step) = (self.b.array(&[], &[0i64])?, self.b.array(&[], &[1i64])?);
        let indices = self.b.emit1(Range, &[start, end, step])?;
        if offset == 0 {
            return Ok(indices);
        }
        let offset = self.b.array(&[], &[offset])?;
        self.b.add(indices, offset)
    }
}
