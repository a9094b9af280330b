use super::*;
use crate::ops::Tensor;
use crate::ops::order::Sortable;
use crate::ops::testing::{Random, at, build, check, check_optional, infer_error};
use crate::tensor::Sym;
use std::collections::HashMap;

/// Sorts everything along the axis, stably.
fn reference<T: Sortable>(x: &Tensor, k: usize, axis: usize, largest: bool) -> [Tensor; 2] {
    let mut dims = x.info.dims;
    let n = std::mem::replace(&mut dims[axis], k);
    let mut orders: HashMap<Vec<usize>, Vec<(T, usize)>> = HashMap::new();
    let mut place = |c: &[usize]| {
        let mut column = c.to_vec();
        column[axis] = 0;
        let sort = |column: &Vec<usize>| {
            let mut c = column.clone();
            let mut get = |i: usize| {
                c[axis] = i;
                (at::<T>(x, &c), i)
            };
            let mut order: Vec<_> = (0..n).map(&mut get).collect();
            let compare = |a: &T, b: &T| if largest { b.key().cmp(&a.key()) } else { a.key().cmp(&b.key()) };
            order.sort_by(|a, b| compare(&a.0, &b.0));
            order
        };
        orders.entry(column).or_insert_with_key(sort)[c[axis]]
    };
    [build(&dims, |c| place(c).0), build(&dims, |c| place(c).1 as i64)]
}

fn k_of(k: usize) -> Tensor {
    Tensor::new(&[1], &[k as i64]).unwrap()
}

#[test]
fn every_axis_and_number() {
    let mut random = Random::new(1);
    for (dims, axis, ks) in [
        (&[7][..], 0, &[0usize, 1, 3, 7][..]),
        (&[3, 9], 1, &[1, 9]),
        (&[9, 3], 0, &[4]),
        (&[2, 80, 3], 1, &[5, 33, 40, 80]),
        (&[0, 4], 1, &[2]),
        (&[2, 0], 1, &[0]),
        (&[60, 400], 1, &[10, 100]),
    ] {
        // Few different values, so that there are ties.
        let x = random.tensor_of(dims, |r| r.below(12) as f32 - 6.0);
        let bytes = random.tensor_of(dims, |r| r.bits() as u8);
        let large = random.tensor_of(dims, |r| r.bits());
        for &k in ks {
            for largest in [true, false] {
                let op = TopK { axis: axis as i64 - dims.len() as i64, largest, sorted: true };
                check(op.clone(), &[&x, &k_of(k)], &reference::<f32>(&x, k, axis, largest));
                check(op.clone(), &[&bytes, &k_of(k)], &reference::<u8>(&bytes, k, axis, largest));
                check(op, &[&large, &k_of(k)], &reference::<u64>(&large, k, axis, largest));
            }
        }
    }
}

#[test]
fn nan_is_largest_and_zeros_are_equal() {
    let x = Tensor::new(&[6], &[-0f32, f32::NAN, f32::INFINITY, 0., -f32::NAN, -1.]).unwrap();
    for largest in [true, false] {
        let op = TopK { axis: 0, largest, sorted: false };
        check(op, &[&x, &k_of(6)], &reference::<f32>(&x, 6, 0, largest));
    }
    let indices = Tensor::new(&[3], &[1i64, 4, 2]).unwrap();
    let values = Tensor::new(&[3], &[f32::NAN, f32::NAN, f32::INFINITY]).unwrap();
    check_optional(TopK::default(), &[Some(&x), Some(&k_of(3))], &[values, indices], 0.0);
}

#[test]
fn symbols_follow() {
    let n = Dim::sym(Sym(0));
    let x = TensorType::new(DType::F32, Shape::new([n.clone(), Dim::Fixed(8)]).unwrap());
    let k = TensorType::new(DType::I64, Shape::fixed(&[1]).unwrap());
    let infer = |k: TensorType| TopK::default().infer(&Inputs::new(&[Some(&x), Some(&k)])).unwrap();
    assert_eq!(infer(k_of(3).ty())[1].shape[..], [n.clone(), Dim::Fixed(3)]);
    assert_eq!(infer(k.clone())[0].shape[..], [n.clone(), Dim::Unknown]);
    assert_eq!(infer(k.with_value(vec![n.clone()]))[0].shape[..], [n.clone(), n]);
}

#[test]
fn refuses_what_does_not_fit() {
    let x = Random::new(2).tensor(&[2, 3]);
    let error = |k: &[i64]| infer_error(TopK::default(), &[&x, &Tensor::new(&[k.len()], k).unwrap()]);
    assert!(error(&[4]).contains("best 4 of 3"));
    assert!(error(&[-1]).contains("best -1"));
    assert!(error(&[1, 1]).contains("one is needed"));
    assert!(infer_error(TopK { axis: 2, ..TopK::default() }, &[&x, &k_of(1)]).contains("axis 2"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    crate::ops::testing::round_trip(TopK { axis: 1, largest: false, sorted: false });
    crate::ops::testing::round_trip(TopK::default());
}
