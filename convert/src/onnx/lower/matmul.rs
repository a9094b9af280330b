//! Matrix products.

use super::{Cx, Table};
use crate::onnx::model::Node;
use infer::error::{Error, Result};
use infer::graph::ValueId;
use infer::ops::binary::BinaryKind;
use infer::ops::{MatMul, MatMulInteger};
use infer::tensor::DType;

pub const TABLE: Table = &[("Gemm", gemm), ("MatMul", matmul), ("MatMulInteger", integer)];

fn matmul(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (a, b) = (cx.input(n, 0)?, cx.input(n, 1)?);
    Ok(vec![cx.b.emit1(MatMul::default(), &[a, b])?])
}

fn integer(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let inputs = cx.optional_inputs(n)?;
    cx.b.emit(MatMulInteger, &inputs)
}

/// alpha · A' · B' + beta · C. C broadcasts to the product; the `broadcast` of opset 6 only permitted it to.
fn gemm(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (a, b, c) = (cx.input(n, 0)?, cx.input(n, 1)?, cx.optional(n, 2)?);
    if n.opset < 7 {
        n.flag("broadcast", false)?;
    }
    if cx.b.rank(a) != 2 || cx.b.rank(b) != 2 {
        return Err(Error::shape(format!("a Gemm of {} and {}; both must be matrices", cx.b.ty(a), cx.b.ty(b))));
    }
    let (transpose_a, transpose_b) = (n.flag("transA", false)?, n.flag("transB", false)?);
    let (alpha, beta) = (n.float("alpha", 1.0)?, n.float("beta", 1.0)?);
    let c = c.map(|c| scaled(cx, c, beta)).transpose()?;
    let fused = matches!(cx.b.dtype(a), DType::F32 | DType::F16 | DType::BF16);
    let op = MatMul { transpose_a, transpose_b, alpha: if fused { alpha } else { 1.0 }, ..MatMul::default() };
    if fused || alpha == 1.0 {
        return cx.b.emit(op, &[Some(a), Some(b), c]);
    }
    let product = cx.b.emit1(op, &[a, b])?;
    let product = scaled(cx, product, alpha)?;
    Ok(vec![c.map_or(Ok(product), |c| cx.b.add(product, c))?])
}

/// `factor · x`. The factor of an integer must be one.
fn scaled(cx: &mut Cx<'_>, x: ValueId, factor: f32) -> Result<ValueId> {
    let dtype = cx.b.dtype(x);
    if factor == 1.0 {
        return Ok(x);
    }
    if !dtype.is_float() && factor.fract() != 0.0 {
        return Err(Error::unsupported(format!("a Gemm of {dtype} with the factor {factor}")));
    }
    cx.b.binary_with(BinaryKind::Mul, x, factor.into())
}
