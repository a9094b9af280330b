use super::*;
use crate::ops::testing::{Random, at, check};

fn reference<T: Element>(x: &Tensor) -> Tensor {
    let dims = x.info.dims;
    let mut found: Vec<Vec<usize>> = vec![];
    crate::ops::testing::build(&dims, |c| {
        if at::<T>(x, c) != T::default() {
            found.push(c.to_vec());
        }
        0u8
    });
    let rows: Vec<i64> = (0..dims.len()).flat_map(|a| found.iter().map(move |c| c[a] as i64)).collect();
    Tensor::new(&[dims.len(), found.len()], &rows).unwrap()
}

#[test]
fn coordinates_in_order() {
    let mut random = Random::new(1);
    for dims in [&[5][..], &[3, 4], &[2, 3, 4, 2], &[0, 3], &[3, 0], &[1, 1]] {
        let x = random.tensor_of(dims, |r| r.below(3) as f32 - 1.0);
        check(NonZero, &[&x], &[reference::<f32>(&x)]);
        let x = random.tensor_of(dims, |r| r.below(2) as u8);
        check(NonZero, &[&x], &[reference::<u8>(&x)]);
        let x = random.tensor_of(dims, |_| 0i64);
        check(NonZero, &[&x], &[reference::<i64>(&x)]);
    }
}

#[test]
fn signs_of_zero_scalars_and_nan() {
    let x = Tensor::new(&[4], &[-0f32, 0., f32::NAN, -1.]).unwrap();
    check(NonZero, &[&x], &[Tensor::new(&[1, 2], &[2i64, 3]).unwrap()]);
    check(NonZero, &[&Tensor::new(&[], &[7i32]).unwrap()], &[Tensor::new(&[1, 1], &[0i64]).unwrap()]);
    check(NonZero, &[&Tensor::new(&[], &[0i32]).unwrap()], &[Tensor::new(&[1, 0], &[0i64; 0]).unwrap()]);
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    crate::ops::testing::round_trip(NonZero);
}
