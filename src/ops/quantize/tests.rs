use super::*;
use crate::ops::Tensor;
use crate::ops::testing::{Random, as_f64, check, infer_error, tensor};

/// The scale or zero point of element `i` of a tensor of these dimensions.
fn at(values: &[f64], dims: &[usize], i: usize, axis: usize, block: usize) -> f64 {
    let (extent, inner) = (dims[axis], dims[axis + 1..].iter().product::<usize>());
    let (outer, along, rest) = (i / extent / inner, i / inner % extent, i % inner);
    match (values.len(), block) {
        (0, _) => 0.0,
        (1, _) => values[0],
        (_, 0) => values[along],
        _ => values[(outer * extent.div_ceil(block) + along / block) * inner + rest],
    }
}

fn limits(dtype: DType) -> (f64, f64) {
    let bits = 8 * dtype.size() as i32;
    if dtype.is_signed() { (-(2f64.powi(bits - 1)), 2f64.powi(bits - 1) - 1.0) } else { (0.0, 2f64.powi(bits) - 1.0) }
}

fn reference(op: &Quantize, x: &Tensor, scale: &Tensor, zero: Option<&Tensor>) -> Tensor {
    let (s, z) = (as_f64(scale), zero.map(as_f64).unwrap_or_default());
    let axis = op.axis as usize;
    let (low, high) = limits(op.to);
    let dims = &x.info.dims;
    let value = |(i, x): (usize, f64)| {
        let quotient = (x as f32 / at(&s, dims, i, axis, op.block) as f32) as f64;
        (quotient.round_ties_even() + at(&z, dims, i, axis, op.block)).clamp(low, high)
    };
    tensor(op.to, dims, &as_f64(x).into_iter().enumerate().map(value).collect::<Vec<_>>())
}

#[test]
fn every_granularity_and_type() {
    let mut random = Random::new(1);
    let cases: [(&[usize], i64, usize, &[usize]); 8] = [
        (&[3, 70], 1, 0, &[]),
        (&[3, 70], 1, 0, &[1]),
        (&[3, 70], 1, 0, &[70]),
        (&[3, 70, 5], 1, 0, &[70]),
        (&[3, 70], 1, 32, &[3, 3]),
        (&[3, 8, 5], 1, 2, &[3, 4, 5]),
        (&[0, 4], 1, 0, &[4]),
        (&[40, 1000], 0, 0, &[40]),
    ];
    for to in [DType::U8, DType::I8, DType::U16, DType::I16] {
        for from in [DType::F32, DType::I32] {
            for (dims, axis, block, scale_dims) in cases {
                let wide = if to.size() == 2 { 3e4 } else { 150.0 };
                let x: Vec<f64> = (0..dims.iter().product()).map(|_| random.range(-wide, wide).round() as f64 / 2.0).collect();
                let n: usize = scale_dims.iter().product();
                let scale: Vec<f64> = (0..n).map(|i| [0.5, 1.0, 0.3][i % 3]).collect();
                let zero: Vec<f64> = (0..n).map(|_| random.below(90) as f64).collect();
                let (x, scale) = (tensor(from, dims, &x), tensor(DType::F32, scale_dims, &scale));
                let zero = tensor(to, scale_dims, &zero);
                let op = Quantize { axis, block, to, precision: None };
                check(op.clone(), &[&x, &scale, &zero], &[reference(&op, &x, &scale, Some(&zero))]);
                check(op.clone(), &[&x, &scale], &[reference(&op, &x, &scale, None)]);
            }
        }
    }
}

#[test]
fn rounds_to_even_and_saturates() {
    let x = [0.5, 1.5, 2.5, -0.5, 1e30, -1e30, f64::INFINITY, f64::NAN];
    let op = Quantize { axis: 1, block: 0, to: DType::I8, precision: None };
    let scale = tensor(DType::F32, &[], &[1.0]);
    for dtype in [DType::F32, DType::BF16] {
        let want = Tensor::new(&[8], &[0i8, 2, 2, 0, 127, -128, 127, 0]).unwrap();
        check(op.clone(), &[&tensor(dtype, &[8], &x), &scale], &[want]);
    }
}

#[test]
fn precision_of_the_division() {
    // 127.49 in f32, the tie 127.5 in f16.
    let (x, scale) = (tensor(DType::F16, &[1], &[254.98]), tensor(DType::F16, &[], &[2.0]));
    let x = Tensor { data: tensor(DType::F16, &[1], &as_f64(&x)).data, ..x };
    let exact = as_f64(&x)[0] / 2.0;
    let x3 = tensor(DType::F16, &[1], &[382.25]);
    let three = tensor(DType::F16, &[], &[3.0]);
    let quantize = |precision| Quantize { axis: 0, block: 0, to: DType::U8, precision };
    check(quantize(None), &[&x, &scale], &[tensor(DType::U8, &[1], &[exact.round_ties_even()])]);
    // 382.25 / 3 = 127.417: 127.4375 in f16, 127.5 in bf16.
    check(quantize(None), &[&x3, &three], &[tensor(DType::U8, &[1], &[127.0])]);
    check(quantize(Some(DType::BF16)), &[&x3, &three], &[tensor(DType::U8, &[1], &[128.0])]);
}

#[test]
fn refuses_what_does_not_fit() {
    let op = |to, block| Quantize { axis: 1, block, to, precision: None };
    let f = |dims: &[usize]| tensor(DType::F32, dims, &vec![1.0; dims.iter().product()]);
    assert!(infer_error(op(DType::I32, 0), &[&f(&[2, 3]), &f(&[])]).contains("u8, i8, u16 and i16"));
    assert!(infer_error(op(DType::U8, 0), &[&f(&[2, 3]), &f(&[2])]).contains("[3] is needed"));
    assert!(infer_error(op(DType::U8, 2), &[&f(&[2, 3]), &f(&[2, 3])]).contains("[2, 2] is needed"));
    assert!(infer_error(op(DType::U8, 0), &[&f(&[3]), &f(&[3])]).contains("out of range"));
    assert!(infer_error(op(DType::U8, 0), &[&f(&[2, 3]), &f(&[]), &f(&[])]).contains("not u8"));
    let zero = tensor(DType::U8, &[3], &[0.0; 3]);
    assert!(infer_error(op(DType::U8, 0), &[&f(&[2, 3]), &f(&[]), &zero]).contains("zero point"));
    assert!(infer_error(op(DType::U8, 0), &[&zero, &f(&[])]).contains("can be quantized"));
    assert!(infer_error(op(DType::U8, 0), &[&f(&[2]), &tensor(DType::F64, &[], &[1.0])]).contains("the scale"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    crate::ops::testing::round_trip(Quantize { axis: -2, block: 32, to: DType::I16, precision: Some(DType::F16) });
    crate::ops::testing::round_trip(Quantize { axis: 1, block: 0, to: DType::U8, precision: None });
}
