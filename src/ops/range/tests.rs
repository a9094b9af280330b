use super::*;
use crate::ops::Tensor;
use crate::ops::testing::{check, check_close, infer_error};
use crate::tensor::Sym;

fn scalar<T: Element>(x: T) -> Tensor {
    Tensor::new(&[], &[x]).unwrap()
}

fn run_case<T: Element>(start: T, limit: T, delta: T, want: &[T]) {
    let want = Tensor::new(&[want.len()], want).unwrap();
    check(Range, &[&scalar(start), &scalar(limit), &scalar(delta)], &[want]);
}

#[test]
fn counts_up_and_down() {
    run_case(1i64, 5, 2, &[1, 3]);
    run_case(10i32, 4, -2, &[10, 8, 6]);
    run_case(3i16, -4, -3, &[3, 0, -3]);
    run_case(5i64, 5, 1, &[]);
    run_case(5i64, 0, 1, &[]);
    run_case(1f32, 5., 2., &[1., 3.]);
    run_case(0.5f64, -1., -0.5, &[0.5, 0., -0.5]);
    run_case(f16::ONE, f16::from_f32(2.6), f16::from_f32(0.5), &[1., 1.5, 2., 2.5].map(f16::from_f32));
    run_case(bf16::ONE, bf16::from_f32(4.), bf16::ONE, &[1., 2., 3.].map(bf16::from_f32));
}

#[test]
fn long_ones_in_parts() {
    let want: Vec<f32> = (0..100_000).map(|i| (i as f64 * 0.1f32 as f64) as f32).collect();
    let want = Tensor::new(&[want.len()], &want).unwrap();
    check_close(Range, &[&scalar(0f32), &scalar(10_000f32), &scalar(0.1f32)], &[want], 0.0);
    let want: Vec<i32> = (-5..99_999).collect();
    run_case(-5, 99_999, 1, &want);
}

#[test]
fn symbols_and_values_follow() {
    let n = Dim::sym(Sym(0));
    let known = |d: Dim| TensorType::new(DType::I64, Shape::scalar()).with_value(vec![d]);
    let infer = |a: &TensorType, b: &TensorType, c: &TensorType| {
        Range.infer(&Inputs::new(&[Some(a), Some(b), Some(c)])).unwrap().remove(0)
    };
    let (zero, one, two) = (known(Dim::Fixed(0)), known(Dim::Fixed(1)), known(Dim::Fixed(2)));
    assert_eq!(infer(&zero, &known(n.clone()), &one).shape[0], n);
    assert_eq!(infer(&zero, &known(n.clone()), &two).shape[0], n.ceil_div(&Dim::Fixed(2)));
    let shifted = infer(&known(n.clone()), &known(n.add(&Dim::Fixed(3))), &one);
    assert_eq!(shifted.value.as_deref(), Some(&[n.clone(), n.add(&Dim::Fixed(1)), n.add(&Dim::Fixed(2))][..]));
    let unknown = TensorType::new(DType::I64, Shape::scalar());
    assert!(infer(&zero, &unknown, &one).shape[0].is_unknown());
    let float = TensorType::new(DType::F32, Shape::scalar());
    assert!(infer(&float, &float, &float).shape[0].is_unknown());
}

#[test]
fn refuses_what_has_no_end() {
    let error = |a: f32, b: f32, c: f32| infer_error(Range, &[&scalar(a), &scalar(b), &scalar(c)]);
    assert!(error(0., 1., 0.).contains("delta 0"));
    assert!(error(0., f32::NAN, 1.).contains("no end"));
    assert!(error(0., f32::INFINITY, 1.).contains("no end"));
    assert!(infer_error(Range, &[&scalar(0i64), &scalar(1i64), &scalar(0i64)]).contains("delta 0"));
    assert!(infer_error(Range, &[&scalar(0u8), &scalar(1u8), &scalar(1u8)]).contains("not u8"));
    assert!(infer_error(Range, &[&scalar(0i64), &scalar(1i32), &scalar(1i64)]).contains("i32"));
    let two = Tensor::new(&[2], &[1i64, 2]).unwrap();
    assert!(infer_error(Range, &[&scalar(0i64), &two, &scalar(1i64)]).contains("scalar"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    crate::ops::testing::round_trip(Range);
}
