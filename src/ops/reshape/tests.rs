use super::*;
use crate::ops::Tensor;
use crate::ops::testing::{check, infer_error};
use crate::tensor::Sym;

fn target(dims: &[i64]) -> Tensor {
    Tensor::new(&[dims.len()], dims).unwrap()
}

#[test]
fn keeps_the_elements() {
    let x = Tensor::new(&[2, 3], &[0f32, 1., 2., 3., 4., 5.]).unwrap();
    for (to, dims) in [(&[3, 2][..], &[3, 2][..]), (&[-1], &[6]), (&[0, -1, 1], &[2, 3, 1])] {
        let want = Tensor::new(dims, x.elements::<f32>()).unwrap();
        check(Reshape::default(), &[&x, &target(to)], &[want]);
    }
}

#[test]
fn a_copied_zero_leaves_the_rest_known() {
    let x = Tensor::new(&[0, 4, 6], &[0f32; 0]).unwrap();
    for (to, dims) in [(&[0, -1][..], &[0, 24][..]), (&[0, 4, -1, 2], &[0, 4, 3, 2]), (&[-1, 8], &[0, 8])] {
        check(Reshape::default(), &[&x, &target(to)], &[Tensor::new(dims, &[0f32; 0]).unwrap()]);
    }
}

#[test]
fn symbols_divide_exactly() {
    let n = Dim::sym(Sym(0));
    let x = TensorType::new(crate::tensor::DType::F32, Shape::new([n.clone(), Dim::Fixed(4), Dim::Fixed(6)]).unwrap());
    let to = target(&[-1, 8]).ty();
    let out = Reshape::default().infer(&Inputs::new(&[Some(&x), Some(&to)])).unwrap();
    assert_eq!(out[0].shape[0], n.mul(&Dim::Fixed(3)));
}

#[test]
fn refuses_what_does_not_fit() {
    let x = Tensor::new(&[2, 3], &[0f32; 6]).unwrap();
    assert!(infer_error(Reshape::default(), &[&x, &target(&[4])]).contains("cannot be reshaped"));
    assert!(infer_error(Reshape::default(), &[&x, &target(&[-1, -1])]).contains("more than one"));
    assert!(infer_error(Reshape::default(), &[&x, &target(&[-2])]).contains("negative"));
    assert!(infer_error(Reshape { keep_zero: true }, &[&x, &target(&[0])]).contains("cannot be reshaped"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    [false, true].into_iter().for_each(|keep_zero| crate::ops::testing::round_trip(Reshape { keep_zero }));
}
