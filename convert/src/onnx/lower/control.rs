//! If and Loop; Constant and Identity.

use super::body::Body;
use super::{Bound, Cx, Table};
use crate::onnx::model::{Graph, Node, Port, Value};
use infer::error::{Error, Result, Status};
use infer::graph::{GraphId, ValueId};
use infer::ops::{Fail, Tensor};
use infer::tensor::{DType, Dim, Shape, TensorType};
use std::collections::HashSet;

/// Most trips of a Loop that is lowered trip by trip.
const MOST_TRIPS: usize = 1024;

/// Bodies of control flow in which an If may still take in what follows it, as that doubles.
const MOST_FORKS: usize = 4;

pub const TABLE: Table =
    &[("If", if_), ("Loop", loop_), ("Constant", constant), ("Identity", identity), ("Dropout", dropout)];

fn if_(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let condition = cx.input(n, 0)?;
    let branches: [&Graph; 2] = [n.required("then_branch")?, n.required("else_branch")?];
    if let Some([known]) = cx.b.known_ints(condition).as_deref() {
        let outputs = cx.inline(branches[usize::from(*known == 0)], &[])?;
        outputs.into_iter().enumerate().for_each(|(i, output)| cx.bind(n, i, output));
        return Ok(vec![]);
    }
    let captures: Vec<Value> = branches.iter().flat_map(|branch| &branch.captures).copied().collect();
    let graphs = cx.b.program.graphs.len();
    let bodies = cx.branches(branches, &captures, |cx, branch| cx.inline_tensors(branch, &[]))?;
    if cx.depth < MOST_FORKS && !cx.same_ranks(&bodies) {
        cx.b.program.graphs.truncate(graphs);
        cx.forks = true;
        return Ok(vec![]);
    }
    cx.emit_if(condition, bodies)
}

fn loop_(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let body: &Graph = n.required("body")?;
    let carried = body.inputs.len().saturating_sub(2);
    if body.inputs.len() < 2 || n.inputs.len() > 2 + carried {
        return Err(Error::format("the body's inputs do not fit the Loop's"));
    }
    let trips = cx.optional(n, 0)?;
    let condition = cx.optional(n, 1)?;
    let state = (0..carried).map(|i| cx.bound(n.required_input(2 + i)?).cloned()).collect::<Result<Vec<_>>>()?;
    if state.iter().any(|v| !matches!(v, Bound::Tensor(_))) {
        return match unrolled(cx, n, body, [trips, condition], state.clone())? {
            true => Ok(vec![]),
            false => cx.growing_loop(n, body, [trips, condition], &state),
        };
    }
    let state = (0..carried).map(|i| cx.input(n, 2 + i)).collect::<Result<Vec<_>>>()?;
    cx.emit_loop(trips, condition, &state, &body.captures, &[], |cx, inputs| cx.inline_tensors(body, inputs))
}

/// Lowers a Loop that carries sequences, which exist only here, trip by trip; false if their number is not known.
fn unrolled(
    cx: &mut Cx<'_>,
    n: &Node,
    body: &Graph,
    [trips, condition]: [Option<ValueId>; 2],
    mut state: Vec<Bound>,
) -> Result<bool> {
    let carried = state.len();
    let number = |cx: &Cx<'_>, v: Option<ValueId>, absent: i64| {
        v.map_or(Some(absent), |v| cx.b.known_ints(v).and_then(|v| v.first().copied()))
    };
    let (Some(trips), Some(first)) = (number(cx, trips, i64::MAX), number(cx, condition, 1)) else { return Ok(false) };
    let (mut go_on, mut trip) = (first != 0, 0);
    let mut columns: Vec<Vec<ValueId>> = vec![vec![]; body.outputs.len().saturating_sub(1 + carried)];
    while go_on && trip < trips {
        if trip as usize == MOST_TRIPS {
            return Err(Error::unsupported(format!("a Loop that carries a sequence for more than {MOST_TRIPS} trips")));
        }
        let first = [Bound::Tensor(cx.b.array(&[], &[trip])?), Bound::Tensor(cx.b.scalar(DType::Bool, 1.0)?)];
        let mut results = cx.inline(body, &[&first[..], &state].concat())?.into_iter();
        let condition = results.next().ok_or_else(|| Error::format("a body without a condition"))?.tensor()?;
        let Some(again) = number(cx, Some(condition), 1) else { return Ok(false) };
        go_on = again != 0;
        state = results.by_ref().take(carried).collect();
        for (column, result) in columns.iter_mut().zip(results) {
            column.push(cx.b.unsqueeze(result.tensor()?, &[0])?);
        }
        trip += 1;
    }
    for (i, bound) in state.into_iter().enumerate() {
        cx.bind(n, i, bound);
    }
    for (i, column) in columns.iter().enumerate().filter(|(i, _)| n.output(carried + i).is_some()) {
        if column.is_empty() {
            return Err(Error::unsupported("what a Loop without trips stacks"));
        }
        let stacked = cx.b.concat(0, column)?;
        cx.bind(n, carried + i, Bound::Tensor(stacked));
    }
    Ok(true)
}

impl Cx<'_> {
    /// Emits an If of two graphs without parameters that capture the same values.
    pub fn emit_if(&mut self, condition: ValueId, [then, otherwise]: [Body; 2]) -> Result<Vec<ValueId>> {
        let condition = self.single(condition)?;
        let node = self.b.node.clone();
        self.b.program.add_if(self.b.graph, &node, (then.graph, otherwise.graph), condition, &then.captured)
    }

    /// Lowers an If whose branches return values of different ranks: what follows it in its graph, up to the graph's
    /// outputs `ends`, goes into both, as its operators mean different things there.
    pub fn fork(&mut self, n: &Node, rest: &[Node], ends: &[Port]) -> Result<()> {
        let condition = self.input(n, 0)?;
        let branches: [&Graph; 2] = [n.required("then_branch")?, n.required("else_branch")?];
        let inner = branches.into_iter().chain(rest.iter().flat_map(Node::graphs)).flat_map(|g| &g.captures).copied();
        let inputs = rest.iter().flat_map(|n| n.inputs.iter().flatten()).copied();
        // What the rest computes itself is not there yet.
        let uses = inner.chain(inputs).chain(ends.iter().map(|port| port.value));
        let captures: Vec<Value> = uses.filter(|v| self.values.contains_key(v)).collect();
        let bodies = self.branches(branches, &captures, |cx, branch| {
            let outputs = cx.inline(branch, &[])?;
            outputs.into_iter().enumerate().for_each(|(i, output)| cx.bind(n, i, output));
            cx.nodes(rest, ends)?;
            ends.iter().map(|port| cx.value(port.value)).collect()
        })?;
        self.b.node = n.name.clone();
        let outputs = self.emit_if(condition, bodies)?;
        for (port, output) in ends.iter().zip(outputs) {
            self.values.insert(port.value, Bound::Tensor(output));
        }
        Ok(())
    }

    /// The bodies of an If's branches. Both take the captures of both. One whose shapes do not fit fails if it is run:
    /// exporters write such branches for cases that their models do not have.
    fn branches(
        &mut self,
        branches: [&Graph; 2],
        captures: &[Value],
        build: impl Fn(&mut Cx<'_>, &Graph) -> Result<Vec<ValueId>>,
    ) -> Result<[Body; 2]> {
        let mut seen = HashSet::new();
        let captures: Vec<Value> = captures.iter().filter(|&&v| seen.insert(v)).copied().collect();
        let mut lower = |branch: &Graph| {
            let graphs = self.b.program.graphs.len();
            let body = self.body(&branch.name, &[], &captures, &[], |cx, _| build(cx, branch));
            if body.is_err() {
                self.b.program.graphs.truncate(graphs);
            }
            body
        };
        let misfit = |e: &Error| e.status() == Status::Shape;
        let (then, otherwise) = (lower(branches[0]), lower(branches[1]));
        match (then, otherwise) {
            (Err(e), Ok(body)) if misfit(&e) => Ok([self.failing(branches[0], &captures, &e, &body)?, body]),
            (Ok(body), Err(e)) if misfit(&e) => {
                let other = self.failing(branches[1], &captures, &e, &body)?;
                Ok([body, other])
            }
            (then, otherwise) => Ok([then?, otherwise?]),
        }
    }

    /// A body that fails with an error and returns what `other` does.
    fn failing(&mut self, branch: &Graph, captures: &[Value], error: &Error, other: &Body) -> Result<Body> {
        let types = self.output_types(other);
        self.body(&branch.name, &[], captures, &[], |cx, _| {
            let fail = |ty: TensorType| {
                let dims = ty.shape.iter().map(|d| d.fixed().and_then(|d| u32::try_from(d).ok())).collect();
                cx.b.emit1(Fail { message: error.to_string(), dtype: ty.dtype, dims }, &[])
            };
            types.into_iter().map(fail).collect()
        })
    }

    fn output_types(&self, body: &Body) -> Vec<TensorType> {
        let g = &self.b.program.graphs[body.graph.0 as usize];
        g.outputs.iter().map(|&v| g.value(v).ty.clone()).collect()
    }

    /// Whether the bodies return values of the same ranks.
    fn same_ranks(&self, [a, b]: &[Body; 2]) -> bool {
        let [a, b] = [a, b].map(|body| self.output_types(body));
        a.iter().zip(&b).all(|(a, b)| a.shape.rank() == b.shape.rank())
    }

    /// Emits a Loop: `build` makes the body from its inputs (trip number, condition, state.., around..) and returns
    /// condition, state and what is to be stacked.
    pub fn emit_loop(
        &mut self,
        trips: Option<ValueId>,
        condition: Option<ValueId>,
        state: &[ValueId],
        captures: &[Value],
        around: &[ValueId],
        build: impl Fn(&mut Cx<'_>, &[ValueId]) -> Result<Vec<ValueId>>,
    ) -> Result<Vec<ValueId>> {
        let mut arguments = vec![trips.map(|v| self.single(v)).transpose()?];
        arguments.push(condition.map(|v| self.single(v)).transpose()?);
        arguments.extend(state.iter().map(|&v| Some(v)));
        let scalar = |dtype| TensorType::new(dtype, Shape::scalar());
        let mut types = vec![scalar(DType::I64), scalar(DType::Bool)];
        types.extend(state.iter().map(|&v| self.b.ty(v).clone()));
        let graphs = self.b.program.graphs.len();
        // Extents of the state are kept as far as no trip changes them. In deep nests that would be tried too often.
        let mut tries = if self.depth < 3 { 2 } else { 0 };
        let body = loop {
            if tries == 0 {
                types[2..].iter_mut().try_for_each(|ty| open(ty, |_| true).map(drop))?;
            }
            let body = self.body("body", &types, captures, around, &build)?;
            if tries == 0 || !self.loosen(&mut types[2..], body.graph)? {
                break body;
            }
            tries -= 1;
            self.b.program.graphs.truncate(graphs);
        };
        arguments.extend(body.captured.into_iter().map(Some));
        let node = self.b.node.clone();
        self.b.program.add_loop(self.b.graph, &node, (body.graph, state.len()), &arguments)
    }

    /// Opens the extents of a Loop's state that its body changes; tells whether there are any.
    fn loosen(&self, state: &mut [TensorType], body: GraphId) -> Result<bool> {
        let g = &self.b.program.graphs[body.0 as usize];
        let mut changed = false;
        for ((ty, first), next) in state.iter_mut().zip(&g.inputs[2..]).zip(g.outputs.iter().skip(1)) {
            let (first, next) = (&g.value(*first).ty.shape, &g.value(*next).ty.shape);
            changed |= open(ty, |i| next.get(i).is_some_and(|d| *d != first[i]))?;
        }
        Ok(changed)
    }

    /// The one element of a tensor as a scalar.
    pub fn single(&mut self, x: ValueId) -> Result<ValueId> {
        if self.b.rank(x) == 0 { Ok(x) } else { self.b.reshape(x, &[]) }
    }
}

/// Opens the extents of the dimensions for which `which` says so; tells whether that changes the type.
fn open(ty: &mut TensorType, which: impl Fn(usize) -> bool) -> Result<bool> {
    let dims = ty.shape.iter().enumerate().map(|(i, d)| if which(i) { Dim::Unknown } else { d.clone() });
    let shape = Shape::new(dims.collect::<Vec<_>>())?;
    let changed = shape != ty.shape;
    *ty = TensorType::new(ty.dtype, shape);
    Ok(changed)
}

fn constant(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let tensor = if let Some(tensor) = n.attribute::<&Tensor>("value")? {
        tensor.clone()
    } else if let Some(x) = n.attribute::<f32>("value_float")? {
        Tensor::new(&[], &[x])?
    } else if let Some(x) = n.attribute::<i64>("value_int")? {
        Tensor::new(&[], &[x])?
    } else if let Some(x) = n.attribute::<&[f32]>("value_floats")? {
        Tensor::new(&[x.len()], x)?
    } else if let Some(x) = n.attribute::<&[i64]>("value_ints")? {
        Tensor::new(&[x.len()], x)?
    } else if let Some(tensor) = n.attribute::<&Tensor>("sparse_value")? {
        tensor.clone()
    } else {
        return Err(Error::unsupported("a Constant of strings or without a value"));
    };
    Ok(vec![cx.b.tensor(tensor)])
}

fn identity(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.bound(n.required_input(0)?)?.clone();
    cx.bind(n, 0, x);
    Ok(vec![])
}

/// Dropout in inference: the input, and a mask that keeps everything, of the input's type before opset 10.
fn dropout(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let _ = (n.attribute::<f32>("ratio")?, n.attribute::<i64>("seed")?, n.attribute::<i64>("is_test")?);
    let training = cx.optional(n, 2)?.map(|v| cx.b.known_scalar(v).ok_or(())).transpose();
    if !matches!(training, Ok(None | Some(0.0))) {
        return Err(Error::unsupported("Dropout in training mode"));
    }
    let x = cx.input(n, 0)?;
    if n.output(1).is_none() {
        return Ok(vec![x]);
    }
    let dtype = if n.opset < 10 { cx.b.dtype(x) } else { DType::Bool };
    let (kept, shape) = (cx.b.scalar(dtype, 1.0)?, cx.b.shape(x)?);
    Ok(vec![x, cx.b.expand(kept, shape)?])
}
