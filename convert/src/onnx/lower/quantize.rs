//! Quantised tensors.

use super::{Cx, Table};
use crate::onnx::model::Node;
use infer::error::{Error, Result};
use infer::graph::ValueId;
use infer::ops::{Dequantize, DynamicQuantize, Op, Quantize};
use infer::tensor::DType;

pub const TABLE: Table =
    &[("DequantizeLinear", dequantize), ("DynamicQuantizeLinear", dynamic), ("QuantizeLinear", quantize)];

fn quantized(cx: &mut Cx<'_>, op: impl Into<Op>, n: &Node) -> Result<Vec<ValueId>> {
    let inputs = cx.optional_inputs(n)?;
    cx.b.emit(op, &inputs)
}

fn block(n: &Node) -> Result<usize> {
    usize::try_from(n.int("block_size", 0)?).map_err(|_| Error::format("a negative block_size"))
}

/// An element type that an attribute gives, where 0 stands for none.
fn given_type(n: &Node, name: &str) -> Result<Option<DType>> {
    match n.int(name, 0)? {
        0 => Ok(None),
        code => Cx::dtype(code).map(Some),
    }
}

fn quantize(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    // Saturation is a choice for 8-bit floats only.
    n.attribute::<i64>("saturate")?;
    let zero = cx.optional(n, 2)?.map(|v| cx.b.dtype(v));
    let to = zero.or(given_type(n, "output_dtype")?).unwrap_or(DType::U8);
    let precision = given_type(n, "precision")?;
    let op = Quantize { axis: n.int("axis", 1)?, block: block(n)?, to, precision };
    quantized(cx, op, n)
}

fn dequantize(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let scale = cx.input(n, 1)?;
    let to = given_type(n, "output_dtype")?.unwrap_or(cx.b.dtype(scale));
    let op = Dequantize { axis: n.int("axis", 1)?, block: block(n)?, to };
    quantized(cx, op, n)
}

fn dynamic(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    cx.b.emit(DynamicQuantize, &[Some(x)])
}
