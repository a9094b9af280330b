//! Graphs that a node runs: as graphs of their own, or lowered in place.

use super::{Bound, Cx};
use crate::builder::Builder;
use crate::onnx::model::{Graph, Value};
use infer::error::{Error, Result};
use infer::graph::{GraphId, ValueId};
use infer::tensor::TensorType;
use std::collections::HashMap;

/// A graph that a node will run.
pub struct Body {
    /// The graph.
    pub graph: GraphId,
    /// Values of the graph around it that it takes behind its parameters.
    pub captured: Vec<ValueId>,
}

impl Cx<'_> {
    /// A graph whose first inputs have the types `parameters`, built by `build` from these inputs. It may use `captures`
    /// of the model and the values `around`, which are handed to it behind the parameters.
    pub fn body(
        &mut self,
        name: &str,
        parameters: &[TensorType],
        captures: &[Value],
        around: &[ValueId],
        build: impl FnOnce(&mut Cx<'_>, &[ValueId]) -> Result<Vec<ValueId>>,
    ) -> Result<Body> {
        let captures: Vec<(Value, Bound)> =
            captures.iter().map(|&v| Ok((v, self.bound(v)?.clone()))).collect::<Result<_>>()?;
        let graph = self.b.program.add_graph(name);
        let mut captured = vec![];
        let (outer, node) = (self.b.graph, self.b.node.clone());
        let b = Builder { node, ..Builder::new(self.b.program, graph) };
        let (values, depth) = (HashMap::new(), self.depth + 1);
        let mut inner = Cx { b, model: self.model, table: self.table, values, depth, forks: false };
        let inputs: Vec<ValueId> = parameters.iter().map(|ty| inner.parameter(ty)).collect();
        let mut enter = |inner: &mut Cx<'_>, v: ValueId| inner.capture(outer, v, &mut captured);
        let around: Vec<ValueId> = around.iter().map(|&v| enter(&mut inner, v)).collect();
        for (value, bound) in captures {
            let bound = match bound {
                Bound::Tensor(v) => Bound::Tensor(enter(&mut inner, v)),
                Bound::List(list) => Bound::List(list.into_iter().map(|v| enter(&mut inner, v)).collect()),
                Bound::Stack(v) => Bound::Stack(enter(&mut inner, v)),
                // What a body adds to a sequence around it goes nowhere: the sequence itself cannot be read there.
                Bound::Growing { .. } | Bound::Absent => bound,
            };
            inner.values.insert(value, bound);
        }
        let outputs = build(&mut inner, &[inputs, around].concat())?;
        inner.b.g_mut().outputs = outputs;
        Ok(Body { graph, captured })
    }

    /// A value of graph `outer` inside this graph: constants are repeated, others become inputs.
    fn capture(&mut self, outer: GraphId, value: ValueId, captured: &mut Vec<ValueId>) -> ValueId {
        let outside = self.b.program.graphs[outer.0 as usize].value(value).clone();
        if let Some(constant) = outside.constant {
            return self.b.g_mut().add_constant("", constant);
        }
        captured.push(value);
        self.parameter(&outside.ty)
    }

    /// An input of this graph. What is known of the elements outside may change from trip to trip or run to run.
    fn parameter(&mut self, ty: &TensorType) -> ValueId {
        let ty = TensorType::new(ty.dtype, ty.shape.clone());
        self.b.program.add_input(self.b.graph, "", ty)
    }

    /// Lowers a graph in place, with the given inputs, and returns its outputs.
    pub fn inline(&mut self, graph: &Graph, inputs: &[Bound]) -> Result<Vec<Bound>> {
        if graph.inputs.len() != inputs.len() {
            let (want, got) = (graph.inputs.len(), inputs.len());
            return Err(Error::format(format!("graph '{}' has {want} inputs and is given {got}", graph.name)));
        }
        for (port, input) in graph.inputs.iter().zip(inputs) {
            self.values.insert(port.value, input.clone());
        }
        let node = self.b.node.clone();
        self.graph(graph)?;
        self.b.node = node;
        graph.outputs.iter().map(|port| self.bound(port.value).cloned()).collect()
    }

    /// [`Cx::inline`] of a graph that takes and returns tensors.
    pub fn inline_tensors(&mut self, graph: &Graph, inputs: &[ValueId]) -> Result<Vec<ValueId>> {
        let inputs: Vec<Bound> = inputs.iter().map(|&v| Bound::Tensor(v)).collect();
        self.inline(graph, &inputs)?.iter().map(Bound::tensor).collect()
    }
}
