use super::*;
use crate::cpu::Isa;
use crate::ops::testing::{Random, at, build, check, infer_error, run};
use crate::ops::{Op, Tensor};

fn reference<T: Element>(x: &Tensor, lengths: &[i64], batch: usize, time: usize) -> Tensor {
    build(&x.info.dims, |c| {
        let (mut source, n) = (c.to_vec(), lengths[c[batch]] as usize);
        if c[time] < n {
            source[time] = n - 1 - c[time];
        }
        at::<T>(x, &source)
    })
}

#[test]
fn both_orders_of_axes() {
    let mut random = Random::new(1);
    for dims in [&[4, 5][..], &[5, 4, 3], &[3, 3, 2, 2], &[1, 7], &[60, 40, 30]] {
        for (batch, time) in [(0, 1), (1, 0)] {
            let lengths = random.tensor_of(&[dims[batch]], |r| r.below(dims[time] + 1) as i64);
            let op = ReverseSequence { batch_axis: batch as i64, time_axis: time as i64 - dims.len() as i64 };
            let x = random.tensor(dims);
            let want = reference::<f32>(&x, lengths.elements(), batch, time);
            check(op.clone(), &[&x, &lengths], &[want]);
            let x = random.tensor_of(dims, |r| r.bits() as u8);
            let want = reference::<u8>(&x, lengths.elements(), batch, time);
            check(op, &[&x, &lengths], &[want]);
        }
    }
    let (empty, none) = (random.tensor(&[4, 0]), Tensor::new(&[0], &[0i64; 0]).unwrap());
    check(ReverseSequence::default(), &[&empty, &none], std::slice::from_ref(&empty));
}

#[test]
fn refuses_what_does_not_fit() {
    let mut random = Random::new(2);
    let (x, two) = (random.tensor(&[2, 3, 4]), Tensor::new(&[2], &[1i64, 4]).unwrap());
    let op = |batch_axis, time_axis| ReverseSequence { batch_axis, time_axis };
    assert!(infer_error(op(1, 0), &[&x, &two]).contains("2 lengths for 3"));
    assert!(infer_error(op(0, 2), &[&x, &two]).contains("supported"));
    assert!(infer_error(op(0, 0), &[&x, &two]).contains("supported"));
    assert!(infer_error(op(0, 3), &[&x, &two]).contains("axis 3"));
    assert!(infer_error(op(0, 1), &[&random.tensor(&[2]), &two]).contains("rank"));
    assert!(infer_error(op(0, 1), &[&x, &x]).contains("f32"));
    let error = run(&Op::from(op(0, 1)), &[Some(&x), Some(&two)], Isa::Scalar).unwrap_err();
    assert!(error.message().contains("length 4"), "{error}");
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    crate::ops::testing::round_trip(ReverseSequence { batch_axis: 0, time_axis: 1 });
}
