use super::*;
use crate::cpu::Isa;
use crate::ops::testing::{Random, check, check_close, infer_error, run};
use crate::ops::{Op, Tensor, TensorInfo};
use crate::tensor::{Blob, Buffer, DType, Element};
use half::f16;

fn reference<T: Element>(x: &Tensor, i: &Tensor, u: &Tensor, axis: usize, combine: impl Fn(T, T) -> T) -> Tensor {
    let (dims, strides) = (x.info.dims, x.info.dims.strides());
    let mut out = x.elements::<T>().to_vec();
    for (k, (&index, &update)) in i.elements::<i64>().iter().zip(u.elements::<T>()).enumerate() {
        let (mut rest, mut at) = (k, 0);
        for d in (0..dims.len()).rev() {
            let c = rest % i.info.dims[d];
            rest /= i.info.dims[d];
            let index = if index < 0 { index + dims[axis] as i64 } else { index } as usize;
            at += if d == axis { index } else { c } * strides[d];
        }
        out[at] = combine(out[at], update);
    }
    Tensor { info: x.info, data: Blob::new(Buffer::from_elements(&out).unwrap()) }
}

fn op(axis: usize, reduction: Reduction) -> ScatterElements {
    ScatterElements { axis: axis as i64, reduction }
}

#[test]
fn every_axis_and_reduction() {
    let mut random = Random::new(1);
    let cases = [([3, 4, 5], [3, 2, 5]), ([3, 4, 5], [2, 4, 3]), ([30, 20, 40], [30, 20, 40]), ([3, 4, 5], [3, 0, 5])];
    for axis in 0..3 {
        for (dims, mut shape) in cases {
            shape[axis] += 1;
            let n = dims[axis];
            let i = random.tensor_of(&shape, |r| r.below(2 * n) as i64 - n as i64);
            let (x, u) = (random.tensor(&dims), random.tensor(&shape));
            let case = |r: Reduction, f: fn(f32, f32) -> f32| {
                check(op(axis, r), &[&x, &i, &u], &[reference(&x, &i, &u, axis, f)]);
            };
            case(Reduction::Replace, |_, b| b);
            case(Reduction::Add, |a, b| a + b);
            case(Reduction::Mul, |a, b| a * b);
            case(Reduction::Max, f32::max);
            case(Reduction::Min, f32::min);
        }
    }
}

#[test]
fn other_types() {
    let mut random = Random::new(2);
    let i = random.tensor_of(&[4, 6], |r| r.below(3) as i64);
    let narrow: Vec<i32> = i.elements::<i64>().iter().map(|&i| i as i32).collect();
    let narrow = Tensor::new(&[4, 6], &narrow).unwrap();
    let (x, u) = (random.tensor_of(&[4, 3], |r| r.bits() as u8), random.tensor_of(&[4, 6], |r| r.bits() as u8));
    check(op(1, Reduction::Add), &[&x, &narrow, &u], &[reference(&x, &i, &u, 1, u8::wrapping_add)]);
    check(op(1, Reduction::Replace), &[&x, &narrow, &u], &[reference(&x, &i, &u, 1, |_, b: u8| b)]);
    let half = |r: &mut Random| f16::from_f32(r.range(-2.0, 2.0));
    let (x, u) = (random.tensor_of(&[4, 3], half), random.tensor_of(&[4, 6], half));
    let want = reference(&x, &i, &u, 1, |a: f16, b: f16| f16::from_f32(a.to_f32() + b.to_f32()));
    check_close(op(1, Reduction::Add), &[&x, &i, &u], &[want], 0.0);
    let bools = |t: Tensor| Tensor { info: TensorInfo { dtype: DType::Bool, ..t.info }, ..t };
    let x = bools(random.tensor_of(&[4, 3], |r| r.below(2) as u8));
    let u = bools(random.tensor_of(&[4, 6], |r| r.below(2) as u8));
    check(op(1, Reduction::Add), &[&x, &i, &u], &[reference(&x, &i, &u, 1, |a: u8, b: u8| a | b)]);
    check(op(1, Reduction::Mul), &[&x, &i, &u], &[reference(&x, &i, &u, 1, |a: u8, b: u8| a & b)]);
}

#[test]
fn extremes_of_nan_are_nan() {
    let (x, u) = (Tensor::new(&[2], &[f32::NAN, 1.]).unwrap(), Tensor::new(&[2], &[1., f32::NAN]).unwrap());
    let i = Tensor::new(&[2], &[0i64, 1]).unwrap();
    let want = Tensor::new(&[2], &[f32::NAN; 2]).unwrap();
    check(op(0, Reduction::Max), &[&x, &i, &u], std::slice::from_ref(&want));
    check(op(0, Reduction::Min), &[&x, &i, &u], &[want]);
}

#[test]
fn refuses_what_does_not_fit() {
    let mut random = Random::new(3);
    let (x, u, i) = (random.tensor(&[2, 3]), random.tensor(&[1, 3]), Tensor::new(&[1, 3], &[0i64, 1, 3]).unwrap());
    let error = |inputs: [&Tensor; 3]| infer_error(op(0, Reduction::Replace), &inputs);
    assert!(error([&x, &i, &x]).contains("for updates"));
    assert!(error([&u, &i, &i]).contains("i64"));
    assert!(error([&x, &u, &u]).contains("indices are"));
    assert!(error([&random.tensor(&[2, 2]), &i, &u]).contains("indices of shape"));
    assert!(infer_error(op(0, Reduction::Add), &[&random.tensor(&[]), &i, &u]).contains("axis 0"));
    let inputs = [Some(&x), Some(&i), Some(&u)];
    let error = run(&Op::from(op(0, Reduction::Add)), &inputs, Isa::Scalar).unwrap_err();
    assert!(error.message().contains("index 3"), "{error}");
    assert!(Reduction::from_code(5).is_err());
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    use Reduction::*;
    for reduction in [Replace, Add, Mul, Max, Min] {
        crate::ops::testing::round_trip(ScatterElements { axis: -1, reduction });
    }
}
