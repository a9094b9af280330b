//! From ONNX nodes to our operators: one function per ONNX operator, found in [`TABLES`].

mod affine;
mod arg;
mod attention;
mod axes;
mod binary;
mod body;
mod cast;
mod control;
mod conv;
mod conv_transpose;
mod cumulative;
mod deform;
mod depth;
mod det;
mod einsum;
mod fill;
mod gather;
mod growing;
mod loss;
mod matmul;
mod norm;
mod pad;
mod pool;
mod quantize;
mod random;
mod recurrent;
mod reduce;
mod resize;
mod scan;
mod select;
mod sequence;
mod shape;
mod signal;
mod slice;
mod softmax;
mod stateful;
mod unary;
mod window;

use super::model::{Graph, Model, Node, Port, Value};
use super::types::{Extent, ValueType};
use crate::builder::Builder;
use infer::error::{Error, Result};
use infer::graph::{Program, ValueId};
use infer::tensor::{DType, Dim, Shape, TensorType};
use std::collections::{BTreeMap, HashMap};

/// Lowers one node: emits what computes it and returns its outputs, at least as many as the node wants.
pub type Lower = fn(&mut Cx<'_>, &Node) -> Result<Vec<ValueId>>;

/// The ONNX operators of one family.
pub type Table = &'static [(&'static str, Lower)];

/// The standard operators, by family.
const TABLES: &[Table] = &[
    affine::TABLE,
    arg::TABLE,
    attention::TABLE,
    binary::TABLE,
    cast::TABLE,
    control::TABLE,
    conv::TABLE,
    conv_transpose::TABLE,
    cumulative::TABLE,
    deform::TABLE,
    depth::TABLE,
    det::TABLE,
    einsum::TABLE,
    fill::TABLE,
    gather::TABLE,
    loss::TABLE,
    matmul::TABLE,
    norm::TABLE,
    pad::TABLE,
    pool::TABLE,
    quantize::TABLE,
    random::TABLE,
    recurrent::TABLE,
    reduce::TABLE,
    resize::TABLE,
    scan::TABLE,
    select::TABLE,
    sequence::TABLE,
    shape::TABLE,
    signal::TABLE,
    slice::TABLE,
    softmax::TABLE,
    stateful::TABLE,
    unary::TABLE,
];

/// What a lowering works with.
pub struct Cx<'a> {
    /// Receives what is emitted.
    pub b: Builder<'a>,
    model: &'a Model,
    table: &'a HashMap<&'static str, Lower>,
    /// What the model's values have become in the graph that is being built.
    values: HashMap<Value, Bound>,
    /// How many bodies of control flow stand around this graph.
    depth: usize,
    /// Whether the node at hand is an If that must take in what follows it, see [`control`].
    forks: bool,
}

/// What a value of the model has become.
#[derive(Clone, Debug)]
pub enum Bound {
    /// A tensor.
    Tensor(ValueId),
    /// A sequence: its elements, whose number is known here.
    List(Vec<ValueId>),
    /// A sequence whose length only the run knows: its elements, of one shape, one behind another along the first axis.
    Stack(ValueId),
    /// In the body of a Loop, a sequence that it carries, with what the body has added to its end.
    Growing {
        /// The body's input.
        list: Value,
        /// The new elements.
        added: Vec<ValueId>,
    },
    /// An optional value without an element.
    Absent,
}

/// The program that computes what an ONNX model computes, before any optimisation.
///
/// # Errors
/// [`Unsupported`](infer::error::Status::Unsupported) with all operators that are not supported at once, or what is
/// wrong with the first node that cannot be lowered.
pub fn lower(model: &Model) -> Result<Program> {
    let table: HashMap<&'static str, Lower> = TABLES.iter().copied().flatten().copied().collect();
    let mut missing = BTreeMap::new();
    find_missing(&model.graph, &table, &mut missing);
    if !missing.is_empty() {
        let list: Vec<String> = missing.iter().map(|(op, (n, at))| format!("{op} ({n}, first at '{at}')")).collect();
        return Err(Error::unsupported(format!("operators that are not supported: {}", list.join(", "))));
    }
    let mut program =
        Program { producer: model.producer.clone(), metadata: model.metadata.clone(), ..Program::default() };
    let graph = program.add_graph(&model.graph.name);
    let mut cx = Cx {
        b: Builder::new(&mut program, graph),
        model,
        table: &table,
        values: HashMap::new(),
        depth: 0,
        forks: false,
    };
    for port in &model.graph.inputs {
        let ty = cx.input_type(port)?;
        let id = cx.b.program.add_input(graph, &port.name, ty);
        cx.values.insert(port.value, Bound::Tensor(id));
    }
    cx.graph(&model.graph)?;
    for port in &model.graph.outputs {
        let id = cx.value(port.value).map_err(|e| e.context(format!("output '{}'", port.name)))?;
        cx.b.program.add_output(&port.name, id);
    }
    program.verify()?;
    Ok(program)
}

fn find_missing<'m>(
    graph: &'m Graph,
    table: &HashMap<&'static str, Lower>,
    missing: &mut BTreeMap<String, (usize, &'m str)>,
) {
    for node in &graph.nodes {
        if !node.domain.is_empty() || !table.contains_key(node.op.as_str()) {
            let op = if node.domain.is_empty() { node.op.clone() } else { format!("{}.{}", node.domain, node.op) };
            missing.entry(op).or_insert((0, &node.name)).0 += 1;
        }
        node.graphs().for_each(|g| find_missing(g, table, missing));
    }
}

impl Bound {
    /// The tensor; an error if it is something else.
    pub fn tensor(&self) -> Result<ValueId> {
        match self {
            Bound::Tensor(id) => Ok(*id),
            Bound::List(_) | Bound::Stack(_) | Bound::Growing { .. } => {
                Err(Error::unsupported("a sequence here: only tensors may leave the graph, enter a body or leave it"))
            }
            Bound::Absent => Err(Error::unsupported("an optional value without element here")),
        }
    }
}

impl Cx<'_> {
    /// Lowers all nodes of a graph whose inputs exist already.
    fn graph(&mut self, graph: &Graph) -> Result<()> {
        for (value, tensor) in &graph.constants {
            let id = self.b.tensor(tensor.clone());
            self.values.insert(*value, Bound::Tensor(id));
        }
        self.nodes(&graph.nodes, &graph.outputs)
    }

    /// Lowers the last nodes of a graph, up to its outputs.
    fn nodes(&mut self, nodes: &[Node], ends: &[Port]) -> Result<()> {
        for (i, node) in nodes.iter().enumerate() {
            self.b.node = node.name.clone();
            let outputs = (self.table[node.op.as_str()])(self, node).map_err(|e| node.error(e))?;
            let unread: Vec<&str> = node.unread_attributes().collect();
            if !unread.is_empty() {
                let e = format!("attributes that are not supported: {}", unread.join(", "));
                return Err(node.error(Error::unsupported(e)));
            }
            if std::mem::take(&mut self.forks) {
                return self.fork(node, &nodes[i + 1..], ends).map_err(|e| node.error(e));
            }
            for (i, value) in node.outputs.iter().enumerate() {
                let Some(value) = value else { continue };
                match outputs.get(i) {
                    Some(&id) => drop(self.values.insert(*value, Bound::Tensor(id))),
                    // Sequences and optional values have been bound already.
                    None if self.values.contains_key(value) => {}
                    None => return Err(node.error(Error::unsupported(format!("output {i}")))),
                }
            }
        }
        Ok(())
    }

    fn bound(&self, value: Value) -> Result<&Bound> {
        let name = || self.model.value_name(value);
        self.values.get(&value).ok_or_else(|| Error::internal(format!("value '{}' is lost", name())))
    }

    /// Makes an output of a node something other than a tensor.
    pub fn bind(&mut self, node: &Node, index: usize, bound: Bound) {
        if let Some(value) = node.output(index) {
            self.values.insert(value, bound);
        }
    }

    fn value(&self, value: Value) -> Result<ValueId> {
        self.bound(value)?.tensor()
    }

    /// A required input of a node.
    pub fn input(&self, node: &Node, index: usize) -> Result<ValueId> {
        self.value(node.required_input(index)?)
    }

    /// An optional input of a node.
    pub fn optional(&self, node: &Node, index: usize) -> Result<Option<ValueId>> {
        node.input(index).map(|v| self.value(v)).transpose()
    }

    /// All inputs of a node, which must be present.
    pub fn inputs(&self, node: &Node) -> Result<Vec<ValueId>> {
        (0..node.inputs.len()).map(|i| self.input(node, i)).collect()
    }

    /// All inputs of a node, absent ones as None.
    pub fn optional_inputs(&self, node: &Node) -> Result<Vec<Option<ValueId>>> {
        (0..node.inputs.len()).map(|i| self.optional(node, i)).collect()
    }

    fn input_type(&mut self, port: &Port) -> Result<TensorType> {
        let about = |what: &str| Error::unsupported(format!("input '{}': {what}", port.name));
        let ty = match &port.ty {
            // A caller gives every input: an optional one is one that is there.
            Some(ValueType::Optional(element)) => Some(&**element),
            other => other.as_ref(),
        };
        match ty {
            Some(ValueType::Tensor(dtype, Some(extents))) => {
                let dims = extents.iter().map(|e| self.extent(e)).collect::<Vec<_>>();
                Ok(TensorType::new(*dtype, Shape::new(dims)?))
            }
            Some(ValueType::Tensor(_, None)) | None => Err(about("its rank must be stated in the model")),
            Some(_) => Err(about("sequences are not supported")),
        }
    }

    fn extent(&mut self, extent: &Extent) -> Dim {
        match extent {
            Extent::Fixed(n) => Dim::from(*n),
            Extent::Named(name) => Dim::sym(self.b.program.sym(name)),
            Extent::Open => Dim::Unknown,
        }
    }

    /// Element type with number `code` in ONNX.
    pub fn dtype(code: i64) -> Result<DType> {
        let code = i32::try_from(code).unwrap_or(0);
        super::tensor::dtype(code)
    }
}
