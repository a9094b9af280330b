//! From the decoded message to the checked model: names resolved, functions inlined, subgraphs' captures listed.

use std::collections::{HashMap, HashSet};

use infer::error::{Error, Result};
use infer::ops::Tensor;

use super::attribute::{Attribute, AttributeValue, attribute_type, text};
use super::external::Externals;
use super::model::{Graph, Model, Node, Port, Value};
use super::narrow::widened;
use super::order::{display_name, sorted};
use super::proto::{
    AttributeProto, AttributeType, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
};
use super::scope::{Call, Frame, Opsets, Scope, domain};
use super::tensor::{dense, densified};
use super::types::value_type;

/// How deeply graphs and calls of functions may be nested, together.
const MAX_DEPTH: usize = 64;
/// Most nodes, inputs, outputs, attributes and list elements after inlining, which can multiply them.
const MAX_PARTS: usize = 8 << 20;

/// Builds the checked model.
pub(super) fn build(proto: &ModelProto, externals: Externals) -> Result<Model> {
    let main = proto.graph.as_ref().ok_or_else(|| Error::format("the model contains no graph"))?;
    let frame = Frame { opsets: Opsets::new(&proto.opset_import)?, prefix: String::new(), call: None };
    let mut builder = Builder::new(&proto.functions, externals)?;
    let mut graph = builder.graph(main, None, &frame)?;
    check_inputs(&graph)?;
    number_outputs(&mut graph);
    let producer = format!("{} {}", proto.producer_name, proto.producer_version).trim().to_owned();
    let metadata = proto.metadata_props.iter().map(|p| (p.key.clone(), p.value.clone())).collect();
    Ok(Model { graph, producer, metadata, names: builder.names })
}

/// Checks what a main graph must have besides: a type for each input.
fn check_inputs(graph: &Graph) -> Result<()> {
    match graph.inputs.iter().find(|i| i.ty.is_none()) {
        Some(input) => Err(Error::format(format!("input '{}' has no type", input.name))),
        None => Ok(()),
    }
}

/// Names apart outputs that are one value: exporters write that for a result that is returned twice.
fn number_outputs(graph: &mut Graph) {
    let mut seen: HashSet<String> = HashSet::new();
    let taken: HashSet<String> = graph.outputs.iter().map(|o| o.name.clone()).collect();
    for output in &mut graph.outputs {
        if !seen.insert(output.name.clone()) {
            let mut numbered = (2..).map(|i| format!("{}_{i}", output.name));
            let free = numbered.find(|name| !taken.contains(name) && !seen.contains(name));
            output.name = free.unwrap_or_default();
            seen.insert(output.name.clone());
        }
    }
}

struct Builder<'a> {
    functions: HashMap<(&'a str, &'a str, &'a str), &'a FunctionProto>,
    externals: Externals,
    /// Name of each value, and how deep the graph is that defines it.
    names: Vec<String>,
    levels: Vec<usize>,
    /// The graphs that are being read, the main graph first.
    open: Vec<OpenGraph>,
    /// The functions that are being inlined.
    calls: Vec<&'a FunctionProto>,
    /// Tensors in functions, by address: all calls share them.
    shared: HashMap<*const TensorProto, Tensor>,
    parts: usize,
}

#[derive(Default)]
struct OpenGraph {
    nodes: Vec<Node>,
    captures: Vec<Value>,
    captured: HashSet<Value>,
}

impl<'a> Builder<'a> {
    fn new(functions: &'a [FunctionProto], externals: Externals) -> Result<Self> {
        let mut by_name = HashMap::new();
        for function in functions {
            let key = (domain(&function.domain), function.name.as_str(), function.overload.as_str());
            if by_name.insert(key, function).is_some() {
                return Err(Error::format(format!("function '{}' is defined twice", function.name)));
            }
        }
        let (names, levels, open, calls) = (vec![], vec![], vec![], vec![]);
        Ok(Builder { functions: by_name, externals, names, levels, open, calls, shared: HashMap::new(), parts: 0 })
    }

    /// Reads a graph that sees the names of `around`.
    fn graph(&mut self, proto: &'a GraphProto, around: Option<&Scope<'_, 'a>>, frame: &Frame<'a>) -> Result<Graph> {
        self.check_depth()?;
        self.open.push(OpenGraph::default());
        let mut scope = Scope::new(around);
        let constants = self.constants(proto, &mut scope, frame)?;
        let constant_names: HashSet<&str> = constants.iter().map(|&(name, ..)| name).collect();
        let mut inputs = Vec::new();
        for input in proto.input.iter().filter(|i| !constant_names.contains(i.name.as_str())) {
            let value = self.define(&input.name, &mut scope, frame)?;
            inputs.push(port(input, value)?);
        }
        self.nodes(&proto.node, &mut scope, frame)?;
        let outputs: Result<_> =
            proto.output.iter().map(|o| port(o, self.resolve_required(&o.name, &scope)?)).collect();
        let OpenGraph { nodes, captures, .. } = self.open.pop().unwrap_or_default();
        let constants = constants.into_iter().map(|(_, value, tensor)| (value, tensor)).collect();
        Ok(Graph { name: proto.name.clone(), inputs, outputs: outputs?, constants, nodes, captures })
    }

    /// The graph's initialisers, defined in `scope`.
    fn constants(
        &mut self,
        proto: &'a GraphProto,
        scope: &mut Scope<'_, 'a>,
        frame: &Frame<'a>,
    ) -> Result<Vec<(&'a str, Value, Tensor)>> {
        let mut constants = Vec::new();
        for tensor in &proto.initializer {
            let data = match widened(tensor, proto, &mut self.externals)? {
                Some(data) => data,
                None => self.tensor(tensor, frame)?,
            };
            constants.push((tensor.name.as_str(), data));
        }
        for sparse in &proto.sparse_initializer {
            let data = densified(sparse, &mut self.externals)?;
            constants.push((sparse.values.as_ref().map_or("", |v| v.name.as_str()), data));
        }
        constants.into_iter().map(|(name, data)| Ok((name, self.define(name, scope, frame)?, data))).collect()
    }

    /// Reads nodes in an order in which they can be executed.
    fn nodes(&mut self, nodes: &'a [NodeProto], scope: &mut Scope<'_, 'a>, frame: &Frame<'a>) -> Result<()> {
        for node in sorted(nodes)? {
            let name = format!("{}{}", frame.prefix, display_name(node));
            self.node(node, &name, scope, frame).map_err(|e| e.at_node(&name, &node.op_type))?;
        }
        Ok(())
    }

    /// Reads a node: an operator is added to the graph, a call of a function is replaced by its body.
    fn node(&mut self, node: &'a NodeProto, name: &str, scope: &mut Scope<'_, 'a>, frame: &Frame<'a>) -> Result<()> {
        let mut inputs = Vec::with_capacity(node.input.len());
        for input in &node.input {
            inputs.push(self.resolve(input, scope)?);
        }
        while inputs.last() == Some(&None) {
            inputs.pop();
        }
        let given = frame.attributes(node)?;
        self.charge(1 + node.input.len() + node.output.len() + given.iter().map(|&(_, a)| list_len(a)).sum::<usize>())?;
        let domain = domain(&node.domain);
        if let Some(&function) = self.functions.get(&(domain, node.op_type.as_str(), node.overload.as_str())) {
            return self.call(Call::new(function, &given)?, node, &inputs, name, scope, frame);
        }
        let opset = frame.opsets.version(domain)?;
        let mut attributes = Vec::with_capacity(given.len());
        for (name, attribute) in given {
            attributes.push(Attribute::new(name, self.attribute(attribute, scope, frame)?));
        }
        let mut outputs = Vec::with_capacity(node.output.len());
        for output in &node.output {
            outputs.push(if output.is_empty() { None } else { Some(self.define(output, scope, frame)?) });
        }
        let (name, op, domain) = (name.to_owned(), node.op_type.clone(), domain.to_owned());
        self.top()?.nodes.push(Node { name, op, domain, opset, inputs, outputs, attributes });
        Ok(())
    }

    /// Puts a function's body in the place of `node`.
    fn call(
        &mut self,
        call: Call<'a>,
        node: &'a NodeProto,
        inputs: &[Option<Value>],
        name: &str,
        scope: &mut Scope<'_, 'a>,
        frame: &Frame<'a>,
    ) -> Result<()> {
        let function = call.function;
        self.check_depth()?;
        if self.calls.iter().any(|f| std::ptr::eq(*f, function)) {
            return Err(Error::format(format!("function '{}' calls itself", function.name)));
        }
        if inputs.len() > function.input.len() || node.output.len() > function.output.len() {
            return Err(Error::format(format!("more inputs or outputs than function '{}' has", function.name)));
        }
        let mut body = Scope::new(None);
        for (i, parameter) in function.input.iter().enumerate() {
            body.define(parameter, inputs.get(i).copied().flatten())?;
        }
        // Functions of IR version 7 import nothing themselves.
        let own = if function.opset_import.is_empty() { &frame.opsets } else { &Opsets::new(&function.opset_import)? };
        let inner = Frame { opsets: own.clone(), prefix: format!("{name}/"), call: Some(call) };
        self.calls.push(function);
        self.nodes(&function.node, &mut body, &inner)?;
        self.calls.pop();
        for (outside, inside) in node.output.iter().zip(&function.output).filter(|(o, _)| !o.is_empty()) {
            let value = self.resolve_required(inside, &body)?;
            scope.define(outside, Some(value))?;
        }
        Ok(())
    }

    fn attribute(
        &mut self,
        proto: &'a AttributeProto,
        scope: &Scope<'_, 'a>,
        frame: &Frame<'a>,
    ) -> Result<AttributeValue> {
        let missing = || Error::format(format!("attribute '{}' has no value", proto.name));
        // A number or string may be left out where it is zero or empty.
        Ok(match attribute_type(proto)? {
            AttributeType::Float => AttributeValue::Float(proto.f.unwrap_or_default()),
            AttributeType::Int => AttributeValue::Int(proto.i.unwrap_or_default()),
            AttributeType::String => AttributeValue::String(text(proto, proto.s.as_deref().unwrap_or_default())?),
            AttributeType::Tensor => {
                AttributeValue::Tensor(self.tensor(proto.t.as_deref().ok_or_else(missing)?, frame)?)
            }
            AttributeType::SparseTensor => {
                let sparse = proto.sparse_tensor.as_deref().ok_or_else(missing)?;
                AttributeValue::Tensor(densified(sparse, &mut self.externals)?)
            }
            AttributeType::Graph => {
                let graph = proto.g.as_deref().ok_or_else(missing)?;
                AttributeValue::Graph(Box::new(self.graph(graph, Some(scope), frame)?))
            }
            AttributeType::TypeProto => {
                let ty = proto.tp.as_deref().map(value_type).transpose()?;
                AttributeValue::Type(ty.flatten().ok_or_else(missing)?)
            }
            AttributeType::Floats => AttributeValue::Floats(proto.floats.clone()),
            AttributeType::Ints => AttributeValue::Ints(proto.ints.clone()),
            AttributeType::Strings => {
                AttributeValue::Strings(proto.strings.iter().map(|s| text(proto, s)).collect::<Result<_>>()?)
            }
            AttributeType::Tensors => {
                let tensors = proto.tensors.iter().map(|t| self.tensor(t, frame));
                AttributeValue::Tensors(tensors.collect::<Result<_>>()?)
            }
            AttributeType::Graphs => {
                let graphs = proto.graphs.iter().map(|g| self.graph(g, Some(scope), frame));
                AttributeValue::Graphs(graphs.collect::<Result<_>>()?)
            }
            other @ (AttributeType::Undefined | AttributeType::SparseTensors | AttributeType::TypeProtos) => {
                let problem = format!("attribute '{}' is of type {other:?}, which is not supported", proto.name);
                return Err(Error::unsupported(problem));
            }
        })
    }

    /// A tensor; those in functions are read once for all calls.
    fn tensor(&mut self, proto: &'a TensorProto, frame: &Frame<'a>) -> Result<Tensor> {
        let key = std::ptr::from_ref(proto);
        if let Some(tensor) = self.shared.get(&key) {
            return Ok(tensor.clone());
        }
        let tensor = dense(proto, &mut self.externals)?;
        if frame.call.is_some() {
            self.shared.insert(key, tensor.clone());
        }
        Ok(tensor)
    }

    /// A new value of the innermost graph, called `name` in `scope`.
    fn define(&mut self, name: &'a str, scope: &mut Scope<'_, 'a>, frame: &Frame<'a>) -> Result<Value> {
        if name.is_empty() {
            return Err(Error::format("an input, constant or sparse tensor has no name"));
        }
        let value = Value(u32::try_from(self.names.len()).map_err(|_| Error::no_memory("too many values"))?);
        scope.define(name, Some(value))?;
        let shown = format!("{}{name}", frame.prefix);
        self.charge(1 + shown.len() / 16)?;
        self.names.push(shown);
        self.levels.push(self.open.len());
        Ok(value)
    }

    /// What a node's input stands for; None for "" and for inputs that a function's call leaves out.
    fn resolve(&mut self, name: &str, scope: &Scope<'_, 'a>) -> Result<Option<Value>> {
        if name.is_empty() {
            return Ok(None);
        }
        let value = scope.lookup(name)?;
        if let Some(value) = value {
            // All open graphs inside the one that defines the value capture it.
            let level = self.levels.get(value.index()).copied().unwrap_or_default();
            for graph in self.open.iter_mut().skip(level) {
                if graph.captured.insert(value) {
                    graph.captures.push(value);
                }
            }
        }
        Ok(value)
    }

    fn resolve_required(&mut self, name: &str, scope: &Scope<'_, 'a>) -> Result<Value> {
        let missing = || Error::format(format!("the output '{name}' has no value"));
        self.resolve(name, scope)?.ok_or_else(missing)
    }

    fn top(&mut self) -> Result<&mut OpenGraph> {
        self.open.last_mut().ok_or_else(|| Error::internal("no graph is being read"))
    }

    fn check_depth(&self) -> Result<()> {
        if self.open.len() + self.calls.len() >= MAX_DEPTH {
            return Err(Error::unsupported(format!("graphs and functions are nested more than {MAX_DEPTH} deep")));
        }
        Ok(())
    }

    fn charge(&mut self, parts: usize) -> Result<()> {
        self.parts = self.parts.saturating_add(parts);
        if self.parts > MAX_PARTS {
            return Err(Error::no_memory("the model becomes too large when its functions are inlined"));
        }
        Ok(())
    }
}

/// An input or output of a graph.
fn port(proto: &ValueInfoProto, value: Value) -> Result<Port> {
    let ty = proto.r#type.as_ref().map(value_type).transpose();
    let ty = ty.map_err(|e| e.context(format!("value '{}'", proto.name)))?.flatten();
    Ok(Port { name: proto.name.clone(), value, ty })
}

/// The number of elements that an attribute's lists hold, and one for itself.
fn list_len(attribute: &AttributeProto) -> usize {
    1 + attribute.floats.len() + attribute.ints.len() + attribute.strings.len() + attribute.tensors.len()
}
