use super::*;
use crate::cpu::Isa;
use crate::ops::testing::{Random, at, build, check, infer_error, run};
use crate::ops::{Op, Tensor};
use crate::tensor::{DType, Element, Sym};

fn reference<T: Element>(x: &Tensor, indices: &Tensor, axis: usize) -> Tensor {
    let (dims, q) = (x.info.dims, indices.info.dims.len());
    let out = [&dims[..axis], &indices.info.dims, &dims[axis + 1..]].concat();
    build(&out, |c| {
        let index: i64 = at(indices, &c[axis..axis + q]);
        let index = if index < 0 { index + dims[axis] as i64 } else { index } as usize;
        at::<T>(x, &[&c[..axis], &[index], &c[axis + q..]].concat())
    })
}

fn narrow(indices: &Tensor) -> Tensor {
    let elements: Vec<i32> = indices.elements::<i64>().iter().map(|&i| i as i32).collect();
    Tensor::new(&indices.info.dims, &elements).unwrap()
}

#[test]
fn every_axis_and_shape_of_indices() {
    let mut random = Random::new(1);
    for axis in 0..3 {
        for shape in [&[][..], &[1], &[5], &[2, 3], &[0], &[3, 1, 2]] {
            let dims = [4, 5, 6];
            let n = dims[axis];
            let indices = random.tensor_of(shape, |r| r.below(2 * n) as i64 - n as i64);
            let x = random.tensor(&dims);
            let op = Gather { axis: axis as i64 };
            check(op.clone(), &[&x, &indices], &[reference::<f32>(&x, &indices, axis)]);
            check(Gather { axis: axis as i64 - 3 }, &[&x, &narrow(&indices)], &[reference::<f32>(&x, &indices, axis)]);
            let x = random.tensor_of(&dims, |r| r.bits() as u8);
            check(op.clone(), &[&x, &indices], &[reference::<u8>(&x, &indices, axis)]);
            let x = random.tensor_of(&dims, |r| r.bits() as f64);
            check(op, &[&x, &indices], &[reference::<f64>(&x, &indices, axis)]);
        }
    }
}

#[test]
fn large_ones_in_parts() {
    let mut random = Random::new(2);
    for (dims, axis, count) in [([500, 96], 0, 700), ([3, 60_000], 0, 2), ([40, 3000], 1, 2000)] {
        let (x, n) = (random.tensor(&dims), dims[axis]);
        let indices = random.tensor_of(&[count], |r| r.below(n) as i64);
        check(Gather { axis: axis as i64 }, &[&x, &indices], &[reference::<f32>(&x, &indices, axis)]);
    }
    let (empty, none) = (random.tensor(&[0, 4]), Tensor::new(&[0], &[0i64; 0]).unwrap());
    check(Gather { axis: 0 }, &[&empty, &none], std::slice::from_ref(&empty));
}

#[test]
fn values_and_symbols_follow() {
    let n = Dim::sym(Sym(0));
    let shape = TensorType::new(DType::I64, Shape::fixed(&[3]).unwrap());
    let shape = shape.with_value(vec![n.clone(), Dim::Fixed(4), Dim::Fixed(5)]);
    let infer = |indices: &Tensor| Gather { axis: 0 }.infer(&Inputs::new(&[Some(&shape), Some(&indices.ty())]));
    let scalar = infer(&Tensor::new(&[], &[0i64]).unwrap()).unwrap();
    assert_eq!((scalar[0].value.as_deref(), scalar[0].shape.rank()), (Some(&[n.clone()][..]), 0));
    let two = infer(&Tensor::new(&[2], &[-1i64, 0]).unwrap()).unwrap();
    assert_eq!(two[0].value.as_deref(), Some(&[Dim::Fixed(5), n][..]));
    assert!(infer(&Tensor::new(&[1], &[3i64]).unwrap()).unwrap_err().message().contains("index 3"));
}

#[test]
fn indices_out_of_range_are_named() {
    let mut random = Random::new(3);
    let x = random.tensor(&[2, 5, 7]);
    for (axis, bad) in [(1, 5), (1, -6), (2, 7), (0, i64::MIN), (2, i64::MAX)] {
        let indices = Tensor::new(&[3], &[0, bad, 1]).unwrap();
        let error = run(&Op::from(Gather { axis }), &[Some(&x), Some(&indices)], Isa::Scalar).unwrap_err();
        assert!(error.message().contains(&format!("index {bad}")), "{error}");
        assert!(error.message().contains(&format!("axis {axis}")), "{error}");
    }
}

#[test]
fn refuses_what_does_not_fit() {
    let mut random = Random::new(4);
    let (x, i) = (random.tensor(&[2, 3]), Tensor::new(&[1], &[0i64]).unwrap());
    assert!(infer_error(Gather { axis: 2 }, &[&x, &i]).contains("axis 2"));
    assert!(infer_error(Gather { axis: 0 }, &[&x, &x]).contains("indices are"));
    assert!(infer_error(Gather { axis: 0 }, &[&random.tensor(&[]), &i]).contains("axis 0"));
    let deep = Tensor::new(&[1; 8], &[0i64]).unwrap();
    assert!(infer_error(Gather { axis: 0 }, &[&x, &deep]).contains("rank 9"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    crate::ops::testing::round_trip(Gather { axis: -2 });
}
