//! A checked ONNX model as lowering reads it.
//!
//! Names are resolved: a value is an index, defined once and before it is used, functions are inlined, references to
//! their attributes replaced, and a subgraph lists what it uses from around it. Every node knows the version of its
//! operator.

use std::fmt;
use std::path::Path;

use bytes::Bytes;
use infer::error::{Error, Result};
use infer::ops::Tensor;

use super::attribute::{Attribute, FromAttribute};
use super::build;
use super::external::Externals;
use super::read;
use super::types::ValueType;

/// A model.
#[derive(Debug)]
pub struct Model {
    /// The main graph.
    pub graph: Graph,
    /// Name and version of the tool that wrote the model.
    pub producer: String,
    /// The model's named notes.
    pub metadata: Vec<(String, String)>,
    /// Names of the values of all graphs, by index.
    pub(super) names: Vec<String>,
}

/// A value of a model: an index that is unique across all its graphs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(pub(super) u32);

impl Value {
    /// The index: below [`Model::value_count`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A graph: the main one, or one that a node executes.
#[derive(Debug)]
pub struct Graph {
    /// Name, for messages.
    pub name: String,
    /// What the graph is given, in order; constants that the file lists as inputs are not among them.
    pub inputs: Vec<Port>,
    /// What the graph returns, in order. A value may stand here twice, or be an input, a constant or a capture.
    pub outputs: Vec<Port>,
    /// Values that are known.
    pub constants: Vec<(Value, Tensor)>,
    /// Nodes; each stands after those whose outputs it or its subgraphs use.
    pub nodes: Vec<Node>,
    /// Values of enclosing graphs that this graph or a graph in it uses, in order of first use.
    pub captures: Vec<Value>,
}

/// An input or output of a graph.
#[derive(Debug)]
pub struct Port {
    /// Name.
    pub name: String,
    /// The value that comes in or goes out.
    pub value: Value,
    /// The stated type. Always present for inputs of the main graph.
    pub ty: Option<ValueType>,
}

/// An application of an operator.
#[derive(Debug)]
pub struct Node {
    /// Name for messages: the node's own, or that of its first output; behind those of the calls it was inlined from.
    pub name: String,
    /// Operator.
    pub op: String,
    /// The operator's set; "" for the standard operators.
    pub domain: String,
    /// The version of this set that the operator's meaning is to be taken from.
    pub opset: i64,
    /// Inputs; None where an optional one is absent. Never ends with None.
    pub inputs: Vec<Option<Value>>,
    /// Outputs; None where one is not wanted.
    pub outputs: Vec<Option<Value>>,
    pub(super) attributes: Vec<Attribute>,
}

impl Model {
    /// Reads a model file, and the files beside it that hold its tensors.
    ///
    /// Errors: `Io`, `Format` (damaged, or not a legal model), `Version` (newer than this reader), `Unsupported` (types
    /// that we do not have), `NoMemory` (beyond memory or limits). They name the file, and where there is one the node
    /// or tensor.
    pub fn open(path: &Path) -> Result<Model> {
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let model = read::read_file(path)?;
        Model::read(model, Externals::new(Some(folder))).map_err(|e| e.context(path.display()))
    }

    /// A model from memory. It cannot have tensors in other files.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Result<Model> {
        Model::read(bytes.into(), Externals::new(None))
    }

    fn read(bytes: Bytes, externals: Externals) -> Result<Model> {
        build::build(&read::decode(bytes)?, externals)
    }

    /// The value's name, for messages.
    pub fn value_name(&self, value: Value) -> &str {
        self.names.get(value.index()).map_or("", String::as_str)
    }

    /// The number of values of all graphs.
    pub fn value_count(&self) -> usize {
        self.names.len()
    }
}

impl Node {
    /// Input `index`; None if it is absent.
    pub fn input(&self, index: usize) -> Option<Value> {
        self.inputs.get(index).copied().flatten()
    }

    /// Input `index`; an error if it is absent.
    pub fn required_input(&self, index: usize) -> Result<Value> {
        self.input(index).ok_or_else(|| self.error(Error::format(format!("input {index} is missing"))))
    }

    /// Output `index`; None if it is not wanted.
    pub fn output(&self, index: usize) -> Option<Value> {
        self.outputs.get(index).copied().flatten()
    }

    /// Attribute `name`, if the node has it; an error if it is of another type than `T`.
    ///
    /// Marks the attribute as read, see [`Node::unread_attributes`].
    pub fn attribute<'a, T: FromAttribute<'a>>(&'a self, name: &str) -> Result<Option<T>> {
        let Some(attribute) = self.attributes.iter().find(|a| a.name == name) else { return Ok(None) };
        attribute.get().map(Some).map_err(|e| self.error(e))
    }

    /// Attribute `name`; an error if the node does not have it, or if it is of another type than `T`.
    pub fn required<'a, T: FromAttribute<'a>>(&'a self, name: &str) -> Result<T> {
        self.attribute(name)?.ok_or_else(|| self.error(Error::format(format!("attribute '{name}' is missing"))))
    }

    /// An integer attribute.
    pub fn int(&self, name: &str, default: i64) -> Result<i64> {
        Ok(self.attribute(name)?.unwrap_or(default))
    }

    /// An integer attribute that is 0 or 1.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool> {
        match self.int(name, default.into())? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.error(Error::format(format!("attribute '{name}' is {other}, not 0 or 1")))),
        }
    }

    /// A float attribute.
    pub fn float(&self, name: &str, default: f32) -> Result<f32> {
        Ok(self.attribute(name)?.unwrap_or(default))
    }

    /// A string attribute.
    pub fn string<'a>(&'a self, name: &str, default: &'a str) -> Result<&'a str> {
        Ok(self.attribute(name)?.unwrap_or(default))
    }

    /// A list of integers.
    pub fn ints(&self, name: &str) -> Result<Option<&[i64]>> {
        self.attribute(name)
    }

    /// The graphs that the node executes, of all its attributes.
    pub fn graphs(&self) -> impl Iterator<Item = &Graph> {
        self.attributes.iter().flat_map(Attribute::graphs)
    }

    /// Attributes that nobody has asked for. A lowering that leaves some unread does not know what they mean, so the
    /// driver refuses its result; one that has reason not to care reads the attribute all the same.
    pub fn unread_attributes(&self) -> impl Iterator<Item = &str> {
        self.attributes.iter().filter(|a| !a.was_read()).map(|a| a.name.as_str())
    }

    /// `error` with this node's name and operator.
    pub fn error(&self, error: Error) -> Error {
        error.at_node(&self.name, &self.op)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let domain = if self.domain.is_empty() { "" } else { "." };
        write!(f, "{}{domain}{}-{} '{}'", self.domain, self.op, self.opset, self.name)
    }
}
