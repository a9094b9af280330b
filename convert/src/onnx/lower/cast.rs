//! Conversions between element types, and choices between elements.

use super::{Cx, Table};
use crate::onnx::model::Node;
use infer::error::{Error, Result};
use infer::graph::ValueId;
use infer::ops::BitCast;
use infer::tensor::DType;

pub const TABLE: Table = &[("BitCast", bit_cast), ("Cast", cast), ("CastLike", cast_like), ("Where", select)];

fn cast(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    let to = if n.opset < 6 { named(n.required("to")?)? } else { Cx::dtype(n.required("to")?)? };
    ignore_narrow_options(n)?;
    Ok(vec![cx.b.cast(x, to)?])
}

fn cast_like(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (x, like) = (cx.input(n, 0)?, cx.input(n, 1)?);
    ignore_narrow_options(n)?;
    Ok(vec![cx.b.cast(x, cx.b.dtype(like))?])
}

/// Options that concern 8-bit floats only, which are refused with their types.
fn ignore_narrow_options(n: &Node) -> Result<()> {
    n.attribute::<i64>("saturate")?;
    n.attribute::<&str>("round_mode")?;
    Ok(())
}

/// Before opset 6, element types go by name.
fn named(name: &str) -> Result<DType> {
    match name {
        "FLOAT" => Ok(DType::F32),
        "DOUBLE" => Ok(DType::F64),
        "FLOAT16" => Ok(DType::F16),
        "INT8" => Ok(DType::I8),
        "INT16" => Ok(DType::I16),
        "INT32" => Ok(DType::I32),
        "INT64" => Ok(DType::I64),
        "UINT8" => Ok(DType::U8),
        "UINT16" => Ok(DType::U16),
        "UINT32" => Ok(DType::U32),
        "UINT64" => Ok(DType::U64),
        "BOOL" => Ok(DType::Bool),
        other => Err(Error::unsupported(format!("elements of type {other}"))),
    }
}

/// The same bytes as another type of the same size.
fn bit_cast(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    let to = Cx::dtype(n.required("to")?)?;
    Ok(vec![if cx.b.dtype(x) == to { x } else { cx.b.emit1(BitCast { to }, &[x])? }])
}

fn select(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (condition, x, y) = (cx.input(n, 0)?, cx.input(n, 1)?, cx.input(n, 2)?);
    Ok(vec![cx.b.select(condition, x, y)?])
}
