//! Building graphs: every node is checked and its output types inferred at once.

use super::{Constant, Graph, GraphId, Node, NodeKind, Program, ValueId};
use crate::error::{Error, Result};
use crate::ops::{Inputs, Op};
use crate::tensor::{DType, Dim, Layout, Shape, TensorType};

impl Program {
    /// Adds an empty graph.
    pub fn add_graph(&mut self, name: impl Into<String>) -> GraphId {
        self.graphs.push(Graph { name: name.into(), ..Graph::default() });
        GraphId((self.graphs.len() - 1) as u32)
    }

    /// Adds an input to a graph, one of the model if the graph is the entry; extents that are [`Dim::Unknown`] get new names.
    pub fn add_input(&mut self, graph: GraphId, name: &str, ty: TensorType) -> ValueId {
        let ty = self.name_unknown(ty, name);
        if graph == GraphId(0) {
            self.input_names.push(name.into());
        }
        let g = &mut self.graphs[graph.0 as usize];
        let id = g.add_value(name, ty);
        g.inputs.push(id);
        id
    }

    /// Makes a value of the entry graph an output of the model.
    pub fn add_output(&mut self, name: &str, value: ValueId) {
        self.output_names.push(name.into());
        self.graphs[0].outputs.push(value);
    }

    /// Adds an operator to a graph and returns all outputs that it has for these inputs.
    pub fn add_op(
        &mut self,
        graph: GraphId,
        name: &str,
        op: impl Into<Op>,
        inputs: &[Option<ValueId>],
    ) -> Result<Vec<ValueId>> {
        let op = op.into();
        let kind = NodeKind::Op(op);
        let types = self.infer_node(graph, &kind, inputs).map_err(|e| e.at_node(name, kind.name()))?;
        Ok(self.push_node(graph, name, kind, inputs, types))
    }

    /// Adds an If to a graph; see [`NodeKind::If`].
    pub fn add_if(
        &mut self,
        graph: GraphId,
        name: &str,
        (then_branch, else_branch): (GraphId, GraphId),
        condition: ValueId,
        passed: &[ValueId],
    ) -> Result<Vec<ValueId>> {
        let kind = NodeKind::If { then_branch, else_branch };
        let inputs: Vec<Option<ValueId>> = [condition].iter().chain(passed).map(|&v| Some(v)).collect();
        let types = self.infer_node(graph, &kind, &inputs).map_err(|e| e.at_node(name, "If"))?;
        Ok(self.push_node(graph, name, kind, &inputs, types))
    }

    /// Adds a Loop to a graph; `inputs` are all inputs that [`NodeKind::Loop`] lists.
    pub fn add_loop(
        &mut self,
        graph: GraphId,
        name: &str,
        (body, carried): (GraphId, usize),
        inputs: &[Option<ValueId>],
    ) -> Result<Vec<ValueId>> {
        let kind = NodeKind::Loop { body, carried };
        let types = self.infer_node(graph, &kind, inputs).map_err(|e| e.at_node(name, "Loop"))?;
        Ok(self.push_node(graph, name, kind, inputs, types))
    }

    fn push_node(
        &mut self,
        graph: GraphId,
        name: &str,
        kind: NodeKind,
        inputs: &[Option<ValueId>],
        types: Vec<TensorType>,
    ) -> Vec<ValueId> {
        let types: Vec<_> = types.into_iter().map(|ty| self.name_unknown(ty, "unk")).collect();
        let g = &mut self.graphs[graph.0 as usize];
        let outputs: Vec<ValueId> = types.into_iter().map(|ty| g.add_value("", ty)).collect();
        g.nodes.push(Node { name: name.into(), kind, inputs: inputs.to_vec(), outputs: outputs.clone() });
        outputs
    }

    /// The type with each [`Dim::Unknown`] extent replaced by a new named dimension.
    fn name_unknown(&mut self, ty: TensorType, prefix: &str) -> TensorType {
        if !ty.shape.iter().any(Dim::is_unknown) {
            return ty;
        }
        let name = |d: &Dim| if d.is_unknown() { Dim::sym(self.fresh_sym(&format!("{prefix}_"))) } else { d.clone() };
        let dims: Vec<Dim> = ty.shape.iter().map(name).collect();
        TensorType { shape: Shape::new(dims).unwrap_or_default(), ..ty }
    }

    /// Output types of a node with these inputs; unknown extents stay [`Dim::Unknown`].
    pub fn infer_node(&self, graph: GraphId, kind: &NodeKind, inputs: &[Option<ValueId>]) -> Result<Vec<TensorType>> {
        let g = &self.graphs[graph.0 as usize];
        let types: Vec<Option<&TensorType>> = inputs.iter().map(|v| v.map(|v| &g.value(v).ty)).collect();
        match kind {
            NodeKind::Op(op) => {
                let data = |v: ValueId| g.value(v).constant.as_ref().filter(|c| c.layout == Layout::RowMajor);
                let data: Vec<_> = inputs.iter().map(|v| v.and_then(data).map(Constant::view)).collect();
                op.infer(&Inputs::with_data(&types, &data))
            }
            NodeKind::If { then_branch, else_branch } => self.infer_if(&types, *then_branch, *else_branch),
            NodeKind::Loop { body, carried } => self.infer_loop(&types, *body, *carried),
        }
    }

    fn infer_if(&self, inputs: &[Option<&TensorType>], then: GraphId, otherwise: GraphId) -> Result<Vec<TensorType>> {
        let (a, b) = (&self.graphs[then.0 as usize], &self.graphs[otherwise.0 as usize]);
        let [Some(condition), passed @ ..] = inputs else { return Err(Error::invalid("an If needs a condition")) };
        if condition.dtype != DType::Bool {
            return Err(Error::dtype(format!("the condition is {condition}, not bool")));
        }
        for branch in [a, b] {
            check_arguments(branch, passed)?;
        }
        if a.outputs.len() != b.outputs.len() {
            return Err(Error::invalid(format!("branches with {} and {} outputs", a.outputs.len(), b.outputs.len())));
        }
        let pairs = a.outputs.iter().zip(&b.outputs);
        pairs.map(|(&x, &y)| join(&a.value(x).ty, &b.value(y).ty)).collect()
    }

    fn infer_loop(&self, inputs: &[Option<&TensorType>], body: GraphId, carried: usize) -> Result<Vec<TensorType>> {
        let g = &self.graphs[body.0 as usize];
        let [trips, condition, passed @ ..] = inputs else { return Err(Error::invalid("a Loop needs two inputs")) };
        if trips.is_some_and(|t| t.dtype != DType::I64) || condition.is_some_and(|t| t.dtype != DType::Bool) {
            return Err(Error::dtype("a Loop's number of trips is i64 and its condition bool"));
        }
        let scalars = [TensorType::new(DType::I64, Shape::scalar()), TensorType::new(DType::Bool, Shape::scalar())];
        let arguments: Vec<_> = scalars.iter().map(Some).chain(passed.iter().copied()).collect();
        check_arguments(g, &arguments)?;
        if carried > passed.len() || g.outputs.len() < 1 + carried {
            return Err(Error::invalid(format!("a Loop that carries {carried} values has too few inputs or outputs")));
        }
        let types: Vec<_> = g.outputs.iter().map(|&v| &g.value(v).ty).collect();
        if types[0].dtype != DType::Bool {
            return Err(Error::dtype(format!("the body of a Loop returns its condition as {}, not bool", types[0])));
        }
        let mut out = vec![];
        for (before, after) in passed[..carried].iter().zip(&types[1..]) {
            let before = before.ok_or_else(|| Error::invalid("a carried value is absent"))?;
            out.push(join(before, after)?);
        }
        for scanned in &types[1 + carried..] {
            let dims: Vec<Dim> = std::iter::once(Dim::Unknown).chain(scanned.shape.iter().map(outside)).collect();
            out.push(TensorType::new(scanned.dtype, Shape::new(dims)?));
        }
        Ok(out)
    }
}

/// An extent of a body as the outer graph sees it: a body's own named dimensions mean nothing outside.
fn outside(dim: &Dim) -> Dim {
    if dim.fixed().is_some() { dim.clone() } else { Dim::Unknown }
}

/// Checks that a body accepts these arguments: their number, element types and ranks.
fn check_arguments(body: &Graph, arguments: &[Option<&TensorType>]) -> Result<()> {
    if body.inputs.len() != arguments.len() {
        let (want, got) = (body.inputs.len(), arguments.len());
        return Err(Error::invalid(format!("graph '{}' takes {want} inputs and is given {got}", body.name)));
    }
    for (&parameter, argument) in body.inputs.iter().zip(arguments) {
        let want = &body.value(parameter).ty;
        let got = argument.ok_or_else(|| Error::invalid(format!("graph '{}' lacks an input", body.name)))?;
        if want.dtype != got.dtype || want.shape.rank() != got.shape.rank() {
            return Err(Error::invalid(format!("graph '{}' takes {want} and is given {got}", body.name)));
        }
    }
    Ok(())
}

/// The type of a value that is either `a` or `b`.
fn join(a: &TensorType, b: &TensorType) -> Result<TensorType> {
    if a.dtype != b.dtype || a.shape.rank() != b.shape.rank() {
        return Err(Error::unsupported(format!("a value is {a} on one path and {b} on another")));
    }
    let dims = a.shape.iter().zip(b.shape.iter()).map(|(x, y)| if x == y { outside(x) } else { Dim::Unknown });
    Ok(TensorType::new(a.dtype, Shape::new(dims.collect::<Vec<_>>())?))
}
