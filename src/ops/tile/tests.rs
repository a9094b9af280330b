use super::*;
use crate::ops::Tensor;
use crate::ops::testing::{Random, at, build, check, infer_error};
use crate::tensor::{DType, Element, Sym};

fn reference<T: Element>(x: &Tensor, repeats: &[i64]) -> Tensor {
    let dims: Vec<usize> = x.info.dims.iter().zip(repeats).map(|(&d, &n)| d * n as usize).collect();
    build(&dims, |c| at::<T>(x, &c.iter().zip(x.info.dims.iter()).map(|(c, d)| c % d).collect::<Vec<_>>()))
}

fn vector(v: &[i64]) -> Tensor {
    Tensor::new(&[v.len()], v).unwrap()
}

#[test]
fn repeats_along_each_axis() {
    let mut random = Random::new(1);
    let cases: [(&[usize], &[i64]); 9] = [
        (&[3], &[4]),
        (&[2, 3], &[1, 1]),
        (&[2, 3], &[3, 2]),
        (&[1, 5, 1], &[7, 1, 3]),
        (&[2, 3], &[0, 2]),
        (&[0, 3], &[2, 2]),
        (&[], &[]),
        (&[20, 300], &[3, 5]),
        (&[2, 1, 3, 2, 1, 2, 2, 3], &[1, 2, 2, 3, 2, 1, 2, 2]),
    ];
    for (dims, repeats) in cases {
        let x = random.tensor(dims);
        check(Tile, &[&x, &vector(repeats)], &[reference::<f32>(&x, repeats)]);
        let x = random.tensor_of(dims, |r| r.bits() as u8);
        check(Tile, &[&x, &vector(repeats)], &[reference::<u8>(&x, repeats)]);
    }
}

#[test]
fn values_and_symbols_follow() {
    let n = Dim::sym(Sym(0));
    let x = vector(&[4, 5]).ty();
    let out = Tile.infer(&Inputs::new(&[Some(&x), Some(&vector(&[2]).ty())])).unwrap();
    assert_eq!(out[0].fixed_value(), Some(vec![4, 5, 4, 5]));
    let repeats = TensorType::new(DType::I64, Shape::fixed(&[1]).unwrap()).with_value(vec![n.clone()]);
    let out = Tile.infer(&Inputs::new(&[Some(&x), Some(&repeats)])).unwrap();
    assert_eq!(out[0].shape[0], n.mul(&Dim::Fixed(2)));
}

#[test]
fn refuses_what_does_not_fit() {
    let x = Random::new(2).tensor(&[2, 3]);
    assert!(infer_error(Tile, &[&x, &vector(&[1])]).contains("one per axis"));
    assert!(infer_error(Tile, &[&x, &vector(&[1, -1])]).contains("-1 repeats"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    crate::ops::testing::round_trip(Tile);
}
