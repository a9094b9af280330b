use super::*;
use crate::ops::testing::{Random, check, infer_error};
use crate::tensor::Element;
use half::bf16;

fn vector<T: Element>(v: &[T]) -> Tensor {
    Tensor::new(&[v.len()], v).unwrap()
}

/// Compares every slice with every one found before, then sorts what was found.
fn reference(x: &Tensor, axis: Option<usize>, sorted: bool) -> Vec<Tensor> {
    let elements = x.elements::<i32>();
    let (dims, axis) = match axis {
        Some(axis) => (x.info.dims.to_vec(), axis),
        None => (vec![elements.len()], 0),
    };
    let (n, inner) = (dims[axis], dims[axis + 1..].iter().product::<usize>());
    let of = |i: usize| {
        let is_in = |k: &usize| k / inner.max(1) % n.max(1) == i;
        (0..elements.len()).filter(is_in).map(|k| elements[k]).collect::<Vec<_>>()
    };
    let mut found: Vec<(Vec<i32>, usize)> = vec![];
    for i in 0..n {
        if !found.iter().any(|f| f.0 == of(i)) {
            found.push((of(i), i));
        }
    }
    if sorted {
        found.sort();
    }
    let outer: usize = dims[..axis].iter().product();
    let mut values: Vec<i32> = vec![];
    for o in 0..outer {
        found.iter().for_each(|f| values.extend(&f.0[o * inner..(o + 1) * inner]));
    }
    let mut to = dims.clone();
    to[axis] = found.len();
    let inverse: Vec<i64> = (0..n).map(|i| found.iter().position(|f| f.0 == of(i)).unwrap() as i64).collect();
    let counts: Vec<i64> = (0..found.len()).map(|u| inverse.iter().filter(|&&i| i == u as i64).count() as i64).collect();
    let first: Vec<i64> = found.iter().map(|f| f.1 as i64).collect();
    vec![Tensor::new(&to, &values).unwrap(), vector(&first), vector(&inverse), vector(&counts)]
}

#[test]
fn elements_and_slices() {
    let mut random = Random::new(1);
    for dims in [&[9][..], &[4, 3], &[3, 8, 2], &[0], &[2, 0, 3], &[1]] {
        let x = random.tensor_of(dims, |r| r.below(2) as i32 - 1);
        for sorted in [true, false] {
            check(Unique { axis: None, sorted }, &[&x], &reference(&x, None, sorted));
            for axis in 0..dims.len() {
                if dims.iter().all(|&d| d > 0) {
                    let op = Unique { axis: Some(axis as i64 - dims.len() as i64), sorted };
                    check(op, &[&x], &reference(&x, Some(axis), sorted));
                }
            }
        }
    }
}

#[test]
fn nan_zeros_and_other_types() {
    let x = vector(&[f32::NAN, 0., -0., -1., f32::NAN]);
    let want = [vector(&[-1f32, 0., f32::NAN]), vector(&[3i64, 1, 0]), vector(&[2i64, 1, 1, 0, 2]), vector(&[1i64, 2, 2])];
    check(Unique { axis: None, sorted: true }, &[&x], &want);
    let x = vector(&[2f32, 1., 2.].map(bf16::from_f32));
    let out = check_types(&x);
    assert_eq!(out[0].elements::<bf16>(), [1f32, 2.].map(bf16::from_f32));
    let x = Tensor { info: TensorInfo { dtype: DType::Bool, ..vector(&[1u8, 0, 1]).info }, ..vector(&[1u8, 0, 1]) };
    assert_eq!((check_types(&x)[0].info.dtype, check_types(&x)[0].elements::<u8>()), (DType::Bool, &[0u8, 1][..]));
}

fn check_types(x: &Tensor) -> Vec<Tensor> {
    Unique { axis: None, sorted: true }.run_dynamic(&[Some(x.clone())]).unwrap()
}

#[test]
fn refuses_what_does_not_fit() {
    assert!(infer_error(Unique { axis: Some(1), sorted: true }, &[&vector(&[1i32])]).contains("axis 1"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    crate::ops::testing::round_trip(Unique { axis: None, sorted: true });
    crate::ops::testing::round_trip(Unique { axis: Some(-1), sorted: false });
}
