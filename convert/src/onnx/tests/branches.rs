//! Ifs whose branches do not agree, and Loops that carry sequences.

use super::*;
use crate::onnx::lower::lower;
use infer::exec::Control;
use infer::session::{Input, Output, Session, SessionOptions};
use infer::tensor::{DType, Dims};

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::Ints) }
}

/// y = f(x without its last dimension if that has the extent 1, else x), for x `[4, n]` and f the last nodes, from `h`.
fn squeezed(last: Vec<NodeProto>) -> ModelProto {
    let constant = |name: &str, v: i64| node("Constant", &[], &[name]).with(ints("value_ints", &[v]));
    let branch = |op: &str, inputs: &[&str], name: &str| GraphProto {
        name: name.into(),
        output: vec![untyped(name)],
        node: vec![node(op, inputs, &[name])],
        ..Default::default()
    };
    let mut nodes = vec![
        constant("one", 1),
        node("Shape", &["x"], &["shape"]),
        node("Gather", &["shape", "one"], &["extent"]),
        node("Equal", &["extent", "one"], &["single"]),
        node("If", &["single"], &["h"])
            .with(subgraph("then_branch", branch("Squeeze", &["x", "one"], "s")))
            .with(subgraph("else_branch", branch("Identity", &["x"], "i"))),
    ];
    nodes.extend(last);
    let input = value("x", &[DimensionValue::Value(4), DimensionValue::Param("n".into())]);
    let graph = GraphProto {
        name: "g".into(),
        input: vec![input],
        output: vec![untyped("y")],
        node: nodes,
        ..Default::default()
    };
    model(graph)
}

/// The output and its extents for x = 1, 2, ..
fn run(model: &ModelProto, n: usize) -> Result<(Vec<usize>, Vec<f32>)> {
    let program = lower(&load(model)?)?;
    let model = infer::session::Model::from_program(program);
    let session = Session::new(&model, &SessionOptions::default())?;
    let data: Vec<u8> = (1..=4 * n).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let input = Input { dtype: DType::F32, dims: Dims::new(&[4, n]), data: &data, ..Input::default() };
    let mut outputs = [Output::default()];
    session.run(&[input], &mut outputs, Control::default())?;
    let bytes = outputs[0].owned.as_ref().unwrap();
    let floats = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    Ok((outputs[0].info.unwrap().dims.to_vec(), floats))
}

#[test]
fn branches_of_different_ranks_take_in_what_follows() {
    let last = vec![
        node("Relu", &["h"], &["r"]),
        node("ReduceMax", &["r"], &["m"]).with(int("keepdims", 0)),
        node("Add", &["m", "x"], &["y"]),
    ];
    let model = squeezed(last);
    assert_eq!(run(&model, 1).unwrap(), (vec![4, 1], vec![5.0, 6.0, 7.0, 8.0]));
    assert_eq!(run(&model, 2).unwrap(), (vec![4, 2], (9..17).map(|i| i as f32).collect()));
}

#[test]
fn a_branch_that_does_not_fit_fails_when_it_is_taken() {
    let model = squeezed(vec![node("Transpose", &["h"], &["y"]).with(ints("perm", &[0]))]);
    assert_eq!(run(&model, 1).unwrap(), (vec![4], vec![1.0, 2.0, 3.0, 4.0]));
    let e = run(&model, 2).unwrap_err().to_string();
    assert!(e.contains("a branch that does not fit its shapes") && e.contains("Transpose"), "{e}");
}

#[test]
fn outputs_of_different_ranks_are_refused() {
    let model = squeezed(vec![node("Relu", &["h"], &["y"])]);
    let e = lower(&load(&model).unwrap()).unwrap_err().to_string();
    assert!(e.contains("on one path"), "{e}");
}

/// y = f(0 · x, 1 · x, ..), f the last nodes, of the sequence `all` that a Loop makes of the sequence `none`. It makes as
/// many trips as are given, or else as the largest element of x says; `grow` is how `after` follows from `before` and `z`.
fn grown(trips: Option<i64>, none: NodeProto, grow: NodeProto, last: Vec<NodeProto>) -> ModelProto {
    let body = GraphProto {
        name: "body".into(),
        input: vec![untyped("i"), untyped("c"), untyped("before")],
        output: vec![untyped("more"), untyped("after")],
        node: vec![
            node("CastLike", &["i", "x"], &["factor"]),
            node("Mul", &["x", "factor"], &["z"]),
            grow,
            node("Identity", &["c"], &["more"]),
        ],
        ..Default::default()
    };
    let mut nodes = match trips {
        Some(trips) => vec![node("Constant", &[], &["trips"]).with(ints("value_ints", &[trips]))],
        None => vec![
            node("ReduceMax", &["x"], &["largest"]).with(int("keepdims", 0)),
            node("Cast", &["largest"], &["trips"]).with(int("to", DataType::Int64 as i64)),
        ],
    };
    nodes.push(none);
    nodes.push(node("Loop", &["trips", "", "none"], &["all"]).with(subgraph("body", body)));
    nodes.extend(last);
    let input = value("x", &[DimensionValue::Value(4), DimensionValue::Param("n".into())]);
    let (input, output) = (vec![input], vec![untyped("y")]);
    model(GraphProto { name: "g".into(), input, output, node: nodes, ..Default::default() })
}

/// The rows 0 · x, 1 · x, .. one below the other.
fn stacked(trips: Option<i64>) -> ModelProto {
    let last = node("ConcatFromSequence", &["all"], &["y"]).with(int("axis", 0));
    grown(trips, node("SequenceEmpty", &[], &["none"]), append(), vec![last])
}

fn append() -> NodeProto {
    node("SequenceInsert", &["before", "z"], &["after"])
}

#[test]
fn sequences_grow_while_the_model_runs() {
    let rows = |factors: &[f32]| factors.iter().flat_map(|f| (1..5).map(move |i| i as f32 * f)).collect::<Vec<f32>>();
    assert_eq!(run(&stacked(None), 1).unwrap(), (vec![16, 1], rows(&[0.0, 1.0, 2.0, 3.0])));
    let empty = || node("SequenceEmpty", &[], &["none"]);
    let joined = |axis: i64, new: i64| {
        let last = node("ConcatFromSequence", &["all"], &["y"]).with(int("axis", axis)).with(int("new_axis", new));
        run(&grown(None, empty(), append(), vec![last]), 1).unwrap()
    };
    assert_eq!(joined(0, 1), (vec![4, 4, 1], rows(&[0.0, 1.0, 2.0, 3.0])));
    assert_eq!(joined(-1, 1).0, [4, 1, 4]);
    let columns: Vec<f32> = (1..5).flat_map(|i| (0..4).map(move |f| (i * f) as f32)).collect();
    assert_eq!(joined(1, 0), (vec![4, 4], columns));
    // Elements that were there before, one that is added behind, its length, and one of them.
    let first = node("SequenceConstruct", &["x", "x"], &["none"]);
    let last = vec![
        node("SequenceInsert", &["all", "x"], &["longer"]),
        node("SequenceLength", &["longer"], &["length"]),
        node("Constant", &[], &["two"]).with(ints("value_ints", &[2])),
        node("Sub", &["length", "two"], &["index"]),
        node("SequenceAt", &["longer", "index"], &["y"]),
    ];
    assert_eq!(run(&grown(None, first, append(), last), 1).unwrap(), (vec![4, 1], rows(&[3.0])));
}

#[test]
fn elements_are_picked_from_a_sequence_by_a_computed_position() {
    let last = vec![
        node("ReduceMin", &["x"], &["smallest"]).with(int("keepdims", 0)),
        node("Cast", &["smallest"], &["index"]).with(int("to", DataType::Int64 as i64)),
        node("SequenceAt", &["all", "index"], &["y"]),
    ];
    let model = grown(Some(3), node("SequenceEmpty", &[], &["none"]), append(), last);
    assert_eq!(run(&model, 1).unwrap(), (vec![4, 1], vec![1.0, 2.0, 3.0, 4.0]));
    // All rows of x, of which there are as many as its extent says.
    let split = node("SplitToSequence", &["x"], &["rows"]).with(int("axis", 1)).with(int("keepdims", 0));
    let last = vec![split, node("ConcatFromSequence", &["rows"], &["y"]).with(int("axis", 0))];
    let model = grown(Some(1), node("SequenceEmpty", &[], &["none"]), append(), last);
    assert_eq!(run(&model, 2).unwrap(), (vec![8], [1, 3, 5, 7, 2, 4, 6, 8].map(|i| i as f32).to_vec()));
}

#[test]
fn loops_that_carry_sequences_are_lowered_trip_by_trip() {
    assert_eq!(run(&stacked(Some(2)), 1).unwrap(), (vec![8, 1], vec![0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0]));
    assert_eq!(run(&stacked(Some(3)), 2).unwrap().0, [12, 2]);
    let refused = |model: &ModelProto| lower(&load(model).unwrap()).unwrap_err().to_string();
    let shrink = node("SequenceErase", &["before"], &["after"]);
    let last = node("ConcatFromSequence", &["all"], &["y"]).with(int("axis", 0));
    let shrinking = grown(None, node("SequenceConstruct", &["x"], &["none"]), shrink, vec![last]);
    assert!(refused(&shrinking).contains("whose length is not known"));
    assert!(refused(&stacked(Some(2000))).contains("more than 1024 trips"));
    assert!(refused(&stacked(Some(0))).contains("empty sequence"));
}
