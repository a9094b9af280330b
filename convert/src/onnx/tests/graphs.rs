//! Names, order, types, attributes and subgraphs.

use super::*;
use infer::error::Status;
use infer::tensor::DType;

#[test]
fn a_chain_of_nodes() {
    let nodes = vec![node("Relu", &["x"], &["h"]), node("Add", &["h", "x"], &["y"]).named("sum")];
    let model = load_graph(graph(&["x"], &["y"], nodes)).unwrap();
    assert_eq!(text(&model, &model.graph), ["h=Relu-20(x)", "y=Add-20(h,x)"]);
    assert_eq!((model.graph.nodes[0].name.as_str(), model.graph.nodes[1].name.as_str()), ("h", "sum"));
    assert_eq!(model.graph.outputs[0].value, model.graph.nodes[1].output(0).unwrap());
    assert_eq!(model.producer, "test");
    assert_eq!(model.value_count(), 3);
    assert_eq!(model.graph.nodes[1].to_string(), "Add-20 'sum'");
}

#[test]
fn nodes_are_put_in_order() {
    let nodes = vec![
        node("C", &["b"], &["c"]),
        node("A", &["x"], &["a"]),
        node("If", &["x"], &["d"]).with(subgraph("then_branch", graph(&[], &["t"], vec![node("T", &["c"], &["t"])]))),
        node("B", &["a"], &["b"]),
    ];
    let model = load_graph(graph(&["x"], &["d"], nodes)).unwrap();
    assert_eq!(text(&model, &model.graph), ["a=A-20(x)", "b=B-20(a)", "c=C-20(b)", "d=If-20(x)"]);
}

#[test]
fn circles_are_refused() {
    let two = vec![node("A", &["b"], &["a"]), node("B", &["a"], &["b"])];
    assert_refused(&model(graph(&["x"], &["b"], two)), &["depends on its own output", "'a' (A)"]);
    let own = vec![node("A", &["a"], &["a"])];
    assert_refused(&model(graph(&["x"], &["a"], own)), &["depends on its own output"]);
    let through = graph(&[], &["t"], vec![node("T", &["d"], &["t"])]);
    let inner = vec![node("If", &["x"], &["d"]).with(subgraph("then_branch", through))];
    assert_refused(&model(graph(&["x"], &["d"], inner)), &["depends on its own output"]);
}

#[test]
fn every_name_is_defined_once() {
    let missing = model(graph(&["x"], &["y"], vec![node("A", &["z"], &["y"])]));
    assert_refused(&missing, &["nothing defines the value 'z'", "'y' (A)"]);
    assert_refused(&model(graph(&["x"], &["z"], vec![])), &["nothing defines the value 'z'"]);
    let twice = vec![node("A", &["x"], &["y"]), node("B", &["x"], &["y"])];
    assert_refused(&model(graph(&["x"], &["y"], twice)), &["'y' is defined twice", "(B)"]);
    assert_refused(&model(graph(&["x"], &["x"], vec![node("A", &[], &["x"])])), &["'x' is defined twice"]);
    assert_refused(&model(graph(&["x", "x"], &["x"], vec![])), &["'x' is defined twice"]);
    assert_refused(&model(graph(&[""], &[], vec![])), &["no name"]);
    assert_refused(&model(graph(&["x"], &[""], vec![])), &["the output '' has no value"]);
}

#[test]
fn a_value_may_be_several_outputs() {
    let model = load_graph(graph(&["x"], &["x", "x", "x_2", "x"], vec![node("A", &["x"], &["x_2"])])).unwrap();
    let names: Vec<&str> = model.graph.outputs.iter().map(|o| o.name.as_str()).collect();
    assert_eq!(names, ["x", "x_3", "x_2", "x_4"]);
    assert_eq!(model.graph.outputs[0].value, model.graph.outputs[3].value);
}

#[test]
fn absent_inputs_and_outputs() {
    let nodes = vec![node("Clip", &["x", "", "x", "", ""], &["", "y"])];
    let model = load_graph(graph(&["x"], &["y"], nodes)).unwrap();
    let clip = &model.graph.nodes[0];
    assert_eq!(text(&model, &model.graph), ["-,y=Clip-20(x,-,x)"]);
    assert_eq!((clip.input(1), clip.input(9), clip.output(0)), (None, None, None));
    assert_eq!(clip.required_input(2).unwrap(), model.graph.inputs[0].value);
    let error = clip.required_input(3).unwrap_err();
    assert_eq!((error.node(), error.op(), error.message()), ("y", "Clip", "input 3 is missing"));
}

#[test]
fn constants_are_not_inputs() {
    let tensor = |name: &str| TensorProto {
        name: name.into(),
        dims: vec![1],
        data_type: DataType::Float as i32,
        float_data: vec![2.5],
        ..Default::default()
    };
    let mut g = graph(&["w", "x"], &["y"], vec![node("Add", &["x", "w"], &["y"])]);
    g.initializer = vec![tensor("w"), tensor("unused")];
    let model = load_graph(g.clone()).unwrap();
    assert_eq!(model.graph.inputs.iter().map(|i| i.name.as_str()).collect::<Vec<_>>(), ["x"]);
    let (value, data) = &model.graph.constants[0];
    assert_eq!((model.value_name(*value), data.elements::<f32>()), ("w", &[2.5f32][..]));
    g.initializer.push(tensor("w"));
    assert_refused(&super::model(g), &["'w' is defined twice"]);
}

#[test]
fn stated_types() {
    use DimensionValue::{Param, Value as Number};
    let dims = [Number(3), Number(0), Number(-1), Param("n".into()), Param("?".into()), Param(String::new())];
    let mut g = graph(&[], &[], vec![]);
    g.input = vec![value("x", &dims)];
    let Some(TypeProto { value: Some(TypeKind::Tensor(tensor)) }) = &mut g.input[0].r#type else { unreachable!() };
    tensor.shape.as_mut().unwrap().dim.push(DimensionProto { value: None });
    let model = load_graph(g).unwrap();
    let Some(ValueType::Tensor(DType::F32, Some(extents))) = &model.graph.inputs[0].ty else { panic!("a tensor") };
    let open = || Extent::Open;
    assert_eq!(
        extents[..],
        [Extent::Fixed(3), Extent::Fixed(0), open(), Extent::Named("n".into()), open(), open(), open()]
    );
}

#[test]
fn types_that_are_not_tensors() {
    let typed = |kind| {
        let mut g = graph(&[], &[], vec![]);
        g.input = vec![ValueInfoProto { name: "x".into(), r#type: Some(TypeProto { value: Some(kind) }) }];
        model(g)
    };
    let tensor = |elem_type| TypeKind::Tensor(TensorTypeProto { elem_type, shape: None });
    let of = |kind| Box::new(ElementTypeProto { elem_type: Some(Box::new(TypeProto { value: Some(kind) })) });
    let ty = |kind| load(&typed(kind)).unwrap().graph.inputs[0].ty.clone().unwrap();
    let vector = ValueType::Tensor(DType::I64, None);
    assert_eq!(ty(tensor(7)), vector);
    let sequence = ValueType::Sequence(Box::new(vector));
    assert_eq!(ty(TypeKind::Sequence(of(tensor(7)))), sequence);
    assert_eq!(ty(TypeKind::Optional(of(TypeKind::Sequence(of(tensor(7)))))), ValueType::Optional(Box::new(sequence)));
    assert_refused(&typed(TypeKind::Map(Unread {})), &["'x'", "maps"]);
    assert_refused(&typed(TypeKind::SparseTensor(Unread {})), &["'x'", "sparse"]);
    assert_refused(&typed(TypeKind::Opaque(Unread {})), &["'x'", "opaque"]);
    assert_refused(&typed(tensor(8)), &["'x'", "String"]);
    assert_refused(&typed(tensor(99)), &["'x'", "99"]);
    assert_refused(&typed(TypeKind::Sequence(Box::default())), &["'x'", "element type"]);
    let many: Vec<_> = (0..9).map(DimensionValue::Value).collect();
    let mut g = graph(&[], &[], vec![]);
    g.input = vec![value("x", &many)];
    assert_refused(&model(g.clone()), &["'x'", "rank 9"]);
    g.input = vec![untyped("x")];
    assert_refused(&model(g), &["'x'", "no type"]);
}

#[test]
fn attributes_by_type() {
    let all = node("Op", &["x"], &["y"])
        .with(int("i", 3))
        .with(int("yes", 1))
        .with(AttributeProto { f: Some(0.5), ..attribute("f", AttributeType::Float) })
        .with(AttributeProto { s: Some("abc".into()), ..attribute("s", AttributeType::String) })
        .with(AttributeProto { ints: vec![1, 2], ..attribute("is", AttributeType::Ints) })
        .with(AttributeProto { floats: vec![1.5], ..attribute("fs", AttributeType::Floats) })
        .with(AttributeProto { strings: vec!["a".into(), "".into()], ..attribute("ss", AttributeType::Strings) })
        .with(attribute("zero", AttributeType::Int))
        .with(AttributeProto { ints: vec![7], ..attribute("old", AttributeType::Undefined) })
        .with(subgraph("g", graph(&[], &[], vec![])));
    let model = load_graph(graph(&["x"], &["y"], vec![all])).unwrap();
    let n = &model.graph.nodes[0];
    assert_eq!(n.unread_attributes().count(), 10);
    assert_eq!((n.int("i", 0).unwrap(), n.int("absent", 9).unwrap(), n.int("zero", 5).unwrap()), (3, 9, 0));
    assert!(n.flag("yes", false).unwrap() && !n.flag("zero", true).unwrap() && n.flag("absent", true).unwrap());
    assert_eq!((n.float("f", 0.0).unwrap(), n.float("absent", 2.0).unwrap()), (0.5, 2.0));
    assert_eq!((n.string("s", "").unwrap(), n.string("absent", "d").unwrap()), ("abc", "d"));
    assert_eq!((n.ints("is").unwrap(), n.ints("absent").unwrap()), (Some(&[1, 2][..]), None));
    assert_eq!(n.required::<&[f32]>("fs").unwrap(), [1.5]);
    assert_eq!(n.required::<&[String]>("ss").unwrap(), ["a", ""]);
    assert_eq!(n.required::<&[i64]>("old").unwrap(), [7]);
    assert_eq!(n.unread_attributes().collect::<Vec<_>>(), ["g"]);
    assert!(n.required::<&Graph>("g").unwrap().nodes.is_empty());
    assert_eq!(n.unread_attributes().count(), 0);

    let wrong = n.float("i", 0.0).unwrap_err();
    assert_eq!((wrong.status(), wrong.node(), wrong.op()), (Status::Format, "y", "Op"));
    assert_eq!(wrong.message(), "attribute 'i' is an integer where a float is needed");
    assert!(n.flag("i", false).unwrap_err().message().contains("not 0 or 1"));
    assert!(n.required::<i64>("absent").unwrap_err().message().contains("missing"));
}

#[test]
fn attributes_that_are_not_legal() {
    let with = |a: AttributeProto| model(graph(&["x"], &["y"], vec![node("Op", &["x"], &["y"]).with(a)]));
    assert_refused(&with(attribute("a", AttributeType::Tensor)), &["'a' has no value", "'y' (Op)"]);
    assert_refused(&with(attribute("a", AttributeType::Graph)), &["'a' has no value"]);
    assert_refused(&with(attribute("a", AttributeType::TypeProto)), &["'a' has no value"]);
    assert_refused(&with(attribute("a", AttributeType::Undefined)), &["'a' has neither"]);
    assert_refused(&with(attribute("a", AttributeType::TypeProtos)), &["TypeProtos", "not supported"]);
    assert_refused(&with(AttributeProto { r#type: 77, ..int("a", 1) }), &["'a'", "unknown type"]);
    let bytes = AttributeProto { s: Some(vec![0xff].into()), ..attribute("a", AttributeType::String) };
    assert_refused(&with(bytes), &["'a' is not UTF-8"]);
    assert_refused(&with(AttributeProto { ref_attr_name: "b".into(), ..int("a", 1) }), &["outside of a function"]);
    let twice = node("Op", &["x"], &["y"]).with(int("a", 1)).with(int("a", 1));
    assert_refused(&model(graph(&["x"], &["y"], vec![twice])), &["'a' stands twice"]);
}

/// The names of what a graph captures.
fn captures<'m>(model: &'m Model, graph: &Graph) -> Vec<&'m str> {
    graph.captures.iter().map(|&v| model.value_name(v)).collect()
}

#[test]
fn subgraphs_list_what_they_capture() {
    let innermost = graph(&[], &["o"], vec![node("Op", &["x", "t"], &["o"])]);
    let inner_if = node("If", &["c"], &["u"]).with(subgraph("then_branch", innermost));
    let then = graph(&[], &["u"], vec![node("Relu", &["h"], &["t"]), inner_if, node("Op", &["h"], &["v"])]);
    let passes_on = graph(&[], &["h"], vec![]);
    let outer = node("If", &["c"], &["y"]).with(subgraph("then_branch", then)).with(subgraph("else_branch", passes_on));
    let model = load_graph(graph(&["x", "c"], &["y"], vec![node("Relu", &["x"], &["h"]), outer])).unwrap();
    assert!(model.graph.captures.is_empty());
    let outer = &model.graph.nodes[1];
    let then = outer.required::<&Graph>("then_branch").unwrap();
    assert_eq!(captures(&model, then), ["h", "c", "x"]);
    let innermost = then.nodes[1].required::<&Graph>("then_branch").unwrap();
    assert_eq!(captures(&model, innermost), ["x", "t"]);
    let otherwise = outer.required::<&Graph>("else_branch").unwrap();
    assert_eq!(captures(&model, otherwise), ["h"]);
    assert_eq!(otherwise.outputs[0].value, model.graph.nodes[0].output(0).unwrap());
}

#[test]
fn inner_names_hide_outer_ones() {
    let mut body = graph(&["x"], &["h"], vec![node("Op", &["x"], &["h"])]);
    body.input = vec![untyped("x")];
    let scan = node("Scan", &["h"], &["y"]).with(subgraph("body", body));
    let model = load_graph(graph(&["x"], &["y"], vec![node("Relu", &["x"], &["h"]), scan])).unwrap();
    let body = model.graph.nodes[1].required::<&Graph>("body").unwrap();
    assert!(body.captures.is_empty() && body.inputs[0].ty.is_none());
    assert_eq!(body.nodes[0].input(0), Some(body.inputs[0].value));
    assert_ne!(body.inputs[0].value, model.graph.inputs[0].value);
}

#[test]
fn names_of_a_subgraph_end_with_it() {
    let branch = || graph(&[], &["t"], vec![node("Op", &["x"], &["t"])]);
    let both =
        node("If", &["x"], &["y"]).with(subgraph("then_branch", branch())).with(subgraph("else_branch", branch()));
    load_graph(graph(&["x"], &["y"], vec![both.clone()])).expect("branches may use the same names");
    let after = vec![both, node("Op", &["t"], &["z"])];
    assert_refused(&model(graph(&["x"], &["z"], after)), &["nothing defines the value 't'"]);
}

#[test]
fn operator_sets() {
    let with = |imports: &[OperatorSetIdProto], domain: &str| {
        let g = graph(&["x"], &["y"], vec![node("Op", &["x"], &["y"]).in_domain(domain)]);
        ModelProto { opset_import: imports.to_vec(), ..model(g) }
    };
    let version = |imports: &[OperatorSetIdProto], domain: &str| {
        let model = load(&with(imports, domain)).unwrap();
        (model.graph.nodes[0].domain.clone(), model.graph.nodes[0].opset)
    };
    assert_eq!(version(&[opset("", 7)], ""), (String::new(), 7));
    assert_eq!(version(&[opset("ai.onnx", 28)], ""), (String::new(), 28));
    assert_eq!(version(&[opset("", 13)], "ai.onnx"), (String::new(), 13));
    assert_eq!(version(&[opset("", 13), opset("", 15), opset("ai.onnx", 14)], ""), (String::new(), 15));
    assert_eq!(version(&[opset("", 13), opset("com.x", 1)], "com.x"), ("com.x".into(), 1));
    assert_refused(&with(&[opset("com.x", 1)], ""), &["'ai.onnx' is used but not imported", "(Op)"]);
    assert_refused(&with(&[opset("", 13)], "com.y"), &["'com.y' is used but not imported"]);
    assert_eq!(refusal(&with(&[opset("", 5)], "")).status(), Status::Unsupported);
    assert_eq!(refusal(&with(&[opset("", 29)], "")).status(), Status::Version);
}

/// The model that ships with the repository, as PyTorch's exporter wrote it.
#[test]
fn an_exported_model() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/digits/digits.onnx");
    let model = Model::open(path.as_ref()).unwrap();
    let extents = |port: &Port| match &port.ty {
        Some(ValueType::Tensor(DType::F32, Some(extents))) => extents.clone(),
        other => panic!("{other:?}"),
    };
    let (batch, fixed) = (|| Extent::Named("batch".into()), Extent::Fixed);
    assert_eq!(extents(&model.graph.inputs[0]), [batch(), fixed(1), fixed(8), fixed(8)]);
    assert_eq!(extents(&model.graph.outputs[0]), [batch(), fixed(10)]);
    assert!(model.graph.nodes.iter().any(|n| n.op == "Conv"));
    assert!(model.producer.starts_with("pytorch"));
}
