//! Programs run before and after the passes give the same results, and the passes leave what they should.

mod attention;
mod branches;
mod channels;
mod patterns;
mod rows;
mod simplify;

use super::run;
use crate::builder::Builder;
use infer::cpu::Activation;
use infer::exec::Control;
use infer::graph::{GraphId, NodeKind, Program, ValueId};
use infer::ops::binary::BinaryKind;
use infer::ops::reduce::ReduceKind;
use infer::ops::unary::UnaryKind;
use infer::ops::{Binary, Conv, ConvTranspose, MatMul, Op, Pad, Reduce, Transpose, Unary};
use infer::session::{Input, Model, Output, Session, SessionOptions};
use infer::tensor::{DType, Dim, Shape, TensorType};

/// Repeatable numbers between -1 and 1.
fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut x = seed.wrapping_mul(2_654_435_761).max(1);
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        (x >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// A program with one f32 input of the given shape whose first dimension is "batch"; `build` returns the outputs.
fn program(dims: &[usize], build: impl FnOnce(&mut Builder<'_>, ValueId) -> Vec<ValueId>) -> Program {
    let mut p = Program { producer: "test".into(), ..Program::default() };
    let g = p.add_graph("main");
    let mut shape: Vec<Dim> = dims.iter().map(|&d| Dim::from(d)).collect();
    shape[0] = Dim::sym(p.sym("batch"));
    let x = p.add_input(g, "x", TensorType::new(DType::F32, Shape::new(shape).unwrap()));
    let outputs = build(&mut Builder::new(&mut p, GraphId(0)), x);
    outputs.into_iter().enumerate().for_each(|(i, v)| p.add_output(&format!("y{i}"), v));
    p.verify().unwrap();
    p
}

fn weights(b: &mut Builder<'_>, dims: &[usize], seed: u32) -> ValueId {
    b.array(dims, &numbers(dims.iter().product(), seed)).unwrap()
}

fn outputs(p: Program, dims: &[usize]) -> Vec<Vec<f32>> {
    let session = Session::new(&Model::from_program(p), &SessionOptions { threads: 1, ..Default::default() }).unwrap();
    let data: Vec<u8> = numbers(dims.iter().product(), 7).iter().flat_map(|x| x.to_le_bytes()).collect();
    let input = Input { dtype: DType::F32, dims: infer::tensor::Dims::new(dims), data: &data, ..Input::default() };
    let mut out: Vec<Output<'_>> = session.model().outputs().iter().map(|_| Output::default()).collect();
    session.run(&[input], &mut out, Control::default()).unwrap();
    let floats = |o: &Output<'_>| {
        o.owned.as_ref().unwrap().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    out.iter().map(floats).collect()
}

/// Runs the passes, compares results before and after for batches of 1 and 3, and returns the names of the nodes left.
fn check(p: Program, dims: &[usize]) -> Vec<String> {
    let optimized = run(p.clone(), &mut |_, _| ()).unwrap();
    for batch in [1, 3] {
        let dims: Vec<usize> = [batch].iter().chain(&dims[1..]).copied().collect();
        let (before, after) = (outputs(p.clone(), &dims), outputs(optimized.clone(), &dims));
        for (a, b) in before.iter().zip(&after) {
            assert_eq!(a.len(), b.len());
            let scale = a.iter().fold(1e-6f32, |m, x| m.max(x.abs()));
            let worst = a.iter().zip(b).fold(0f32, |m, (a, b)| m.max((a - b).abs() / scale));
            assert!(worst < 1e-5, "results differ by {worst}");
        }
    }
    let kept = optimized.graphs[0].nodes.iter().map(|n| match &n.kind {
        NodeKind::Op(Op::Conv(c)) if c.activation != Activation::None => "Conv+".into(),
        NodeKind::Op(Op::MatMul(m)) if m.activation != Activation::None => "MatMul+".into(),
        NodeKind::Op(Op::Binary(b)) => format!("{:?}", b.kind),
        NodeKind::Op(Op::Unary(u)) => format!("{:?}", u.kind),
        kind => kind.name().into(),
    });
    kept.collect()
}

/// A convolution of a channels-first tensor, as importers emit it.
fn conv(b: &mut Builder<'_>, x: ValueId, channels: usize, seed: u32) -> ValueId {
    let from = b.dims(x)[1].fixed().unwrap() as usize;
    let x = b.channels_last(x).unwrap();
    let w = weights(b, &[channels, 3, 3, from], seed);
    let mut op = Conv::default();
    op.window.pads = vec![1, 1, 1, 1];
    let y = b.emit1(op, &[x, w]).unwrap();
    b.channels_first(y).unwrap()
}

fn batch_norm(b: &mut Builder<'_>, x: ValueId, seed: u32) -> ValueId {
    let channels = b.dims(x)[1].fixed().unwrap() as usize;
    let (scale, shift) = (weights(b, &[channels, 1, 1], seed), weights(b, &[channels, 1, 1], seed + 1));
    let y = b.emit1(Binary::from(BinaryKind::Mul), &[x, scale]).unwrap();
    b.emit1(Binary::from(BinaryKind::Add), &[y, shift]).unwrap()
}

fn relu(b: &mut Builder<'_>, x: ValueId) -> ValueId {
    b.emit1(Unary::from(UnaryKind::Relu), &[x]).unwrap()
}

#[test]
fn a_residual_block_becomes_convolutions() {
    let p = program(&[1, 3, 9, 8], |b, x| {
        let x = conv(b, x, 8, 1);
        let x = relu(b, x);
        let y = conv(b, x, 8, 2);
        let y = batch_norm(b, y, 3);
        let y = relu(b, y);
        let y = conv(b, y, 8, 5);
        let y = batch_norm(b, y, 6);
        let y = b.emit1(Binary::from(BinaryKind::Add), &[y, x]).unwrap();
        let y = relu(b, y);
        let mean = Reduce { kind: ReduceKind::Mean, axes: vec![2, 3], keep_dims: true };
        let y = b.emit1(mean, &[y]).unwrap();
        let y = b.reshape(y, &[0, 8]).unwrap();
        let w = weights(b, &[10, 8], 9);
        let y = b.emit1(MatMul { transpose_b: true, ..MatMul::default() }, &[y, w]).unwrap();
        let bias = weights(b, &[10], 10);
        vec![b.emit1(Binary::from(BinaryKind::Add), &[y, bias]).unwrap()]
    });
    assert_eq!(check(p, &[1, 3, 9, 8]), ["Conv+", "Conv+", "Conv+", "Reduce", "Reshape", "MatMul"]);
}

#[test]
fn a_shared_result_is_not_computed_twice() {
    let p = program(&[1, 5, 6, 6], |b, x| {
        let y = conv(b, x, 8, 1);
        vec![relu(b, y), y]
    });
    assert_eq!(check(p, &[1, 5, 6, 6]).iter().filter(|n| n.starts_with("Conv")).count(), 1);
}

#[test]
fn a_batch_norm_after_a_concat_is_one_step() {
    let p = program(&[1, 4, 5, 6], |b, x| {
        let (y, z) = (conv(b, x, 8, 1), conv(b, x, 4, 2));
        let y = b.concat(1, &[y, z]).unwrap();
        let y = batch_norm(b, y, 3);
        let y = relu(b, y);
        vec![conv(b, y, 4, 5)]
    });
    assert_eq!(check(p, &[1, 4, 5, 6]), ["Conv", "Conv", "Concat", "Conv+", "Conv", "Transpose"]);
}

#[test]
fn gates_of_channels_stay_channels_last() {
    let p = program(&[1, 4, 5, 6], |b, x| {
        let y = conv(b, x, 8, 1);
        let mean = Reduce { kind: ReduceKind::Mean, axes: vec![2, 3], keep_dims: true };
        let gate = b.emit1(mean, &[y]).unwrap();
        let gate = conv(b, gate, 8, 2);
        let y = b.mul(y, gate).unwrap();
        vec![conv(b, y, 4, 5)]
    });
    let nodes = check(p, &[1, 4, 5, 6]);
    // The output's return to channels-first.
    assert!(nodes.iter().filter(|n| *n == "Transpose").count() <= 2, "{nodes:?}");
}

/// The operators left of zeros around a channels-first image, and a convolution.
fn padded(pads: &[i64; 8], value: f64) -> Vec<String> {
    let p = program(&[1, 4, 5, 6], |b, x| {
        let (pads, value) = (b.ints(pads).unwrap(), b.scalar(DType::F32, value).unwrap());
        let y = conv(b, x, 8, 1);
        let y = b.emit1(Pad::default(), &[y, pads, value]).unwrap();
        vec![conv(b, y, 4, 2)]
    });
    check(p, &[1, 4, 5, 6])
}

#[test]
fn zeros_around_a_convolution_are_its_padding() {
    assert_eq!(padded(&[0, 0, 1, 2, 0, 0, 0, 1], 0.0), ["Conv", "Conv", "Transpose"]);
    assert!(padded(&[0, 0, 1, 2, 0, 0, 0, 1], 1.0).contains(&"Pad".to_string()));
    assert!(padded(&[0, 1, 1, 2, 0, 0, 0, 1], 0.0).contains(&"Pad".to_string()));
    assert!(padded(&[0, 0, -1, 2, 0, 0, 0, 1], 0.0).contains(&"Pad".to_string()));
}

#[test]
fn what_follows_a_transposed_convolution_is_folded() {
    let p = program(&[1, 4, 5, 6], |b, x| {
        let x = b.channels_last(x).unwrap();
        let w = weights(b, &[8, 2, 2, 4], 3);
        let mut op = ConvTranspose::default();
        op.window.strides = vec![2, 2];
        let y = b.emit1(op, &[x, w]).unwrap();
        let y = b.channels_first(y).unwrap();
        let y = batch_norm(b, y, 4);
        vec![relu(b, y)]
    });
    assert_eq!(check(p, &[1, 4, 5, 6]), ["Transpose", "ConvTranspose", "Transpose"]);
}

#[test]
fn patches_become_tokens_without_a_transpose() {
    let p = program(&[1, 3, 8, 8], |b, x| {
        let y = conv(b, x, 16, 1);
        let y = b.reshape(y, &[0, 16, 64]).unwrap();
        let y = b.emit1(Transpose { perm: vec![0, 2, 1] }, &[y]).unwrap();
        let w = weights(b, &[16, 12], 2);
        let y = b.emit1(MatMul::default(), &[y, w]).unwrap();
        vec![b.emit1(Unary::from(UnaryKind::Gelu), &[y]).unwrap()]
    });
    assert_eq!(check(p, &[1, 3, 8, 8]), ["Conv", "MatMul+", "Reshape"]);
}
