//! What a profile tells of a run's steps.

use infer::exec::{Control, Profile, ProfiledStep};
use infer::graph::{Constant, Program};
use infer::ops::conv::Conv;
use infer::ops::unary::{Unary, UnaryKind};
use infer::ops::{Attention, ConvTranspose, MatMul, NonZero, Op, Recurrent, Tensor, TensorInfo};
use infer::session::{Context, Input, Model, Output, Session, SessionOptions};
use infer::tensor::{DType, Dims, Shape, TensorType};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn fixed(dims: &[usize]) -> TensorType {
    TensorType::new(DType::F32, Shape::fixed(dims).unwrap())
}

/// tanh(x · w), and where it is not 0.
fn model() -> Arc<Model> {
    let mut p = Program { producer: "test".into(), ..Program::default() };
    let g = p.add_graph("main");
    let x = p.add_input(g, "x", fixed(&[64, 96]));
    let w = Tensor::new(&[96, 128], &vec![0.01f32; 96 * 128]).unwrap();
    let w = p.graphs[0].add_constant("w", Constant::from(w));
    let y = p.add_op(g, "product", MatMul::default(), &[Some(x), Some(w)]).unwrap()[0];
    let z = p.add_op(g, "bounded", Unary::from(UnaryKind::Tanh), &[Some(y)]).unwrap()[0];
    let at = p.add_op(g, "places", NonZero, &[Some(z)]).unwrap()[0];
    p.add_output("z", z);
    p.add_output("at", at);
    p.verify().unwrap();
    Model::from_program(p)
}

fn profiled(threads: usize) -> (Vec<ProfiledStep>, Duration) {
    let session = Session::new(&model(), &SessionOptions { threads, ..Default::default() }).unwrap();
    let mut context = Context::new(&session);
    let data = vec![0x3fu8; 64 * 96 * 4];
    let input = Input { dtype: DType::F32, dims: Dims::new(&[64, 96]), data: &data, ..Input::default() };
    let mut run = |profile| {
        let start = Instant::now();
        let control = Control { profile, ..Control::default() };
        context.run(&[input], &mut [Output::default(), Output::default()], control).unwrap();
        start.elapsed()
    };
    run(None);
    let profile = Profile::default();
    let time = run(Some(&profile));
    (profile.steps(), time)
}

#[test]
fn every_step_is_there_with_its_name_shapes_and_work() {
    for threads in [1, 2] {
        let (steps, time) = profiled(threads);
        let names: Vec<(&str, &str)> = steps.iter().map(|s| (&*s.name, s.operator)).collect();
        assert_eq!(names, [("product", "MatMul"), ("bounded", "Unary"), ("places", "NonZero")]);
        assert_eq!(
            steps[0].inputs.iter().flatten().map(|i| i.dims.to_vec()).collect::<Vec<_>>(),
            [[64, 96], [96, 128]]
        );
        assert_eq!(steps[0].outputs[0].dims[..], [64, 128]);
        assert_eq!(steps[2].outputs[0].dims[..], [2, 64 * 128]);
        assert_eq!(steps.iter().map(|s| s.flops).collect::<Vec<_>>(), [2 * 64 * 128 * 96, 0, 0]);
        assert_eq!(steps[0].bytes, 4 * (64 * 96 + 96 * 128 + 64 * 128));
        let sum: Duration = steps.iter().map(|s| s.time).sum();
        assert!(steps.iter().all(|s| !s.time.is_zero()) && sum <= time, "{sum:?} of {time:?}");
    }
}

#[test]
fn a_profile_collects_the_steps_of_all_its_runs() {
    let session = Session::new(&model(), &SessionOptions::default()).unwrap();
    let (data, profile) = (vec![0; 64 * 96 * 4], Profile::default());
    let input = Input { dtype: DType::F32, dims: Dims::new(&[64, 96]), data: &data, ..Input::default() };
    let control = Control { profile: Some(&profile), ..Control::default() };
    for runs in 1..3 {
        session.run(&[input], &mut [Output::default(), Output::default()], control).unwrap();
        assert_eq!(profile.steps().len(), 3 * runs);
    }
}

#[test]
fn operations_are_those_of_the_direct_algorithm() {
    let flops = |op: Op, inputs: &[&[usize]], output: &[usize]| {
        let info = |dims: &&[usize]| TensorInfo { dtype: DType::F32, dims: Dims::new(dims) };
        op.flops(&inputs.iter().map(|dims| Some(info(dims))).collect::<Vec<_>>(), &[info(&output)])
    };
    let product = MatMul { transpose_a: true, ..MatMul::default() };
    assert_eq!(flops(product.into(), &[&[5, 7, 3], &[7, 2]], &[5, 3, 2]), 2 * 5 * 3 * 2 * 7);
    assert_eq!(flops(MatMul::default().into(), &[&[7], &[7]], &[]), 2 * 7);
    let grouped = Conv { groups: 4, ..Conv::default() };
    assert_eq!(flops(grouped.into(), &[&[2, 9, 9, 8], &[12, 3, 3, 2]], &[2, 7, 7, 12]), 2 * 2 * 49 * 12 * 9 * 2);
    let spread = ConvTranspose { groups: 2, ..ConvTranspose::default() };
    assert_eq!(flops(spread.into(), &[&[1, 5, 5, 8], &[6, 2, 2, 4]], &[1, 6, 6, 6]), 2 * 25 * 6 * 4 * 4);
    let heads = [&[2, 4, 10, 16][..], &[2, 2, 6, 16], &[2, 2, 6, 32]];
    assert_eq!(flops(Attention::default().into(), &heads, &[2, 4, 10, 32]), 2 * 2 * 4 * 10 * 6 * (16 + 32));
    let lstm = Recurrent {
        kind: infer::ops::recurrent::CellKind::Lstm,
        hidden: 8,
        direction: infer::ops::recurrent::Direction::Both,
        linear_before_reset: false,
        input_forget: false,
        clip: 0.0,
        functions: vec![],
        batch_first: false,
    };
    let operands = [&[9, 3, 5][..], &[2, 5, 32], &[2, 8, 32]];
    assert_eq!(flops(lstm.into(), &operands, &[9, 2, 3, 8]), 2 * 9 * 3 * 2 * (5 + 8) * 32);
    assert_eq!(flops(NonZero.into(), &[&[3]], &[1, 3]), 0);
}
