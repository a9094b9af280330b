use super::*;
use crate::ops::Tensor;
use crate::ops::testing::{Random, as_f64, check, infer_error, tensor};

fn reference(op: &Cumulative, x: &Tensor, axis: usize) -> Tensor {
    let dims = &x.info.dims;
    let values = as_f64(x);
    let stride: usize = dims[axis + 1..].iter().product();
    let combined = |i: usize| {
        let position = i / stride % dims[axis];
        let wanted = |p: usize| match (op.reverse, op.exclusive) {
            (false, false) => p <= position,
            (false, true) => p < position,
            (true, false) => p >= position,
            (true, true) => p > position,
        };
        let start = i - position * stride;
        let elements = (0..dims[axis]).filter(|&p| wanted(p)).map(|p| values[start + p * stride]);
        match op.kind {
            CumulativeKind::Sum => elements.sum::<f64>(),
            CumulativeKind::Prod => elements.product(),
        }
    };
    tensor(x.info.dtype, dims, &(0..values.len()).map(combined).collect::<Vec<_>>())
}

#[test]
fn every_attribute_and_type() {
    let mut random = Random::new(1);
    for &dtype in DType::ALL.iter().filter(|&&d| d != DType::Bool) {
        for dims in [&[5usize][..], &[3, 4], &[2, 3, 300], &[2, 700, 3], &[2, 0, 3], &[0, 3], &[1, 1]] {
            let values: Vec<f64> = (0..dims.iter().product()).map(|_| random.below(3) as f64).collect();
            let x = tensor(dtype, dims, &values);
            for axis in 0..dims.len() {
                for (kind, flags) in CumulativeKind::ALL.into_iter().flat_map(|k| (0..4).map(move |f| (k, f))) {
                    let negative = axis as i64 - dims.len() as i64;
                    let op = Cumulative { kind, axis: negative, exclusive: flags & 1 != 0, reverse: flags & 2 != 0 };
                    // With more elements the result would wrap, and the reference does not.
                    if dims[axis] < 6 || kind == CumulativeKind::Sum && dtype.size() > 1 {
                        check(op.clone(), &[&x], &[reference(&op, &x, axis)]);
                    }
                }
            }
        }
    }
}

#[test]
fn integers_wrap() {
    let x = Tensor::new(&[3], &[200u8, 100, 2]).unwrap();
    let op = |kind| Cumulative { kind, axis: 0, exclusive: false, reverse: false };
    check(op(CumulativeKind::Sum), &[&x], &[Tensor::new(&[3], &[200u8, 44, 46]).unwrap()]);
    check(op(CumulativeKind::Prod), &[&x], &[Tensor::new(&[3], &[200u8, 32, 64]).unwrap()]);
    let x = Tensor::new(&[2], &[u64::MAX, 3]).unwrap();
    check(op(CumulativeKind::Sum), &[&x], &[Tensor::new(&[2], &[u64::MAX, 2]).unwrap()]);
}

#[test]
fn refuses_what_it_cannot_do() {
    let op = Cumulative { kind: CumulativeKind::Sum, axis: 1, exclusive: false, reverse: false };
    assert!(infer_error(op.clone(), &[&tensor(DType::F32, &[2], &[1.0; 2])]).contains("out of range"));
    assert!(infer_error(op, &[&tensor(DType::Bool, &[2, 2], &[1.0; 4])]).contains("bool"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    let op = Cumulative { kind: CumulativeKind::Prod, axis: -2, exclusive: true, reverse: true };
    crate::ops::testing::round_trip(op.clone());
    crate::ops::testing::round_trip(Cumulative { exclusive: false, ..op });
}
