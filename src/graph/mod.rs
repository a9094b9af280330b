//! The graph of a model: values in single-assignment form, nodes in execution order, control flow as nodes with
//! subgraphs that take everything they use as inputs.

mod build;
mod constant;
#[cfg(feature = "write")]
mod text;
mod verify;

pub use constant::Constant;

use crate::error::{Error, Result};
use crate::ops::Op;
use crate::tensor::{Bindings, Sym, TensorType};

/// A model as a whole: its entry graph, the bodies of its control flow, and what belongs to all of them.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// Graph 0 is the entry; the others are bodies of If and Loop.
    pub graphs: Vec<Graph>,
    /// Named dimensions; a [`Sym`] is an index into it.
    pub sym_dims: Vec<SymDim>,
    /// Key-value pairs that the application may read; keys are unique.
    pub metadata: Vec<(String, String)>,
    /// Names of the entry's inputs, unique.
    pub input_names: Vec<String>,
    /// Names of the entry's outputs, unique.
    pub output_names: Vec<String>,
    /// Pairs of an output and the input that it feeds in the next run.
    pub states: Vec<State>,
    /// Program that made the model.
    pub producer: String,
}

/// A named dimension and its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SymDim {
    /// Name, unique among the model's named dimensions.
    pub name: String,
    /// Smallest extent.
    pub min: i64,
    /// Largest extent, if there is one.
    pub max: Option<i64>,
}

/// Output `output` of one run is input `input` of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Index of an input of the model.
    pub input: usize,
    /// Index of an output of the model.
    pub output: usize,
}

/// Index of a value in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(pub u32);

/// Index of a graph in its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GraphId(pub u32);

/// One graph.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Name, for messages.
    pub name: String,
    /// All values; unused ones are allowed.
    pub values: Vec<Value>,
    /// Nodes in execution order.
    pub nodes: Vec<Node>,
    /// Values that a caller provides.
    pub inputs: Vec<ValueId>,
    /// Values that a caller receives; a value may stand here twice, and inputs and constants may stand here.
    pub outputs: Vec<ValueId>,
}

/// A tensor of a graph: an input, a constant, or the output of one node.
#[derive(Clone, Debug)]
pub struct Value {
    /// Name, for messages; may be empty.
    pub name: String,
    /// Type; never with a [`Dim::Unknown`](crate::tensor::Dim::Unknown) extent.
    pub ty: TensorType,
    /// The data of a constant.
    pub constant: Option<Constant>,
}

/// A step of a graph.
#[derive(Clone, Debug)]
pub struct Node {
    /// Name, for messages.
    pub name: String,
    /// What it does.
    pub kind: NodeKind,
    /// Inputs, None where an optional one is absent.
    pub inputs: Vec<Option<ValueId>>,
    /// Outputs; trailing ones of the operator may be left out.
    pub outputs: Vec<ValueId>,
}

/// What a node does.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeKind {
    /// An operator.
    Op(Op),
    /// Runs one of two graphs: input 0 is the condition (bool, one element), the other inputs are those of both graphs.
    /// The node's outputs are the graph's.
    If {
        /// Graph to run when the condition is true.
        then_branch: GraphId,
        /// Graph to run when the condition is false.
        else_branch: GraphId,
    },
    /// Runs a graph repeatedly, as ONNX's Loop: inputs are the largest number of trips (i64, optional), the initial
    /// condition (bool, optional), C carried values, then values that every trip receives unchanged. The body receives
    /// (trip number i64, condition, carried.., unchanged..) and returns (condition, carried.., scanned..). The node's
    /// outputs are the last carried values and each scanned output of all trips, stacked along a new first axis.
    Loop {
        /// The body.
        body: GraphId,
        /// Number of carried values.
        carried: usize,
    },
}

impl NodeKind {
    /// Name, as the schema spells it.
    pub fn name(&self) -> &'static str {
        match self {
            NodeKind::Op(op) => op.name(),
            NodeKind::If { .. } => "If",
            NodeKind::Loop { .. } => "Loop",
        }
    }

    /// Graphs that the node runs, to be renumbered.
    pub fn bodies_mut(&mut self) -> Vec<&mut GraphId> {
        match self {
            NodeKind::Op(_) => vec![],
            NodeKind::If { then_branch, else_branch } => vec![then_branch, else_branch],
            NodeKind::Loop { body, .. } => vec![body],
        }
    }

    /// Graphs that the node runs.
    pub fn bodies(&self) -> Vec<GraphId> {
        match *self {
            NodeKind::Op(_) => vec![],
            NodeKind::If { then_branch, else_branch } => vec![then_branch, else_branch],
            NodeKind::Loop { body, .. } => vec![body],
        }
    }
}

impl Program {
    /// The graph that callers run.
    pub fn entry(&self) -> &Graph {
        &self.graphs[0]
    }

    /// The named dimension called `name`, which is added if it is new.
    pub fn sym(&mut self, name: &str) -> Sym {
        let index = self.sym_dims.iter().position(|s| s.name == name).unwrap_or_else(|| {
            self.sym_dims.push(SymDim { name: name.into(), min: 0, max: None });
            self.sym_dims.len() - 1
        });
        Sym(index as u32)
    }

    /// A new named dimension whose name begins with `prefix`.
    pub fn fresh_sym(&mut self, prefix: &str) -> Sym {
        let taken = |name: &str| self.sym_dims.iter().any(|s| s.name == name);
        let name = (self.sym_dims.len()..).map(|i| format!("{prefix}{i}")).find(|n| !taken(n)).unwrap_or_default();
        self.sym(&name)
    }

    /// Name of a dimension, for messages.
    pub fn sym_name(&self, sym: Sym) -> Option<String> {
        self.sym_dims.get(sym.0 as usize).map(|s| s.name.clone())
    }

    /// Binds the named dimensions that a type with a fixed shape determines when it stands for `declared`.
    ///
    /// # Errors
    /// [`Shape`](crate::error::Status::Shape) if ranks or fixed extents differ, an extent is outside a dimension's
    /// bounds, or a dimension gets two values.
    pub fn bind(&self, declared: &TensorType, dims: &[usize], bindings: &mut Bindings) -> Result<()> {
        if declared.shape.rank() != dims.len() {
            return Err(Error::shape(format!(
                "rank {} ({dims:?}); rank {} is needed",
                dims.len(),
                declared.shape.rank()
            )));
        }
        for (axis, (want, &got)) in declared.shape.iter().zip(dims).enumerate() {
            let got = got as i64;
            match want.bind(bindings) {
                crate::tensor::Dim::Fixed(n) if n == got => {}
                want => match want.as_sym() {
                    Some(sym) if self.admits(sym, got) && bindings.bind(sym, got) => {}
                    _ => {
                        let names: crate::tensor::Names<'_> = &|s| self.sym_name(s);
                        let want = want.display(names);
                        return Err(Error::shape(format!("dimension {axis} of {dims:?} is {got}, not {want}")));
                    }
                },
            }
        }
        Ok(())
    }

    fn admits(&self, sym: Sym, extent: i64) -> bool {
        let bounds = self.sym_dims.get(sym.0 as usize);
        bounds.is_none_or(|b| extent >= b.min && b.max.is_none_or(|max| extent <= max))
    }
}

impl Graph {
    /// The value with this index. Panics if there is none (the verifier has checked).
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0 as usize]
    }

    /// The value with this index, to be changed. Panics if there is none.
    pub fn value_mut(&mut self, id: ValueId) -> &mut Value {
        &mut self.values[id.0 as usize]
    }

    /// Adds a value that no node writes yet.
    pub fn add_value(&mut self, name: impl Into<String>, ty: TensorType) -> ValueId {
        self.values.push(Value { name: name.into(), ty, constant: None });
        ValueId((self.values.len() - 1) as u32)
    }

    /// Adds a constant.
    pub fn add_constant(&mut self, name: impl Into<String>, constant: Constant) -> ValueId {
        let ty = constant.ty();
        self.values.push(Value { name: name.into(), ty, constant: Some(constant) });
        ValueId((self.values.len() - 1) as u32)
    }

    /// The name for people: the value's own, or its index.
    pub fn value_name(&self, id: ValueId) -> String {
        let name = &self.value(id).name;
        if name.is_empty() { format!("%{}", id.0) } else { name.clone() }
    }

    /// For each value, the index of the node that writes it.
    pub fn producers(&self) -> Vec<Option<usize>> {
        let mut producers = vec![None; self.values.len()];
        for (i, node) in self.nodes.iter().enumerate() {
            node.outputs.iter().for_each(|v| producers[v.0 as usize] = Some(i));
        }
        producers
    }

    /// For each value, how often nodes and the graph's outputs read it.
    pub fn use_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.values.len()];
        let reads = self.nodes.iter().flat_map(|n| n.inputs.iter().flatten()).chain(&self.outputs);
        reads.for_each(|v| counts[v.0 as usize] += 1);
        counts
    }
}
