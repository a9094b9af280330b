//! Control flow, and shapes that depend on data.

use infer::exec::Control;
use infer::graph::{Constant, GraphId, Program, ValueId};
use infer::ops::binary::BinaryKind;
use infer::ops::{Binary, Reshape, Tensor, TensorInfo};
use infer::session::{Input, Model, Output, Session, SessionOptions};
use infer::tensor::{DType, Dim, Shape, TensorType};

fn tensor_type(dtype: DType, dims: &[Dim]) -> TensorType {
    TensorType::new(dtype, Shape::new(dims.to_vec()).unwrap())
}

fn constant(p: &mut Program, g: GraphId, dims: &[usize], elements: &[f32]) -> ValueId {
    let tensor = Tensor::new(dims, elements).unwrap();
    p.graphs[g.0 as usize].add_constant("", Constant::from(tensor))
}

fn binary(p: &mut Program, g: GraphId, kind: BinaryKind, a: ValueId, b: ValueId) -> ValueId {
    p.add_op(g, "", Binary::from(kind), &[Some(a), Some(b)]).unwrap()[0]
}

fn run(p: Program, inputs: &[Tensor]) -> Vec<(TensorInfo, Vec<f32>)> {
    let model = Model::from_program(p);
    let session = Session::new(&model, &SessionOptions { threads: 2, ..Default::default() }).unwrap();
    let take = |t: &Tensor| t.data.to_vec();
    let data: Vec<Vec<u8>> = inputs.iter().map(take).collect();
    let views: Vec<Input<'_>> = inputs
        .iter()
        .zip(&data)
        .map(|(t, data)| Input { dtype: t.info.dtype, dims: t.info.dims, data, ..Input::default() })
        .collect();
    let mut outputs: Vec<Output<'_>> = model.outputs().iter().map(|_| Output::default()).collect();
    session.run(&views, &mut outputs, Control::default()).unwrap();
    let floats = |bytes: &[u8]| bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    outputs.iter().map(|o| (o.info.unwrap(), floats(o.owned.as_ref().unwrap()))).collect()
}

fn truth(value: bool) -> Tensor {
    let mut t = Tensor::new(&[], &[u8::from(value)]).unwrap();
    t.info.dtype = DType::Bool;
    t
}

/// y = condition ? x + 1 : x * 2, then y + x.
fn if_model() -> Program {
    let mut p = Program { producer: "test".into(), ..Program::default() };
    let main = p.add_graph("main");
    let n = Dim::sym(p.sym("n"));
    let condition = p.add_input(main, "condition", tensor_type(DType::Bool, &[]));
    let x = p.add_input(main, "x", tensor_type(DType::F32, std::slice::from_ref(&n)));
    let mut branch = |kind, factor: f32| {
        let g = p.add_graph("branch");
        let x = p.add_input(g, "x", tensor_type(DType::F32, std::slice::from_ref(&n)));
        let c = constant(&mut p, g, &[], &[factor]);
        let y = binary(&mut p, g, kind, x, c);
        p.graphs[g.0 as usize].outputs.push(y);
        g
    };
    let branches = (branch(BinaryKind::Add, 1.0), branch(BinaryKind::Mul, 2.0));
    let y = p.add_if(main, "if", branches, condition, &[x]).unwrap()[0];
    let y = binary(&mut p, main, BinaryKind::Add, y, x);
    p.add_output("y", y);
    p.verify().unwrap();
    p
}

#[test]
fn if_takes_one_branch() {
    let x = Tensor::new(&[3], &[1f32, 2., 3.]).unwrap();
    assert_eq!(run(if_model(), &[truth(true), x.clone()])[0].1, [3.0, 5.0, 7.0]);
    assert_eq!(run(if_model(), &[truth(false), x])[0].1, [3.0, 6.0, 9.0]);
}

#[test]
fn loop_carries_and_stacks() {
    let mut p = Program { producer: "test".into(), ..Program::default() };
    let main = p.add_graph("main");
    let trips = p.add_input(main, "trips", tensor_type(DType::I64, &[]));
    let x = p.add_input(main, "x", tensor_type(DType::F32, &[Dim::Fixed(2)]));
    let step = p.add_input(main, "step", tensor_type(DType::F32, &[Dim::Fixed(1)]));
    let body = p.add_graph("body");
    p.add_input(body, "trip", tensor_type(DType::I64, &[]));
    let condition = p.add_input(body, "condition", tensor_type(DType::Bool, &[]));
    let carried = p.add_input(body, "x", tensor_type(DType::F32, &[Dim::Fixed(2)]));
    let unchanged = p.add_input(body, "step", tensor_type(DType::F32, &[Dim::Fixed(1)]));
    let next = binary(&mut p, body, BinaryKind::Add, carried, unchanged);
    p.graphs[body.0 as usize].outputs = vec![condition, next, carried];
    let inputs = [Some(trips), None, Some(x), Some(step)];
    let outputs = p.add_loop(main, "loop", (body, 1), &inputs).unwrap();
    p.add_output("last", outputs[0]);
    p.add_output("all", outputs[1]);
    p.verify().unwrap();
    let (x, step) = (Tensor::new(&[2], &[0f32, 10.]).unwrap(), Tensor::new(&[1], &[1f32]).unwrap());
    for n in [0i64, 1, 4] {
        let out = run(p.clone(), &[Tensor::new(&[], &[n]).unwrap(), x.clone(), step.clone()]);
        assert_eq!(out[0].1, [n as f32, 10.0 + n as f32]);
        assert_eq!(&out[1].0.dims[..], &[n as usize, 2]);
        assert_eq!(out[1].1, (0..n).flat_map(|i| [i as f32, 10.0 + i as f32]).collect::<Vec<_>>());
    }
}

#[test]
fn a_shape_that_an_input_gives_is_read_when_it_is_there() {
    let mut p = Program { producer: "test".into(), ..Program::default() };
    let g = p.add_graph("main");
    let n = Dim::sym(p.sym("n"));
    let x = p.add_input(g, "x", tensor_type(DType::F32, std::slice::from_ref(&n)));
    let target = p.add_input(g, "target", tensor_type(DType::I64, &[Dim::Fixed(2)]));
    let doubled = binary(&mut p, g, BinaryKind::Add, x, x);
    let y = p.add_op(g, "reshape", Reshape::default(), &[Some(doubled), Some(target)]).unwrap()[0];
    let y = binary(&mut p, g, BinaryKind::Mul, y, y);
    p.add_output("y", y);
    p.verify().unwrap();
    let x = Tensor::new(&[6], &[0f32, 1., 2., 3., 4., 5.]).unwrap();
    for (target, dims) in [([2i64, 3], [2usize, 3]), ([-1, 2], [3, 2]), ([2, 3], [2, 3])] {
        let out = run(p.clone(), &[x.clone(), Tensor::new(&[2], &target).unwrap()]);
        assert_eq!(&out[0].0.dims[..], &dims);
        assert_eq!(out[0].1, [0.0, 4.0, 16.0, 36.0, 64.0, 100.0]);
    }
}
