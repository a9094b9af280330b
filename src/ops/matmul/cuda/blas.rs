//! Products by cuBLASLt, where it is installed and faster: what of a [`Gemm`] it computes itself, and what is left to the kernel
//! that ends products whose depth is cut.

use super::gemm::{Axis, Gemm, Slices};
use crate::cpu::Activation;
use crate::cuda::blas::{Epilogue, Matrix, Product, Scratch, Target, faster};
use crate::error::Result;
use crate::ops::{CudaKernel, PrepareCuda};
use crate::tensor::DType;

/// The kernel for a product: `own`, or a faster one.
pub fn prepare(gemm: &Gemm, own: CudaKernel, cx: &PrepareCuda<'_>) -> Result<CudaKernel> {
    if cx.device.blas().is_err() {
        return Ok(own);
    }
    let lengths = cx.inputs.iter().map(|operand| operand.map_or(Ok(0), |o| o.info.byte_len()));
    let scratch = Scratch { inputs: lengths.collect::<Result<_>>()?, output: cx.outputs[0].byte_len()? };
    if let Some(product) = whole(gemm, cx) {
        return faster(cx.device, product, own, None, &scratch);
    }
    match sums(gemm, cx) {
        Some(product) => faster(cx.device, product, own, Some(gemm.finish(cx, Slices::ONE)?), &scratch),
        None => Ok(own),
    }
}

/// The product with all that is added to it and the activation, if the library does these.
fn whole(gemm: &Gemm, cx: &PrepareCuda<'_>) -> Option<Product> {
    // Columns of the output that are one after another are the rows of the product turned.
    if gemm.y[1] != 1 && gemm.y[0] == 1 {
        return whole(&gemm.clone().turned(), cx);
    }
    let &Gemm { m, n, y: [ld, 1, stride], .. } = gemm else { return None };
    let axis = single(&gemm.batch)?;
    let epilogue = match gemm.activation {
        Activation::None => Epilogue::None,
        Activation::Relu => Epilogue::Relu,
        // The library's is an approximation that f32 would show.
        Activation::GeluTanh if cx.outputs[0].dtype != DType::F32 => Epilogue::GeluTanh,
        _ => return None,
    };
    let y = Target::Output { ld: distance(ld, m, n)?, stride };
    let mut product = Product { y, epilogue, alpha: gemm.alpha, ..factors(gemm, axis, cx)? };
    if cx.optional(3).is_some() {
        product.residual = Some(Matrix { input: 3, transposed: false, ld: distance(ld, m, n)?, stride });
    }
    if cx.optional(2).is_some() {
        let [row, col] = gemm.bias;
        if n > 1 && col != 1 {
            return None;
        }
        if row == 0 || m == 1 {
            product.bias = Some((2, axis.bias));
        } else if product.residual.is_none() {
            product.residual =
                Some(Matrix { input: 2, transposed: false, ld: distance(row, m, n)?, stride: axis.bias });
        } else {
            return None;
        }
    }
    Some(product)
}

/// The product alone, as f32 into the workspace.
fn sums(gemm: &Gemm, cx: &PrepareCuda<'_>) -> Option<Product> {
    // Where the biases of neighbouring products are does not matter here.
    let mut batch: Vec<Axis> = vec![];
    for axis in &gemm.batch {
        match batch.last_mut() {
            Some(outer) if [(outer.a, axis.a), (outer.b, axis.b)].iter().all(|(o, i)| *o == i * axis.extent) => {
                *outer = Axis { extent: outer.extent * axis.extent, ..*axis };
            }
            _ => batch.push(*axis),
        }
    }
    factors(gemm, single(&batch)?, cx)
}

/// The only dimension of a batch, if it has no more.
fn single(batch: &[Axis]) -> Option<Axis> {
    match batch {
        [] => Some(Axis { extent: 1, a: 0, b: 0, bias: 0 }),
        [axis] => Some(*axis),
        _ => None,
    }
}

/// The product of the factors, with nothing added.
fn factors(gemm: &Gemm, axis: Axis, cx: &PrepareCuda<'_>) -> Option<Product> {
    let &Gemm { operands: [a, b], m, n, k, .. } = gemm;
    Some(Product {
        dtype: cx.outputs[0].dtype,
        tf32: cx.tf32,
        m,
        n,
        k,
        batch: axis.extent,
        a: matrix(a, gemm.a, (m, k), axis.a)?,
        b: matrix(b, gemm.b, (k, n), axis.b)?,
        residual: None,
        bias: None,
        y: Target::Sums,
        alpha: 1.0,
        epilogue: Epilogue::None,
    })
}

/// Matrices of which either the rows or the columns lie one element after another.
fn matrix(input: usize, strides: [usize; 2], (rows, cols): (usize, usize), stride: usize) -> Option<Matrix> {
    let stored = |transposed, ld| Some(Matrix { input, transposed, ld, stride });
    match strides {
        [ld, one] if one == 1 || cols == 1 => distance(ld, rows, cols).and_then(|ld| stored(false, ld)),
        [one, ld] if one == 1 || rows == 1 => distance(ld, cols, rows).and_then(|ld| stored(true, ld)),
        _ => None,
    }
}

/// The distance of `count` rows of `len` elements: of a single one, any will do; of several, they must not overlap.
fn distance(ld: usize, count: usize, len: usize) -> Option<usize> {
    if count == 1 { Some(ld.max(len)) } else { (ld >= len).then_some(ld) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_are_rows_or_columns() {
        let of = |strides, extents| matrix(0, strides, extents, 0).map(|m| (m.transposed, m.ld));
        assert_eq!(of([8, 1], (4, 6)), Some((false, 8)));
        assert_eq!(of([1, 5], (4, 6)), Some((true, 5)));
        assert_eq!(of([2, 1], (4, 6)), None);
        assert_eq!(of([2, 3], (4, 6)), None);
        // A single row or column.
        assert_eq!(of([0, 1], (1, 6)), Some((false, 6)));
        assert_eq!(of([9, 3], (1, 6)), Some((true, 3)));
        assert_eq!(of([9, 3], (4, 1)), Some((false, 9)));
        assert_eq!(of([0, 0], (1, 1)), Some((false, 1)));
    }
}
