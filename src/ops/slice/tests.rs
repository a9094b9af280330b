use super::*;
use crate::ops::Tensor;
use crate::ops::testing::{Random, at, build, check, check_optional, infer_error};
use crate::tensor::{DType, Element, Sym};

fn vector(v: &[i64]) -> Tensor {
    Tensor::new(&[v.len()], v).unwrap()
}

/// Walks from start to end as the definition says.
fn indices(n: i64, start: i64, end: i64, step: i64) -> Vec<usize> {
    let front = |i: i64| i128::from(i) + if i < 0 { i128::from(n) } else { 0 };
    let n = i128::from(n);
    if n == 0 {
        return vec![];
    }
    let mut out = vec![];
    if step > 0 {
        let mut i = front(start).clamp(0, n);
        while i < front(end).clamp(0, n) {
            out.push(i as usize);
            i += i128::from(step);
        }
    } else {
        let mut i = front(start).clamp(0, n - 1);
        while i > front(end).clamp(-1, n - 1) {
            out.push(i as usize);
            i += i128::from(step);
        }
    }
    out
}

fn reference<T: Element>(x: &Tensor, axes: &[usize], bounds: &[(i64, i64, i64)]) -> Tensor {
    let mut taken: Vec<Vec<usize>> = x.info.dims.iter().map(|&d| (0..d).collect()).collect();
    for (&axis, &(start, end, step)) in axes.iter().zip(bounds) {
        taken[axis] = indices(x.info.dims[axis] as i64, start, end, step);
    }
    let dims: Vec<usize> = taken.iter().map(Vec::len).collect();
    build(&dims, |c| at::<T>(x, &c.iter().zip(&taken).map(|(&i, t)| t[i]).collect::<Vec<_>>()))
}

fn check_slice<T: Element>(x: &Tensor, axes: &[usize], bounds: &[(i64, i64, i64)]) {
    let part = |f: fn(&(i64, i64, i64)) -> i64| vector(&bounds.iter().map(f).collect::<Vec<_>>());
    let (starts, ends, steps) = (part(|b| b.0), part(|b| b.1), part(|b| b.2));
    let op = Slice { axes: axes.iter().map(|&a| a as i64).collect() };
    check(op, &[x, &starts, &ends, &steps], &[reference::<T>(x, axes, bounds)]);
}

#[test]
fn one_axis_with_every_kind_of_bound() {
    let x = Random::new(1).tensor(&[3, 7, 5]);
    let bounds = [i64::MIN, -9, -7, -3, -1, 0, 1, 4, 6, 7, 9, i64::MAX];
    for (start, end) in bounds.iter().flat_map(|&s| bounds.map(|e| (s, e))) {
        for step in [1, 2, 7, -1, -3, i64::MAX, i64::MIN] {
            check_slice::<f32>(&x, &[1], &[(start, end, step)]);
        }
    }
}

#[test]
fn several_axes() {
    let mut random = Random::new(2);
    let x = random.tensor(&[4, 9, 70, 6]);
    check_slice::<f32>(&x, &[3, 1], &[(1, 5, 1), (8, 0, -2)]);
    check_slice::<f32>(&x, &[0, 1, 2, 3], &[(3, i64::MIN, -1), (0, 9, 3), (60, 2, -5), (5, i64::MIN, -1)]);
    check_slice::<f32>(&x, &[2], &[(0, 70, 2)]);
    check_slice::<f32>(&x, &[3], &[(0, 2, 1)]);
    check_slice::<f32>(&x, &[3], &[(2, 3, 1)]);
    let x = random.tensor_of(&[300, 200], |r| r.bits() as u8);
    check_slice::<u8>(&x, &[0, 1], &[(10, 290, 1), (199, 3, -1)]);
    check_slice::<u8>(&x, &[1], &[(0, 200, 3)]);
    let empty = random.tensor(&[0, 3]);
    check_slice::<f32>(&empty, &[0, 1], &[(0, 5, 1), (2, i64::MIN, -1)]);
}

#[test]
fn optional_steps_and_default_axes() {
    let x = Random::new(3).tensor(&[5, 6]);
    let (starts, ends) = (vector(&[1, -4]), vector(&[-1, 100]));
    let want = [reference::<f32>(&x, &[0, 1], &[(1, -1, 1), (-4, 100, 1)])];
    check_optional(Slice::default(), &[Some(&x), Some(&starts), Some(&ends)], &want, 0.0);
    check_optional(Slice::default(), &[Some(&x), Some(&starts), Some(&ends), None], &want, 0.0);
    let narrow = |t: &Tensor| Tensor::new(&[2], &[t.elements::<i64>()[0] as i32, t.elements::<i64>()[1] as i32]).unwrap();
    check(Slice { axes: vec![-2, -1] }, &[&x, &narrow(&starts), &narrow(&ends)], &want);
    check(Slice::default(), &[&x, &vector(&[]), &vector(&[])], std::slice::from_ref(&x));
}

#[test]
fn values_and_symbols_follow() {
    let n = Dim::sym(Sym(0));
    let shape = TensorType::new(DType::I64, Shape::fixed(&[3]).unwrap());
    let shape = shape.with_value(vec![n.clone(), Dim::Fixed(4), Dim::Fixed(5)]);
    let (start, end, step) = (vector(&[-1]).ty(), vector(&[i64::MIN]).ty(), vector(&[-2]).ty());
    let inputs = [Some(&shape), Some(&start), Some(&end), Some(&step)];
    let out = Slice::default().infer(&Inputs::new(&inputs)).unwrap();
    assert_eq!(out[0].value.as_deref(), Some(&[Dim::Fixed(5), n.clone()][..]));
    let x = TensorType::new(DType::F32, Shape::new([n.clone(), Dim::Fixed(4)]).unwrap());
    let unknown = TensorType::new(DType::I64, Shape::fixed(&[1]).unwrap());
    let out = Slice::default().infer(&Inputs::new(&[Some(&x), Some(&unknown), Some(&end)])).unwrap();
    assert_eq!(out[0].shape[..], [Dim::Unknown, Dim::Fixed(4)]);
}

#[test]
fn refuses_what_does_not_fit() {
    let x = Random::new(4).tensor(&[2, 3]);
    let (one, two) = (vector(&[1]), vector(&[1, 1]));
    let error = |axes: &[i64], rest: &[&Tensor]| infer_error(Slice { axes: axes.to_vec() }, &[&[&x], rest].concat());
    assert!(error(&[], &[&one, &two]).contains("must agree"));
    assert!(error(&[0], &[&two, &two]).contains("2 starts for 1 axes"));
    assert!(error(&[1, -1], &[&two, &two]).contains("twice"));
    assert!(error(&[2], &[&one, &one]).contains("axis 2"));
    assert!(error(&[0], &[&one, &one, &vector(&[0])]).contains("step 0"));
    assert!(error(&[0], &[&Random::new(5).tensor(&[1]), &one]).contains("integer vector"));
    assert!(error(&[], &[&vector(&[0, 0, 0]), &vector(&[1, 1, 1])]).contains("axis 2"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    crate::ops::testing::round_trip(Slice { axes: vec![-1, 0] });
    crate::ops::testing::round_trip(Slice::default());
}
