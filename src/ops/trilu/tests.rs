use super::*;
use crate::ops::Tensor;
use crate::ops::testing::{Random, at, build, check, infer_error};

fn reference<T: Element>(x: &Tensor, upper: bool, k: i64) -> Tensor {
    let rank = x.info.dims.len();
    build(&x.info.dims, |c| {
        let (i, j) = (c[rank - 2] as i128, c[rank - 1] as i128);
        let keep = if upper { j >= i + k as i128 } else { j <= i + k as i128 };
        if keep { at(x, c) } else { T::default() }
    })
}

#[test]
fn every_diagonal() {
    let mut random = Random::new(1);
    for dims in [&[4, 5][..], &[5, 4], &[1, 6], &[6, 1], &[2, 3, 3], &[3, 0, 5], &[3, 5, 0], &[2, 150, 170]] {
        for upper in [false, true] {
            let (x, bytes) = (random.tensor(dims), random.tensor_of(dims, |r| r.bits() as u8));
            check(Trilu { upper }, &[&x], &[reference::<f32>(&x, upper, 0)]);
            for k in [-7, -2, 0, 1, 4, 5, 6, i64::MIN, i64::MAX] {
                let diagonal = Tensor::new(&[], &[k]).unwrap();
                check(Trilu { upper }, &[&x, &diagonal], &[reference::<f32>(&x, upper, k)]);
                check(Trilu { upper }, &[&bytes, &diagonal], &[reference::<u8>(&bytes, upper, k)]);
            }
        }
    }
}

#[test]
fn refuses_what_does_not_fit() {
    let mut random = Random::new(2);
    let x = random.tensor(&[2, 3]);
    assert!(infer_error(Trilu::default(), &[&random.tensor(&[3])]).contains("matrices"));
    assert!(infer_error(Trilu::default(), &[&x, &Tensor::new(&[], &[0i32]).unwrap()]).contains("i32"));
    assert!(infer_error(Trilu::default(), &[&x, &Tensor::new(&[2], &[0i64, 1]).unwrap()]).contains("scalar"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    [false, true].into_iter().for_each(|upper| crate::ops::testing::round_trip(Trilu { upper }));
}
