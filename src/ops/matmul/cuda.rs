//! Products by [`Gemm`]: what is known of the operands' shapes, as distances.

mod blas;
pub mod gemm;

use super::MatMul;
use super::shape::{Offsets, split};
use crate::cuda::Module;
use crate::error::Result;
use crate::ops::{CudaKernel, PrepareCuda};
use crate::tensor::{DType, Dims};
use gemm::{Axis, Gemm, suffix};

static MODULE: Module = crate::cuda_module!("matmul");

/// A kernel for every element type.
pub fn prepare(op: &MatMul, cx: &PrepareCuda<'_>) -> Result<Option<CudaKernel>> {
    let gemm = gemm(op, cx);
    let kernel = match cx.outputs[0].dtype {
        dtype if suffix(dtype).is_some() => gemm.kernel(cx),
        DType::I32 | DType::U32 => gemm.exact(cx, "i32"),
        DType::I64 | DType::U64 => gemm.exact(cx, "i64"),
        DType::F64 => gemm.exact(cx, "f64"),
        _ => return Ok(None),
    };
    kernel.map(Some)
}

fn gemm(op: &MatMul, cx: &PrepareCuda<'_>) -> Gemm {
    let (a, b, out) = (cx.dims(0), cx.dims(1), cx.out_dims(0));
    let (a_batch, m, k) = split(&a, op.transpose_a, false);
    let (b_batch, _, n) = split(&b, op.transpose_b, true);
    let has = [a.len() > 1, b.len() > 1].map(usize::from);
    let outer = out.len() - has[0] - has[1];
    let batch = &out[..outer];
    let a_strides = if op.transpose_a && a.len() > 1 { [1, m] } else { [k, 1] };
    let b_strides = if op.transpose_b && b.len() > 1 { [1, k] } else { [n, 1] };
    let bias = match cx.optional(2) {
        Some(bias) => Offsets::new(&bias.info.dims, &out, 1).strides(),
        None => Dims::new(&vec![0; out.len()]),
    };
    let [a_outer, b_outer] = [(a_batch, m * k), (b_batch, k * n)].map(|(own, len)| Offsets::new(own, batch, len).strides());
    let axis = |i: usize| Axis { extent: out[i], a: a_outer[i], b: b_outer[i], bias: bias[i] };
    // The rows are one more dimension of the batch at first, so that those of several products may become those of one.
    let rows = (has[0] == 1).then(|| Axis { extent: m, a: a_strides[0], b: 0, bias: bias[outer] });
    let mut batch = merged((0..outer).map(axis).chain(rows));
    let one = Axis { extent: 1, a: 0, b: 0, bias: 0 };
    let rows = batch.pop_if(|last| last.b == 0).unwrap_or(one);
    Gemm {
        operands: [0, 1],
        m: rows.extent,
        n,
        k,
        a: [rows.a, a_strides[1]],
        b: b_strides,
        y: [n, 1, rows.extent * n],
        bias: [rows.bias, if has[1] == 1 { bias[out.len() - 1] } else { 0 }],
        batch,
        alpha: op.alpha,
        activation: op.activation,
    }
}

/// The dimensions with those made one that every operand goes through as if they were.
fn merged(axes: impl Iterator<Item = Axis>) -> Vec<Axis> {
    let mut merged: Vec<Axis> = vec![];
    for axis in axes.filter(|axis| axis.extent > 1) {
        let follows = |outer: &&mut Axis| {
            let pairs = [(outer.a, axis.a), (outer.b, axis.b), (outer.bias, axis.bias)];
            pairs.iter().all(|&(outer, inner)| outer == inner * axis.extent)
        };
        match merged.last_mut().filter(follows) {
            Some(outer) => *outer = Axis { extent: outer.extent * axis.extent, ..axis },
            None => merged.push(axis),
        }
    }
    merged
}
