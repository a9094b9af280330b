use super::*;
use crate::cpu::Isa;
use crate::ops::testing::{Random, as_f64, at, build, infer_error, run, run_everywhere};
use crate::ops::{Op, Tensor};
use half::f16;

/// The index that `i` is mirrored to, by walking there one element at a time.
fn mirrored(i: i64, n: i64, align_corners: bool) -> i64 {
    let (mut at, mut step) = (0, 1);
    // Mirror images repeat with this period, so that steps to the right suffice.
    let period = if align_corners { (2 * (n - 1)).max(1) } else { 2 * n };
    for _ in 0..i.rem_euclid(period) {
        let turns = !(0..n).contains(&(at + step));
        if turns {
            step = -step;
        }
        // At an edge between elements the outermost one comes twice.
        if !turns || align_corners {
            at += step;
        }
    }
    at.clamp(0, n - 1)
}

/// The value at an index of each axis, with what stands outside.
fn value(op: &GridSample, x: &Tensor, n: usize, index: &[i64], c: usize) -> f64 {
    let mut place = vec![n];
    for (axis, &i) in index.iter().enumerate() {
        let extent = x.info.dims[axis + 1] as i64;
        place.push(match op.padding {
            GridPadding::Zeros if !(0..extent).contains(&i) => return 0.0,
            GridPadding::Reflection => mirrored(i, extent, op.align_corners),
            _ => i.clamp(0, extent - 1),
        } as usize);
    }
    place.push(c);
    at(x, &place)
}

/// Elements and weights along an axis of extent `n` at grid value `g`.
fn taps(op: &GridSample, g: f32, n: usize) -> Vec<(i64, f64)> {
    let size = n as f32;
    let mut x = if op.align_corners { (g + 1.0) / 2.0 * (size - 1.0) } else { ((g + 1.0) * size - 1.0) / 2.0 };
    if op.mode == GridMode::Nearest {
        x = x.round_ties_even();
    }
    let mut x = f64::from(x);
    let (low, high) = if op.align_corners { (0.0, n as f64 - 1.0) } else { (-0.5, n as f64 - 0.5) };
    match op.padding {
        // A cubic meets the same elements outside as inside, one by one.
        _ if op.mode == GridMode::Cubic => {}
        GridPadding::Border if x < low || x > high => x = x.clamp(0.0, n as f64 - 1.0),
        GridPadding::Reflection if high > low => {
            while x < low || x > high {
                x = if x < low { 2.0 * low - x } else { 2.0 * high - x };
            }
        }
        GridPadding::Reflection => x = 0.0,
        _ => {}
    }
    let (i, r) = (x.floor() as i64, x - x.floor());
    let near = |d: f64| 1.25 * d.powi(3) - 2.25 * d.powi(2) + 1.0;
    let far = |d: f64| -0.75 * d.powi(3) + 3.75 * d.powi(2) - 6.0 * d + 3.0;
    match op.mode {
        GridMode::Nearest => vec![(i, 1.0)],
        GridMode::Linear => vec![(i, 1.0 - r), (i + 1, r)],
        GridMode::Cubic => vec![(i - 1, far(1.0 + r)), (i, near(r)), (i + 1, near(1.0 - r)), (i + 2, far(2.0 - r))],
    }
}

fn reference(op: &GridSample, x: &Tensor, grid: &Tensor) -> Tensor {
    let wide = Tensor::new(&x.info.dims, &as_f64(x)).unwrap();
    let rank = x.info.dims.len();
    let mut dims = grid.info.dims;
    dims[rank - 1] = x.info.dims[rank - 1];
    let coordinates = Tensor::new(&grid.info.dims, &as_f64(grid)).unwrap();
    build(&dims, |c| {
        let mut terms: Vec<(Vec<i64>, f64)> = vec![(vec![], 1.0)];
        for axis in 0..rank - 2 {
            let g: f64 = at(&coordinates, &[&c[..rank - 1], &[rank - 3 - axis]].concat());
            let taps = taps(op, g as f32, x.info.dims[axis + 1]);
            terms = terms.iter().flat_map(|t| taps.iter().map(move |w| ([&t.0[..], &[w.0]].concat(), t.1 * w.1))).collect();
        }
        terms.iter().map(|(i, w)| w * value(op, &wide, c[0], i, c[rank - 1])).sum::<f64>()
    })
}

fn all_ops() -> Vec<GridSample> {
    let mut out = vec![];
    for mode in [GridMode::Linear, GridMode::Nearest, GridMode::Cubic] {
        for padding in [GridPadding::Zeros, GridPadding::Border, GridPadding::Reflection] {
            out.extend([false, true].map(|align_corners| GridSample { mode, padding, align_corners }));
        }
    }
    out
}

fn check_case(op: &GridSample, x: &Tensor, grid: &Tensor, tolerance: f64) {
    let want = reference(op, x, grid);
    for (on, got) in run_everywhere(&Op::from(op.clone()), &[Some(x), Some(grid)]) {
        assert_eq!((got[0].info.dtype, got[0].info.dims), (x.info.dtype, want.info.dims));
        for (g, w) in as_f64(&got[0]).iter().zip(want.elements::<f64>()) {
            assert!((g - w).abs() <= tolerance, "{op:?} on {on}: {g}, not {w}");
        }
    }
}

#[test]
fn one_to_three_extents() {
    let mut random = Random::new(1);
    for (dims, out) in [
        (&[2, 6, 3][..], &[2, 9, 1][..]),
        (&[2, 5, 4, 3], &[2, 3, 6, 2]),
        (&[1, 1, 4, 2], &[1, 5, 2, 2]),
        (&[1, 3, 4, 5, 2], &[1, 2, 3, 2, 3]),
        (&[1, 20, 20, 40], &[1, 30, 30, 2]),
    ] {
        let x = random.tensor(dims);
        let grid = random.tensor_of(out, |r| r.range(-2.2, 2.2));
        all_ops().iter().filter(|op| dims.len() < 5 || op.mode != GridMode::Cubic).for_each(|op| check_case(op, &x, &grid, 2e-5));
    }
}

#[test]
fn coordinates_between_and_far_from_elements() {
    let x = Random::new(2).tensor(&[1, 4, 4, 1]);
    let points = [-1.0f32, -0.75, -0.5, 0.0, 0.25, 0.5, 1.0, 3.0, -40.0, 1e9, -1e9, f32::INFINITY];
    let grid: Vec<f32> = points.iter().flat_map(|&p| [p, 0.25]).collect();
    let grid = Tensor::new(&[1, 1, points.len(), 2], &grid).unwrap();
    for op in all_ops() {
        let out = run(&Op::from(op.clone()), &[Some(&x), Some(&grid)], Isa::Scalar).unwrap();
        assert!(out[0].elements::<f32>().iter().all(|v| v.is_finite()), "{op:?}");
        let near = Tensor::new(&[1, 1, 9, 2], &grid.elements::<f32>()[..18]).unwrap();
        check_case(&op, &x, &near, 1e-5);
    }
}

#[test]
fn other_types() {
    let mut random = Random::new(3);
    let grid = random.tensor_of(&[1, 4, 4, 2], |r| r.range(-1.2, 1.2));
    let op = GridSample::default();
    let x = random.tensor_of(&[1, 5, 5, 3], |r| r.bits() as u8);
    check_case(&op, &x, &grid, 0.5 + 1e-3);
    let x = random.tensor_of(&[1, 5, 5, 3], |r| f64::from(r.range(-1.0, 1.0)));
    check_case(&op, &x, &grid, 1e-12);
    let x = random.tensor_of(&[1, 5, 5, 3], |r| f16::from_f32(r.range(-1.0, 1.0)));
    check_case(&op, &x, &grid, 1e-3);
    let halves: Vec<f16> = grid.elements::<f32>().iter().map(|&g| f16::from_f32(g)).collect();
    check_case(&op, &x, &Tensor::new(&[1, 4, 4, 2], &halves).unwrap(), 1e-3);
    let empty = random.tensor(&[1, 0, 4, 2]);
    let x = random.tensor(&[1, 5, 5, 3]);
    check_case(&op, &x, &empty, 0.0);
}

#[test]
fn refuses_what_does_not_fit() {
    let mut random = Random::new(4);
    let (x, grid) = (random.tensor(&[1, 4, 4, 2]), random.tensor(&[1, 2, 2, 2]));
    let op = GridSample::default();
    assert!(infer_error(op.clone(), &[&x, &random.tensor(&[1, 2, 2, 3])]).contains("coordinates"));
    assert!(infer_error(op.clone(), &[&x, &random.tensor(&[1, 2, 2])]).contains("coordinates"));
    assert!(infer_error(op.clone(), &[&x, &random.tensor(&[2, 2, 2, 2])]).contains("1 tensors"));
    assert!(infer_error(op.clone(), &[&random.tensor(&[1, 0, 4, 2]), &grid]).contains("no elements"));
    assert!(infer_error(op, &[&x, &random.tensor_of(&[1, 2, 2, 2], |_| 0i64)]).contains("floating-point"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    all_ops().into_iter().for_each(crate::ops::testing::round_trip);
}
