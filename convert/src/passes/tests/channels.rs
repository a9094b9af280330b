//! Channels that are shuffled, joined and split.

use super::super::run;
use super::{check, conv, program, relu, weights};
use crate::builder::Builder;
use infer::error::Result;
use infer::graph::ValueId;
use infer::ops::reduce::ReduceKind;
use infer::ops::window::Window;
use infer::ops::{Conv, MatMul, Split, Transpose};

/// A convolution of each channel of a channels-first tensor.
fn each(b: &mut Builder<'_>, x: ValueId, seed: u32) -> Result<ValueId> {
    let channels = b.dims(x)[1].fixed().unwrap() as usize;
    let x = b.channels_last(x)?;
    let (w, bias) = (weights(b, &[channels, 3, 3, 1], seed), weights(b, &[channels], seed + 1));
    let mut op = Conv { groups: channels as u32, ..Conv::default() };
    op.window.pads = vec![1, 1, 1, 1];
    let y = b.emit1(op, &[x, w, bias])?;
    b.channels_first(y)
}

/// Channels of groups in turns.
fn shuffle(b: &mut Builder<'_>, x: ValueId, groups: i64) -> Result<ValueId> {
    let channels = b.dims(x)[1].fixed().unwrap();
    let y = b.reshape(x, &[0, groups, channels / groups, 5, 6])?;
    let y = b.emit1(Transpose { perm: vec![0, 2, 1, 3, 4] }, &[y])?;
    b.reshape(y, &[0, channels, 5, 6])
}

fn halves(b: &mut Builder<'_>, x: ValueId) -> Result<[ValueId; 2]> {
    let half = b.dims(x)[1].fixed().unwrap() as usize / 2;
    let parts = b.emit(Split { axis: 1, sizes: vec![half, half], parts: 0 }, &[Some(x)])?;
    Ok([parts[0], parts[1]])
}

/// Units that convolve half of the channels, and shuffle them with the other half.
fn units(b: &mut Builder<'_>, x: ValueId, channels: usize, units: u32) -> Result<ValueId> {
    let mut y = conv(b, x, channels, 1);
    for unit in 0..units {
        let [left, right] = halves(b, y)?;
        let right = conv(b, right, channels / 2, 10 + unit);
        let right = each(b, right, 20 + unit)?;
        let right = relu(b, right);
        let joined = b.concat(1, &[left, right])?;
        y = shuffle(b, joined, 2)?;
    }
    Ok(y)
}

fn count(nodes: &[String], name: &str) -> usize {
    nodes.iter().filter(|n| *n == name).count()
}

#[test]
fn units_of_shuffled_channels_copy_once() {
    let dims = [1, 4, 5, 6];
    for channels in [8, 14] {
        let p = program(&dims, |b, x| {
            let y = units(b, x, channels, 4).unwrap();
            let left = each(b, y, 31).unwrap();
            let (left, right) = (conv(b, left, 5, 32), conv(b, y, 6, 33));
            vec![b.concat(1, &[left, right]).unwrap()]
        });
        let nodes = check(p, &dims);
        // One for each unit but the first, one for the last two convolutions, and the output's.
        assert_eq!(count(&nodes, "Concat"), 3 + 1 + 1, "{nodes:?}");
        // The first unit shuffles nothing before it splits.
        assert_eq!((count(&nodes, "Split"), count(&nodes, "Transpose")), (1, 1), "{nodes:?}");
    }
}

#[test]
fn tensors_joined_with_themselves_take_no_exponential_time() {
    let dims = [1, 4, 5, 6];
    let p = program(&dims, |b, x| {
        let mut y = conv(b, x, 4, 2);
        for _ in 0..60 {
            let joined = b.concat(1, &[y, y]).unwrap();
            let joined = shuffle(b, joined, 2).unwrap();
            y = halves(b, joined).unwrap()[0];
        }
        vec![conv(b, y, 3, 1)]
    });
    check(p, &dims);
}

#[test]
fn a_shuffle_of_one_tensor_is_an_order_of_weights() {
    let dims = [1, 4, 5, 6];
    let p = program(&dims, |b, x| {
        let y = conv(b, x, 12, 1);
        let y = shuffle(b, y, 3).unwrap();
        vec![conv(b, y, 4, 2)]
    });
    assert_eq!(check(p, &dims), ["Conv", "Conv", "Transpose"]);
}

#[test]
fn shuffled_channels_that_others_read_stay() {
    let dims = [1, 4, 5, 6];
    let p = program(&dims, |b, x| {
        let y = conv(b, x, 12, 1);
        let y = shuffle(b, y, 3).unwrap();
        vec![conv(b, y, 4, 2), y]
    });
    assert!(count(&check(p, &dims), "Conv") == 2);
}

#[test]
fn a_flattened_image_is_not_transposed() {
    let dims = [1, 4, 5, 6];
    let p = program(&dims, |b, x| {
        let y = conv(b, x, 7, 1);
        let y = b.reshape(y, &[0, 7 * 5 * 6]).unwrap();
        let w = weights(b, &[9, 7 * 5 * 6], 2);
        vec![b.emit1(MatMul { transpose_b: true, ..MatMul::default() }, &[y, w]).unwrap()]
    });
    assert_eq!(check(p, &dims), ["Conv", "Reshape", "MatMul"]);
}

/// Whether a convolution with one tap of `channels` from a tensor of which each channel is multiplied with its mean
/// multiplies the weights instead.
fn gated(channels: usize, one_image: bool) -> bool {
    let dims = [1, 4, 5, 6];
    let p = program(&dims, |b, x| {
        let x = if one_image { b.reduce(ReduceKind::Mean, x, &[0], true).unwrap() } else { x };
        let y = conv(b, x, 8, 1);
        let gate = b.reduce(ReduceKind::Mean, y, &[2, 3], true).unwrap();
        let y = b.mul(y, gate).unwrap();
        let y = b.channels_last(y).unwrap();
        let w = weights(b, &[channels, 1, 1, 8], 2);
        let window = Window { strides: vec![1; 2], pads: vec![0; 4], dilations: vec![1; 2] };
        let y = b.emit1(Conv { window, ..Conv::default() }, &[y, w]).unwrap();
        vec![b.channels_first(y).unwrap()]
    });
    assert_eq!(count(&check(p.clone(), &dims), "Mul"), 1);
    let left = run(p, &mut |_, _| ()).unwrap();
    let g = &left.graphs[0];
    let mut convs = g.nodes.iter().filter(|n| n.kind.name() == "Conv");
    convs.next_back().unwrap().inputs[1].is_some_and(|w| g.value(w).constant.is_none())
}

#[test]
fn a_gate_of_many_pixels_scales_the_weights() {
    assert!(gated(3, true));
    // More weights than pixels, and gates of several images.
    assert!(!gated(4, true) && !gated(3, false));
}
