use super::*;
use crate::ops::testing::{Random, as_f64, check_close, infer_error, tensor};

/// A function with parameters that suit it.
fn op(kind: UnaryKind) -> Unary {
    use UnaryKind::*;
    let (alpha, beta) = match kind {
        Selu => (1.673_263_2, 1.050_701),
        Clip => (-0.5, 0.75),
        HardSigmoid => (0.2, 0.5),
        IsInf => (1.0, 1.0),
        Shrink => (0.25, 0.5),
        _ => (0.5, 0.0),
    };
    Unary { kind, alpha, beta }
}

fn of_floats(kind: UnaryKind) -> bool {
    !matches!(kind, UnaryKind::Not | UnaryKind::BitNot)
}

#[test]
fn every_function_of_floats() {
    let mut random = Random::new(1);
    for &kind in UnaryKind::ALL.iter().filter(|&&k| of_floats(k)) {
        let op = op(kind);
        let bool_result = matches!(kind, UnaryKind::IsNan | UnaryKind::IsInf);
        for (dtype, tolerance) in [(DType::F32, 3e-6), (DType::F64, 1e-14), (DType::F16, 2e-3), (DType::BF16, 2e-2)] {
            // Large counts cross blocks; magnitudes stay where results of 16 bits do not overflow.
            let values: Vec<f64> = (0..5003).map(|_| random.range(-3.0, 3.0).into()).collect();
            let x = tensor(dtype, &[5003], &values);
            let want: Vec<f64> = as_f64(&x).iter().map(|&x| op.exact(x)).collect();
            let want = tensor(if bool_result { DType::Bool } else { dtype }, &[5003], &want);
            if matches!(kind, UnaryKind::Tan | UnaryKind::Reciprocal) && dtype != DType::F64 {
                continue; // Near poles, the input's rounding is all that shows.
            }
            check_close(op.clone(), &[&x], &[want], if bool_result { 0.0 } else { tolerance });
        }
    }
}

#[test]
fn special_values() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let x = tensor(DType::F32, &[5], &[inf, -inf, nan, -0.0, 1e30]);
    let cases: [(UnaryKind, [f64; 5]); 6] = [
        (UnaryKind::Relu, [inf, 0.0, nan, 0.0, 1e30]),
        (UnaryKind::Sign, [1.0, -1.0, nan, 0.0, 1.0]),
        (UnaryKind::Exp, [inf, 0.0, nan, 1.0, inf]),
        (UnaryKind::Tanh, [1.0, -1.0, nan, 0.0, 1.0]),
        (UnaryKind::Sigmoid, [1.0, 0.0, nan, 0.5, 1.0]),
        (UnaryKind::Erf, [1.0, -1.0, nan, 0.0, 1.0]),
    ];
    for (kind, want) in cases {
        check_close(Unary::from(kind), &[&x], &[tensor(DType::F32, &[5], &want)], 1e-7);
    }
    let infinite = |alpha, beta| Unary { kind: UnaryKind::IsInf, alpha, beta };
    check_close(infinite(1.0, 0.0), &[&x], &[tensor(DType::Bool, &[5], &[1.0, 0.0, 0.0, 0.0, 0.0])], 0.0);
    check_close(infinite(0.0, 1.0), &[&x], &[tensor(DType::Bool, &[5], &[0.0, 1.0, 0.0, 0.0, 0.0])], 0.0);
    check_close(op(UnaryKind::IsNan), &[&x], &[tensor(DType::Bool, &[5], &[0.0, 0.0, 1.0, 0.0, 0.0])], 0.0);
}

#[test]
fn integers_and_bool() {
    for dtype in [DType::I8, DType::I16, DType::I32, DType::I64] {
        let x = tensor(dtype, &[3], &[-5.0, 0.0, 7.0]);
        for (kind, want) in [
            (UnaryKind::Neg, [5.0, 0.0, -7.0]),
            (UnaryKind::Abs, [5.0, 0.0, 7.0]),
            (UnaryKind::Sign, [-1.0, 0.0, 1.0]),
            (UnaryKind::Relu, [0.0, 0.0, 7.0]),
            (UnaryKind::BitNot, [4.0, -1.0, -8.0]),
        ] {
            check_close(Unary::from(kind), &[&x], &[tensor(dtype, &[3], &want)], 0.0);
        }
    }
    let x = tensor(DType::U8, &[2], &[0.0, 200.0]);
    check_close(Unary::from(UnaryKind::Abs), &[&x], std::slice::from_ref(&x), 0.0);
    check_close(Unary::from(UnaryKind::BitNot), &[&x], &[tensor(DType::U8, &[2], &[255.0, 55.0])], 0.0);
    let x = tensor(DType::Bool, &[2], &[0.0, 1.0]);
    check_close(Unary::from(UnaryKind::Not), &[&x], &[tensor(DType::Bool, &[2], &[1.0, 0.0])], 0.0);
}

#[test]
fn empty_scalar_known_errors() {
    check_close(op(UnaryKind::Exp), &[&tensor(DType::F32, &[0, 3], &[])], &[tensor(DType::F32, &[0, 3], &[])], 0.0);
    check_close(op(UnaryKind::Abs), &[&tensor(DType::F32, &[], &[-2.0])], &[tensor(DType::F32, &[], &[2.0])], 0.0);
    assert!(infer_error(op(UnaryKind::Exp), &[&tensor(DType::I32, &[1], &[0.0])]).contains("not defined"));
    let x = tensor(DType::I64, &[2], &[3.0, -4.0]).ty();
    let out = Unary::from(UnaryKind::Neg).infer(&Inputs::new(&[Some(&x)])).unwrap();
    assert_eq!(out[0].fixed_value(), Some(vec![-3, 4]));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    crate::ops::testing::round_trip(Unary { kind: UnaryKind::Clip, alpha: -1.0, beta: 6.0 });
}
