use super::*;
use crate::cpu::Isa;
use crate::ops::testing::{Random, at, build, check, infer_error, run};
use crate::ops::{Op, Tensor};

fn reference<T: Element>(x: &Tensor, indices: &Tensor, axis: usize) -> Tensor {
    build(&indices.info.dims, |c| {
        let (mut source, index): (Vec<usize>, i64) = (c.to_vec(), at(indices, c));
        source[axis] = if index < 0 { index + x.info.dims[axis] as i64 } else { index } as usize;
        at::<T>(x, &source)
    })
}

#[test]
fn every_axis() {
    let mut random = Random::new(1);
    let cases: [([usize; 3], [usize; 3]); 4] =
        [([3, 4, 5], [3, 4, 5]), ([3, 4, 5], [2, 4, 3]), ([30, 40, 50], [30, 40, 50]), ([3, 4, 5], [3, 0, 5])];
    for axis in 0..3 {
        for (dims, mut shape) in cases {
            shape[axis] += 2;
            let n = dims[axis];
            let indices = random.tensor_of(&shape, |r| r.below(2 * n) as i64 - n as i64);
            let x = random.tensor(&dims);
            let want = [reference::<f32>(&x, &indices, axis)];
            check(GatherElements { axis: axis as i64 }, &[&x, &indices], &want);
            let narrow: Vec<i32> = indices.elements::<i64>().iter().map(|&i| i as i32).collect();
            let narrow = Tensor::new(&shape, &narrow).unwrap();
            check(GatherElements { axis: axis as i64 - 3 }, &[&x, &narrow], &want);
            let x = random.tensor_of(&dims, |r| r.bits() as u8);
            check(GatherElements { axis: axis as i64 }, &[&x, &indices], &[reference::<u8>(&x, &indices, axis)]);
        }
    }
}

#[test]
fn refuses_what_does_not_fit() {
    let x = Random::new(2).tensor(&[2, 3]);
    let indices = |dims: &[usize]| Tensor::new(dims, &vec![0i64; dims.iter().product()]).unwrap();
    assert!(infer_error(GatherElements { axis: 0 }, &[&x, &indices(&[2])]).contains("indices of shape"));
    assert!(infer_error(GatherElements { axis: 0 }, &[&x, &indices(&[2, 4])]).contains("indices of shape"));
    assert!(infer_error(GatherElements { axis: 2 }, &[&x, &indices(&[2, 3])]).contains("axis 2"));
    assert!(infer_error(GatherElements { axis: 0 }, &[&x, &x]).contains("indices are"));
    let bad = Tensor::new(&[1, 1], &[3i64]).unwrap();
    let error = run(&Op::from(GatherElements { axis: 1 }), &[Some(&x), Some(&bad)], Isa::Scalar).unwrap_err();
    assert!(error.message().contains("index 3"), "{error}");
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    crate::ops::testing::round_trip(GatherElements { axis: -1 });
}
