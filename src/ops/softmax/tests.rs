use super::*;
use crate::ops::Tensor;
use crate::ops::testing::{Random, as_f64, check_close, infer_error, tensor};

/// Element by element, in f64.
fn reference(kind: SoftmaxKind, x: &Tensor, axis: usize) -> Tensor {
    let dims = x.info.dims;
    let (len, inner) = (dims[axis], dims[axis + 1..].iter().product::<usize>());
    let x64 = as_f64(x);
    let mut y = x64.clone();
    for first in (0..x64.len()).filter(|i| i / inner % len == 0) {
        let at: Vec<usize> = (0..len).map(|i| first + i * inner).collect();
        let top = at.iter().fold(f64::NEG_INFINITY, |m, &i| m.max(x64[i]));
        let sum: f64 = at.iter().map(|&i| (x64[i] - top).exp()).sum();
        let winner = at.iter().copied().find(|&i| x64[i] == top);
        for &i in &at {
            y[i] = match kind {
                SoftmaxKind::Softmax => (x64[i] - top).exp() / sum,
                SoftmaxKind::LogSoftmax => x64[i] - top - sum.ln(),
                SoftmaxKind::Hardmax => f64::from(u8::from(winner == Some(i))),
            };
        }
    }
    tensor(x.info.dtype, &dims, &y)
}

#[test]
fn every_kind_over_every_axis() {
    let mut random = Random::new(1);
    for dims in [&[3, 5, 70][..], &[2, 33, 1], &[1, 1, 1], &[4, 3, 300], &[7], &[2, 50, 4], &[3, 43, 6]] {
        for (dtype, tolerance) in [(DType::F32, 1e-6), (DType::F64, 1e-14), (DType::F16, 1e-3), (DType::BF16, 1e-2)] {
            let values: Vec<f64> = (0..dims.iter().product()).map(|_| random.range(-9.0, 9.0).round().into()).collect();
            let x = tensor(dtype, dims, &values);
            for kind in SoftmaxKind::ALL {
                for axis in 0..dims.len() {
                    let op = Softmax { kind, axis: axis as i64 - dims.len() as i64 };
                    check_close(op, &[&x], &[reference(kind, &x, axis)], tolerance);
                }
            }
        }
    }
}

/// Rows that need a team of several warps, of neighbours and apart.
#[test]
fn long_rows() {
    let mut random = Random::new(2);
    for (dims, axis) in [(&[3, 1028][..], 1), (&[2, 9001], 1), (&[70, 132], 1), (&[2, 150, 37], 1), (&[3000, 3], 0)] {
        for (dtype, tolerance) in [(DType::F32, 5e-6), (DType::F16, 1e-3), (DType::BF16, 1e-2)] {
            let values: Vec<f64> = (0..dims.iter().product()).map(|_| random.range(-9.0, 9.0).into()).collect();
            let x = tensor(dtype, dims, &values);
            for kind in SoftmaxKind::ALL {
                check_close(Softmax { kind, axis }, &[&x], &[reference(kind, &x, axis as usize)], tolerance);
            }
        }
    }
}

#[test]
fn large_and_infinite_elements() {
    let x = tensor(DType::F32, &[2, 3], &[1e4, 1e4, -1e4, 0.0, f64::NEG_INFINITY, 0.0]);
    let want = tensor(DType::F32, &[2, 3], &[0.5, 0.5, 0.0, 0.5, 0.0, 0.5]);
    check_close(Softmax { kind: SoftmaxKind::Softmax, axis: 1 }, &[&x], &[want], 1e-6);
    // Two columns, of which the second is far below the first.
    let x = tensor(DType::F32, &[3, 2], &[1e4, -1e4, 1e4, -1e4, -1e4, f64::NEG_INFINITY]);
    let want = tensor(DType::F32, &[3, 2], &[0.5, 0.5, 0.5, 0.5, 0.0, 0.0]);
    check_close(Softmax { kind: SoftmaxKind::Softmax, axis: 0 }, &[&x], &[want], 1e-6);
    let all = tensor(DType::F32, &[1, 2], &[f64::NEG_INFINITY; 2]);
    let nan = tensor(DType::F32, &[1, 2], &[f64::NAN; 2]);
    check_close(Softmax { kind: SoftmaxKind::Softmax, axis: 1 }, &[&all], &[nan], 0.0);
}

#[test]
fn errors() {
    let x = tensor(DType::I32, &[2], &[0.0, 1.0]);
    assert!(infer_error(Softmax { kind: SoftmaxKind::Softmax, axis: 0 }, &[&x]).contains("floating-point"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    crate::ops::testing::round_trip(Softmax { kind: SoftmaxKind::LogSoftmax, axis: -2 });
}
