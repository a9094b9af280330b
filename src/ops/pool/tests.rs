use super::*;
use crate::ops::testing::{Random, as_f64, check_close, infer_error};
use crate::ops::{Op, Tensor};
use crate::tensor::{Element, Sym};
use ::half::{bf16, f16};

const KINDS: [PoolKind; 5] = [
    PoolKind::Max,
    PoolKind::Mean { count_padding: false },
    PoolKind::Mean { count_padding: true },
    PoolKind::Norm { p: 1 },
    PoolKind::Norm { p: 3 },
];

fn pool(kernel: &[u32], strides: &[u32], pads: &[u32], dilations: &[u32]) -> Pool {
    let window = Window { strides: strides.into(), pads: pads.into(), dilations: dilations.into() };
    Pool { kernel: kernel.into(), window, ..Pool::default() }
}

/// Poolings with input extents `[N, spatial.., C]`.
fn cases() -> Vec<(Pool, Vec<usize>)> {
    let mut cases = vec![
        (pool(&[3], &[], &[], &[]), vec![2, 7, 5]),
        (pool(&[3], &[2], &[1, 0], &[2]), vec![1, 12, 19]),
        (pool(&[2, 2], &[2, 2], &[], &[]), vec![2, 6, 5, 33]),
        (pool(&[3, 3], &[2, 2], &[1, 1, 1, 1], &[]), vec![1, 7, 8, 16]),
        (pool(&[3, 2], &[1, 3], &[2, 0, 1, 1], &[2, 1]), vec![1, 9, 7, 3]),
        (pool(&[2, 3, 2], &[2, 1, 2], &[1, 1, 0, 0, 1, 1], &[1, 2, 1]), vec![1, 4, 6, 5, 4]),
        (pool(&[5, 5], &[3, 3], &[2, 2, 2, 2], &[]), vec![1, 4, 3, 17]),
        (pool(&[1, 1], &[2, 2], &[], &[]), vec![1, 2, 2, 2]),
        (pool(&[2, 2], &[], &[], &[]), vec![0, 4, 4, 3]),
        (pool(&[2, 2], &[], &[], &[]), vec![1, 4, 4, 0]),
    ];
    let rounded_up: Vec<_> = cases.iter().map(|(op, x)| (Pool { ceil: true, ..op.clone() }, x.clone())).collect();
    cases.extend(rounded_up);
    cases
}

fn positions(dims: &[usize]) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    for &d in dims {
        all = all.iter().flat_map(|at| (0..d).map(move |i| [&at[..], &[i]].concat())).collect();
    }
    all
}

/// Pooled values and the indices of maxima.
fn reference(op: &Pool, x: &Tensor) -> (Vec<usize>, Vec<f64>, Vec<i64>) {
    let dims = op.infer(&Inputs::new(&[Some(&x.ty())])).unwrap()[0].shape.as_fixed().unwrap();
    let (rank, channels) = (dims.len() - 2, dims[dims.len() - 1]);
    let (input, output) = (&x.info.dims[1..=rank], &dims[1..=rank]);
    let values = as_f64(x);
    let (mut pooled, mut places) = (vec![], vec![]);
    for (n, o, c) in (0..dims[0]).flat_map(|n| {
        positions(output).into_iter().flat_map(move |o| (0..channels).map(move |c| (n, o.clone(), c)))
    }) {
        let (mut inside, mut padded) = (vec![], 0);
        for tap in positions(&op.kernel()) {
            let at = |d: usize| (o[d] * op.window.stride(d) + tap[d] * op.window.dilation(d)) as isize;
            let (begin, end) = (|d| op.window.pad(d).0 as isize, |d| op.window.pad(d).1 as isize);
            padded += usize::from((0..rank).all(|d| at(d) < begin(d) + input[d] as isize + end(d)));
            let at: Vec<isize> = (0..rank).map(|d| at(d) - begin(d)).collect();
            if (0..rank).all(|d| (0..input[d] as isize).contains(&at[d])) {
                let row_major = (0..rank).fold(0, |i, d| i * input[d] + at[d] as usize);
                let column_major = (0..rank).rev().fold(0, |i, d| i * input[d] + at[d] as usize);
                let plane: usize = input.iter().product();
                let place = if op.column_major_indices { column_major } else { row_major };
                inside.push((values[(n * plane + row_major) * channels + c], (n * channels + c) * plane + place));
            }
        }
        let sum: f64 = inside.iter().map(|x| x.0).sum();
        let max = inside.iter().fold(inside[0], |m, x| if x.0 > m.0 { *x } else { m });
        pooled.push(match op.kind {
            PoolKind::Max => max.0,
            PoolKind::Mean { count_padding } => sum / if count_padding { padded } else { inside.len() } as f64,
            PoolKind::Norm { p } => inside.iter().map(|x| x.0.abs().powi(p as i32)).sum::<f64>().powf(1.0 / p as f64),
        });
        places.push(max.1 as i64);
    }
    (dims.to_vec(), pooled, places)
}

fn check_in<T: Element>(op: &Pool, dims: &[usize], tolerance: f64, of: fn(f64) -> T, element: fn(&mut Random) -> T) {
    let x = Random::new(8).tensor_of(dims, element);
    let (dims, values, places) = reference(op, &x);
    let values: Vec<T> = values.into_iter().map(of).collect();
    let mut want = vec![Tensor::new(&dims, &values).unwrap()];
    if op.kind == PoolKind::Max {
        want.push(Tensor::new(&dims, &places).unwrap());
    }
    check_close(op.clone(), &[&x], &want, tolerance);
}

#[test]
fn every_kind_and_window() {
    for (op, dims) in cases() {
        for kind in KINDS {
            for column_major_indices in [false, true] {
                let op = Pool { kind, column_major_indices, ..op.clone() };
                check_in::<f32>(&op, &dims, 1e-6, |x| x as f32, |r| r.range(-1.0, 1.0));
            }
        }
    }
}

#[test]
fn other_element_types() {
    for (op, dims) in cases() {
        for kind in KINDS {
            let op = Pool { kind, ..op.clone() };
            check_in::<f64>(&op, &dims, 1e-14, |x| x, |r| r.range(-1.0, 1.0).into());
            check_in::<f16>(&op, &dims, 1e-3, f16::from_f64, |r| f16::from_f32(r.range(-1.0, 1.0)));
            check_in::<bf16>(&op, &dims, 8e-3, bf16::from_f64, |r| bf16::from_f32(r.range(-1.0, 1.0)));
        }
        check_in::<i8>(&op, &dims, 0.0, |x| x as i8, |r| r.below(256) as u8 as i8);
        check_in::<u8>(&op, &dims, 0.0, |x| x as u8, |r| r.below(256) as u8);
    }
}

/// Without the second output the f32 plans run.
#[test]
fn maxima_alone() {
    for (op, dims) in cases() {
        let x = Random::new(8).tensor(&dims);
        let (dims, values, _) = reference(&op, &x);
        let want: Vec<f32> = values.iter().map(|&x| x as f32).collect();
        check_close(op, &[&x], &[Tensor::new(&dims, &want).unwrap()], 0.0);
    }
}

#[test]
fn not_a_number_wins() {
    let x = Tensor::new(&[1, 3, 1], &[1f32, f32::NAN, 2.0]).unwrap();
    let want = [Tensor::new(&[1, 2, 1], &[f32::NAN; 2]).unwrap(), Tensor::new(&[1, 2, 1], &[1i64; 2]).unwrap()];
    check_close(pool(&[2], &[], &[], &[]), &[&x], &want, 0.0);
}

#[test]
fn symbolic_shapes() {
    let h = Dim::sym(Sym(0));
    let x = TensorType::new(DType::F32, Shape::new([Dim::Fixed(1), h.clone(), Dim::Fixed(4)]).unwrap());
    let out = |op: Pool| Op::from(op).infer(&Inputs::new(&[Some(&x)])).unwrap()[0].shape[1].clone();
    let op = pool(&[3], &[2], &[1, 1], &[]);
    assert_eq!(out(op.clone()), h.sub(&Dim::Fixed(1)).floor_div(&Dim::Fixed(2)).add(&Dim::Fixed(1)));
    let mut bindings = crate::tensor::Bindings::new(1);
    assert!(bindings.bind(Sym(0), 6));
    assert_eq!(out(Pool { ceil: true, ..op }).bind(&bindings), Dim::Fixed(4));
}

#[test]
fn refuses_what_does_not_fit() {
    let x = Random::new(1).tensor(&[1, 4, 4, 2]);
    let ints = Random::new(1).tensor_of(&[1, 4, 4, 2], |_| 1i8);
    assert!(infer_error(pool(&[2], &[], &[], &[]), &[&x]).contains("over 2 dimensions"));
    assert!(infer_error(pool(&[5, 1], &[], &[], &[]), &[&x]).contains("does not fit"));
    assert!(infer_error(pool(&[2, 2], &[], &[2, 0, 0, 0], &[]), &[&x]).contains("in padding entirely"));
    assert!(infer_error(pool(&[0, 2], &[], &[], &[]), &[&x]).contains("padding"));
    assert!(infer_error(pool(&[2, 2], &[1], &[], &[]), &[&x]).contains("do not fit 2"));
    let mean = Pool { kind: KINDS[1], ..pool(&[2, 2], &[], &[], &[]) };
    assert!(infer_error(mean, &[&ints]).contains("i8"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    for kind in KINDS {
        let op = Pool { kind, ceil: true, column_major_indices: true, ..pool(&[2, 3], &[1, 2], &[0, 1, 1, 0], &[2, 1]) };
        crate::ops::testing::round_trip(op);
    }
}
