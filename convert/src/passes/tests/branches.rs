//! Sums of convolutions of one tensor, and what only looks like them.

use super::{batch_norm, check, program, relu, weights};
use crate::builder::Builder;
use infer::graph::ValueId;
use infer::ops::Conv;
use infer::ops::binary::BinaryKind::{Add, Sub};
use infer::ops::window::Window;

/// The input's channels and extents.
const DIMS: [usize; 4] = [1, 8, 9, 10];

/// A convolution that leaves all extents as they are, with a kernel of `taps` in each direction.
struct Square {
    taps: usize,
    groups: usize,
    stride: u32,
    dilation: u32,
}

/// One of all channels.
fn dense(taps: usize) -> Square {
    Square { taps, groups: 1, stride: 1, dilation: 1 }
}

/// One of each channel by itself.
fn each(taps: usize) -> Square {
    Square { groups: DIMS[1], ..dense(taps) }
}

/// A convolution of a channels-first tensor.
fn conv(b: &mut Builder<'_>, x: ValueId, op: &Square, seed: u32) -> ValueId {
    let &Square { taps, groups, stride, dilation } = op;
    let pads = vec![dilation * (taps as u32 - 1) / 2; 4];
    let window = Window { strides: vec![stride; 2], pads, dilations: vec![dilation; 2] };
    let x = b.channels_last(x).unwrap();
    let w = weights(b, &[DIMS[1], taps, taps, DIMS[1] / groups], seed);
    let y = b.emit1(Conv { window, groups: groups as u32, ..Conv::default() }, &[x, w]).unwrap();
    b.channels_first(y).unwrap()
}

/// As [`conv`], with a batch normalisation.
fn normal(b: &mut Builder<'_>, x: ValueId, op: &Square, seed: u32) -> ValueId {
    let y = conv(b, x, op, seed);
    batch_norm(b, y, seed + 1)
}

/// The operators left of outputs that are computed from one activation.
fn left(build: impl Fn(&mut Builder<'_>, ValueId) -> Vec<ValueId>) -> Vec<String> {
    let p = program(&DIMS, |b, x| {
        let x = conv(b, x, &dense(1), 1);
        let x = relu(b, x);
        build(b, x)
    });
    let mut nodes = check(p, &DIMS);
    nodes.retain(|n| n != "Transpose");
    assert_eq!(nodes.remove(0), "Conv+");
    nodes
}

/// The operators left of the sum of two convolutions.
fn sum(one: &Square, other: &Square) -> Vec<String> {
    left(|b, x| {
        let (y, z) = (normal(b, x, one, 11), normal(b, x, other, 21));
        vec![b.add(y, z).unwrap()]
    })
}

#[test]
fn kernels_within_larger_ones() {
    let grouped = |taps| Square { groups: 2, ..dense(taps) };
    let strided = |taps| Square { stride: 2, ..dense(taps) };
    let wide = Square { dilation: 2, ..dense(3) };
    let pairs = [
        (dense(3), dense(1)),
        (dense(1), dense(1)),
        (each(7), each(3)),
        (grouped(3), grouped(1)),
        (strided(5), strided(3)),
        (wide, dense(1)),
        (dense(3), each(3)),
        (grouped(3), each(1)),
    ];
    for (i, (one, other)) in pairs.iter().enumerate() {
        assert_eq!(sum(one, other), ["Conv"], "pair {i}");
        assert_eq!(sum(other, one), ["Conv"], "pair {i}, the other way round");
    }
}

#[test]
fn other_windows_and_groups_stay() {
    let wide = Square { dilation: 2, ..dense(3) };
    let grouped = Square { groups: 2, ..dense(3) };
    for (one, other) in [(dense(3), wide), (dense(3), grouped), (each(3), dense(1)), (dense(1), each(3))] {
        assert_eq!(sum(&one, &other), ["Conv", "Conv"]);
    }
    // The first taps are no multiple of the dilation apart.
    let apart = Square { dilation: 3, ..dense(3) };
    assert_eq!(sum(&apart, &dense(5)), ["Conv", "Conv"]);
}

#[test]
fn blocks_of_many_branches() {
    // MobileOne: several kernels, one tap, and the tensor itself, each with a batch normalisation.
    for kind in [dense, each] {
        let block = left(|b, x| {
            let mut y = normal(b, x, &kind(3), 11);
            for (taps, seed) in [(1, 21), (3, 31), (3, 41)] {
                let z = normal(b, x, &kind(taps), seed);
                y = b.add(y, z).unwrap();
            }
            let z = batch_norm(b, x, 51);
            let y = b.add(z, y).unwrap();
            vec![relu(b, y)]
        });
        assert_eq!(block, ["Conv+"]);
    }
}

#[test]
fn a_tensor_and_its_convolution() {
    for op in [dense(1), dense(3), each(3), Square { groups: 2, ..dense(3) }] {
        for kind in [Add, Sub] {
            let nodes = left(|b, x| {
                let y = conv(b, x, &op, 11);
                vec![b.binary(kind, x, y).unwrap(), b.binary(kind, y, x).unwrap()]
            });
            // Two sums read the convolution.
            assert_ne!(nodes, ["Conv", "Conv"]);
            let nodes = left(|b, x| {
                let (y, z) = (conv(b, x, &op, 11), conv(b, x, &op, 21));
                vec![b.binary(kind, x, y).unwrap(), b.binary(kind, z, x).unwrap()]
            });
            assert_eq!(nodes, ["Conv", "Conv"]);
        }
    }
}

#[test]
fn differences_with_factors() {
    // FastViT: x + scale · (convolutions of x - batch normalisation of x).
    let block = left(|b, x| {
        let (y, z) = (normal(b, x, &each(3), 11), normal(b, x, &each(1), 21));
        let y = b.add(y, z).unwrap();
        let z = batch_norm(b, x, 31);
        let y = b.sub(y, z).unwrap();
        let scale = weights(b, &[DIMS[1], 1, 1], 41);
        let y = b.mul(y, scale).unwrap();
        vec![b.add(x, y).unwrap()]
    });
    assert_eq!(block, ["Conv"]);
}

#[test]
fn residuals_stay_with_the_sum() {
    for kind in [Add, Sub] {
        let nodes = left(|b, x| {
            let other = conv(b, x, &dense(1), 61);
            let other = relu(b, other);
            let y = normal(b, x, &dense(3), 11);
            let y = b.add(y, other).unwrap();
            let z = normal(b, x, &dense(1), 21);
            vec![b.binary(kind, y, z).unwrap()]
        });
        assert_eq!(nodes, ["Conv+", "Conv"]);
    }
}

#[test]
fn branches_that_are_read_or_activated_stay() {
    let read = left(|b, x| {
        let (y, z) = (conv(b, x, &dense(3), 11), conv(b, x, &dense(1), 21));
        vec![b.add(y, z).unwrap(), z]
    });
    assert_eq!(read, ["Conv", "Conv"]);
    let activated = left(|b, x| {
        let (y, z) = (conv(b, x, &dense(3), 11), conv(b, x, &dense(1), 21));
        let z = relu(b, z);
        vec![b.add(y, z).unwrap()]
    });
    assert_eq!(activated, ["Conv+", "Conv"]);
    let of_others = left(|b, x| {
        let z = conv(b, x, &dense(1), 21);
        let z = relu(b, z);
        let (y, z) = (conv(b, x, &dense(3), 11), conv(b, z, &dense(1), 31));
        vec![b.add(y, z).unwrap()]
    });
    assert_eq!(of_others.len(), 3, "{of_others:?}");
}
