use super::*;
use crate::ops::testing::{Random, check as check_op, infer_error};
use crate::ops::Tensor;
use crate::tensor::{Element, Sym};

/// Element by element, with coordinates.
fn reference<T: Element>(x: &Tensor, perm: &[usize]) -> Tensor {
    let (from, strides) = (x.info.dims, x.info.dims.strides());
    let dims: Vec<usize> = perm.iter().map(|&p| from[p]).collect();
    let mut out = vec![];
    for i in 0..dims.iter().product() {
        let (mut rest, mut at) = (i, 0);
        for (axis, &d) in dims.iter().enumerate().rev() {
            at += rest % d * strides[perm[axis]];
            rest /= d;
        }
        out.push(x.elements::<T>()[at]);
    }
    Tensor::new(&dims, &out).unwrap()
}

fn op(perm: &[usize]) -> Transpose {
    Transpose { perm: perm.to_vec() }
}

#[test]
fn every_permutation_of_four_axes() {
    let mut random = Random::new(1);
    for dims in [[2, 3, 4, 5], [1, 64, 9, 7], [3, 1, 2, 17], [2, 20, 1, 33], [2, 0, 3, 4]] {
        let x = random.tensor(&dims);
        for code in 0..256 {
            let perm = [code & 3, code >> 2 & 3, code >> 4 & 3, code >> 6];
            if check(&perm).is_ok() {
                check_op(op(&perm), &[&x], &[reference::<f32>(&x, &perm)]);
            }
        }
    }
}

#[test]
fn sizes_worth_several_parts() {
    let mut random = Random::new(2);
    let cases: [(&[usize], &[usize]); 8] = [
        (&[1, 64, 40, 41], &[0, 2, 3, 1]),
        (&[1, 40, 41, 64], &[0, 3, 1, 2]),
        (&[1, 3, 150, 151], &[0, 2, 3, 1]),
        (&[1, 150, 151, 3], &[0, 3, 1, 2]),
        (&[2, 50, 12, 64], &[0, 2, 1, 3]),
        (&[70, 9, 130], &[2, 1, 0]),
        (&[300, 200], &[1, 0]),
        (&[3, 5, 7, 11, 2, 3, 2, 2], &[7, 0, 6, 1, 5, 2, 4, 3]),
    ];
    for (dims, perm) in cases {
        let x = random.tensor(dims);
        check_op(op(perm), &[&x], &[reference::<f32>(&x, perm)]);
        let x = random.tensor_of(dims, |r| r.bits() as u8);
        check_op(op(perm), &[&x], &[reference::<u8>(&x, perm)]);
        let x = random.tensor_of(dims, |r| r.bits() as i16);
        check_op(op(perm), &[&x], &[reference::<i16>(&x, perm)]);
        let x = random.tensor_of(dims, |r| r.bits() as f64);
        check_op(op(perm), &[&x], &[reference::<f64>(&x, perm)]);
    }
}

#[test]
fn reverses_without_a_permutation() {
    let x = Random::new(3).tensor(&[2, 3, 4]);
    check_op(Transpose::default(), &[&x], &[reference::<f32>(&x, &[2, 1, 0])]);
    let scalar = Tensor::new(&[], &[7i64]).unwrap();
    check_op(Transpose::default(), &[&scalar], std::slice::from_ref(&scalar));
}

#[test]
fn shapes_and_values_follow() {
    let n = Dim::sym(Sym(0));
    let x = TensorType::new(crate::tensor::DType::F32, Shape::new([n.clone(), Dim::Fixed(4)]).unwrap());
    let out = op(&[1, 0]).infer(&Inputs::new(&[Some(&x)])).unwrap();
    assert_eq!(out[0].shape[..], [Dim::Fixed(4), n]);
    let pads = Tensor::new(&[2, 2], &[1i64, 2, 3, 4]).unwrap().ty();
    let out = op(&[1, 0]).infer(&Inputs::new(&[Some(&pads)])).unwrap();
    assert_eq!(out[0].fixed_value(), Some(vec![1, 3, 2, 4]));
}

#[test]
fn refuses_what_is_no_permutation() {
    let x = Random::new(4).tensor(&[2, 3]);
    assert!(infer_error(op(&[0, 0]), &[&x]).contains("not a permutation"));
    assert!(infer_error(op(&[0, 2]), &[&x]).contains("not a permutation"));
    assert!(infer_error(op(&[0, 2, 1]), &[&x]).contains("permutation of 3 axes"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_round_trip() {
    crate::ops::testing::round_trip(op(&[2, 0, 1]));
    crate::ops::testing::round_trip(op(&[]));
}
