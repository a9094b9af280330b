//! The reader on small models that are built here.

mod branches;
mod functions;
mod graphs;
mod hostile;
mod lowered;
mod tensors;

use prost::Message;

use super::proto::*;
use super::*;
use infer::error::{Error, Result};

/// A node without a name of its own.
fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let names = |names: &[&str]| names.iter().map(|n| (*n).to_string()).collect();
    NodeProto { op_type: op.into(), input: names(inputs), output: names(outputs), ..Default::default() }
}

impl NodeProto {
    fn with(mut self, attribute: AttributeProto) -> Self {
        self.attribute.push(attribute);
        self
    }

    fn in_domain(mut self, domain: &str) -> Self {
        self.domain = domain.into();
        self
    }

    fn named(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }
}

fn attribute(name: &str, ty: AttributeType) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: ty as i32, ..Default::default() }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, AttributeType::Int) }
}

fn subgraph(name: &str, graph: GraphProto) -> AttributeProto {
    AttributeProto { g: Some(Box::new(graph)), ..attribute(name, AttributeType::Graph) }
}

/// A f32 tensor of the given extents.
fn value(name: &str, dims: &[DimensionValue]) -> ValueInfoProto {
    let dim = dims.iter().map(|d| DimensionProto { value: Some(d.clone()) }).collect();
    let tensor = TensorTypeProto { elem_type: DataType::Float as i32, shape: Some(TensorShapeProto { dim }) };
    let ty = TypeProto { value: Some(TypeKind::Tensor(tensor)) };
    ValueInfoProto { name: name.into(), r#type: Some(ty) }
}

fn untyped(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: name.into(), r#type: None }
}

/// A graph that maps f32 vectors of length 4 to others.
fn graph(inputs: &[&str], outputs: &[&str], nodes: Vec<NodeProto>) -> GraphProto {
    let ports = |names: &[&str]| names.iter().map(|n| value(n, &[DimensionValue::Value(4)])).collect();
    GraphProto { name: "g".into(), input: ports(inputs), output: ports(outputs), node: nodes, ..Default::default() }
}

fn opset(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto { domain: domain.into(), version }
}

fn model(graph: GraphProto) -> ModelProto {
    let opset_import = vec![opset("", 20)];
    ModelProto { ir_version: 10, graph: Some(graph), opset_import, producer_name: "test".into(), ..Default::default() }
}

fn load(model: &ModelProto) -> Result<Model> {
    Model::from_bytes(model.encode_to_vec())
}

fn load_graph(graph: GraphProto) -> Result<Model> {
    load(&model(graph))
}

fn refusal(model: &ModelProto) -> Error {
    load(model).expect_err("the model is not legal")
}

/// Checks that the model is refused with a message that contains all of `parts`.
fn assert_refused(model: &ModelProto, parts: &[&str]) {
    let message = refusal(model).to_string();
    assert!(parts.iter().all(|p| message.contains(p)), "'{message}' lacks one of {parts:?}");
}

/// The graph as text: nodes with the names of their values.
fn text(model: &Model, graph: &Graph) -> Vec<String> {
    let names = |values: &[Option<Value>]| {
        values.iter().map(|v| v.map_or("-", |v| model.value_name(v))).collect::<Vec<_>>().join(",")
    };
    graph.nodes.iter().map(|n| format!("{}={}-{}({})", names(&n.outputs), n.op, n.opset, names(&n.inputs))).collect()
}
