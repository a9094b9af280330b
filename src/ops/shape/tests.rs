use super::*;
use crate::ops::Tensor;
use crate::ops::testing::{Random, check};
use crate::tensor::{Dim, Sym};

#[test]
fn axes_are_clamped() {
    let mut random = Random::new(1);
    let x = random.tensor(&[3, 4, 0, 5]);
    let whole = i32::MAX.into();
    let cases: [(i64, i64, &[i64]); 8] = [
        (0, whole, &[3, 4, 0, 5]),
        (1, whole, &[4, 0, 5]),
        (-1, whole, &[5]),
        (0, -1, &[3, 4, 0]),
        (1, -2, &[4]),
        (-10, 10, &[3, 4, 0, 5]),
        (3, 1, &[]),
        (7, i64::MIN, &[]),
    ];
    for (start, end, want) in cases {
        check(Shape { start, end }, &[&x], &[Tensor::new(&[want.len()], want).unwrap()]);
    }
    check(Shape::default(), &[&random.tensor_of(&[], |_| 1u8)], &[Tensor::new(&[0], &[0i64; 0]).unwrap()]);
}

#[test]
fn symbols_are_values() {
    let x = TensorType::new(DType::F32, Extents::new([Dim::sym(Sym(0)), Dim::Fixed(4)]).unwrap());
    let out = Shape::default().infer(&Inputs::new(&[Some(&x)])).unwrap();
    assert_eq!(out[0].value.as_deref(), Some(&x.shape[..]));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    crate::ops::testing::round_trip(Shape::default());
    crate::ops::testing::round_trip(Shape { start: -2, end: 1 });
}
