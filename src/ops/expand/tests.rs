use super::*;
use crate::ops::Tensor;
use crate::ops::testing::{Random, at, build, check, infer_error};
use crate::tensor::{DType, Dim, Element, Shape, Sym};

fn reference<T: Element>(x: &Tensor, dims: &[usize]) -> Tensor {
    let skip = dims.len() - x.info.dims.len();
    build(dims, |c| {
        let c: Vec<usize> = c[skip..].iter().zip(x.info.dims.iter()).map(|(&c, &d)| if d == 1 { 0 } else { c }).collect();
        at::<T>(x, &c)
    })
}

fn target(dims: &[i64]) -> Tensor {
    Tensor::new(&[dims.len()], dims).unwrap()
}

#[test]
fn repeats_dimensions_of_extent_one() {
    let mut random = Random::new(1);
    let cases: [(&[usize], &[i64], &[usize]); 9] = [
        (&[3, 1], &[2, 1, 6], &[2, 3, 6]),
        (&[3, 1], &[3, 4], &[3, 4]),
        (&[1, 5, 1], &[7, 1, 3], &[7, 5, 3]),
        (&[2, 3], &[1], &[2, 3]),
        (&[], &[2, 2], &[2, 2]),
        (&[1], &[0], &[0]),
        (&[0, 1], &[0, 4], &[0, 4]),
        (&[4, 1, 300], &[100, 1], &[4, 100, 300]),
        (&[2, 1, 3, 1, 2], &[3, 2, 5, 3, 6, 2], &[3, 2, 5, 3, 6, 2]),
    ];
    for (from, to, dims) in cases {
        let x = random.tensor(from);
        check(Expand, &[&x, &target(to)], &[reference::<f32>(&x, dims)]);
        let x = random.tensor_of(from, |r| r.bits() as i16);
        check(Expand, &[&x, &target(to)], &[reference::<i16>(&x, dims)]);
    }
}

#[test]
fn values_and_symbols_follow() {
    let n = Dim::sym(Sym(0));
    let one = Tensor::new(&[1], &[7i64]).unwrap().ty();
    let out = Expand.infer(&Inputs::new(&[Some(&one), Some(&target(&[3]).ty())])).unwrap();
    assert_eq!(out[0].fixed_value(), Some(vec![7, 7, 7]));
    let to = TensorType::new(DType::I64, Shape::fixed(&[2]).unwrap()).with_value(vec![n.clone(), Dim::Fixed(1)]);
    let out = Expand.infer(&Inputs::new(&[Some(&one), Some(&to)])).unwrap();
    assert_eq!(out[0].shape[..], [n, Dim::Fixed(1)]);
    let unknown = TensorType::new(DType::I64, Shape::fixed(&[2]).unwrap());
    let out = Expand.infer(&Inputs::new(&[Some(&one), Some(&unknown)])).unwrap();
    assert!(out[0].shape.iter().all(Dim::is_unknown));
}

#[test]
fn refuses_what_does_not_fit() {
    let x = Random::new(2).tensor(&[2, 3]);
    assert!(infer_error(Expand, &[&x, &target(&[4])]).contains("broadcast"));
    assert!(infer_error(Expand, &[&x, &target(&[-1, 2, 3])]).contains("-1"));
    assert!(infer_error(Expand, &[&x, &target(&[1; 9])]).contains("rank 9"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    crate::ops::testing::round_trip(Expand);
}
