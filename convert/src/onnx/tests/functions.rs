//! Functions: calls are replaced by bodies.

use super::*;

fn function(name: &str, inputs: &[&str], outputs: &[&str], nodes: Vec<NodeProto>) -> FunctionProto {
    let names = |names: &[&str]| names.iter().map(|n| (*n).to_string()).collect();
    FunctionProto {
        name: name.into(),
        domain: "f".into(),
        input: names(inputs),
        output: names(outputs),
        node: nodes,
        opset_import: vec![opset("", 18), opset("f", 1)],
        ..Default::default()
    }
}

fn call(name: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    node(name, inputs, outputs).in_domain("f").named(&format!("call_{}", outputs[0]))
}

fn reference(name: &str, to: &str) -> AttributeProto {
    AttributeProto { ref_attr_name: to.into(), ..attribute(name, AttributeType::Int) }
}

fn with_functions(functions: Vec<FunctionProto>, nodes: Vec<NodeProto>) -> ModelProto {
    ModelProto {
        functions,
        opset_import: vec![opset("", 20), opset("f", 1)],
        ..model(graph(&["x", "z"], &["y"], nodes))
    }
}

#[test]
fn a_call_is_replaced_by_the_body() {
    let twice = function("twice", &["a"], &["b"], vec![node("Op", &["a"], &["t"]), node("Op", &["t"], &["b"])]);
    let nodes = vec![call("twice", &["x"], &["h"]), node("Mid", &["h"], &["i"]), call("twice", &["i"], &["y"])];
    let model = load(&with_functions(vec![twice], nodes)).unwrap();
    let want = [
        "call_h/t=Op-18(x)",
        "call_h/b=Op-18(call_h/t)",
        "i=Mid-20(call_h/b)",
        "call_y/t=Op-18(i)",
        "call_y/b=Op-18(call_y/t)",
    ];
    assert_eq!(text(&model, &model.graph), want);
    assert_eq!(model.graph.nodes[0].name, "call_h/t");
    assert_eq!(
        (model.graph.outputs[0].name.as_str(), model.graph.outputs[0].value),
        ("y", model.graph.nodes[4].output(0).unwrap())
    );
}

#[test]
fn functions_call_functions() {
    let inner = function("inner", &["a"], &["b"], vec![node("Op", &["a"], &["b"])]);
    let inner = FunctionProto { opset_import: vec![opset("", 11)], ..inner };
    // In the wrong order, which is put right as for graphs.
    let nodes = vec![node("Op", &["t"], &["b"]), call("inner", &["a"], &["t"])];
    let outer = function("outer", &["a"], &["b"], nodes);
    let model = load(&with_functions(vec![outer, inner], vec![call("outer", &["x"], &["y"])])).unwrap();
    assert_eq!(text(&model, &model.graph), ["call_y/call_t/b=Op-11(x)", "call_y/b=Op-18(call_y/call_t/b)"]);
}

#[test]
fn attributes_are_passed_on() {
    let mut inner = function("inner", &["a"], &["b"], vec![node("Op", &["a"], &["b"]).with(reference("axis", "d"))]);
    inner.attribute_proto = vec![int("d", 7)];
    let body = call("inner", &["a"], &["b"]).with(reference("d", "given")).with(int("unused", 0));
    inner.attribute.push("unused".into());
    let mut outer = function("outer", &["a"], &["b"], vec![body]);
    outer.attribute = vec!["given".into()];
    let axis = |calls: NodeProto| {
        let model = load(&with_functions(vec![outer.clone(), inner.clone()], vec![calls])).unwrap();
        model.graph.nodes[0].attribute::<i64>("axis").unwrap()
    };
    assert_eq!(axis(call("outer", &["x"], &["y"]).with(int("given", 3))), Some(3));
    assert_eq!(axis(call("outer", &["x"], &["y"])), Some(7), "the default of the inner function");
    inner.attribute_proto.clear();
    inner.attribute.push("d".into());
    let model = load(&with_functions(vec![outer, inner], vec![call("outer", &["x"], &["y"])])).unwrap();
    assert_eq!(model.graph.nodes[0].attribute::<i64>("axis").unwrap(), None, "left out everywhere");
}

#[test]
fn attributes_reach_subgraphs() {
    let branch = graph(&[], &["t"], vec![node("Op", &["a"], &["t"]).with(reference("k", "k"))]);
    let mut f = function("f", &["a"], &["b"], vec![node("If", &["a"], &["b"]).with(subgraph("then_branch", branch))]);
    f.attribute = vec!["k".into()];
    let model = load(&with_functions(vec![f], vec![call("f", &["x"], &["y"]).with(int("k", 4))])).unwrap();
    let branch = model.graph.nodes[0].required::<&Graph>("then_branch").unwrap();
    assert_eq!(branch.nodes[0].int("k", 0).unwrap(), 4);
    assert_eq!(branch.captures, [model.graph.inputs[0].value]);
}

#[test]
fn a_call_inside_a_subgraph_captures() {
    let f = function("f", &["a"], &["b"], vec![node("Op", &["a"], &["b"])]);
    let branch = graph(&[], &["t"], vec![call("f", &["x"], &["t"])]);
    let nodes = vec![node("If", &["z"], &["y"]).with(subgraph("then_branch", branch))];
    let model = load(&with_functions(vec![f], nodes)).unwrap();
    let branch = model.graph.nodes[0].required::<&Graph>("then_branch").unwrap();
    assert_eq!(branch.captures, [model.graph.inputs[0].value]);
    assert_eq!(text(&model, branch), ["call_t/b=Op-18(x)"]);
}

#[test]
fn inputs_and_outputs_may_be_left_out() {
    let nodes = vec![node("Op", &["a", "optional", "b"], &["o"]), node("Other", &["a"], &["p"])];
    let f = function("f", &["a", "optional", "b"], &["o", "p"], nodes);
    let calls = vec![call("f", &["x", "", "z"], &["y"]), call("f", &["x"], &["y2", "y3"])];
    let model = load(&with_functions(vec![f], calls)).unwrap();
    let all = text(&model, &model.graph);
    assert_eq!((all[0].as_str(), all[2].as_str()), ("call_y/o=Op-18(x,-,z)", "call_y2/o=Op-18(x)"));
}

#[test]
fn an_input_may_be_an_output() {
    let f = function("f", &["a"], &["a"], vec![]);
    let model = load(&with_functions(vec![f.clone()], vec![call("f", &["x"], &["y"])])).unwrap();
    assert_eq!(model.graph.outputs[0].value, model.graph.inputs[0].value);
    assert_refused(&with_functions(vec![f], vec![call("f", &[], &["y"])]), &["output 'a' has no value", "(f)"]);
}

#[test]
fn a_body_sees_nothing_around_it() {
    let f = function("f", &["a"], &["b"], vec![node("Op", &["x"], &["b"])]);
    assert_refused(
        &with_functions(vec![f], vec![call("f", &["x"], &["y"])]),
        &["nothing defines the value 'x'", "call_y/b"],
    );
}

#[test]
fn domains_and_overloads_tell_functions_apart() {
    let make = |overload: &str, op: &str| FunctionProto {
        overload: overload.into(),
        ..function("f", &["a"], &["b"], vec![node(op, &["a"], &["b"])])
    };
    let nodes = vec![
        NodeProto { overload: "two".into(), ..call("f", &["x"], &["h"]) },
        NodeProto { overload: "one".into(), ..call("f", &["h"], &["i"]) },
        node("f", &["i"], &["y"]),
    ];
    let proto = with_functions(vec![make("one", "One"), make("two", "Two")], nodes);
    let model = load(&proto).unwrap();
    let ops: Vec<&str> = model.graph.nodes.iter().map(|n| n.op.as_str()).collect();
    assert_eq!(ops, ["Two", "One", "f"]);
    assert_refused(&with_functions(vec![make("one", "A"), make("one", "B")], vec![]), &["'f' is defined twice"]);
}

#[test]
fn a_body_that_imports_nothing_uses_the_callers_versions() {
    let f = FunctionProto { opset_import: vec![], ..function("f", &["a"], &["b"], vec![node("Op", &["a"], &["b"])]) };
    let model = load(&with_functions(vec![f], vec![call("f", &["x"], &["y"])])).unwrap();
    assert_eq!(model.graph.nodes[0].opset, 20);
}

#[test]
fn calls_that_do_not_fit() {
    let f = || function("f", &["a"], &["b"], vec![node("Op", &["a"], &["b"])]);
    let bad = |n: NodeProto, parts: &[&str]| assert_refused(&with_functions(vec![f()], vec![n]), parts);
    bad(call("f", &["x", "z"], &["y"]), &["more inputs or outputs", "call_y", "(f)"]);
    bad(call("f", &["x"], &["y", "w"]), &["more inputs or outputs"]);
    bad(call("f", &["x"], &["y"]).with(int("k", 1)), &["'k' is not one that the function has"]);
    let mut with_graph = f();
    with_graph.attribute = vec!["g".into()];
    let n = call("f", &["x"], &["y"]).with(subgraph("g", graph(&[], &[], vec![])));
    assert_refused(&with_functions(vec![with_graph], vec![n]), &["'g' is a graph"]);
    let mut typed = function("f", &["a"], &["b"], vec![node("Op", &["a"], &["b"]).with(reference("axis", "k"))]);
    typed.attribute = vec!["k".into()];
    let n = call("f", &["x"], &["y"]).with(AttributeProto { f: Some(1.0), ..attribute("k", AttributeType::Float) });
    assert_refused(&with_functions(vec![typed], vec![n]), &["'axis' is of another type than the function's 'k'"]);
}

#[test]
fn recursion_is_refused() {
    let own = function("f", &["a"], &["b"], vec![call("f", &["a"], &["b"])]);
    assert_refused(&with_functions(vec![own], vec![call("f", &["x"], &["y"])]), &["calls itself"]);
    let one = function("one", &["a"], &["b"], vec![call("two", &["a"], &["b"])]);
    let two = function("two", &["a"], &["b"], vec![call("one", &["a"], &["b"])]);
    assert_refused(&with_functions(vec![one, two], vec![call("one", &["x"], &["y"])]), &["'one' calls itself"]);
}

/// Function i calls function i + 1 `times` times, `depth` levels deep.
fn tower(depth: usize, times: usize) -> ModelProto {
    let level = |i: usize| {
        let nodes = (0..times).map(|n| {
            let (from, to) = (format!("v{n}"), format!("v{}", n + 1));
            if i + 1 < depth { call(&format!("f{}", i + 1), &[&from], &[&to]) } else { node("Op", &[&from], &[&to]) }
        });
        function(&format!("f{i}"), &["v0"], &[&format!("v{times}")], nodes.collect())
    };
    with_functions((0..depth).map(level).collect(), vec![call("f0", &["x"], &["y"])])
}

#[test]
fn growth_and_depth_are_bounded() {
    assert_eq!(load(&tower(3, 4)).unwrap().graph.nodes.len(), 64);
    assert_refused(&tower(40, 4), &["too large when its functions are inlined"]);
    assert_refused(&tower(5000, 1), &["nested more than"]);
}

#[test]
fn calls_share_a_functions_tensors() {
    let constant = TensorProto {
        dims: vec![3],
        data_type: DataType::Float as i32,
        float_data: vec![1.0, 2.0, 3.0],
        ..Default::default()
    };
    let value = AttributeProto { t: Some(Box::new(constant)), ..attribute("value", AttributeType::Tensor) };
    let f = function("f", &[], &["b"], vec![node("Constant", &[], &["b"]).with(value)]);
    let model = load(&with_functions(vec![f], vec![call("f", &[], &["h"]), call("f", &[], &["y"])])).unwrap();
    let data = |i: usize| &model.graph.nodes[i].required::<&infer::ops::Tensor>("value").unwrap().data;
    assert!(data(0).same(data(1)));
}
