use super::*;
use crate::cpu::Isa;
use crate::ops::testing::{Random, at, build, check, infer_error, run};
use crate::ops::{Op, Tensor};
use crate::tensor::{DType, Dim, Element, Sym};

fn reference<T: Element>(x: &Tensor, indices: &Tensor, batch: usize) -> Tensor {
    let (tuple, outer) = indices.info.dims.split_last().unwrap();
    let dims = [outer, &x.info.dims[batch + tuple..]].concat();
    build(&dims, |c| {
        let mut source = c[..batch].to_vec();
        for k in 0..*tuple {
            let index: i64 = at(indices, &[&c[..outer.len()], &[k]].concat());
            source.push(if index < 0 { index + x.info.dims[batch + k] as i64 } else { index } as usize);
        }
        source.extend(&c[outer.len()..]);
        at::<T>(x, &source)
    })
}

/// Random valid indices of the given shape into data of shape `dims`.
fn indices(random: &mut Random, shape: &[usize], dims: &[usize], batch: usize) -> Tensor {
    let tuple = shape[shape.len() - 1];
    let mut k = 0;
    random.tensor_of(shape, |r| {
        let n = dims[batch + k % tuple];
        k += 1;
        r.below(2 * n) as i64 - n as i64
    })
}

#[test]
fn tuples_of_every_length() {
    let mut random = Random::new(1);
    let cases: [(&[usize], &[usize], usize); 8] = [
        (&[2, 2], &[2, 2], 0),
        (&[5, 4, 3], &[6, 2], 0),
        (&[5, 4, 3], &[2, 3, 1], 0),
        (&[5, 4, 3], &[7, 3], 0),
        (&[2, 3, 4, 5], &[2, 6, 1], 1),
        (&[2, 3, 4, 5], &[2, 3, 2], 2),
        (&[2, 3, 4], &[2, 0, 1], 1),
        (&[60, 50, 70], &[300, 1, 1], 0),
    ];
    for (dims, shape, batch) in cases {
        let i = indices(&mut random, shape, dims, batch);
        let x = random.tensor(dims);
        check(GatherNd { batch_dims: batch }, &[&x, &i], &[reference::<f32>(&x, &i, batch)]);
        let x = random.tensor_of(dims, |r| r.bits() as i16);
        let narrow: Vec<i32> = i.elements::<i64>().iter().map(|&i| i as i32).collect();
        let narrow = Tensor::new(shape, &narrow).unwrap();
        check(GatherNd { batch_dims: batch }, &[&x, &narrow], &[reference::<i16>(&x, &i, batch)]);
    }
}

#[test]
fn symbols_follow() {
    let n = Dim::sym(Sym(0));
    let x = TensorType::new(DType::F32, Shape::new([n.clone(), Dim::Fixed(4), Dim::Fixed(5)]).unwrap());
    let i = TensorType::new(DType::I64, Shape::new([n.clone(), Dim::Fixed(7), Dim::Fixed(1)]).unwrap());
    let out = GatherNd { batch_dims: 1 }.infer(&Inputs::new(&[Some(&x), Some(&i)])).unwrap();
    assert_eq!(out[0].shape[..], [n, Dim::Fixed(7), Dim::Fixed(5)]);
}

#[test]
fn refuses_what_does_not_fit() {
    let mut random = Random::new(2);
    let x = random.tensor(&[2, 3]);
    let zeros = |dims: &[usize]| Tensor::new(dims, &vec![0i64; dims.iter().product()]).unwrap();
    let error = |batch_dims, i: &Tensor| infer_error(GatherNd { batch_dims }, &[&x, i]);
    assert!(error(0, &zeros(&[1, 3])).contains("tuples of 3"));
    assert!(error(1, &zeros(&[2])).contains("fewer than 2"));
    assert!(error(1, &zeros(&[3, 1])).contains("axis 0"));
    assert!(error(0, &zeros(&[])).contains("fewer than 1"));
    assert!(error(usize::MAX - 1, &zeros(&[1, 1])).contains("fewer"));
    assert!(error(0, &x).contains("indices are"));
    let bad = Tensor::new(&[1, 2], &[1i64, -4]).unwrap();
    let error = run(&Op::from(GatherNd::default()), &[Some(&x), Some(&bad)], Isa::Scalar).unwrap_err();
    assert!(error.message().contains("index -4") && error.message().contains("axis 1"), "{error}");
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    crate::ops::testing::round_trip(GatherNd { batch_dims: 2 });
}
