use super::*;
use crate::ops::Tensor;
use crate::ops::testing::{Random, at, build, check, infer_error};
use crate::tensor::{DType, Element, Sym};

fn reference<T: Element>(x: &Tensor, axis: usize, sizes: &[usize]) -> Vec<Tensor> {
    let mut start = 0;
    let mut piece = |size: usize| {
        let mut dims = x.info.dims;
        dims[axis] = size;
        let first = start;
        start += size;
        build(&dims, |c| {
            let mut c = c.to_vec();
            c[axis] += first;
            at::<T>(x, &c)
        })
    };
    sizes.iter().map(|&s| piece(s)).collect()
}

fn sizes(axis: i64, sizes: &[usize]) -> Split {
    Split { axis, sizes: sizes.to_vec(), parts: 0 }
}

fn parts(axis: i64, parts: usize) -> Split {
    Split { axis, sizes: vec![], parts }
}

#[test]
fn cuts_along_every_axis() {
    let mut random = Random::new(1);
    for axis in 0..3usize {
        let dims: Vec<usize> = (0..3).map(|a| if a == axis { 12 } else { 2 + a }).collect();
        let (x, bytes) = (random.tensor(&dims), random.tensor_of(&dims, |r| r.bits() as u8));
        for s in [&[12][..], &[4, 4, 4], &[1, 0, 11], &[5, 7], &[1; 12]] {
            check(sizes(axis as i64, s), &[&x], &reference::<f32>(&x, axis, s));
            check(sizes(axis as i64 - 3, s), &[&bytes], &reference::<u8>(&bytes, axis, s));
        }
        check(parts(axis as i64, 5), &[&x], &reference::<f32>(&x, axis, &[3, 3, 3, 3, 0]));
        check(parts(axis as i64, 7), &[&x], &reference::<f32>(&x, axis, &[2, 2, 2, 2, 2, 2, 0]));
    }
    let empty = random.tensor(&[0, 4]);
    check(sizes(1, &[1, 3]), &[&empty], &reference::<f32>(&empty, 1, &[1, 3]));
    check(sizes(0, &[0, 0]), &[&empty], &reference::<f32>(&empty, 0, &[0, 0]));
}

#[test]
fn large_ones_in_parts_and_many_outputs() {
    let mut random = Random::new(2);
    let x = random.tensor(&[300, 384]);
    check(parts(1, 3), &[&x], &reference::<f32>(&x, 1, &[128; 3]));
    check(sizes(0, &[100, 50, 150]), &[&x], &reference::<f32>(&x, 0, &[100, 50, 150]));
    check(parts(1, 96), &[&x], &reference::<f32>(&x, 1, &[4; 96]));
}

#[test]
fn symbols_and_values_follow() {
    let n = Dim::sym(Sym(0));
    let x = TensorType::new(DType::F32, Shape::new([n.mul(&Dim::Fixed(2)), Dim::Fixed(4)]).unwrap());
    let out = parts(0, 2).infer(&Inputs::new(&[Some(&x)])).unwrap();
    assert_eq!((&out[0].shape[0], &out[1].shape[0]), (&n, &n));
    let shape = Tensor::new(&[4], &[1i64, 2, 3, 4]).unwrap().ty();
    let out = sizes(0, &[1, 3]).infer(&Inputs::new(&[Some(&shape)])).unwrap();
    assert_eq!(out[1].fixed_value(), Some(vec![2, 3, 4]));
}

#[test]
fn refuses_what_does_not_fit() {
    let x = Random::new(3).tensor(&[2, 5]);
    assert!(infer_error(sizes(1, &[2, 2]), &[&x]).contains("sum 4"));
    assert!(infer_error(sizes(1, &[usize::MAX, 6]), &[&x]).contains("sum"));
    assert!(infer_error(parts(1, 4), &[&x]).contains("cannot be cut"));
    assert!(infer_error(parts(1, usize::MAX), &[&x]).contains("more than"));
    assert!(infer_error(parts(2, 1), &[&x]).contains("axis 2"));
    assert!(infer_error(Split::default(), &[&x]).contains("needs sizes"));
    assert!(infer_error(Split { axis: 0, sizes: vec![2], parts: 1 }, &[&x]).contains("both"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    crate::ops::testing::round_trip(sizes(-1, &[1, 0, 7]));
    crate::ops::testing::round_trip(parts(2, 3));
}
