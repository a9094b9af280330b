use super::*;
use crate::ops::Tensor;
use crate::ops::testing::{check, tensor};
use crate::tensor::{Shape, Sym};
use half::{bf16, f16};

fn cast(x: &Tensor, to: DType, want: Tensor) {
    check(Cast { to }, &[x], &[want]);
}

#[test]
fn every_pair_of_types() {
    let values: Vec<f64> = (0..3000).map(|i| (i % 100) as f64).collect();
    for &from in DType::ALL {
        for &to in DType::ALL {
            for dims in [&[3000usize][..], &[7, 11], &[], &[3, 0]] {
                let n = dims.iter().product();
                let truth = |x: &f64| if from == DType::Bool || to == DType::Bool { (*x != 0.0).into() } else { *x };
                let want: Vec<f64> = values[..n].iter().map(truth).collect();
                let source = if from == DType::Bool { &want } else { &values[..n].to_vec() };
                cast(&tensor(from, dims, source), to, tensor(to, dims, &want));
            }
        }
    }
}

#[test]
fn floats_truncate_and_saturate() {
    let x = [1.9, -1.9, -0.5, 300.0, -300.0, 1e30, -1e30, f64::NAN, f64::INFINITY];
    let n = &[9usize][..];
    for from in [DType::F32, DType::F64, DType::BF16] {
        let x = tensor(from, n, &x);
        cast(&x, DType::I8, Tensor::new(n, &[1i8, -1, 0, 127, -128, 127, -128, 0, 127]).unwrap());
        cast(&x, DType::U8, Tensor::new(n, &[1u8, 0, 0, 255, 0, 255, 0, 0, 255]).unwrap());
        let (min, max) = (i64::MIN, i64::MAX);
        cast(&x, DType::I64, Tensor::new(n, &[1, -1, 0, 300, -300, max, min, 0, max]).unwrap());
        cast(&x, DType::Bool, tensor(DType::Bool, n, &[1.0; 9]));
    }
    cast(&tensor(DType::F32, &[2], &[0.0, -0.0]), DType::Bool, tensor(DType::Bool, &[2], &[0.0, 0.0]));
}

#[test]
fn integers_keep_their_low_bits() {
    let x = Tensor::new(&[4], &[200i64, -1, 1 << 33, -200]).unwrap();
    cast(&x, DType::I8, Tensor::new(&[4], &[-56i8, -1, 0, 56]).unwrap());
    cast(&x, DType::U16, Tensor::new(&[4], &[200u16, 65535, 0, 65336]).unwrap());
    cast(&x, DType::U64, Tensor::new(&[4], &[200u64, u64::MAX, 1 << 33, u64::MAX - 199]).unwrap());
    let large = Tensor::new(&[1], &[u64::MAX]).unwrap();
    cast(&large, DType::F32, Tensor::new(&[1], &[18_446_744_073_709_551_616f32]).unwrap());
    cast(&large, DType::I64, Tensor::new(&[1], &[-1i64]).unwrap());
    let wide = Tensor::new(&[2], &[u32::MAX, 1]).unwrap();
    cast(&wide, DType::F64, Tensor::new(&[2], &[4_294_967_295f64, 1.0]).unwrap());
    cast(&wide, DType::I32, Tensor::new(&[2], &[-1i32, 1]).unwrap());
}

#[test]
fn floats_round_to_nearest_even() {
    let x = Tensor::new(&[4], &[2049f32, 2051.0, 1e6, f32::NAN]).unwrap();
    let halves = [2048.0, 2052.0, f32::INFINITY, f32::NAN].map(f16::from_f32);
    cast(&x, DType::F16, Tensor::new(&[4], &halves).unwrap());
    let x = Tensor::new(&[3], &[257f32, 259.0, f32::MIN]).unwrap();
    let rounded = [256.0, 260.0, f32::NEG_INFINITY].map(bf16::from_f32);
    cast(&x, DType::BF16, Tensor::new(&[3], &rounded).unwrap());
    // Rounded once: by way of f32 this would become a tie, and go down.
    let x = Tensor::new(&[1], &[2049.0 + 1e-9]).unwrap();
    cast(&x, DType::F16, Tensor::new(&[1], &[f16::from_f32(2050.0)]).unwrap());
    let x = Tensor::new(&[1], &[16_777_217i32]).unwrap();
    cast(&x, DType::F32, Tensor::new(&[1], &[16_777_216f32]).unwrap());
}

#[test]
fn values_propagate() {
    let n = Dim::sym(Sym(0));
    let ty = |dtype, v: &[Dim]| TensorType::new(dtype, Shape::fixed(&[v.len()]).unwrap()).with_value(v.to_vec());
    let x = ty(DType::I64, &[n.clone(), Dim::Fixed(0), Dim::Fixed(1 << 32 | 5)]);
    let infer = |x: &TensorType, to| Cast { to }.infer(&Inputs::new(&[Some(x)])).unwrap().remove(0);
    assert_eq!(infer(&x, DType::I32), ty(DType::I32, &[n.clone(), Dim::Fixed(0), Dim::Fixed(5)]));
    assert_eq!(infer(&x, DType::Bool).value, None);
    let positive = ty(DType::I64, &[n.add(&Dim::Fixed(1)), Dim::Fixed(0)]);
    assert_eq!(infer(&positive, DType::Bool), ty(DType::Bool, &[Dim::Fixed(1), Dim::Fixed(0)]));
    assert_eq!(infer(&x, DType::F32).value, None);
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    DType::ALL.iter().for_each(|&to| crate::ops::testing::round_trip(Cast { to }));
}
