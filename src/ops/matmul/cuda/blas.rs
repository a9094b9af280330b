//! Products by cuBLASLt, where it is installed and faster: what of a [`Gemm`] it computes itself, and what is left to the kernel
//! that ends products whose depth is cut.

use super::gemm::{Axis, Gemm, Slices};
use crate::cpu::Activation;
use crate::cuda::blas::{Epilogue, Matrix, Product, Target, faster};
use crate::error::Result;
use crate::ops::{CudaKernel, PrepareCuda};
use crate::tensor::DType;

/// The kernel for a product: `own`, or a faster one.
pub fn prepare(gemm: &Gemm, own: CudaKernel, cx: &PrepareCuda<'_>) -> Result<CudaKernel> {
    // To the library, a matrix without elements is an error.
    if gemm.k == 0 || cx.device.blas().is_err() {
        return Ok(own);
    }
    let scratch = cx.scratch()?;
    if let Some(product) = whole(gemm, cx) {
        return Ok(faster(cx.device, product, own, None, &scratch));
    }
    Ok(match sums(gemm, cx) {
        Some(product) => faster(cx.device, product, own, Some(gemm.finish(cx, Slices::ONE)?), &scratch),
        None => own,
    })
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
    use crate::cuda::tune::Tuning;
    use crate::ops::{MatMul, Op, Tensor, TensorInfo, testing_cuda};
    use crate::tensor::Dims;

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

    fn plain() -> MatMul {
        MatMul { transpose_a: false, transpose_b: false, alpha: 1.0, activation: Activation::None }
    }

    /// Runs a product on the GPU, if there is one.
    fn run(op: &MatMul, inputs: &[Option<&Tensor>], tf32: bool) -> Option<Vec<f32>> {
        let device = testing_cuda::device()?;
        let out = [inputs[0]?.info.dims[0], inputs[1]?.info.dims[1]];
        let outputs = [TensorInfo { dtype: DType::F32, dims: Dims::new(&out) }];
        let results = testing_cuda::run_with(&Op::from(op.clone()), inputs, &[], &outputs, (device, tf32)).unwrap();
        Some(results.unwrap()[0].elements::<f32>().to_vec())
    }

    fn filled(dims: [usize; 2]) -> Tensor {
        let values: Vec<f32> = (0..dims[0] * dims[1]).map(|i| (i * 7 % 23) as f32 / 8.0 - 1.0).collect();
        Tensor::new(&dims, &values).unwrap()
    }

    /// The choices for products of these extents.
    fn choices(extents: &str) -> Vec<String> {
        let text = String::from_utf8(Tuning::process().save()).unwrap();
        let of_extents = |line: &&str| line.split(['\t', ' ']).any(|word| word == extents);
        text.lines().filter(of_extents).map(str::to_owned).collect()
    }

    /// Makes the library take its own kernels for these choices, or what they say.
    fn choose(choices: &[String], own: bool) {
        let line = |choice: &String| match own {
            true => format!("{}\town\n", choice.rsplit_once('\t').unwrap().0),
            false => format!("{choice}\n"),
        };
        let text = format!("infer-tuning 1\n{}", choices.iter().map(line).collect::<String>());
        Tuning::process().load(text.as_bytes()).unwrap();
    }

    #[test]
    fn own_kernels_and_those_of_cublaslt_agree() {
        let (a, b, bias, residual) = (filled([37, 29]), filled([29, 41]), filled([1, 41]), filled([37, 41]));
        for activation in [Activation::None, Activation::Relu, Activation::Silu] {
            let op = MatMul { activation, alpha: 0.5, ..plain() };
            for added in [[None, None], [Some(&bias), None], [Some(&bias), Some(&residual)], [Some(&residual), None]] {
                let inputs = [Some(&a), Some(&b), added[0], added[1]];
                let Some(first) = run(&op, &inputs, false) else { return };
                let found = choices("37x41x29");
                assert_eq!(found.is_empty(), testing_cuda::device().unwrap().blas().is_err());
                assert_eq!(first, run(&op, &inputs, false).unwrap());
                choose(&found, true);
                let own = run(&op, &inputs, false).unwrap();
                assert!(first.iter().zip(&own).all(|(x, y)| (x - y).abs() <= 1e-5 * (1.0 + y.abs())));
                choose(&found, false);
                assert_eq!(first, run(&op, &inputs, false).unwrap());
            }
        }
    }

    #[test]
    fn factors_keep_their_bits_unless_tf32_is_allowed() {
        // TF32 takes the last bit of these away.
        let x = 1.0 + (-12f32).exp2();
        let (a, b) = (Tensor::new(&[48, 31], &[x; 48 * 31]).unwrap(), Tensor::new(&[31, 33], &[1f32; 31 * 33]).unwrap());
        let inputs = [Some(&a), Some(&b)];
        let Some(exact) = run(&plain(), &inputs, false) else { return };
        assert!(exact.iter().all(|y| *y == 31.0 * x));
        let rounded = run(&plain(), &inputs, true).unwrap();
        assert!(rounded.iter().all(|y| (y - 31.0).abs() <= 1e-2));
        let found = choices("48x33x31");
        assert_eq!(found.iter().filter(|choice| choice.contains("tf32")).count() * 2, found.len());
    }
}
