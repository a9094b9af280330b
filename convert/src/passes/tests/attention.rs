//! Attention as exporters write it, and what only looks like it.

use super::{check, program, weights};
use crate::builder::Builder;
use infer::error::Result;
use infer::graph::ValueId;
use infer::ops::softmax::SoftmaxKind;
use infer::ops::unary::UnaryKind;
use infer::ops::{MatMul, Slice, Softmax, Where};
use infer::tensor::DType;

const HEADS: i64 = 3;
const SIZE: i64 = 4;
const WIDTH: usize = 12;
const ROWS: usize = 9;

/// x · W + b with x `[batch, rows, 12]`.
fn linear(b: &mut Builder<'_>, x: ValueId, columns: usize, seed: u32) -> Result<ValueId> {
    let (w, bias) = (weights(b, &[WIDTH, columns], seed), weights(b, &[columns], seed + 1));
    let y = b.emit1(MatMul::default(), &[x, w])?;
    b.add(y, bias)
}

/// `[batch, rows, 12]` to `[batch, 3, rows, 4]`.
fn heads(b: &mut Builder<'_>, x: ValueId) -> Result<ValueId> {
    let x = b.reshape(x, &[0, 0, HEADS, SIZE])?;
    b.transpose(x, &[0, 2, 1, 3])
}

fn softmax(b: &mut Builder<'_>, x: ValueId, axis: i32) -> Result<ValueId> {
    b.emit1(Softmax { kind: SoftmaxKind::Softmax, axis: axis.into() }, &[x])
}

fn matmul(b: &mut Builder<'_>, x: ValueId, y: ValueId) -> Result<ValueId> {
    b.emit1(MatMul::default(), &[x, y])
}

/// Queries and transposed keys multiplied, values behind them.
fn products(b: &mut Builder<'_>, x: ValueId) -> Result<(ValueId, ValueId)> {
    let [q, k, v] = [10, 20, 30].map(|seed| linear(b, x, WIDTH, seed));
    let (q, k, v) = (heads(b, q?)?, heads(b, k?)?, heads(b, v?)?);
    let k = b.transpose(k, &[0, 1, 3, 2])?;
    Ok((matmul(b, q, k)?, v))
}

/// `[batch, 3, rows, 4]` to `[batch, rows, 12]`, and a last product.
fn project(b: &mut Builder<'_>, y: ValueId) -> Result<ValueId> {
    let y = b.transpose(y, &[0, 2, 1, 3])?;
    let y = b.reshape(y, &[0, 0, WIDTH as i64])?;
    linear(b, y, WIDTH, 40)
}

/// The operators left of an attention whose scores `change` turns into what multiplies the values.
fn left(change: impl Fn(&mut Builder<'_>, ValueId) -> Result<ValueId>) -> Vec<String> {
    let p = program(&[1, ROWS, WIDTH], |b, x| {
        let build = |b: &mut Builder<'_>| {
            let (scores, v) = products(b, x)?;
            let p = change(b, scores)?;
            let y = matmul(b, p, v)?;
            project(b, y)
        };
        vec![build(b).unwrap()]
    });
    check(p, &[1, ROWS, WIDTH])
}

const FUSED: [&str; 5] = ["MatMul", "MatMul", "MatMul", "Attention", "MatMul"];

#[test]
fn scaled_by_a_quotient() {
    let nodes = left(|b, s| {
        let s = b.binary_with(infer::ops::binary::BinaryKind::Div, s, 2.0)?;
        softmax(b, s, -1)
    });
    assert_eq!(nodes, FUSED);
}

#[test]
fn without_a_scale() {
    assert_eq!(left(|b, s| softmax(b, s, 3)), FUSED);
}

#[test]
fn masks_are_added() {
    for dims in [&[ROWS][..], &[ROWS, ROWS], &[1, 1, ROWS, ROWS], &[1, 3, 1, ROWS], &[3, ROWS, ROWS]] {
        let nodes = left(|b, s| {
            let mask = weights(b, dims, 77);
            let s = b.add(mask, s)?;
            softmax(b, s, -1)
        });
        assert_eq!(nodes, FUSED, "{dims:?}");
    }
}

#[test]
fn a_sum_of_masks_is_one_mask() {
    let nodes = left(|b, s| {
        let s = b.binary_with(infer::ops::binary::BinaryKind::Mul, s, 0.5)?;
        let (bias, mask) = (weights(b, &[3, ROWS, ROWS], 5), weights(b, &[1, 1, 1, ROWS], 6));
        let s = b.add(s, bias)?;
        let s = b.add(s, mask)?;
        softmax(b, s, -1)
    });
    assert_eq!(nodes, FUSED);
}

/// Every second key of odd queries.
fn condition(b: &mut Builder<'_>) -> Result<ValueId> {
    let keep: Vec<i64> =
        (0..ROWS * ROWS).map(|i| i64::from((i / ROWS).is_multiple_of(2) || i.is_multiple_of(2))).collect();
    let keep = b.array(&[ROWS, ROWS], &keep)?;
    b.cast(keep, DType::Bool)
}

#[test]
fn conditions_are_masks() {
    for number in [f64::NEG_INFINITY, f64::from(f32::MIN)] {
        for inverted in [false, true] {
            let nodes = left(|b, s| {
                let (mut keep, number) = (condition(b)?, b.scalar(DType::F32, number)?);
                if inverted {
                    keep = b.unary(UnaryKind::Not, keep)?;
                }
                let (x, y) = if inverted { (number, s) } else { (s, number) };
                let s = b.emit1(Where, &[keep, x, y])?;
                softmax(b, s, -1)
            });
            assert_eq!(nodes, FUSED);
        }
    }
}

#[test]
fn rows_without_a_key_are_zeros_behind_the_guard() {
    let nodes = left(|b, s| {
        let mask: Vec<f32> = (0..ROWS * ROWS).map(|i| if i / ROWS == 4 { f32::NEG_INFINITY } else { 0.0 }).collect();
        let mask = b.array(&[ROWS, ROWS], &mask)?;
        let s = b.add(s, mask)?;
        let p = softmax(b, s, -1)?;
        let (nan, zero) = (b.unary(UnaryKind::IsNan, p)?, b.scalar(DType::F32, 0.0)?);
        b.emit1(Where, &[nan, zero, p])
    });
    assert_eq!(nodes, FUSED);
}

/// The operators left when scale and keys come as `torch.nn.functional.scaled_dot_product_attention` is exported.
#[test]
fn scales_on_both_sides_and_keys_transposed_as_matrices() {
    let p = program(&[1, ROWS, WIDTH], |b, x| {
        let build = |b: &mut Builder<'_>| {
            let qkv = linear(b, x, 3 * WIDTH, 3)?;
            let parts: Vec<ValueId> = (0..3).map(|i| b.slice(qkv, 2, i * 12, i * 12 + 12)).collect::<Result<_>>()?;
            let (q, k, v) = (heads(b, parts[0])?, heads(b, parts[1])?, heads(b, parts[2])?);
            let k = b.reshape(k, &[-1, ROWS as i64, SIZE])?;
            let k = b.transpose(k, &[0, 2, 1])?;
            let k = b.reshape(k, &[-1, HEADS, SIZE, ROWS as i64])?;
            let root = b.scalar(DType::F32, 0.7)?;
            let (q, k) = (b.mul(q, root)?, b.mul(root, k)?);
            let s = matmul(b, q, k)?;
            let p = softmax(b, s, -1)?;
            let y = matmul(b, p, v)?;
            project(b, y)
        };
        vec![build(b).unwrap()]
    });
    let nodes = check(p, &[1, ROWS, WIDTH]);
    assert_eq!(nodes.iter().filter(|n| *n == "Attention").count(), 1, "{nodes:?}");
    assert!(!nodes.iter().any(|n| n == "Transpose" || n == "Mul"), "{nodes:?}");
}

#[test]
fn heads_may_be_part_of_the_batch() {
    let p = program(&[1, ROWS, WIDTH], |b, x| {
        let build = |b: &mut Builder<'_>| {
            let flat = |b: &mut Builder<'_>, seed| {
                let y = linear(b, x, WIDTH, seed)?;
                let y = heads(b, y)?;
                b.reshape(y, &[-1, ROWS as i64, SIZE])
            };
            let (q, k, v) = (flat(b, 1)?, flat(b, 2)?, flat(b, 3)?);
            let s = b.emit1(MatMul { transpose_b: true, alpha: 0.5, ..MatMul::default() }, &[q, k])?;
            let s = b.reshape(s, &[-1, HEADS, ROWS as i64, ROWS as i64])?;
            let mask = weights(b, &[1, 1, ROWS, ROWS], 50);
            let s = b.add(s, mask)?;
            let s = b.reshape(s, &[-1, ROWS as i64, ROWS as i64])?;
            let p = softmax(b, s, -1)?;
            let y = matmul(b, p, v)?;
            let y = b.reshape(y, &[-1, HEADS, ROWS as i64, SIZE])?;
            project(b, y)
        };
        vec![build(b).unwrap()]
    });
    assert_eq!(check(p, &[1, ROWS, WIDTH]), FUSED);
}

fn is_unfused(nodes: &[String]) {
    assert!(nodes.iter().any(|n| n == "Softmax") && !nodes.iter().any(|n| n == "Attention"), "{nodes:?}");
}

#[test]
fn softmax_along_queries_is_none() {
    is_unfused(&left(|b, s| softmax(b, s, 2)));
    is_unfused(&left(|b, s| b.emit1(Softmax { kind: SoftmaxKind::LogSoftmax, axis: -1 }, &[s])));
}

#[test]
fn a_scale_per_head_is_none() {
    is_unfused(&left(|b, s| {
        let scale = weights(b, &[3, 1, 1], 8);
        let s = b.mul(s, scale)?;
        softmax(b, s, -1)
    }));
}

#[test]
fn a_mask_of_one_key_is_none() {
    is_unfused(&left(|b, s| {
        let mask = weights(b, &[ROWS, 1], 8);
        let s = b.add(s, mask)?;
        softmax(b, s, -1)
    }));
}

#[test]
fn a_replacement_that_counts_is_none() {
    is_unfused(&left(|b, s| {
        let (keep, number) = (condition(b)?, b.scalar(DType::F32, -1.0)?);
        let s = b.select(keep, s, number)?;
        softmax(b, s, -1)
    }));
}

#[test]
fn scaled_masks_are_none() {
    is_unfused(&left(|b, s| {
        let mask = weights(b, &[ROWS, ROWS], 8);
        let s = b.add(s, mask)?;
        let s = b.binary_with(infer::ops::binary::BinaryKind::Mul, s, 0.5)?;
        softmax(b, s, -1)
    }));
}

#[test]
fn scores_and_weights_that_are_wanted_stay() {
    for want_scores in [false, true] {
        let p = program(&[1, ROWS, WIDTH], |b, x| {
            let build = |b: &mut Builder<'_>| {
                let (scores, v) = products(b, x)?;
                let p = softmax(b, scores, -1)?;
                let y = matmul(b, p, v)?;
                Ok::<_, infer::error::Error>(vec![project(b, y)?, if want_scores { scores } else { p }])
            };
            build(b).unwrap()
        });
        is_unfused(&check(p, &[1, ROWS, WIDTH]));
    }
}

#[test]
fn keys_and_values_of_groups_of_heads_are_not_repeated() {
    const GROUP: i64 = 2;
    let repeated = |b: &mut Builder<'_>, x: ValueId, inner: bool| -> Result<ValueId> {
        let wide = b.unsqueeze(x, &[if inner { 2 } else { 1 }])?;
        let batch = b.shape(x)?;
        let (zero, one) = (b.ints(&[0])?, b.ints(&[1])?);
        let batch = b.emit1(Slice { axes: vec![0] }, &[batch, zero, one])?;
        let rest = if inner { [HEADS, GROUP] } else { [GROUP, HEADS] };
        let rest = b.ints(&[rest[0], rest[1], ROWS as i64, SIZE])?;
        let shape = b.concat(0, &[batch, rest])?;
        let wide = b.expand(wide, shape)?;
        b.reshape(wide, &[0, GROUP * HEADS, ROWS as i64, SIZE])
    };
    for inner in [true, false] {
        let dims = [1, ROWS, WIDTH];
        let p = program(&dims, |b, x| {
            let mut build = || -> Result<ValueId> {
                let q = linear(b, x, 2 * WIDTH, 10)?;
                let q = b.reshape(q, &[0, 0, GROUP * HEADS, SIZE])?;
                let q = b.transpose(q, &[0, 2, 1, 3])?;
                let (k, v) = (linear(b, x, WIDTH, 20)?, linear(b, x, WIDTH, 30)?);
                let (k, v) = (heads(b, k)?, heads(b, v)?);
                let (k, v) = (repeated(b, k, inner)?, repeated(b, v, inner)?);
                let k = b.transpose(k, &[0, 1, 3, 2])?;
                let scores = matmul(b, q, k)?;
                let p = softmax(b, scores, -1)?;
                let y = matmul(b, p, v)?;
                let y = b.transpose(y, &[0, 2, 1, 3])?;
                b.reshape(y, &[0, 0, 2 * WIDTH as i64])
            };
            vec![build().unwrap()]
        });
        let nodes = check(p, &dims);
        assert!(nodes.contains(&"Attention".to_string()), "{nodes:?}");
        // Neighbours share keys and values; heads that are apart do not.
        assert_eq!(nodes.contains(&"Expand".to_string()), !inner, "{nodes:?}");
        assert!(!inner || !nodes.contains(&"Transpose".to_string()), "{nodes:?}");
    }
}
