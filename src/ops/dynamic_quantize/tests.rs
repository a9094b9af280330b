use super::*;
use crate::ops::Tensor;
use crate::ops::testing::{Random, check, infer_error, tensor};

fn reference(x: &Tensor) -> [Tensor; 3] {
    let values = x.elements::<f32>();
    let low = values.iter().fold(0f32, |a, &b| a.min(b));
    let high = values.iter().fold(0f32, |a, &b| a.max(b));
    let scale = if high == low { 1.0 } else { (high - low) / 255.0 };
    let zero = (-low / scale).round_ties_even().clamp(0.0, 255.0);
    let y: Vec<u8> = values.iter().map(|x| ((x / scale).round_ties_even() + zero).clamp(0.0, 255.0) as u8).collect();
    let dims = &x.info.dims;
    [Tensor::new(dims, &y).unwrap(), Tensor::new(&[], &[scale]).unwrap(), Tensor::new(&[], &[zero as u8]).unwrap()]
}

#[test]
fn fits_the_range() {
    let mut random = Random::new(1);
    for (low, high) in [(-1.0, 1.0), (0.5, 3.0), (-4.0, -2.0), (0.0, 1e-30), (-1e9, 3.0)] {
        for dims in [&[6usize][..], &[3, 77], &[], &[2, 70_000], &[0, 3]] {
            let x = random.tensor_of(dims, |r| r.range(low, high));
            check(DynamicQuantize, &[&x], &reference(&x));
        }
    }
    let zeros = tensor(DType::F32, &[5], &[0.0; 5]);
    check(DynamicQuantize, &[&zeros], &reference(&zeros));
}

#[test]
fn refuses_other_types() {
    assert!(infer_error(DynamicQuantize, &[&tensor(DType::F64, &[1], &[1.0])]).contains("not f32"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    crate::ops::testing::round_trip(DynamicQuantize);
}
