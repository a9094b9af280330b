use super::*;
use crate::cpu::Isa;
use crate::ops::testing::{Random, check, infer_error, run};
use crate::ops::{Op, Tensor};
use crate::tensor::Element;

fn reference<T: Element>(x: &Tensor, indices: &Tensor, updates: &Tensor, combine: impl Fn(T, T) -> T) -> Tensor {
    let dims = x.info.dims;
    let (&tuple, outer) = indices.info.dims.split_last().unwrap();
    let len: usize = dims[tuple..].iter().product();
    let mut out = x.elements::<T>().to_vec();
    for i in 0..outer.iter().product() {
        let mut at = 0;
        for k in 0..tuple {
            let index = indices.elements::<i64>()[i * tuple + k];
            at = at * dims[k] + if index < 0 { index + dims[k] as i64 } else { index } as usize;
        }
        for j in 0..len {
            out[at * len + j] = combine(out[at * len + j], updates.elements::<T>()[i * len + j]);
        }
    }
    Tensor::new(&dims, &out).unwrap()
}

#[test]
fn tuples_of_every_length() {
    let mut random = Random::new(1);
    let cases: [(&[usize], &[usize]); 6] = [
        (&[8], &[4, 1]),
        (&[4, 5, 6], &[3, 1]),
        (&[4, 5, 6], &[2, 3, 2]),
        (&[4, 5, 6], &[40, 3]),
        (&[4, 5], &[0, 1]),
        (&[6, 40, 700], &[9, 1]),
    ];
    for (dims, shape) in cases {
        let (&tuple, outer) = shape.split_last().unwrap();
        let mut k = 0;
        let i = random.tensor_of(shape, |r| {
            let n = dims[k % tuple];
            k += 1;
            r.below(2 * n) as i64 - n as i64
        });
        let to = [outer, &dims[tuple..]].concat();
        let (x, u) = (random.tensor(dims), random.tensor(&to));
        let case = |reduction: Reduction, f: fn(f32, f32) -> f32| {
            check(ScatterNd { reduction }, &[&x, &i, &u], &[reference(&x, &i, &u, f)]);
        };
        case(Reduction::Replace, |_, b| b);
        case(Reduction::Add, |a, b| a + b);
        case(Reduction::Mul, |a, b| a * b);
        case(Reduction::Max, f32::max);
        case(Reduction::Min, f32::min);
        let (x, u) = (random.tensor_of(dims, |r| r.bits() as i64), random.tensor_of(&to, |r| r.bits() as i64));
        let narrow: Vec<i32> = i.elements::<i64>().iter().map(|&i| i as i32).collect();
        let narrow = Tensor::new(shape, &narrow).unwrap();
        let op = ScatterNd { reduction: Reduction::Mul };
        check(op, &[&x, &narrow, &u], &[reference(&x, &i, &u, i64::wrapping_mul)]);
        check(ScatterNd::default(), &[&x, &narrow, &u], &[reference(&x, &i, &u, |_, b: i64| b)]);
    }
}

#[test]
fn refuses_what_does_not_fit() {
    let mut random = Random::new(2);
    let x = random.tensor(&[2, 3]);
    let zeros = |dims: &[usize]| Tensor::new(dims, &vec![0i64; dims.iter().product()]).unwrap();
    let error = |i: &Tensor, u: &Tensor| infer_error(ScatterNd::default(), &[&x, i, u]);
    assert!(error(&zeros(&[1, 3]), &x).contains("tuples of 3"));
    assert!(error(&zeros(&[1, 1]), &x).contains("updates of shape"));
    assert!(error(&zeros(&[2, 2]), &x).contains("updates of shape"));
    assert!(error(&zeros(&[]), &x).contains("scalar"));
    assert!(error(&x, &x).contains("indices are"));
    assert!(error(&zeros(&[2, 1]), &zeros(&[2, 3])).contains("i64"));
    let (bad, u) = (Tensor::new(&[1, 1], &[2i64]).unwrap(), random.tensor(&[1, 3]));
    let error = run(&Op::from(ScatterNd::default()), &[Some(&x), Some(&bad), Some(&u)], Isa::Scalar).unwrap_err();
    assert!(error.message().contains("index 2"), "{error}");
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    crate::ops::testing::round_trip(ScatterNd { reduction: Reduction::Max });
}
