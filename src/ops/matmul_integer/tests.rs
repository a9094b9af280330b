use super::*;
use crate::ops::Tensor;
use crate::ops::testing::{Random, as_f64, check_optional, infer_error};
use crate::tensor::Element;

/// Value of `t` at the end of `at`; its last extent repeats unless it is a vector for rows.
fn pick(t: Option<&Tensor>, at: &[usize]) -> i64 {
    let Some(t) = t else { return 0 };
    let dims = &t.info.dims;
    let at = &at[at.len() - dims.len()..];
    as_f64(t)[dims.iter().zip(at).fold(0, |i, (&d, &a)| i * d + if d == 1 { 0 } else { a })] as i64
}

type Draw<T> = fn(&mut Random) -> T;
type Shapes = [&'static [usize]; 2];
type ZeroShapes = [Option<&'static [usize]>; 2];

fn check<A: Element, B: Element>(shapes: Shapes, zeros: ZeroShapes, elements: (Draw<A>, Draw<B>)) {
    let mut random = Random::new(41);
    let (a, b) = (random.tensor_of(shapes[0], elements.0), random.tensor_of(shapes[1], elements.1));
    let a_zero = zeros[0].map(|dims| random.tensor_of(dims, elements.0));
    let b_zero = zeros[1].map(|dims| random.tensor_of(dims, elements.1));
    let inputs = [Some(&a), Some(&b), a_zero.as_ref(), b_zero.as_ref()];
    let types = inputs.map(|t| t.map(Tensor::ty));
    let dims = MatMulInteger.infer(&Inputs::new(&types.each_ref().map(Option::as_ref))).unwrap()[0].shape.as_fixed().unwrap();
    let k = shapes[0][shapes[0].len() - 1];
    let element = |mut index: usize| {
        let mut at = vec![0; dims.len()];
        for (a, d) in at.iter_mut().zip(dims.iter()).rev() {
            (*a, index) = (index % d, index / d);
        }
        let (n, m) = (at.pop().unwrap(), at.pop().unwrap());
        let row_zero = match zeros[0] {
            Some([rows]) if *rows > 1 => pick(a_zero.as_ref(), &[m]),
            _ => pick(a_zero.as_ref(), &[&at[..], &[m, 0]].concat()),
        };
        let term = |k: usize| {
            let b_at = [&at[..], &[k, n]].concat();
            (pick(Some(&a), &[&at[..], &[m, k]].concat()) - row_zero) * (pick(Some(&b), &b_at) - pick(b_zero.as_ref(), &b_at))
        };
        (0..k).map(term).sum::<i64>() as i32
    };
    let want: Vec<i32> = (0..dims.iter().product()).map(element).collect();
    check_optional(MatMulInteger, &inputs, &[Tensor::new(&dims, &want).unwrap()], 0.0);
}

#[test]
fn every_type_and_zero_point() {
    let unsigned = |r: &mut Random| r.below(256) as u8;
    let signed = |r: &mut Random| r.below(256) as u8 as i8;
    let shapes: [(Shapes, ZeroShapes); 7] = [
        ([&[4, 3], &[3, 2]], [None, None]),
        ([&[5, 70], &[70, 33]], [Some(&[]), Some(&[1])]),
        ([&[5, 7], &[7, 33]], [Some(&[5]), Some(&[33])]),
        ([&[5, 7], &[7, 3]], [Some(&[5, 1]), Some(&[1, 3])]),
        ([&[2, 3, 5, 7], &[2, 3, 7, 4]], [Some(&[2, 3, 5, 1]), Some(&[2, 3, 1, 4])]),
        ([&[2, 5, 7], &[7, 4]], [Some(&[2, 1, 1]), None]),
        ([&[0, 7], &[7, 4]], [Some(&[]), Some(&[4])]),
    ];
    for (shapes, zeros) in shapes {
        check::<u8, u8>(shapes, zeros, (unsigned, unsigned));
        check::<i8, i8>(shapes, zeros, (signed, signed));
        check::<u8, i8>(shapes, zeros, (unsigned, signed));
    }
}

#[test]
fn refuses_what_does_not_fit() {
    let t = |dims: &[usize]| Random::new(1).tensor_of(dims, |_| 1u8);
    let float = Random::new(1).tensor(&[2, 2]);
    assert!(infer_error(MatMulInteger, &[&float, &t(&[2, 2])]).contains("f32; i8 or u8"));
    assert!(infer_error(MatMulInteger, &[&t(&[2, 3]), &t(&[2, 2])]).contains("A has 3 columns"));
    assert!(infer_error(MatMulInteger, &[&t(&[2, 3]), &t(&[3, 2]), &t(&[3])]).contains("zero point [3] for A"));
    assert!(infer_error(MatMulInteger, &[&t(&[2, 3]), &t(&[3, 2]), &t(&[]), &t(&[3])]).contains("zero point [3] for B"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    crate::ops::testing::round_trip(MatMulInteger);
}
