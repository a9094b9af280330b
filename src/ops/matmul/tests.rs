use super::*;
use crate::cpu::gemm::{Matrix, pack, packed_len, panels};
use crate::cpu::{Activation, Isa};
use crate::ops::Tensor;
use crate::ops::testing::{Random, as_f64, check_optional, check_stored, infer_error};
use crate::tensor::{Element, Layout, Sym};
use half::{bf16, f16};

/// Dimensions of `index` in row-major order, last first.
fn unravel(mut index: usize, dims: &[usize]) -> Vec<usize> {
    let mut at = vec![0; dims.len()];
    for i in (0..dims.len()).rev() {
        (at[i], index) = (index % dims[i], index / dims[i]);
    }
    at
}

/// Position of the element at the end of `at` of a tensor that is broadcast.
fn position(t: &Tensor, at: &[usize]) -> usize {
    let dims = &t.info.dims;
    let at = &at[at.len() - dims.len()..];
    dims.iter().zip(at).fold(0, |i, (&d, &a)| i * d + if d == 1 { 0 } else { a })
}

/// The product by its definition: one loop over outputs, one over K, in f64.
fn reference(op: &MatMul, inputs: &[Option<&Tensor>]) -> (Vec<usize>, Vec<f64>) {
    let [a, b] = [inputs[0].unwrap(), inputs[1].unwrap()];
    let types: Vec<_> = inputs.iter().map(|x| x.map(Tensor::ty)).collect();
    let types: Vec<_> = types.iter().map(Option::as_ref).collect();
    let dims = op.infer(&Inputs::new(&types)).unwrap()[0].shape.as_fixed().unwrap();
    let values: Vec<Vec<f64>> = inputs.iter().map(|x| x.map(as_f64).unwrap_or_default()).collect();
    let rank = a.info.dims.len();
    let k = a.info.dims[if rank > 1 && op.transpose_a { rank - 2 } else { rank - 1 }];
    let element = |index: usize| {
        let full = unravel(index, &dims);
        let mut at = full.clone();
        let n = if b.info.dims.len() > 1 { at.pop().unwrap() } else { 0 };
        let m = if a.info.dims.len() > 1 { at.pop().unwrap() } else { 0 };
        let place = |t: &Tensor, transpose: bool, row: usize, col: usize, k: usize| {
            let tail = if transpose { [col, row] } else { [row, col] };
            if t.info.dims.len() == 1 { k } else { position(t, &[&at[..], &tail].concat()) }
        };
        let [first, second] = [0, 1].map(|k| [place(a, op.transpose_a, m, k, k), place(b, op.transpose_b, k, n, k)]);
        let at = |i: usize, k: usize| values[i][first[i] + (second[i] - first[i]) * k];
        let sum: f64 = (0..k).map(|k| at(0, k) * at(1, k)).sum();
        let add = |i: usize| inputs.get(i).copied().flatten().map_or(0.0, |t| values[i][position(t, &full)]);
        sum * op.alpha as f64 + add(2) + add(3)
    };
    let mut out: Vec<f64> = (0..dims.iter().product()).map(element).collect();
    if op.activation != Activation::None {
        let mut rounded: Vec<f32> = out.iter().map(|&x| x as f32).collect();
        op.activation.apply_to(Isa::Scalar, &mut rounded);
        out = rounded.iter().map(|&x| x.into()).collect();
    }
    (dims.to_vec(), out)
}

/// Checks one product in element type `T`.
fn check_in<T: Element>(op: &MatMul, shapes: [Option<&[usize]>; 4], tolerance: f64, of: fn(f64) -> T, element: fn(&mut Random) -> T) {
    let mut random = Random::new(7);
    let tensors = shapes.map(|s| s.map(|s| random.tensor_of(s, element)));
    let inputs: Vec<_> = tensors.iter().map(Option::as_ref).collect();
    let (dims, out) = reference(op, &inputs);
    let want = Tensor::new(&dims, &out.into_iter().map(of).collect::<Vec<T>>()).unwrap();
    check_optional(op.clone(), &inputs, &[want], tolerance);
}

fn check_f32(op: &MatMul, a: &[usize], b: &[usize], bias: Option<&[usize]>, residual: Option<&[usize]>) {
    check_in::<f32>(op, [Some(a), Some(b), bias, residual], 3e-6, |x| x as f32, |r| r.range(-1.0, 1.0));
}

#[test]
fn shapes_of_numpy() {
    let plain = MatMul::default();
    for (a, b) in [
        (&[3][..], &[3][..]),
        (&[3], &[3, 5]),
        (&[4, 3], &[3]),
        (&[2, 4, 3], &[3]),
        (&[3], &[2, 3, 5]),
        (&[17, 33], &[33, 19]),
        (&[2, 3, 7, 9], &[9, 20]),
        (&[2, 3, 7, 9], &[3, 9, 20]),
        (&[2, 1, 7, 9], &[1, 3, 9, 20]),
        (&[7, 9], &[2, 3, 9, 5]),
        (&[5, 1, 6], &[5, 6, 40]),
        (&[5, 40, 6], &[5, 6, 1]),
        (&[5, 40, 6], &[6, 1]),
        (&[40, 6], &[5, 6, 1]),
        (&[1, 1], &[1, 1]),
        (&[2, 70, 1], &[1, 33]),
        (&[0, 4], &[4, 3]),
        (&[4, 3], &[3, 0]),
        (&[2, 4, 0], &[0, 3]),
        (&[0, 4, 2], &[2, 3]),
        (&[0, 1, 2], &[0, 2, 1]),
    ] {
        check_f32(&plain, a, b, None, None);
        check_in::<f64>(&plain, [Some(a), Some(b), None, None], 1e-14, |x| x, |r| r.range(-1.0, 1.0).into());
    }
}

#[test]
fn transposed_operands() {
    for (transpose_a, transpose_b) in [(false, true), (true, false), (true, true)] {
        let op = MatMul { transpose_a, transpose_b, ..MatMul::default() };
        for (m, k, n) in [(1, 5, 7), (2, 70, 130), (5, 1, 3), (20, 33, 50), (40, 6, 1), (100, 200, 90)] {
            let a = if transpose_a { [k, m] } else { [m, k] };
            let b = if transpose_b { [n, k] } else { [k, n] };
            check_f32(&op, &a, &b, None, None);
            check_f32(&op, &[&[3], &a[..]].concat(), &b, None, None);
            check_f32(&op, &a, &[&[3], &b[..]].concat(), None, None);
            check_f32(&op, &[&[3, 1], &a[..]].concat(), &[&[2], &b[..]].concat(), None, None);
            check_in::<f64>(&op, [Some(&a), Some(&b), None, None], 1e-14, |x| x, |r| r.range(-1.0, 1.0).into());
        }
        check_f32(&op, &[4], &[4], None, None);
    }
}

#[test]
fn bias_residual_alpha_and_activation() {
    let activated = MatMul { activation: Activation::Silu, ..MatMul::default() };
    let scaled = MatMul { alpha: 0.25, activation: Activation::Relu, ..MatMul::default() };
    for op in [MatMul::default(), activated, scaled] {
        for m in [1, 3, 21] {
            for bias in [&[][..], &[1], &[35], &[1, 35], &[m, 1], &[m, 35], &[1, m, 35], &[4, 1, 35], &[4, m, 35]] {
                check_f32(&op, &[4, m, 10], &[10, 35], Some(bias), None);
                check_f32(&op, &[4, m, 10], &[4, 10, 35], Some(bias), Some(&[4, m, 35]));
            }
        }
        for bias in [None, Some(&[1][..]), Some(&[30, 1]), Some(&[30, 1][..])] {
            check_f32(&op, &[2, 30, 9], &[9, 1], bias, Some(&[2, 30, 1]));
        }
        check_f32(&op, &[2, 30, 9], &[9], Some(&[30]), None);
        check_f32(&op, &[9], &[9], Some(&[]), Some(&[]));
    }
}

#[test]
fn large_products_in_many_parts() {
    let op = MatMul { activation: Activation::Relu, ..MatMul::default() };
    check_f32(&op, &[150, 300], &[300, 260], Some(&[260]), None);
    check_f32(&op, &[1, 700], &[700, 2500], Some(&[2500]), None);
    check_f32(&op, &[12, 50, 64], &[12, 64, 50], None, Some(&[12, 50, 50]));
    check_f32(&MatMul { transpose_b: true, ..op }, &[3, 700], &[1300, 700], None, Some(&[3, 1300]));
}

#[test]
fn tiles_and_slices_of_a_gpu() {
    let op = MatMul { alpha: 0.5, activation: Activation::Gelu, ..MatMul::default() };
    let turned = MatMul { transpose_a: true, transpose_b: true, ..op.clone() };
    let shapes: [[Option<&[usize]>; 4]; 6] = [
        // Deep products of few rows, of few columns, of one row, of one column; odd extents, and such that four lie side by side.
        [Some(&[7, 1031]), Some(&[1031, 130]), Some(&[130]), Some(&[7, 130])],
        [Some(&[150, 1032]), Some(&[1032, 3]), Some(&[150, 1]), Some(&[150, 3])],
        [Some(&[3, 1, 1100]), Some(&[3, 1100, 70]), Some(&[70]), None],
        [Some(&[3, 70, 1100]), Some(&[3, 1100, 1]), Some(&[70, 1]), Some(&[3, 70, 1])],
        [Some(&[100, 515]), Some(&[515, 68]), None, Some(&[100, 68])],
        [Some(&[2, 1, 68, 36]), Some(&[3, 36, 72]), Some(&[3, 68, 1]), None],
    ];
    let swapped = |s: Option<&[usize]>| s.map(|s| [&s[..s.len() - 2], &[s[s.len() - 1], s[s.len() - 2]]].concat());
    for [a, b, bias, residual] in shapes {
        let (a_turned, b_turned) = (swapped(a), swapped(b));
        for (op, a, b) in [(&op, a, b), (&turned, a_turned.as_deref(), b_turned.as_deref())] {
            let s = [a, b, bias, residual];
            check_in::<f32>(op, s, 3e-6, |x| x as f32, |r| r.range(-1.0, 1.0));
            check_in::<f16>(op, s, 1e-3, f16::from_f64, |r| f16::from_f32(r.range(-1.0, 1.0)));
            check_in::<bf16>(op, s, 8e-3, bf16::from_f64, |r| bf16::from_f32(r.range(-1.0, 1.0)));
        }
    }
    // Enough tiles of the largest kind.
    check_f32(&op, &[264, 65, 18], &[264, 18, 66], Some(&[66]), None);
}

#[test]
fn packed_weights() {
    let mut random = Random::new(3);
    for (m, k, n) in [(1, 40, 33), (9, 64, 48), (30, 17, 5)] {
        let (a, b) = (random.tensor(&[2, m, k]), random.tensor(&[k, n]));
        let bias = random.tensor(&[n]);
        let op = MatMul { activation: Activation::Relu, ..MatMul::default() };
        let (dims, out) = reference(&op, &[Some(&a), Some(&b), Some(&bias)]);
        let want = Tensor::new(&dims, &out.iter().map(|&x| x as f32).collect::<Vec<_>>()).unwrap();
        let mut packed = vec![0.0; packed_len(n, k).unwrap()];
        pack(&Matrix::row_major(b.elements(), k, n), 0..panels(n), &mut packed);
        let stored = |data: Tensor| Tensor { info: b.info, data: data.data };
        let wide = stored(Tensor::new(&[packed.len()], &packed).unwrap());
        let layouts = [Layout::RowMajor, Layout::Panels];
        check_stored(op.clone(), &[Some(&a), Some(&wide), Some(&bias)], &layouts, &[want], 3e-6);
    }
}

#[test]
fn every_element_type() {
    let shapes: [[Option<&[usize]>; 4]; 3] = [
        [Some(&[3, 19]), Some(&[19, 40]), Some(&[40]), None],
        [Some(&[2, 30, 19]), Some(&[2, 19, 40]), Some(&[30, 1]), Some(&[2, 30, 40])],
        [Some(&[19]), Some(&[19, 1]), None, None],
    ];
    let op = MatMul::default();
    for s in shapes {
        check_in::<f64>(&op, s, 1e-14, |x| x, |r| r.range(-1.0, 1.0).into());
        check_in::<i32>(&op, s, 0.0, |x| x as i32, |r| r.below(9) as i32 - 4);
        check_in::<i64>(&op, s, 0.0, |x| x as i64, |r| r.below(9) as i64 - 4);
        check_in::<u32>(&op, s, 0.0, |x| x as u32, |r| r.below(9) as u32);
        check_in::<u64>(&op, s, 0.0, |x| x as u64, |r| r.below(9) as u64);
        for op in [op.clone(), MatMul { alpha: 0.5, activation: Activation::Tanh, ..op.clone() }] {
            check_in::<f16>(&op, s, 1e-3, f16::from_f64, |r| f16::from_f32(r.range(-1.0, 1.0)));
            check_in::<bf16>(&op, s, 8e-3, bf16::from_f64, |r| bf16::from_f32(r.range(-1.0, 1.0)));
        }
    }
}

#[test]
fn integers_wrap() {
    let a = Tensor::new(&[1, 2], &[i32::MAX, 2]).unwrap();
    let b = Tensor::new(&[2, 1], &[2, 5]).unwrap();
    check_optional(MatMul::default(), &[Some(&a), Some(&b)], &[Tensor::new(&[1, 1], &[8]).unwrap()], 0.0);
}

#[test]
fn symbolic_shapes() {
    let [n, s] = [0, 1].map(|i| Dim::sym(Sym(i)));
    let ty = |dims: &[Dim]| TensorType::new(DType::F32, Shape::new(dims).unwrap());
    let of = |op: MatMul, a: &TensorType, b: &TensorType| op.infer(&Inputs::new(&[Some(a), Some(b)])).unwrap()[0].shape.clone();
    let a = ty(&[n.clone(), s.clone(), Dim::Fixed(8)]);
    assert_eq!(of(MatMul::default(), &a, &ty(&[8i64, 5].map(Dim::from))), ty(&[n.clone(), s.clone(), 5i64.into()]).shape);
    let op = MatMul { transpose_b: true, ..MatMul::default() };
    assert_eq!(of(op, &a, &a), ty(&[n, s.clone(), s]).shape);
}

#[test]
fn refuses_what_does_not_fit() {
    let t = |dims: &[usize]| Random::new(1).tensor(dims);
    let int = |dims: &[usize]| Random::new(1).tensor_of(dims, |_| 1i8);
    let op = MatMul::default;
    assert!(infer_error(op(), &[&t(&[2, 3]), &t(&[4, 5])]).contains("A has 3 columns, B has 4 rows"));
    assert!(infer_error(op(), &[&t(&[]), &t(&[4])]).contains("scalars"));
    assert!(infer_error(op(), &[&t(&[2, 3, 4]), &t(&[3, 4, 5])]).contains("do not broadcast"));
    assert!(infer_error(op(), &[&t(&[3, 4]), &t(&[4, 5]), &t(&[4])]).contains("bias"));
    assert!(infer_error(op(), &[&t(&[3, 4]), &t(&[4, 5]), &t(&[2, 3, 5])]).contains("bias"));
    assert!(infer_error(op(), &[&t(&[3, 4]), &t(&[4, 5]), &t(&[5]), &t(&[1, 5])]).contains("residual"));
    assert!(infer_error(op(), &[&int(&[3, 4]), &int(&[4, 5])]).contains("i8"));
    let double = Random::new(1).tensor_of(&[2, 2], |_| 1f64);
    assert!(infer_error(op(), &[&t(&[2, 2]), &double]).contains("f64, not f32"));
    assert!(infer_error(MatMul { alpha: 2.0, ..op() }, &[&double, &double]).contains("alpha"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    crate::ops::testing::round_trip(MatMul::default());
    let activation = Activation::Clip { lo: -1.0, hi: 6.0 };
    crate::ops::testing::round_trip(MatMul { transpose_a: true, transpose_b: true, alpha: 0.5, activation });
}
