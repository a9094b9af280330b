use super::*;
use crate::ops::Tensor;
use crate::ops::testing::{Random, at, build, check, check_optional, infer_error};
use crate::tensor::{DType, Element, Sym};

/// The index into `n` elements that index `i` outside of them stands for, by walking there.
fn outside(mode: PadMode, i: i64, n: i64) -> i64 {
    let (mut at, mut step) = (0, 1);
    for _ in 0..i.abs() {
        let back = if i < 0 { -step } else { step };
        match mode {
            PadMode::Wrap => at = (at + back + n) % n,
            PadMode::Edge => at = (at + back).clamp(0, n - 1),
            _ if n == 1 => {}
            _ => {
                if !(0..n).contains(&(at + step)) {
                    step = -step;
                }
                at += step;
            }
        }
    }
    at
}

fn reference<T: Element>(x: &Tensor, mode: PadMode, pads: &[(i64, i64)], value: T) -> Tensor {
    let dims: Vec<usize> = x.info.dims.iter().zip(pads).map(|(&d, p)| (d as i64 + p.0 + p.1) as usize).collect();
    build(&dims, |c| {
        let mut source = vec![];
        for ((&c, &d), &(before, after)) in c.iter().zip(x.info.dims.iter()).zip(pads) {
            let (first, end) = ((-before).max(0), d as i64 + after.min(0));
            let i = c as i64 - before;
            match mode {
                _ if (first..end).contains(&i) => source.push(i as usize),
                PadMode::Constant => return value,
                // Mirrors and edges begin where the walk does: at the near end of what is kept.
                _ => source.push((first + outside(mode, i - first, end - first)) as usize),
            }
        }
        at::<T>(x, &source)
    })
}

fn vector(v: &[i64]) -> Tensor {
    Tensor::new(&[v.len()], v).unwrap()
}

fn pads_of(pads: &[(i64, i64)]) -> Tensor {
    vector(&pads.iter().map(|p| p.0).chain(pads.iter().map(|p| p.1)).collect::<Vec<_>>())
}

const MODES: [PadMode; 4] = [PadMode::Constant, PadMode::Reflect, PadMode::Edge, PadMode::Wrap];

#[test]
fn every_mode() {
    let mut random = Random::new(1);
    type Case<'a> = (&'a [usize], &'a [(i64, i64)]);
    let cases: [Case<'_>; 10] = [
        (&[5], &[(2, 3)]),
        (&[3], &[(7, 8)]),
        (&[1], &[(3, 2)]),
        (&[6], &[(-2, 3)]),
        (&[6], &[(4, -3)]),
        (&[6], &[(-2, -1)]),
        (&[2, 3, 4], &[(0, 0), (1, 2), (0, 0)]),
        (&[2, 5, 6, 3], &[(0, 0), (1, 1), (2, 0), (0, 0)]),
        (&[2, 3, 2, 4], &[(1, 0), (0, 0), (0, 0), (2, 1)]),
        (&[2, 3], &[(0, 0), (0, 0)]),
    ];
    for (dims, pads) in cases {
        for mode in MODES {
            let op = Pad { mode, axes: vec![] };
            let x = random.tensor(dims);
            let value = Tensor::new(&[], &[7.5f32]).unwrap();
            check(op.clone(), &[&x, &pads_of(pads), &value], &[reference(&x, mode, pads, 7.5f32)]);
            check(op.clone(), &[&x, &pads_of(pads)], &[reference(&x, mode, pads, 0f32)]);
            let x = random.tensor_of(dims, |r| r.bits() as i64);
            check_optional(op, &[Some(&x), Some(&pads_of(pads)), None], &[reference(&x, mode, pads, 0i64)], 0.0);
        }
    }
}

#[test]
fn some_axes_and_large_ones() {
    let mut random = Random::new(2);
    let x = random.tensor_of(&[2, 40, 60, 32], |r| r.bits() as u16);
    for mode in MODES {
        let op = Pad { mode, axes: vec![-2, 1] };
        check(op, &[&x, &vector(&[3, 1, 2, 0])], &[reference(&x, mode, &[(0, 0), (1, 0), (3, 2), (0, 0)], 0u16)]);
    }
}

#[test]
fn empty_tensors() {
    let mut random = Random::new(3);
    let (empty, scalar) = (random.tensor(&[0, 2]), random.tensor(&[]));
    let op = Pad::default();
    check(op.clone(), &[&empty, &vector(&[1, 0, 1, 1])], &[Tensor::new(&[2, 3], &[0f32; 6]).unwrap()]);
    check(op.clone(), &[&scalar, &vector(&[])], std::slice::from_ref(&scalar));
    let x = random.tensor(&[3]);
    check(op, &[&x, &vector(&[-2, -1])], &[Tensor::new(&[0], &[0f32; 0]).unwrap()]);
    let edge = Pad { mode: PadMode::Edge, axes: vec![1] };
    check(edge, &[&empty, &vector(&[1, 1])], &[Tensor::new(&[0, 4], &[0f32; 0]).unwrap()]);
}

#[test]
fn symbols_follow() {
    let n = Dim::sym(Sym(0));
    let x = TensorType::new(DType::F32, Shape::new([n.clone(), Dim::Fixed(4)]).unwrap());
    let out = Pad::default().infer(&Inputs::new(&[Some(&x), Some(&vector(&[1, 0, 2, -1]).ty())])).unwrap();
    assert_eq!(out[0].shape[..], [n.add(&Dim::Fixed(3)), Dim::Fixed(3)]);
    let unknown = TensorType::new(DType::I64, Shape::fixed(&[4]).unwrap());
    let out = Pad::default().infer(&Inputs::new(&[Some(&x), Some(&unknown)])).unwrap();
    assert!(out[0].shape.iter().all(Dim::is_unknown));
}

#[test]
fn refuses_what_does_not_fit() {
    let mut random = Random::new(4);
    let x = random.tensor(&[2, 3]);
    let edge = Pad { mode: PadMode::Edge, axes: vec![] };
    assert!(infer_error(Pad::default(), &[&x, &vector(&[1, 1])]).contains("two per axis"));
    assert!(infer_error(Pad::default(), &[&x, &vector(&[-2, 0, -1, 0])]).contains("cannot be padded"));
    assert!(infer_error(edge.clone(), &[&x, &vector(&[-2, 0, 1, 0])]).contains("cannot be padded"));
    assert!(infer_error(edge, &[&random.tensor(&[0]), &vector(&[0, 1])]).contains("cannot be padded"));
    assert!(infer_error(Pad { axes: vec![0, -2], ..Pad::default() }, &[&x, &vector(&[1; 4])]).contains("twice"));
    assert!(infer_error(Pad { axes: vec![2], ..Pad::default() }, &[&x, &vector(&[1; 2])]).contains("axis 2"));
    assert!(infer_error(Pad::default(), &[&x, &vector(&[1; 4]), &vector(&[0])]).contains("i64"));
    assert!(infer_error(Pad::default(), &[&x, &vector(&[1; 4]), &x]).contains("scalar"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    MODES.into_iter().for_each(|mode| crate::ops::testing::round_trip(Pad { mode, axes: vec![-1, 0] }));
}
