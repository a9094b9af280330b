use super::*;
use crate::cpu::Isa;
use crate::ops::testing::{Random, as_f64, at, build, check_optional, infer_error, run, run_everywhere};
use crate::ops::{Op, Tensor, TensorInfo};
use crate::tensor::Sym;

/// What the specification says of one axis: which coordinate belongs to output element `i`.
fn coordinate(kind: Coordinates, i: usize, n: usize, m: usize, scale: f64, region: (f64, f64)) -> f64 {
    let (i, n, m) = (i as f64, n as f64, m as f64);
    match kind {
        Coordinates::HalfPixel => (i + 0.5) / scale - 0.5,
        Coordinates::HalfPixelSymmetric => n / 2.0 * (1.0 - m / (scale * n)) + (i + 0.5) / scale - 0.5,
        Coordinates::PytorchHalfPixel => if m > 1.0 { (i + 0.5) / scale - 0.5 } else { 0.0 },
        Coordinates::AlignExactCorners => if m == 1.0 { 0.0 } else { i * (n - 1.0) / (m - 1.0) },
        Coordinates::AlignCorners => if m == 1.0 { 0.0 } else { i * (n - 1.0) / (n * scale - 1.0) },
        Coordinates::Asymmetric => i / scale,
        Coordinates::CropAndResize if m > 1.0 => {
            region.0 * (n - 1.0) + i * (region.1 - region.0) * (n - 1.0) / (n * scale - 1.0)
        }
        Coordinates::CropAndResize => 0.5 * (region.0 + region.1) * (n - 1.0),
    }
}

/// Elements (possibly outside) and weights at coordinate `x`.
fn weights(op: &Resize, x: f64, scale: f64, n: usize) -> Vec<(i64, f64)> {
    let scale = if op.antialias { scale.min(1.0) } else { 1.0 };
    let x = if op.mode == Interpolation::Nearest { f64::from(x as f32) } else { x };
    let nearest = match op.nearest {
        _ if x.fract() == 0.0 => x,
        Rounding::PreferFloor => if x - x.floor() <= 0.5 { x.floor() } else { x.ceil() },
        Rounding::PreferCeil => if x - x.floor() < 0.5 { x.floor() } else { x.ceil() },
        Rounding::Floor => x.floor(),
        Rounding::Ceil => x.ceil(),
    };
    let a = f64::from(op.cubic_a);
    let filter = |d: f64| match op.mode {
        Interpolation::Nearest => 0.0,
        Interpolation::Linear => (1.0 - d).max(0.0),
        Interpolation::Cubic if d <= 1.0 => (a + 2.0) * d.powi(3) - (a + 3.0) * d.powi(2) + 1.0,
        Interpolation::Cubic if d < 2.0 => a * d.powi(3) - 5.0 * a * d.powi(2) + 8.0 * a * d - 4.0 * a,
        Interpolation::Cubic => 0.0,
    };
    let reach = (2.0 / scale).ceil() as i64 + 2;
    let near = |i: i64| (i, if op.mode == Interpolation::Nearest { f64::from(i as f64 == nearest) } else { filter((i as f64 - x).abs() * scale) });
    let mut all: Vec<(i64, f64)> = (x.floor() as i64 - reach..=x.floor() as i64 + reach).map(near).filter(|w| w.1 != 0.0).collect();
    if op.exclude_outside {
        all.retain(|w| (0..n as i64).contains(&w.0));
    }
    if op.exclude_outside || scale < 1.0 {
        let sum: f64 = all.iter().map(|w| w.1).sum();
        all.iter_mut().for_each(|w| w.1 /= sum);
    }
    all
}

/// The sum over all elements around each output element, in f64.
fn reference(op: &Resize, x: &Tensor, to: &[usize], scales: &[f64], regions: &[(f64, f64)]) -> Vec<f64> {
    let dims = x.info.dims;
    let values = Tensor::new(&dims, &as_f64(x)).unwrap();
    let out = build(to, |c| {
        let mut terms: Vec<(Vec<usize>, f64)> = vec![(vec![], 1.0)];
        for (axis, &i) in c.iter().enumerate() {
            let n = dims[axis];
            let exact = op.coordinates == Coordinates::AlignExactCorners;
            let scale = if exact { to[axis] as f64 / n as f64 } else { scales[axis] };
            if n == to[axis] && scale == 1.0 && regions[axis] == (0.0, 1.0) {
                terms.iter_mut().for_each(|t| t.0.push(i));
                continue;
            }
            let at = coordinate(op.coordinates, i, n, to[axis], scale, regions[axis]);
            if op.coordinates == Coordinates::CropAndResize && !(0.0..=(n - 1) as f64).contains(&at) {
                return f64::from(op.extrapolation);
            }
            let weights = weights(op, at, scale, n);
            let index = |i: i64| i.clamp(0, n as i64 - 1) as usize;
            terms = terms
                .iter()
                .flat_map(|t| weights.iter().map(move |w| ([&t.0[..], &[index(w.0)]].concat(), t.1 * w.1)))
                .collect();
        }
        terms.iter().map(|(c, w)| w * at::<f64>(&values, c)).sum::<f64>()
    });
    out.elements::<f64>().to_vec()
}

fn check_case(op: &Resize, x: &Tensor, inputs: [Option<&Tensor>; 2], to: &[usize], scales: &[f64], regions: &[(f64, f64)]) {
    let want = reference(op, x, to, scales, regions);
    let info = TensorInfo { dtype: x.info.dtype, dims: crate::tensor::Dims::new(to) };
    for (on, got) in run_everywhere(&Op::from(op.clone()), &[Some(x), inputs[0], inputs[1]]) {
        assert_eq!(got[0].info, info, "{op:?}");
        let largest = want.iter().fold(1.0f64, |m, w| m.max(w.abs()));
        let step = if x.info.dtype.is_float() { 1e-5 * largest } else { 0.5 + 1e-3 };
        for (i, (g, w)) in as_f64(&got[0]).iter().zip(&want).enumerate() {
            assert!((g - w).abs() <= step, "{op:?} on {on}, {x:?} to {to:?}: element {i} is {g}, not {w}");
        }
    }
}

fn floats_of(v: &[f32]) -> Tensor {
    Tensor::new(&[v.len()], v).unwrap()
}

fn ints(v: &[usize]) -> Tensor {
    Tensor::new(&[v.len()], &v.iter().map(|&n| n as i64).collect::<Vec<_>>()).unwrap()
}

const COORDINATES: [Coordinates; 6] = [
    Coordinates::HalfPixel,
    Coordinates::HalfPixelSymmetric,
    Coordinates::PytorchHalfPixel,
    Coordinates::AlignCorners,
    Coordinates::AlignExactCorners,
    Coordinates::Asymmetric,
];

/// Every combination of a mode and its options.
fn modes() -> Vec<Resize> {
    let mut out = vec![];
    for nearest in [Rounding::PreferFloor, Rounding::PreferCeil, Rounding::Floor, Rounding::Ceil] {
        out.push(Resize { nearest, ..Resize::default() });
    }
    for (mode, cubic_a) in [(Interpolation::Linear, 0.0), (Interpolation::Cubic, -0.75), (Interpolation::Cubic, -0.5)] {
        for (antialias, exclude_outside) in [(false, false), (true, false), (false, true), (true, true)] {
            out.push(Resize { mode, cubic_a, antialias, exclude_outside, ..Resize::default() });
        }
    }
    out
}

#[test]
fn sizes_of_images() {
    let mut random = Random::new(1);
    for (from, to) in [
        ([2, 4, 5, 3], [2, 8, 10, 3]),
        ([1, 6, 7, 1], [1, 4, 3, 1]),
        ([1, 3, 4, 9], [1, 1, 1, 9]),
        ([1, 1, 5, 2], [1, 4, 11, 2]),
        ([1, 5, 4, 2], [1, 5, 9, 2]),
    ] {
        let x = random.tensor(&from);
        let scales: Vec<f64> = from.iter().zip(&to).map(|(&n, &m)| m as f64 / n as f64).collect();
        for coordinates in COORDINATES {
            for mode in modes() {
                let op = Resize { coordinates, axes: vec![1, -2], ..mode };
                check_case(&op, &x, [None, Some(&ints(&to[1..3]))], &to, &scales, &[(0.0, 1.0); 4]);
            }
        }
    }
}

#[test]
fn scales_of_any_rank() {
    let mut random = Random::new(2);
    let cases: [(&[usize], &[f32]); 5] =
        [(&[7], &[1.7]), (&[4, 6], &[0.6, 1.5]), (&[2, 3, 4, 5], &[1.0, 2.0, 0.5, 1.3]), (&[3, 4, 2], &[2.0, 1.0, 1.0]), (&[5, 2], &[1.0, 1.0])];
    for (dims, scales) in cases {
        let x = random.tensor(dims);
        let to: Vec<usize> = dims.iter().zip(scales).map(|(&n, &s)| (n as f32 * s) as usize).collect();
        let exact: Vec<f64> = scales.iter().map(|&s| s.into()).collect();
        for coordinates in COORDINATES {
            for mode in modes() {
                let op = Resize { coordinates, by_scales: true, ..mode };
                let regions = vec![(0.0, 1.0); dims.len()];
                check_case(&op, &x, [None, Some(&floats_of(scales))], &to, &exact, &regions);
            }
        }
    }
}

#[test]
fn the_nearest_element_is_that_of_a_rounded_coordinate() {
    // 17 / 1.7 is 10, but a little less for the f32 that is nearest to 1.7.
    let x = Tensor::new(&[11], &(0..11).map(|i| i as f32).collect::<Vec<_>>()).unwrap();
    let op = Resize { coordinates: Coordinates::Asymmetric, nearest: Rounding::Floor, by_scales: true, ..Resize::default() };
    let want = [0, 0, 1, 1, 2, 2, 3, 4, 4, 5, 5, 6, 7, 7, 8, 8, 9, 10].map(|i| i as f32);
    check_optional(op, &[Some(&x), None, Some(&floats_of(&[1.7]))], &[Tensor::new(&[18], &want).unwrap()], 0.0);
}

#[test]
fn regions() {
    let mut random = Random::new(3);
    let x = random.tensor(&[1, 5, 6, 2]);
    let to = [1, 4, 3, 2];
    let regions = [(0.0, 1.0), (-0.25, 1.5), (0.75, 0.1), (0.0, 1.0)];
    let scales = [1.0, 4.0 / 5.0, 0.5, 1.0];
    for mode in modes() {
        let op = Resize { coordinates: Coordinates::CropAndResize, extrapolation: 9.5, axes: vec![1, 2], ..mode };
        let region = Tensor::new(&[4], &[-0.25f64, 0.75, 1.5, 0.1]).unwrap();
        check_case(&op, &x, [Some(&region), Some(&ints(&[4, 3]))], &to, &scales, &regions);
    }
    // A region of the whole extent at the same size changes nothing; another one does.
    let op = Resize { coordinates: Coordinates::CropAndResize, axes: vec![1], mode: Interpolation::Linear, ..Resize::default() };
    let regions = [(0.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 1.0)];
    check_case(&op, &x, [Some(&floats_of(&[1.0, 0.0])), Some(&ints(&[5]))], &[1, 5, 6, 2], &[1.0; 4], &regions);
}

#[test]
fn other_types_round_and_saturate() {
    let mut random = Random::new(4);
    let dims = [1, 4, 5, 2];
    let to = [1, 7, 3, 2];
    let scales = [1.0, 7.0 / 4.0, 0.6, 1.0];
    let tensors = [
        random.tensor_of(&dims, |r| r.bits() as u8),
        random.tensor_of(&dims, |r| r.bits() as i8),
        random.tensor_of(&dims, |r| r.bits() as i16),
        random.tensor_of(&dims, |r| r.bits() as i32 >> 8),
        random.tensor_of(&dims, |r| f64::from(r.range(-1.0, 1.0))),
    ];
    for x in tensors {
        for mode in [Interpolation::Nearest, Interpolation::Linear] {
            let op = Resize { mode, axes: vec![1, 2], ..Resize::default() };
            check_case(&op, &x, [None, Some(&ints(&[7, 3]))], &to, &scales, &[(0.0, 1.0); 4]);
        }
    }
    let halves = random.tensor_of(&dims, |r| f16::from_f32(r.below(64) as f32));
    let op = Resize { mode: Interpolation::Linear, axes: vec![1, 2], coordinates: Coordinates::Asymmetric, ..Resize::default() };
    let want = reference(&op, &halves, &[1, 8, 10, 2], &[1.0, 2.0, 2.0, 1.0], &[(0.0, 1.0); 4]);
    let want: Vec<f16> = want.into_iter().map(f16::from_f64).collect();
    let want = [Tensor::new(&[1, 8, 10, 2], &want).unwrap()];
    check_optional(op, &[Some(&halves), None, Some(&ints(&[8, 10]))], &want, 0.0);
    let bright = Tensor::new(&[1, 4], &[0u8, 255, 255, 0]).unwrap();
    let op = Resize { mode: Interpolation::Cubic, cubic_a: -0.75, axes: vec![1], ..Resize::default() };
    let out = run(&Op::from(op), &[Some(&bright), None, Some(&ints(&[8]))], Isa::Scalar).unwrap();
    assert!(out[0].elements::<u8>().contains(&255) && out[0].elements::<u8>().contains(&0));
}

#[test]
fn large_ones_in_parts() {
    let mut random = Random::new(5);
    let x = random.tensor(&[1, 20, 24, 40]);
    for mode in [Interpolation::Nearest, Interpolation::Linear, Interpolation::Cubic] {
        let op = Resize { mode, cubic_a: -0.75, axes: vec![1, 2], ..Resize::default() };
        let to = [1, 40, 48, 40];
        check_case(&op, &x, [None, Some(&ints(&[40, 48]))], &to, &[1.0, 2.0, 2.0, 1.0], &[(0.0, 1.0); 4]);
    }
}

#[test]
fn kept_aspect() {
    let x = Random::new(6).tensor(&[1, 4, 2, 1]);
    let case = |aspect: Aspect, to: [usize; 2], scale: f64| {
        let op = Resize { aspect, axes: vec![1, 2], mode: Interpolation::Linear, ..Resize::default() };
        let dims = [1, to[0], to[1], 1];
        check_case(&op, &x, [None, Some(&ints(&[7, 8]))], &dims, &[1.0, scale, scale, 1.0], &[(0.0, 1.0); 4]);
    };
    case(Aspect::NotLarger, [7, 4], 1.75);
    case(Aspect::NotSmaller, [16, 8], 4.0);
}

#[test]
fn empty_tensors() {
    let empty = Tensor::new(&[0, 3, 2], &[0f32; 0]).unwrap();
    let want = [Tensor::new(&[0, 6, 2], &[0f32; 0]).unwrap()];
    for mode in modes() {
        let op = Resize { axes: vec![1], ..mode };
        check_optional(op, &[Some(&empty), None, Some(&ints(&[6]))], &want, 0.0);
    }
}

#[test]
fn symbols_follow() {
    let n = Dim::sym(Sym(0));
    let x = TensorType::new(DType::F32, Shape::new([Dim::Fixed(1), n.clone(), Dim::Fixed(6), Dim::Fixed(3)]).unwrap());
    let infer = |scale: f32| {
        let scales = floats_of(&[scale, 0.5]);
        let op = Resize { by_scales: true, axes: vec![1, 2], ..Resize::default() };
        let (ty, view) = (scales.ty(), scales.view());
        op.infer(&Inputs::with_data(&[Some(&x), None, Some(&ty)], &[None, None, Some(view)])).unwrap().remove(0)
    };
    assert_eq!(infer(2.0).shape[1..3], [n.mul(&Dim::Fixed(2)), Dim::Fixed(3)]);
    assert_eq!(infer(1.5).shape[1], n.mul(&Dim::Fixed(3)).floor_div(&Dim::Fixed(2)));
    assert!(infer(0.7).shape[1].is_unknown());
}

#[test]
fn refuses_what_does_not_fit() {
    let mut random = Random::new(7);
    let x = random.tensor(&[1, 4, 4, 1]);
    let op = Resize { axes: vec![1, 2], ..Resize::default() };
    // The inputs of `infer_error` are all present; a region that is not used is not looked at.
    let error = |op: &Resize, last: &Tensor| infer_error(op.clone(), &[&x, &x, last]);
    let by_scales = Resize { by_scales: true, ..op.clone() };
    assert!(error(&op, &ints(&[4])).contains("2 elements are needed"));
    assert!(error(&op, &floats_of(&[1.0, 1.0])).contains("integer vector"));
    assert!(error(&by_scales, &ints(&[1, 1])).contains("not f32"));
    assert!(error(&by_scales, &floats_of(&[1.0, -2.0])).contains("scale -2"));
    assert!(error(&by_scales, &floats_of(&[f32::NAN, 1.0])).contains("scale NaN"));
    assert!(error(&Resize { axes: vec![1, 1], ..op.clone() }, &ints(&[1, 1])).contains("twice"));
    assert!(error(&Resize { axes: vec![1, 4], ..op.clone() }, &ints(&[1, 1])).contains("axis 4"));
    assert!(error(&Resize { antialias: true, ..op.clone() }, &ints(&[1, 1])).contains("antialiasing"));
    assert!(error(&Resize { coordinates: Coordinates::CropAndResize, ..op.clone() }, &ints(&[1, 1])).contains("input 1"));
    let negative = Tensor::new(&[2], &[-1i64, 1]).unwrap();
    assert!(error(&op, &negative).contains("negative"));
    let empty = random.tensor(&[1, 0, 4, 1]);
    assert!(infer_error(op, &[&empty, &x, &ints(&[1, 1])]).contains("empty"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    for mode in modes() {
        for coordinates in COORDINATES {
            let aspect = Aspect::NotSmaller;
            crate::ops::testing::round_trip(Resize { coordinates, aspect, extrapolation: 2.5, axes: vec![-1, 0], ..mode.clone() });
        }
    }
}
