//! What a legal program is. A program that passes here can be resolved and run for any input shapes without harm; what
//! a file says of types is not believed but inferred again.

use super::{Graph, GraphId, NodeKind, Program, ValueId};
use crate::error::{Error, Result};
use crate::tensor::{Dim, Shape, TensorType};
use std::collections::HashSet;

/// Deepest nesting of control flow.
const MAX_DEPTH: usize = 16;

/// How far a graph has been visited.
#[derive(Clone, Copy)]
enum Visit {
    Not,
    Begun,
    /// Levels of control flow inside.
    Done {
        height: usize,
    },
}

impl Program {
    /// Checks the program and infers the types of all values anew.
    ///
    /// # Errors
    /// [`Format`](crate::error::Status::Format), or what an operator finds wrong with its inputs.
    pub fn verify(&mut self) -> Result<()> {
        if self.graphs.is_empty() {
            return Err(Error::format("the model has no graph"));
        }
        for graph in &self.graphs {
            self.check_graph(graph).map_err(|e| e.context(format!("graph '{}'", graph.name)))?;
        }
        self.check_interface()?;
        let mut order = vec![];
        self.visit(GraphId(0), 0, &mut vec![Visit::Not; self.graphs.len()], &mut order)?;
        order.into_iter().try_for_each(|graph| self.retype(graph))
    }

    /// Checks that every index exists and every value is written once, before it is read.
    fn check_graph(&self, g: &Graph) -> Result<()> {
        let mut written: Vec<bool> = g.values.iter().map(|v| v.constant.is_some()).collect();
        let mut write = |v: ValueId| match written.get_mut(v.0 as usize) {
            Some(w) if !*w => {
                *w = true;
                Ok(())
            }
            Some(_) => Err(Error::format(format!("value %{} is written twice", v.0))),
            None => Err(Error::format(format!("value %{} does not exist", v.0))),
        };
        g.inputs.iter().try_for_each(|&v| write(v))?;
        let mut ready: Vec<bool> = g.values.iter().map(|v| v.constant.is_some()).collect();
        g.inputs.iter().for_each(|v| ready[v.0 as usize] = true);
        for node in &g.nodes {
            for v in node.inputs.iter().flatten() {
                if !ready.get(v.0 as usize).is_some_and(|&r| r) {
                    let e = Error::format(format!("value %{} is read before it is written", v.0));
                    return Err(e.at_node(&node.name, node.kind.name()));
                }
            }
            if node.outputs.is_empty() {
                return Err(Error::format("a node without outputs").at_node(&node.name, node.kind.name()));
            }
            for &v in &node.outputs {
                write(v)?;
                ready[v.0 as usize] = true;
            }
        }
        let unready = g.outputs.iter().find(|v| !ready.get(v.0 as usize).is_some_and(|&r| r));
        match unready {
            Some(v) => Err(Error::format(format!("output %{} is never written", v.0))),
            None => g.values.iter().try_for_each(|v| self.check_symbols(&v.ty)),
        }
    }

    fn check_symbols(&self, ty: &TensorType) -> Result<()> {
        let known = |d: &Dim| d.symbols().all(|s| (s.0 as usize) < self.sym_dims.len());
        match ty.shape.iter().find(|d| d.is_unknown() || !known(d)) {
            Some(d) => Err(Error::format(format!("dimension {d} of {ty} is not defined"))),
            None => Ok(()),
        }
    }

    /// Checks the entry's names and the state pairs.
    fn check_interface(&self) -> Result<()> {
        let entry = self.entry();
        let ports = [("input", &entry.inputs, &self.input_names), ("output", &entry.outputs, &self.output_names)];
        for (what, ids, names) in ports {
            if ids.len() != names.len() {
                return Err(Error::format(format!("{} {what}s with {} names", ids.len(), names.len())));
            }
            let mut seen = HashSet::new();
            if let Some(name) = names.iter().find(|name| name.contains('\0') || !seen.insert(*name)) {
                return Err(Error::format(format!("'{name}' cannot name an {what}: it is taken or contains a NUL")));
            }
        }
        let texts = self.metadata.iter().flat_map(|(k, v)| [k, v]).chain(self.sym_dims.iter().map(|s| &s.name));
        if texts.chain([&self.producer]).any(|t| t.contains('\0')) {
            return Err(Error::format("a text of the model contains a NUL character"));
        }
        let bad = |s: &&super::State| s.input >= entry.inputs.len() || s.output >= entry.outputs.len();
        match self.states.iter().find(bad) {
            Some(s) => Err(Error::format(format!("state pair {s:?} names an input or output that does not exist"))),
            None => Ok(()),
        }
    }

    /// Collects the graphs that `graph` runs, callees first, and returns how deep they nest; an error if they form a cycle
    /// or nest too deeply.
    fn visit(&self, graph: GraphId, depth: usize, visits: &mut [Visit], order: &mut Vec<GraphId>) -> Result<usize> {
        let Some(g) = self.graphs.get(graph.0 as usize) else {
            return Err(Error::format(format!("graph {} does not exist", graph.0)));
        };
        let too_deep = || Error::format(format!("control flow nests deeper than {MAX_DEPTH}, or in a cycle"));
        match visits[graph.0 as usize] {
            Visit::Begun => return Err(too_deep()),
            Visit::Done { height } if depth + height > MAX_DEPTH => return Err(too_deep()),
            Visit::Done { height } => return Ok(height),
            Visit::Not if depth > MAX_DEPTH => return Err(too_deep()),
            Visit::Not => {}
        }
        visits[graph.0 as usize] = Visit::Begun;
        let mut height = 0;
        for body in g.nodes.iter().flat_map(|node| node.kind.bodies()) {
            height = height.max(1 + self.visit(body, depth + 1, visits, order)?);
        }
        visits[graph.0 as usize] = Visit::Done { height };
        order.push(graph);
        Ok(height)
    }

    /// Infers the types of a graph's values from those of its inputs.
    fn retype(&mut self, graph: GraphId) -> Result<()> {
        for index in 0..self.graphs[graph.0 as usize].nodes.len() {
            let node = self.graphs[graph.0 as usize].nodes[index].clone();
            let types = self.check_loop(&node.kind, graph, &node.inputs);
            let types = types.map_err(|e| e.at_node(&node.name, node.kind.name()))?;
            let wrong = |m: String| Error::format(m).at_node(&node.name, node.kind.name());
            if node.outputs.len() > types.len() {
                return Err(wrong(format!("{} outputs; it has {}", node.outputs.len(), types.len())));
            }
            for (&v, inferred) in node.outputs.iter().zip(types) {
                let value = self.graphs[graph.0 as usize].value_mut(v);
                let ty = unify(&value.ty, inferred).ok_or_else(|| wrong(format!("an output is not {}", value.ty)))?;
                value.ty = ty;
            }
        }
        Ok(())
    }

    fn check_loop(&self, kind: &NodeKind, graph: GraphId, inputs: &[Option<ValueId>]) -> Result<Vec<TensorType>> {
        if let NodeKind::Loop { carried, .. } = kind
            && inputs.len() < carried.saturating_add(2)
        {
            return Err(Error::format(format!("a Loop that carries {carried} values has {} inputs", inputs.len())));
        }
        self.infer_node(graph, kind, inputs)
    }
}

/// The inferred type, with the declared extents where it has none; None if they contradict each other.
fn unify(declared: &TensorType, inferred: TensorType) -> Option<TensorType> {
    if declared.dtype != inferred.dtype || declared.shape.rank() != inferred.shape.rank() {
        return None;
    }
    let dims = declared.shape.iter().zip(inferred.shape.iter()).map(|(d, i)| match (d, i) {
        (d, Dim::Unknown) => Some(d.clone()),
        (Dim::Fixed(a), Dim::Fixed(b)) if a != b => None,
        (Dim::Fixed(_), _) => Some(d.clone()),
        (_, i) => Some(i.clone()),
    });
    let shape = Shape::new(dims.collect::<Option<Vec<_>>>()?).ok()?;
    Some(TensorType { shape, ..inferred })
}
