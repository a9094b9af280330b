//! Programs that the verifier refuses, each with a word of what it says.

use infer::graph::{GraphId, Node, NodeKind, Program, State, ValueId};
use infer::ops::binary::BinaryKind;
use infer::ops::{Binary, Concat};
use infer::tensor::{DType, Dim, Shape, Sym, TensorType};

fn ty(dtype: DType, dims: &[Dim]) -> TensorType {
    TensorType::new(dtype, Shape::new(dims.to_vec()).unwrap())
}

/// y = (x + x) * x, and a branch of the same.
fn program() -> Program {
    let mut p = Program { producer: "test".into(), ..Program::default() };
    let g = p.add_graph("main");
    let n = Dim::sym(p.sym("n"));
    let x = p.add_input(g, "x", ty(DType::F32, std::slice::from_ref(&n)));
    let add = p.add_op(g, "add", Binary::from(BinaryKind::Add), &[Some(x), Some(x)]).unwrap()[0];
    let y = p.add_op(g, "mul", Binary::from(BinaryKind::Mul), &[Some(add), Some(x)]).unwrap()[0];
    p.add_output("y", y);
    let branch = p.add_graph("branch");
    let x = p.add_input(branch, "x", ty(DType::F32, &[n]));
    p.graphs[branch.0 as usize].outputs.push(x);
    p
}

/// A node that runs graph `branch` on value 0, whatever value 0 is.
fn branching(name: &str, branch: u32, output: ValueId) -> Node {
    let kind = NodeKind::If { then_branch: GraphId(branch), else_branch: GraphId(branch) };
    Node { name: name.into(), kind, inputs: vec![Some(ValueId(0)), Some(ValueId(0))], outputs: vec![output] }
}

/// Adds a value without data to a graph.
fn value(p: &mut Program, graph: usize) -> ValueId {
    let copy = p.graphs[graph].values[0].clone();
    p.graphs[graph].values.push(copy);
    ValueId(p.graphs[graph].values.len() as u32 - 1)
}

#[test]
fn the_program_itself_is_legal() {
    program().verify().unwrap();
}

#[test]
fn what_is_wrong_is_named() {
    type Damage = fn(&mut Program);
    let cases: &[(&str, Damage)] = &[
        ("no graph", |p| p.graphs.clear()),
        ("before it is written", |p| p.graphs[0].nodes.swap(0, 1)),
        ("before it is written", |p| p.graphs[0].nodes[0].inputs[0] = Some(p.graphs[0].nodes[1].outputs[0])),
        ("before it is written", |p| p.graphs[0].nodes[1].inputs[0] = Some(ValueId(1000))),
        ("written twice", |p| p.graphs[0].nodes[1].outputs = vec![p.graphs[0].inputs[0]]),
        ("written twice", |p| p.graphs[0].nodes[1].outputs = p.graphs[0].nodes[0].outputs.clone()),
        ("written twice", |p| p.graphs[0].inputs.push(ValueId(0))),
        ("does not exist", |p| p.graphs[0].nodes[1].outputs = vec![ValueId(u32::MAX)]),
        ("without outputs", |p| p.graphs[0].nodes[1].outputs.clear()),
        ("never written", |p| p.graphs[0].outputs = vec![ValueId(7777)]),
        ("1 inputs", |p| p.graphs[0].nodes[1].inputs.truncate(1)),
        ("3 inputs", |p| p.graphs[0].nodes[1].inputs.push(Some(ValueId(0)))),
        ("2 outputs; it has 1", |p| {
            let more = value(p, 0);
            p.graphs[0].nodes[1].outputs.push(more);
        }),
        ("is missing", |p| p.graphs[0].nodes[1].inputs[1] = None),
        ("an output is not", |p| {
            let y = p.graphs[0].nodes[1].outputs[0];
            p.graphs[0].values[y.0 as usize].ty = ty(DType::I64, &[Dim::Fixed(3)]);
        }),
        ("not defined", |p| p.graphs[0].values[0].ty = ty(DType::F32, &[Dim::sym(Sym(40))])),
        ("not defined", |p| p.graphs[0].values[0].ty = ty(DType::F32, &[Dim::Unknown])),
        ("0 names", |p| p.input_names.clear()),
        ("taken", |p| {
            p.graphs[0].outputs = vec![p.graphs[0].outputs[0]; 2];
            p.output_names = vec!["y".into(), "y".into()];
        }),
        ("NUL", |p| p.output_names = vec!["a\0b".into()]),
        ("NUL", |p| p.metadata.push(("a\0b".into(), String::new()))),
        ("does not exist", |p| p.states.push(State { input: 0, output: 9 })),
        ("Concat", |p| p.graphs[0].nodes[1].kind = NodeKind::Op(Concat::along(5).into())),
        ("not bool", |p| {
            let y = value(p, 0);
            p.graphs[0].nodes.push(branching("if", 1, y));
        }),
        ("graph 77 does not exist", |p| {
            let y = value(p, 0);
            p.graphs[0].nodes.push(branching("if", 77, y));
        }),
        ("cycle", |p| {
            let y = value(p, 0);
            p.graphs[0].nodes.push(branching("if", 0, y));
        }),
    ];
    for (words, damage) in cases {
        let mut p = program();
        damage(&mut p);
        let error = p.verify().expect_err(words).to_string();
        assert!(error.contains(words), "{words:?} is not in {error:?}");
    }
}

#[test]
fn deep_and_wide_nesting_is_refused_at_once() {
    // Graphs that each run the next one many times: as many paths as there are atoms.
    let mut p = program();
    for depth in 1..40 {
        let name = format!("level {depth}");
        let next = p.add_graph(&name).0;
        for _ in 0..8 {
            let y = value(&mut p, depth);
            p.graphs[depth].nodes.push(branching("if", next, y));
        }
        let x = p.add_input(GraphId(next), "x", ty(DType::F32, &[]));
        p.graphs[next as usize].outputs.push(x);
    }
    let y = value(&mut p, 0);
    p.graphs[0].nodes.push(branching("if", 1, y));
    assert!(p.verify().unwrap_err().to_string().contains("nests deeper"));
}
