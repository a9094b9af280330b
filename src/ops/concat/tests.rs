use super::*;
use crate::cpu::Isa;
use crate::ops::testing::{Random, THREADS, apart, at, build, check, infer_error, run_kernel};
use crate::ops::{Derived, Operand, Prepare, Tensor};
use crate::tensor::{DType, Element, Layout, Sym};

fn reference<T: Element>(inputs: &[&Tensor], axis: usize) -> Tensor {
    let mut dims = inputs[0].info.dims;
    dims[axis] = inputs.iter().map(|x| x.info.dims[axis]).sum();
    build(&dims, |coordinate| {
        let mut c = coordinate.to_vec();
        for x in inputs {
            match c[axis].checked_sub(x.info.dims[axis]) {
                Some(rest) => c[axis] = rest,
                None => return at::<T>(x, &c),
            }
        }
        unreachable!("a coordinate inside the output")
    })
}

#[test]
fn joins_along_every_axis() {
    let mut random = Random::new(1);
    for axis in 0..3usize {
        for extents in [&[4][..], &[1, 1], &[3, 0, 5, 1], &[0, 0], &[2, 1, 1, 40, 3]] {
            let dims = |e: usize| (0..3).map(|a| if a == axis { e } else { 3 + a }).collect::<Vec<_>>();
            let x: Vec<Tensor> = extents.iter().map(|&e| random.tensor(&dims(e))).collect();
            let x: Vec<&Tensor> = x.iter().collect();
            check(Concat::along(axis as i64), &x, &[reference::<f32>(&x, axis)]);
            check(Concat::along(axis as i64 - 3), &x, &[reference::<f32>(&x, axis)]);
            let x: Vec<Tensor> = extents.iter().map(|&e| random.tensor_of(&dims(e), |r| r.bits() as u8)).collect();
            let x: Vec<&Tensor> = x.iter().collect();
            check(Concat::along(axis as i64), &x, &[reference::<u8>(&x, axis)]);
        }
    }
}

#[test]
fn large_ones_in_parts() {
    let mut random = Random::new(2);
    for (dims, axis) in [([3000, 20], 1), ([2, 50_000], 1), ([9000, 5], 0)] {
        let x = random.tensor_of(&dims, |r| r.bits() as i64);
        let mut wider = dims;
        wider[axis] += 17;
        let y = random.tensor_of(&wider, |r| r.bits() as i64);
        check(Concat::along(axis as i64), &[&x, &y], &[reference::<i64>(&[&x, &y], axis)]);
    }
}

#[test]
fn rows_apart() {
    let mut random = Random::new(3);
    let inputs = [7, 40, 100].map(|width| random.tensor(&[9, 11, width]));
    let want = reference::<f32>(&inputs.each_ref(), 2);
    let operand = |t: &Tensor| Some(Operand { info: t.info, data: None, layout: Layout::RowMajor });
    let operands = inputs.each_ref().map(operand);
    for isa in Isa::available() {
        let (outputs, derived) = ([want.info], Derived::new(None, 0));
        let cx = |inputs| Prepare { isa, threads: THREADS, inputs, outputs: &outputs, derived: &derived };
        let mut kernel = Concat::along(2).prepare_cpu(&cx(&operands)).unwrap();
        assert!(kernel.read_apart(0, 7 + 3) && kernel.read_apart(1, 40 + 3));
        let (first, second) = (apart(&inputs[0], 3), apart(&inputs[1], 3));
        let got = run_kernel(&*kernel, &[Some(&first), Some(&second), Some(&inputs[2])], &outputs).unwrap();
        assert!(got[0] == want, "{isa}");
        assert!(!Concat::along(1).prepare_cpu(&cx(&operands[..1])).unwrap().read_apart(0, 10));
    }
}

#[test]
fn values_and_symbols_follow() {
    let n = Dim::sym(Sym(0));
    let x = TensorType::new(DType::I64, Shape::fixed(&[1]).unwrap()).with_value(vec![n.clone()]);
    let y = Tensor::new(&[2], &[3i64, -1]).unwrap().ty();
    let out = Concat::along(0).infer(&Inputs::new(&[Some(&x), Some(&y)])).unwrap();
    assert_eq!(out[0].value.as_deref(), Some(&[n.clone(), Dim::Fixed(3), Dim::Fixed(-1)][..]));
    let ty = |dims: [Dim; 2]| TensorType::new(DType::F32, Shape::new(dims).unwrap());
    let (a, b) = (ty([n.clone(), Dim::Fixed(4)]), ty([Dim::Fixed(7), n.clone()]));
    let out = Concat::along(1).infer(&Inputs::new(&[Some(&a), Some(&b)])).unwrap();
    assert_eq!(out[0].shape[..], [Dim::Fixed(7), n.add(&Dim::Fixed(4))]);
}

#[test]
fn refuses_what_does_not_fit() {
    let mut random = Random::new(3);
    let (x, y, z) = (random.tensor(&[2, 3]), random.tensor(&[2, 4]), random.tensor(&[6]));
    assert!(infer_error(Concat::along(0), &[&x, &y]).contains("input 1"));
    assert!(infer_error(Concat::along(0), &[&x, &z]).contains("input 1"));
    assert!(infer_error(Concat::along(2), &[&x, &x]).contains("axis 2"));
    let bytes = random.tensor_of(&[2, 3], |r| r.bits() as u8);
    assert!(infer_error(Concat::along(0), &[&x, &bytes]).contains("u8"));
    assert!(infer_error(Concat::along(0), &[]).contains("inputs"));
}

#[test]
fn parts_of_tensors() {
    let mut random = Random::new(4);
    for (axis, parts) in [(2usize, [(0, 3), (29, 30), (7, 1)]), (1, [(1, 0), (2, 2), (0, 2)]), (0, [(0, 1), (1, 1), (1, 1)])] {
        let extents = [2, 4, 59];
        let x: Vec<Tensor> = (0..3).map(|_| random.tensor(&extents)).collect();
        let mut start = 0;
        let mut sources = vec![];
        for (i, (first, count)) in parts.into_iter().enumerate() {
            sources.extend((first..first + count).map(|index| (i, index)));
            start += count;
        }
        let mut dims = extents;
        dims[axis] = start;
        let want = build(&dims, |c| {
            let (tensor, index) = sources[c[axis]];
            let mut c = c.to_vec();
            c[axis] = index;
            at::<f32>(&x[tensor], &c)
        });
        let op = Concat { parts: parts.to_vec(), ..Concat::along(axis as i64) };
        check(op, &[&x[0], &x[1], &x[2]], &[want]);
    }
}

#[test]
fn refuses_parts_that_do_not_fit() {
    let mut random = Random::new(6);
    let x = random.tensor(&[2, 3]);
    let parts = |parts: &[(usize, usize)]| Concat { parts: parts.to_vec(), ..Concat::along(1) };
    assert!(infer_error(parts(&[(1, 3)]), &[&x]).contains("3 indices from 1"));
    assert!(infer_error(parts(&[(usize::MAX, 2)]), &[&x]).contains("indices from"));
    assert!(infer_error(parts(&[(0, 1), (1, 1)]), &[&x]).contains("2 parts"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    crate::ops::testing::round_trip(Concat::along(-2));
    crate::ops::testing::round_trip(Concat { axis: 1, parts: vec![(3, 4), (0, 2)] });
}
