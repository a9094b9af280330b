use super::*;
use crate::ops::Tensor;
use crate::ops::testing::{Random, as_f64, check, check_close, infer_error, tensor};
use crate::tensor::{Dim, Dims, Sym};

fn op(kind: BinaryKind) -> Binary {
    kind.into()
}

/// The value of `kind` at exactly representable operands.
fn exact(kind: BinaryKind, a: f64, b: f64, dtype: DType) -> f64 {
    use BinaryKind::*;
    let (m, n) = (a as i64, b as i64);
    let bits = 8 * dtype.size() as i64;
    let integer = dtype.is_int();
    match kind {
        Add => a + b,
        Sub => a - b,
        Mul => a * b,
        Div | Mod | Fmod if integer && n == 0 => 0.0,
        Div if integer => (a / b).trunc(),
        Div => a / b,
        Pow => a.powf(b),
        Mod => a - (a / b).floor() * b,
        Fmod => a - (a / b).trunc() * b,
        Min => a.min(b),
        Max => a.max(b),
        And | BitAnd => (m & n) as f64,
        Or | BitOr => (m | n) as f64,
        Xor | BitXor => (m ^ n) as f64,
        ShiftLeft => if (0..bits).contains(&n) { (m << n) as f64 } else { 0.0 },
        ShiftRight => if (0..bits).contains(&n) { (m >> n) as f64 } else if m < 0 { -1.0 } else { 0.0 },
        Equal => (a == b).into(),
        Less => (a < b).into(),
        LessOrEqual => (a <= b).into(),
        Greater => (a > b).into(),
        GreaterOrEqual => (a >= b).into(),
        PRelu => if a < 0.0 { a * b } else { a },
    }
}

/// Wraps an integer result to the width of its type.
fn wrap(value: f64, dtype: DType) -> f64 {
    if !dtype.is_int() {
        return value;
    }
    // 64-bit results of these operands fit, but for negative ones of u64.
    let modulus = 1i128 << (8 * dtype.size());
    let low = (value as i128).rem_euclid(modulus);
    (if dtype.is_signed() && low >= modulus / 2 { low - modulus } else { low }) as f64
}

fn reference(kind: BinaryKind, a: &Tensor, b: &Tensor, out: &[usize]) -> Tensor {
    let (x, y) = (as_f64(a), as_f64(b));
    let pick = |dims: &Dims, at: usize| {
        let (mut rest, mut offset, mut stride) = (at, 0, 1);
        for i in (0..out.len()).rev() {
            let index = rest % out[i];
            rest /= out[i];
            if let Some(d) = (i + dims.len()).checked_sub(out.len()) {
                offset += if dims[d] == 1 { 0 } else { index * stride };
                stride *= dims[d];
            }
        }
        offset
    };
    let dtype = a.info.dtype;
    let element = |i| wrap(exact(kind, x[pick(&a.info.dims, i)], y[pick(&b.info.dims, i)], dtype), dtype);
    let values: Vec<f64> = (0..out.iter().product()).map(element).collect();
    tensor(if kind.is_relation() { DType::Bool } else { dtype }, out, &values)
}

/// Small integers, which every type represents and on which every function is exact.
fn operand(random: &mut Random, kind: BinaryKind, dtype: DType, dims: &[usize], right: bool) -> Tensor {
    let low = if !dtype.is_signed() || right && kind == BinaryKind::Pow { 0.0 } else { -9.0 };
    let (low, high) = if dtype == DType::Bool { (0.0, 2.0) } else { (low, 9.0) };
    let high = if kind == BinaryKind::Pow { 3.0 } else { high };
    let values: Vec<f64> = (0..dims.iter().product())
        .map(|_| random.range(low, high).floor() as f64)
        .map(|x| if right && dtype.is_float() && x == 0.0 { 4.0 } else { x })
        .collect();
    tensor(dtype, dims, &values)
}

const SHAPES: [(&[usize], &[usize], &[usize]); 20] = [
    (&[2, 3, 5], &[2, 3, 5], &[2, 3, 5]),
    (&[2, 3, 5], &[], &[2, 3, 5]),
    (&[1], &[7, 3], &[7, 3]),
    (&[], &[], &[]),
    (&[4, 130], &[130], &[4, 130]),
    (&[3], &[50, 3], &[50, 3]),
    (&[90, 3, 3], &[3], &[90, 3, 3]),
    (&[2, 90, 3], &[2, 1, 3], &[2, 90, 3]),
    (&[4, 65], &[4, 1], &[4, 65]),
    (&[4, 1], &[4, 65], &[4, 65]),
    (&[2, 5, 6, 9], &[2, 1, 1, 9], &[2, 5, 6, 9]),
    (&[1, 4, 1, 6], &[3, 1, 5, 6], &[3, 4, 5, 6]),
    (&[3, 1], &[1, 4], &[3, 4]),
    (&[2, 0, 3], &[3], &[2, 0, 3]),
    (&[0, 1], &[1, 5], &[0, 5]),
    (&[1, 64, 700], &[1, 64, 700], &[1, 64, 700]),
    (&[40, 3, 16], &[16], &[40, 3, 16]),
    (&[3, 5, 16], &[3, 1, 16], &[3, 5, 16]),
    (&[9, 32], &[9, 1], &[9, 32]),
    (&[2, 1, 3, 1, 2, 16], &[1, 2, 1, 3, 2, 1], &[2, 2, 3, 3, 2, 16]),
];

#[test]
fn every_kind_and_type_broadcasts() {
    let mut random = Random::new(1);
    for kind in BinaryKind::ALL {
        for &dtype in DType::ALL {
            if kind.accepts(dtype).is_err() {
                continue;
            }
            for (da, db, out) in SHAPES {
                if kind == BinaryKind::PRelu && da != out {
                    continue;
                }
                let a = operand(&mut random, kind, dtype, da, false);
                let b = operand(&mut random, kind, dtype, db, true);
                let tolerance = if matches!(dtype, DType::F16 | DType::BF16) { 4e-3 } else { 1e-7 };
                check_close(op(kind), &[&a, &b], &[reference(kind, &a, &b, out)], tolerance);
            }
        }
    }
}

#[test]
fn activations_end_arithmetic() {
    let mut random = Random::new(2);
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        for (da, db, out) in SHAPES {
            let a = operand(&mut random, BinaryKind::Add, dtype, da, false);
            let b = operand(&mut random, BinaryKind::Add, dtype, db, true);
            let sum = reference(BinaryKind::Add, &a, &b, out);
            let clipped: Vec<f64> = as_f64(&sum).iter().map(|x| x.clamp(-2.0, 5.0)).collect();
            let op = Binary { kind: BinaryKind::Add, activation: Activation::Clip { lo: -2.0, hi: 5.0 } };
            check(op, &[&a, &b], &[tensor(dtype, out, &clipped)]);
        }
    }
}

#[test]
fn integers_never_trap() {
    let t = |v: &[i32]| Tensor::new(&[v.len()], v).unwrap();
    let (a, b) = (t(&[i32::MIN, 7, -7, i32::MAX, 5]), t(&[-1, 0, 0, 1, -3]));
    for (kind, want) in [
        (BinaryKind::Div, t(&[i32::MIN, 0, 0, i32::MAX, -1])),
        (BinaryKind::Mod, t(&[0, 0, 0, 0, -1])),
        (BinaryKind::Fmod, t(&[0, 0, 0, 0, 2])),
        (BinaryKind::Add, t(&[i32::MAX, 7, -7, i32::MIN, 2])),
        (BinaryKind::ShiftLeft, t(&[0, 7, -7, -2, 0])),
        (BinaryKind::ShiftRight, t(&[-1, 7, -7, i32::MAX / 2, 0])),
        (BinaryKind::Pow, t(&[0, 1, 1, i32::MAX, 0])),
    ] {
        if kind == BinaryKind::Pow {
            let exponent = Tensor::new(&[5], &[-1i64, 0, 0, 1, -3]).unwrap();
            check(op(kind), &[&a, &exponent], &[want]);
        } else {
            check(op(kind), &[&a, &b], &[want]);
        }
    }
}

#[test]
fn floats_follow_ieee() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let cases = [
        (BinaryKind::Div, vec![1.0, -1.0, 0.0], vec![0.0, 0.0, 0.0], vec![inf, -inf, nan]),
        (BinaryKind::Min, vec![nan, 1.0, -inf], vec![1.0, nan, inf], vec![nan, nan, -inf]),
        (BinaryKind::Max, vec![nan, 1.0, -inf], vec![1.0, nan, inf], vec![nan, nan, inf]),
        (BinaryKind::Equal, vec![nan, 0.0, inf], vec![nan, -0.0, inf], vec![0.0, 1.0, 1.0]),
        (BinaryKind::GreaterOrEqual, vec![nan, 0.0, inf], vec![nan, -0.0, 3.0], vec![0.0, 1.0, 1.0]),
        (BinaryKind::Mod, vec![inf, 5.0, 5.0], vec![2.0, -inf, 0.0], vec![nan, -inf, nan]),
        (BinaryKind::Mod, vec![-4.5, 4.5, -0.0], vec![2.0, -2.0, 3.0], vec![1.5, -1.5, 0.0]),
        (BinaryKind::Fmod, vec![-4.5, 4.5, 5.0], vec![2.0, -2.0, inf], vec![-0.5, 0.5, 5.0]),
        (BinaryKind::Pow, vec![-inf, 4.0, 0.0], vec![0.5, 0.5, 0.0], vec![inf, 2.0, 1.0]),
    ];
    for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
        for (kind, a, b, y) in &cases {
            let result = if kind.is_relation() { DType::Bool } else { dtype };
            check(op(*kind), &[&tensor(dtype, &[3], a), &tensor(dtype, &[3], b)], &[tensor(result, &[3], y)]);
        }
    }
}

#[test]
fn powers_of_constants() {
    let x: Vec<f64> = (0..300).map(|i| 0.01 + i as f64 / 50.0).collect();
    for dtype in [DType::F32, DType::F64] {
        for e in [2.0, 3.0, 0.5, -1.0, 0.0, 1.0, 2.75, -0.5] {
            let a = tensor(dtype, &[x.len()], &x);
            let want: Vec<f64> = as_f64(&a).iter().map(|x| x.powf(e)).collect();
            check_close(op(BinaryKind::Pow), &[&a, &tensor(dtype, &[], &[e])], &[tensor(dtype, &[300], &want)], 1e-6);
        }
    }
    let a = tensor(DType::F32, &[3], &[f64::NEG_INFINITY, 4.0, -1.0]);
    check(op(BinaryKind::Pow), &[&a, &tensor(DType::F32, &[], &[0.5])], &[tensor(
        DType::F32,
        &[3],
        &[f64::INFINITY, 2.0, f64::NAN],
    )]);
}

#[test]
fn powers_of_mixed_types() {
    for &base in DType::ALL {
        for &exponent in DType::ALL {
            if base == DType::Bool || exponent == DType::Bool {
                continue;
            }
            let a = tensor(base, &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
            let b = tensor(exponent, &[3], &[0.0, 2.0, 1.0]);
            let want = tensor(base, &[2, 3], &[1.0, 4.0, 3.0, 1.0, 25.0, 6.0]);
            check(op(BinaryKind::Pow), &[&a, &b], &[want]);
        }
    }
    let odd = Tensor::new(&[2], &[16_777_217i64, i64::MAX]).unwrap();
    check(op(BinaryKind::Pow), &[&tensor(DType::I32, &[2], &[-1.0, 3.0]), &odd], &[Tensor::new(
        &[2],
        &[-1i32, pow::integer_power(3, i64::MAX) as i32],
    )
    .unwrap()]);
    let huge = Tensor::new(&[1], &[u64::MAX - 1]).unwrap();
    check(op(BinaryKind::Pow), &[&tensor(DType::I64, &[1], &[-1.0]), &huge], &[tensor(DType::I64, &[1], &[1.0])]);
}

fn values(kind: BinaryKind, a: impl AsRef<[Dim]>, b: impl AsRef<[Dim]>) -> Option<Vec<Dim>> {
    let ty = |v: &[Dim]| TensorType::new(DType::I64, Shape::fixed(&[v.len()]).unwrap()).with_value(v.to_vec());
    let out = op(kind).infer(&Inputs::new(&[Some(&ty(a.as_ref())), Some(&ty(b.as_ref()))])).unwrap();
    out[0].value.as_ref().map(|v| v.to_vec())
}

#[test]
fn values_propagate() {
    let (n, two) = (Dim::sym(Sym(0)), Dim::Fixed(2));
    let three = [n.clone(), Dim::Fixed(7), Dim::Fixed(-7)];
    let same = |d: &[Dim]| Some(d.to_vec());
    assert_eq!(values(BinaryKind::Add, &three, [two.clone()]), same(&[n.add(&two), Dim::Fixed(9), Dim::Fixed(-5)]));
    assert_eq!(
        values(BinaryKind::Div, &three, [two.clone()]),
        same(&[n.floor_div(&two), Dim::Fixed(3), Dim::Fixed(-3)])
    );
    assert_eq!(values(BinaryKind::Mod, &three[1..], [two.clone()]), same(&[Dim::Fixed(1), Dim::Fixed(1)]));
    assert_eq!(values(BinaryKind::Fmod, &three[1..], [two.clone()]), same(&[Dim::Fixed(1), Dim::Fixed(-1)]));
    let (yes, no) = (Dim::Fixed(1), Dim::Fixed(0));
    assert_eq!(values(BinaryKind::Equal, &three, &[Dim::Fixed(-1)]), same(&[no.clone(), no.clone(), no.clone()]));
    assert_eq!(values(BinaryKind::Equal, [n.clone()], [n.clone()]), Some(vec![yes.clone()]));
    assert_eq!(values(BinaryKind::Equal, [n.clone()], [two.clone()]), None);
    assert_eq!(values(BinaryKind::GreaterOrEqual, [n.clone()], [no.clone()]), same(&[yes]));
    // -3 / 2 is -1, not -2.
    let less = n.sub(&Dim::Fixed(3));
    let quotient = values(BinaryKind::Div, &[less], [two]).unwrap();
    for (extent, want) in [(0, -1), (2, 0), (3, 0), (8, 2)] {
        let mut bindings = crate::tensor::Bindings::new(1);
        assert!(bindings.bind(Sym(0), extent));
        assert_eq!(quotient[0].bind(&bindings), Dim::Fixed(want));
    }
}

#[test]
fn symbolic_shapes_broadcast() {
    let n = Dim::sym(Sym(0));
    let ty = |dims: &[Dim]| TensorType::new(DType::F32, Shape::new(dims).unwrap());
    let (a, b) = (ty(&[n.clone(), Dim::Fixed(1), Dim::Fixed(8)]), ty(&[Dim::Fixed(5), Dim::Fixed(8)]));
    let out = op(BinaryKind::Mul).infer(&Inputs::new(&[Some(&a), Some(&b)])).unwrap();
    assert_eq!(out, [ty(&[n, Dim::Fixed(5), Dim::Fixed(8)])]);
}

#[test]
fn refuses_what_it_cannot_do() {
    let f = |dims: &[usize]| tensor(DType::F32, dims, &vec![1.0; dims.iter().product()]);
    let i = tensor(DType::I32, &[2], &[1.0, 2.0]);
    assert!(infer_error(op(BinaryKind::Add), &[&f(&[2]), &f(&[3])]).contains("[2] and [3]"));
    assert!(infer_error(op(BinaryKind::Add), &[&f(&[2]), &i]).contains("same type"));
    assert!(infer_error(op(BinaryKind::And), &[&i, &i]).contains("not bool"));
    assert!(infer_error(op(BinaryKind::BitAnd), &[&f(&[2]), &f(&[2])]).contains("an integer type"));
    assert!(infer_error(op(BinaryKind::PRelu), &[&f(&[2]), &f(&[3, 2])]).contains("slope"));
    assert!(infer_error(op(BinaryKind::PRelu), &[&f(&[1, 2]), &f(&[3, 2])]).contains("slope"));
    let relu = Binary { kind: BinaryKind::Add, activation: Activation::Relu };
    assert!(infer_error(relu, &[&i, &i]).contains("activation"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    for kind in BinaryKind::ALL {
        crate::ops::testing::round_trip(op(kind));
    }
    crate::ops::testing::round_trip(Binary { kind: BinaryKind::Mul, activation: Activation::LeakyRelu { alpha: 0.2 } });
}
