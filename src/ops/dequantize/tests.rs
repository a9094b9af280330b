use super::*;
use crate::ops::Tensor;
use crate::ops::testing::{Random, as_f64, check_close, infer_error, tensor};

fn reference(op: &Dequantize, x: &Tensor, scale: &Tensor, zero: Option<&Tensor>) -> Tensor {
    let (s, z) = (as_f64(scale), zero.map(as_f64).unwrap_or_default());
    let dims = &x.info.dims;
    let axis = op.axis as usize;
    let (extent, inner) = (dims[axis], dims[axis + 1..].iter().product::<usize>());
    let pick = |values: &[f64], i: usize| {
        let (outer, along, rest) = (i / extent / inner, i / inner % extent, i % inner);
        match (values.len(), op.block) {
            (0, _) => 0.0,
            (1, _) => values[0],
            (_, 0) => values[along],
            (_, block) => values[(outer * extent.div_ceil(block) + along / block) * inner + rest],
        }
    };
    let value = |(i, x): (usize, f64)| (x - pick(&z, i)) * pick(&s, i);
    tensor(op.to, dims, &as_f64(x).into_iter().enumerate().map(value).collect::<Vec<_>>())
}

#[test]
fn every_granularity_and_type() {
    let mut random = Random::new(1);
    let cases: [(&[usize], i64, usize, &[usize]); 8] = [
        (&[3, 70], 1, 0, &[]),
        (&[3, 70], 0, 0, &[1]),
        (&[3, 70], 1, 0, &[70]),
        (&[3, 70, 5], 1, 0, &[70]),
        (&[3, 70], 1, 32, &[3, 3]),
        (&[3, 8, 5], 1, 2, &[3, 4, 5]),
        (&[0, 4], 1, 0, &[4]),
        (&[40, 1000], 0, 0, &[40]),
    ];
    for from in [DType::U8, DType::I8, DType::U16, DType::I16, DType::I32] {
        for (to, scale_type) in
            [(DType::F32, DType::F32), (DType::F16, DType::F16), (DType::BF16, DType::BF16), (DType::F16, DType::F32)]
        {
            for (dims, axis, block, scale_dims) in cases {
                let x: Vec<f64> = (0..dims.iter().product()).map(|_| random.below(120) as f64).collect();
                let n: usize = scale_dims.iter().product();
                let scale: Vec<f64> = (0..n).map(|i| [0.5, 1.0, 0.375][i % 3]).collect();
                let zero: Vec<f64> = (0..n).map(|_| random.below(90) as f64).collect();
                let (x, scale) = (tensor(from, dims, &x), tensor(scale_type, scale_dims, &scale));
                let zero = tensor(from, scale_dims, &zero);
                let op = Dequantize { axis, block, to };
                check_close(op.clone(), &[&x, &scale, &zero], &[reference(&op, &x, &scale, Some(&zero))], 0.0);
                check_close(op.clone(), &[&x, &scale], &[reference(&op, &x, &scale, None)], 0.0);
            }
        }
    }
}

#[test]
fn refuses_what_does_not_fit() {
    let op = |to| Dequantize { axis: 0, block: 0, to };
    let (x, scale) = (tensor(DType::U8, &[2], &[1.0, 2.0]), tensor(DType::F32, &[], &[1.0]));
    assert!(infer_error(op(DType::F64), &[&x, &scale]).contains("the result"));
    assert!(infer_error(op(DType::F32), &[&scale, &scale]).contains("can be dequantized"));
    assert!(infer_error(op(DType::F32), &[&x, &scale, &tensor(DType::I8, &[], &[1.0])]).contains("not u8"));
    assert!(infer_error(op(DType::F32), &[&x, &tensor(DType::F32, &[3], &[1.0; 3])]).contains("[2] is needed"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    crate::ops::testing::round_trip(Dequantize { axis: -2, block: 32, to: DType::BF16 });
}
