//! Attributes of nodes.

use std::cell::Cell;

use infer::error::{Error, Result};
use infer::ops::Tensor;

use super::model::Graph;
use super::proto::{AttributeProto, AttributeType};
use super::types::ValueType;

/// A named attribute, which knows whether it has been asked for.
#[derive(Debug)]
pub struct Attribute {
    /// Name, unique in its node.
    pub(super) name: String,
    value: AttributeValue,
    read: Cell<bool>,
}

/// The value of an attribute.
#[derive(Debug)]
pub enum AttributeValue {
    /// A float.
    Float(f32),
    /// An integer.
    Int(i64),
    /// A string.
    String(String),
    /// A tensor; sparse ones are made dense.
    Tensor(Tensor),
    /// A graph.
    Graph(Box<Graph>),
    /// A type.
    Type(ValueType),
    /// Floats.
    Floats(Vec<f32>),
    /// Integers.
    Ints(Vec<i64>),
    /// Strings.
    Strings(Vec<String>),
    /// Tensors.
    Tensors(Vec<Tensor>),
    /// Graphs.
    Graphs(Vec<Graph>),
}

impl Attribute {
    pub(super) fn new(name: &str, value: AttributeValue) -> Self {
        Attribute { name: name.to_owned(), value, read: Cell::new(false) }
    }

    /// The value as `T`; an error if it is of another type.
    pub(super) fn get<'a, T: FromAttribute<'a>>(&'a self) -> Result<T> {
        self.read.set(true);
        T::from_value(&self.value).ok_or_else(|| {
            let (name, is) = (&self.name, self.value.kind());
            Error::format(format!("attribute '{name}' is {is} where {} is needed", T::KIND))
        })
    }

    /// The graphs in it.
    pub(super) fn graphs(&self) -> &[Graph] {
        match &self.value {
            AttributeValue::Graph(graph) => std::slice::from_ref(graph),
            AttributeValue::Graphs(graphs) => graphs,
            _ => &[],
        }
    }

    pub(super) fn was_read(&self) -> bool {
        self.read.get()
    }
}

/// A type that an attribute may be read as.
pub trait FromAttribute<'a>: Sized {
    /// The type, for messages.
    const KIND: &'static str;

    /// The value, if it is of this type.
    fn from_value(value: &'a AttributeValue) -> Option<Self>;
}

macro_rules! kinds {
    ($($variant:ident, $kind:literal, $ty:ty, $value:ident => $get:expr;)*) => {
        impl AttributeValue {
            /// The type, for messages.
            fn kind(&self) -> &'static str {
                match self { $(AttributeValue::$variant(_) => $kind,)* }
            }
        }
        $(impl<'a> FromAttribute<'a> for $ty {
            const KIND: &'static str = $kind;

            fn from_value(value: &'a AttributeValue) -> Option<Self> {
                if let AttributeValue::$variant($value) = value { Some($get) } else { None }
            }
        })*
    };
}

kinds! {
    Float, "a float", f32, v => *v;
    Int, "an integer", i64, v => *v;
    String, "a string", &'a str, v => v;
    Tensor, "a tensor", &'a Tensor, v => v;
    Graph, "a graph", &'a Graph, v => v;
    Type, "a type", &'a ValueType, v => v;
    Floats, "a list of floats", &'a [f32], v => v;
    Ints, "a list of integers", &'a [i64], v => v;
    Strings, "a list of strings", &'a [String], v => v;
    Tensors, "a list of tensors", &'a [Tensor], v => v;
    Graphs, "a list of graphs", &'a [Graph], v => v;
}

/// The type of an attribute. Files of IR version 1 do not state it; there the field in use tells.
pub(super) fn attribute_type(proto: &AttributeProto) -> Result<AttributeType> {
    use AttributeType as A;
    let used = [
        (proto.f.is_some(), A::Float),
        (proto.i.is_some(), A::Int),
        (proto.s.is_some(), A::String),
        (proto.t.is_some(), A::Tensor),
        (proto.g.is_some(), A::Graph),
        (proto.sparse_tensor.is_some(), A::SparseTensor),
        (proto.tp.is_some(), A::TypeProto),
        (!proto.floats.is_empty(), A::Floats),
        (!proto.ints.is_empty(), A::Ints),
        (!proto.strings.is_empty(), A::Strings),
        (!proto.tensors.is_empty(), A::Tensors),
        (!proto.graphs.is_empty(), A::Graphs),
    ];
    match A::try_from(proto.r#type) {
        Ok(A::Undefined) => {
            let found = used.iter().find(|(used, _)| *used).map(|&(_, ty)| ty);
            found.ok_or_else(|| Error::format(format!("attribute '{}' has neither type nor value", proto.name)))
        }
        Ok(stated) => Ok(stated),
        Err(_) => Err(Error::unsupported(format!("attribute '{}' is of an unknown type", proto.name))),
    }
}

/// A string of an attribute.
pub(super) fn text(proto: &AttributeProto, bytes: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(bytes).map(str::to_owned);
    text.map_err(|_| Error::format(format!("attribute '{}' is not UTF-8 text", proto.name)))
}
