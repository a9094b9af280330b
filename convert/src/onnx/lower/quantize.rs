//! Quantised tensors.

use super::{Cx, Table};
use crate::onnx::model::Node;
use infer::error::{Error, Result};
use infer::graph::ValueId;
use infer::ops::{Dequantize, DynamicQuantize, MatMulInteger, Op, Quantize};
use infer::tensor::{DType, Dim};

pub const TABLE: Table = &[
    ("DequantizeLinear", dequantize),
    ("DynamicQuantizeLinear", dynamic),
    ("QLinearConv", qlinear_conv),
    ("QLinearMatMul", qlinear_matmul),
    ("QuantizeLinear", quantize),
];

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

/// Inputs: a, its scale and zero point, b, its scale and zero point, then scale and zero point of the result.
fn qlinear_matmul(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let v = (0..8).map(|i| cx.input(n, i)).collect::<Result<Vec<_>>>()?;
    let sum = cx.b.emit1(MatMulInteger, &[v[0], v[3], v[2], v[5]])?;
    // A scale for each row stands in a column.
    let rows = cx.b.rank(v[1]) == 1 && cx.b.dims(v[1])[0] != Dim::Fixed(1);
    let a_scale = if rows { cx.b.unsqueeze(v[1], &[1])? } else { v[1] };
    Ok(vec![cx.requantized(sum, [a_scale, v[4]], (v[6], v[7]))?])
}

/// Inputs as those of [`qlinear_matmul`], then a bias in units of the product of both scales.
fn qlinear_conv(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let v = (0..8).map(|i| cx.input(n, i)).collect::<Result<Vec<_>>>()?;
    let mut sum = cx.integer_conv(n, (v[0], Some(v[2])), (v[3], Some(v[5])))?;
    if let Some(bias) = cx.optional(n, 8)? {
        sum = cx.b.add(sum, bias)?;
    }
    let y = cx.requantized(sum, [v[1], v[4]], (v[6], v[7]))?;
    Ok(vec![cx.b.channels_first(y)?])
}

impl Cx<'_> {
    /// Integers times the scales of two factors, which broadcast to them, quantized with the scale and zero point `to`.
    fn requantized(&mut self, sum: ValueId, from: [ValueId; 2], to: (ValueId, ValueId)) -> Result<ValueId> {
        let [a, b, y] = [from[0], from[1], to.0].map(|scale| self.b.cast(scale, DType::F32));
        let scale = self.b.mul(a?, b?)?;
        let scale = self.b.div(scale, y?)?;
        let sum = self.b.cast(sum, DType::F32)?;
        let scaled = self.b.mul(sum, scale)?;
        let (one, zero) = (self.b.scalar(DType::F32, 1.0)?, self.single(to.1)?);
        let op = Quantize { axis: 0, block: 0, to: self.b.dtype(zero), precision: Some(DType::F32) };
        self.b.emit1(op, &[scaled, one, zero])
    }
}
