use super::*;
use crate::ops::Tensor;
use crate::ops::testing::{Random, as_f64, check_close, infer_error, tensor};

/// Element by element, in f64.
fn reference(kind: ReduceKind, x: &Tensor, reduced: &[bool]) -> Vec<f64> {
    let dims = x.info.dims;
    let kept: Vec<usize> = (0..dims.len()).filter(|&i| !reduced[i]).collect();
    let results: usize = kept.iter().map(|&i| dims[i]).product();
    let mut groups = vec![vec![]; results];
    for (i, v) in as_f64(x).into_iter().enumerate() {
        let mut rest = i;
        let mut index = vec![0; dims.len()];
        for d in (0..dims.len()).rev() {
            index[d] = rest % dims[d];
            rest /= dims[d];
        }
        groups[kept.iter().fold(0, |at, &d| at * dims[d] + index[d])].push(v);
    }
    groups.iter().map(|g| reduce(kind, g)).collect()
}

fn reduce(kind: ReduceKind, g: &[f64]) -> f64 {
    let sum: f64 = g.iter().sum();
    let squares: f64 = g.iter().map(|x| x * x).sum();
    match kind {
        ReduceKind::Sum => sum,
        ReduceKind::Mean => sum / g.len() as f64,
        ReduceKind::Prod => g.iter().product(),
        ReduceKind::Max => g.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        ReduceKind::Min => g.iter().copied().fold(f64::INFINITY, f64::min),
        ReduceKind::L1 => g.iter().map(|x| x.abs()).sum(),
        ReduceKind::L2 => squares.sqrt(),
        ReduceKind::SumSquare => squares,
        ReduceKind::LogSum => sum.ln(),
        ReduceKind::LogSumExp => g.iter().map(|x| x.exp()).sum::<f64>().ln(),
    }
}

fn case(kind: ReduceKind, x: &Tensor, axes: &[i64], tolerance: f64) {
    let shape = Shape::fixed(&x.info.dims).unwrap();
    let op = Reduce { kind, axes: axes.to_vec(), keep_dims: false };
    let reduced = op.reduced(&shape).unwrap();
    let want = reference(kind, x, &reduced);
    let of = |dims: Vec<usize>| tensor(x.info.dtype, &dims, &want);
    let dims = &x.info.dims;
    let kept = (0..dims.len()).filter(|&i| !reduced[i]).map(|i| dims[i]).collect();
    check_close(op.clone(), &[x], &[of(kept)], tolerance);
    let ones = (0..dims.len()).map(|i| if reduced[i] { 1 } else { dims[i] }).collect();
    check_close(Reduce { keep_dims: true, ..op }, &[x], &[of(ones)], tolerance);
}

#[test]
fn every_kind_over_every_set_of_axes() {
    let mut random = Random::new(1);
    let x = random.tensor_of(&[3, 5, 4, 35], |r| r.range(0.5, 1.5));
    for kind in ReduceKind::ALL {
        let tolerance = if kind == ReduceKind::Prod { 1e-4 } else { 2e-6 };
        for set in 0..16i64 {
            let axes: Vec<i64> = (0..4).filter(|a| set >> a & 1 == 1).collect();
            case(kind, &x, &axes, tolerance);
        }
    }
}

#[test]
fn images_and_long_rows() {
    let mut random = Random::new(2);
    for dims in [[1, 7, 7, 960], [2, 33, 35, 24], [1, 1, 1, 70_001]] {
        let x = random.tensor(&dims);
        case(ReduceKind::Mean, &x, &[1, 2], 1e-6);
        case(ReduceKind::Sum, &x, &[-1], 2e-5);
        case(ReduceKind::LogSumExp, &x, &[1, 2, 3], 1e-5);
        case(ReduceKind::Max, &x, &[1, 2], 0.0);
    }
}

#[test]
fn slices_of_images() {
    let mut random = Random::new(3);
    for dims in [[1, 57, 59, 40], [3, 31, 37, 20], [1, 5, 9, 2_000]] {
        let x = random.tensor_of(&dims, |r| r.range(0.5, 1.5));
        for kind in [ReduceKind::Mean, ReduceKind::Sum, ReduceKind::L1, ReduceKind::L2, ReduceKind::LogSum] {
            case(kind, &x, &[1, 2], 1e-6);
        }
        case(ReduceKind::SumSquare, &x, &[1, 2], 1e-6);
        case(ReduceKind::Max, &x, &[1, 2], 0.0);
        case(ReduceKind::Min, &x, &[1, 2], 0.0);
    }
}

#[test]
fn other_types() {
    let mut random = Random::new(3);
    for dtype in [DType::F64, DType::F16, DType::BF16, DType::I32, DType::I64, DType::I8, DType::U8, DType::U64] {
        let values: Vec<f64> = (0..60).map(|_| random.below(4) as f64).collect();
        let x = tensor(dtype, &[3, 4, 5], &values);
        for kind in [ReduceKind::Sum, ReduceKind::Max, ReduceKind::Min, ReduceKind::SumSquare] {
            case(kind, &x, &[1], 0.0);
            case(kind, &x, &[0, 2], 0.0);
        }
    }
}

/// Sums of 16 bits in slices, and integers in them.
#[test]
fn other_types_in_slices() {
    let mut random = Random::new(5);
    let dtypes = [(DType::F16, 1e-3), (DType::BF16, 8e-3), (DType::I32, 0.0), (DType::I64, 0.0), (DType::U64, 0.0)];
    for (dtype, tolerance) in dtypes {
        for dims in [[2, 57, 59, 24], [1, 70, 3, 130]] {
            let values: Vec<f64> = (0..dims.iter().product()).map(|_| random.below(3) as f64).collect();
            let x = tensor(dtype, &dims, &values);
            for kind in [ReduceKind::Sum, ReduceKind::Max, ReduceKind::L1] {
                case(kind, &x, &[1, 2], tolerance);
                case(kind, &x, &[0, 1, 3], tolerance);
                case(kind, &x, &[0, 1, 2, 3], tolerance);
            }
        }
        if dtype.is_float() {
            let x = tensor(dtype, &[9000, 2], &(0..18000).map(|i| (i % 7) as f64).collect::<Vec<_>>());
            case(ReduceKind::Mean, &x, &[0], tolerance);
            case(ReduceKind::LogSumExp, &x, &[0], tolerance);
        }
    }
}

#[test]
fn nothing_to_reduce() {
    let x = tensor(DType::F32, &[2, 0], &[]);
    let of = |kind| Reduce { kind, axes: vec![1], keep_dims: false };
    check_close(of(ReduceKind::Sum), &[&x], &[tensor(DType::F32, &[2], &[0.0, 0.0])], 0.0);
    check_close(of(ReduceKind::Prod), &[&x], &[tensor(DType::F32, &[2], &[1.0, 1.0])], 0.0);
    let empty = Reduce { kind: ReduceKind::Sum, axes: vec![0], keep_dims: true };
    check_close(empty, &[&x], &[tensor(DType::F32, &[1, 0], &[])], 0.0);
    for dtype in [DType::F32, DType::F64, DType::I32] {
        let x = tensor(dtype, &[2, 0, 3], &[]);
        check_close(of(ReduceKind::Sum), &[&x], &[tensor(dtype, &[2, 3], &[0.0; 6])], 0.0);
    }
}

#[test]
fn not_a_number_stays() {
    let x = tensor(DType::F32, &[2, 3], &[1.0, f64::NAN, 2.0, 4.0, 5.0, 6.0]);
    let op = Reduce { kind: ReduceKind::Max, axes: vec![1], keep_dims: false };
    check_close(op, &[&x], &[tensor(DType::F32, &[2], &[f64::NAN, 6.0])], 0.0);
}

#[test]
fn known_elements() {
    let x = tensor(DType::I64, &[3], &[2.0, 3.0, 4.0]).ty();
    let op = Reduce { kind: ReduceKind::Prod, axes: vec![0], keep_dims: false };
    let out = op.infer(&Inputs::new(&[Some(&x)])).unwrap();
    assert_eq!(out[0].fixed_value(), Some(vec![24]));
    let x = tensor(DType::F32, &[2], &[0.0, 0.0]);
    assert!(infer_error(Reduce { axes: vec![1], ..op }, &[&x]).contains("out of range"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    crate::ops::testing::round_trip(Reduce { kind: ReduceKind::LogSumExp, axes: vec![0, -1], keep_dims: true });
}
