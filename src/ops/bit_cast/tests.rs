use super::*;
use crate::ops::Tensor;
use crate::ops::testing::{check, infer_error};

#[test]
fn bits_stay() {
    let floats = [0.0f32, -0.0, 1.5, f32::NEG_INFINITY, 1e-40];
    for dims in [&[5][..], &[1, 5], &[5, 1, 1]] {
        let x = Tensor::new(dims, &floats).unwrap();
        let bits = Tensor::new(dims, &floats.map(|x| x.to_bits() as i32)).unwrap();
        check(BitCast { to: DType::I32 }, &[&x], std::slice::from_ref(&bits));
        check(BitCast { to: DType::F32 }, &[&bits], &[x]);
    }
    let (scalar, empty) = (Tensor::new(&[], &[-1i8]).unwrap(), Tensor::new(&[0, 3], &[0i64; 0]).unwrap());
    check(BitCast { to: DType::U8 }, &[&scalar], &[Tensor::new(&[], &[255u8]).unwrap()]);
    check(BitCast { to: DType::F64 }, &[&empty], &[Tensor::new(&[0, 3], &[0f64; 0]).unwrap()]);
}

#[test]
fn sizes_must_agree() {
    let x = Tensor::new(&[2], &[1i8, 2]).unwrap();
    assert!(infer_error(BitCast { to: DType::F16 }, &[&x]).contains("f16"));
    assert!(infer_error(BitCast { to: DType::Bool }, &[&x]).contains("bool"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    crate::ops::testing::round_trip(BitCast { to: DType::U16 });
}
