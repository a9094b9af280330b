//! Functions and normalisations as sequences of simpler operators, and what only looks like them.

use super::{check, conv, program, weights};
use crate::builder::Builder;
use infer::error::Result;
use infer::graph::ValueId;
use infer::ops::binary::BinaryKind::{self, Add, Div, Mul, Pow, Sub};
use infer::ops::reduce::ReduceKind;
use infer::ops::unary::UnaryKind;
use infer::ops::{Norm, Op, Unary};

/// The operators left of a function of a tensor `[batch, 5, 16]`.
fn left(build: impl Fn(&mut Builder<'_>, ValueId) -> Result<ValueId>) -> Vec<String> {
    let dims = [1, 5, 16];
    check(program(&dims, |b, x| vec![build(b, x).unwrap()]), &dims)
}

/// A number on the left side of a function.
fn number_with(b: &mut Builder<'_>, kind: BinaryKind, number: f64, x: ValueId) -> Result<ValueId> {
    let number = b.scalar(b.dtype(x), number)?;
    b.binary(kind, number, x)
}

#[test]
fn sigmoids_that_gate() {
    let silu = left(|b, x| {
        let gate = b.unary(UnaryKind::Sigmoid, x)?;
        b.mul(gate, x)
    });
    assert_eq!(silu, ["Silu"]);
    let mish = left(|b, x| {
        let gate = b.unary(UnaryKind::Softplus, x)?;
        let gate = b.unary(UnaryKind::Tanh, gate)?;
        b.mul(x, gate)
    });
    assert_eq!(mish, ["Mish"]);
    let other = left(|b, x| {
        let y = b.binary_with(Add, x, 1.0)?;
        let gate = b.unary(UnaryKind::Sigmoid, x)?;
        b.mul(gate, y)
    });
    assert_eq!(other.len(), 3, "{other:?}");
}

fn clip(b: &mut Builder<'_>, x: ValueId, hi: f32) -> Result<ValueId> {
    let op: Op = Unary { kind: UnaryKind::Clip, alpha: 0.0, beta: hi }.into();
    b.emit1(op, &[x])
}

#[test]
fn hard_functions() {
    for product in [false, true] {
        let swish = left(|b, x| {
            let y = b.binary_with(Add, x, 3.0)?;
            let y = clip(b, y, 6.0)?;
            if product {
                let y = b.mul(x, y)?;
                return b.binary_with(Div, y, 6.0);
            }
            let y = b.binary_with(Mul, y, 1.0 / 6.0)?;
            b.mul(x, y)
        });
        assert_eq!(swish, ["HardSwish"]);
    }
    let six = left(|b, x| {
        let y = b.binary_with(Add, x, 3.0)?;
        let y = clip(b, y, 5.0)?;
        b.binary_with(Div, y, 6.0)
    });
    assert_eq!(six.len(), 2, "{six:?}");
}

/// 1 + erf(x / √2).
fn erf(b: &mut Builder<'_>, x: ValueId, root: f64) -> Result<ValueId> {
    let y = b.binary_with(Div, x, root)?;
    let y = b.unary(UnaryKind::Erf, y)?;
    b.binary_with(Add, y, 1.0)
}

#[test]
fn gelu_by_the_error_function() {
    let root = std::f64::consts::SQRT_2;
    let last = left(|b, x| {
        let y = erf(b, x, root)?;
        let y = b.mul(x, y)?;
        b.binary_with(Mul, y, 0.5)
    });
    let first = left(|b, x| {
        let (y, half) = (erf(b, x, root)?, number_with(b, Mul, 0.5, x)?);
        b.mul(half, y)
    });
    let inner = left(|b, x| {
        let y = erf(b, x, root)?;
        let y = b.binary_with(Mul, y, 0.5)?;
        b.mul(x, y)
    });
    assert_eq!([last, first, inner].concat(), ["Gelu"; 3]);
    let wrong = left(|b, x| {
        let y = erf(b, x, 1.5)?;
        let y = b.mul(x, y)?;
        b.binary_with(Mul, y, 0.5)
    });
    assert!(wrong.len() > 1, "{wrong:?}");
}

#[test]
fn gelu_by_tanh() {
    for by_pow in [false, true] {
        let nodes = left(|b, x| {
            let cube = if by_pow {
                b.binary_with(Pow, x, 3.0)?
            } else {
                let square = b.mul(x, x)?;
                b.mul(square, x)?
            };
            let y = b.binary_with(Mul, cube, 0.044715)?;
            let y = b.add(x, y)?;
            let y = b.binary_with(Mul, y, (2.0 / std::f64::consts::PI).sqrt())?;
            let y = b.unary(UnaryKind::Tanh, y)?;
            let y = b.binary_with(Add, y, 1.0)?;
            let half = b.binary_with(Mul, x, 0.5)?;
            b.mul(half, y)
        });
        assert_eq!(nodes, ["GeluTanh"]);
    }
}

/// x over its deviation, with 1e-5 added to the mean of its squares over the last axes.
fn over_deviation(b: &mut Builder<'_>, x: ValueId, axes: &[usize], inverse: bool) -> Result<ValueId> {
    let square = if inverse { b.mul(x, x)? } else { b.binary_with(Pow, x, 2.0)? };
    let mean = b.reduce(ReduceKind::Mean, square, axes, true)?;
    let sum = b.binary_with(Add, mean, 1e-5)?;
    let root = b.unary(UnaryKind::Sqrt, sum)?;
    if inverse {
        let factor = number_with(b, Div, 1.0, root)?;
        return b.mul(x, factor);
    }
    b.div(x, root)
}

#[test]
fn norms_with_scale_and_bias() {
    for (inverse, centred) in [(false, false), (true, false), (false, true), (true, true)] {
        let nodes = left(|b, x| {
            let mut x = x;
            if centred {
                let mean = b.reduce(ReduceKind::Mean, x, &[2], true)?;
                x = b.sub(x, mean)?;
            }
            let y = over_deviation(b, x, &[2], inverse)?;
            let (scale, bias) = (weights(b, &[16], 1), weights(b, &[16], 2));
            let y = b.mul(scale, y)?;
            b.add(y, bias)
        });
        assert_eq!(nodes, ["Norm"], "{inverse} {centred}");
    }
}

#[test]
fn other_axes_are_no_norm_of_rows() {
    assert!(!left(|b, x| over_deviation(b, x, &[1], false)).contains(&"Norm".to_string()));
    assert!(!left(|b, x| over_deviation(b, x, &[1, 2], false)).contains(&"Norm".to_string()));
    let shifted = left(|b, x| {
        let y = b.binary_with(Sub, x, 0.25)?;
        let square = b.mul(y, y)?;
        let mean = b.reduce(ReduceKind::Mean, square, &[2], true)?;
        let sum = b.binary_with(Add, mean, 1e-5)?;
        let root = b.unary(UnaryKind::Sqrt, sum)?;
        b.div(x, root)
    });
    assert!(!shifted.contains(&"Norm".to_string()), "{shifted:?}");
}

/// The operators left of a normalisation of an image's channels in groups, as exporters write it, between convolutions.
fn in_groups(channels: usize, groups: i64, vector: &[usize], number: f32) -> Vec<String> {
    let dims = [1, 4, 5, 6];
    let p = program(&dims, |b, x| {
        let x = conv(b, x, channels, 1);
        let rows = b.reshape(x, &[0, groups, -1]).unwrap();
        let rows = b.channels_last(rows).unwrap();
        let (one, zero) = (b.array(&[groups as usize], &vec![number; groups as usize]), vec![0.0f32; groups as usize]);
        let (one, zero) = (one.unwrap(), b.array(&[groups as usize], &zero).unwrap());
        let y = b.emit1(Norm::Group { groups: 0, epsilon: 1e-5 }, &[rows, one, zero]).unwrap();
        let y = b.channels_first(y).unwrap();
        let y = b.reshape(y, &[0, channels as i64, 5, 6]).unwrap();
        let (scale, bias) = (weights(b, vector, 4), weights(b, vector, 5));
        let y = b.mul(y, scale).unwrap();
        let y = b.add(bias, y).unwrap();
        vec![conv(b, y, 4, 6)]
    });
    check(p, &dims)
}

#[test]
fn norms_in_groups() {
    for groups in [1, 2, 8] {
        assert_eq!(in_groups(8, groups, &[8, 1, 1], 1.0), ["Conv", "Norm", "Conv", "Transpose"], "{groups}");
    }
    assert_eq!(in_groups(8, 4, &[1, 8, 1, 1], 1.0), ["Conv", "Norm", "Conv", "Transpose"]);
    // Factors that are not one for each channel, or a scale of its own, stay.
    assert!(in_groups(6, 2, &[6], 1.0).len() > 4);
    assert!(in_groups(8, 2, &[8, 1, 1], 2.0).len() > 4);
}

#[test]
fn the_same_slope_everywhere_is_leaky() {
    let slope = |dims: &'static [usize], last: f32| {
        left(move |b, x| {
            let mut slopes = vec![0.25f32; dims.iter().product()];
            *slopes.last_mut().unwrap() = last;
            let slopes = b.array(dims, &slopes)?;
            b.binary(BinaryKind::PRelu, x, slopes)
        })
    };
    for last in [0.25, 1.5, -0.5] {
        assert_eq!(slope(&[1], last), ["LeakyRelu"]);
    }
    assert_eq!(slope(&[16], 0.25), ["LeakyRelu"]);
    assert_eq!(slope(&[16], 0.5), ["PRelu"]);
}
