//! If and Loop; Constant and Identity.

use super::body::Body;
use super::{Cx, Table};
use crate::onnx::model::{Graph, Node, Value};
use infer::error::{Error, Result};
use infer::graph::{GraphId, ValueId};
use infer::ops::Tensor;
use infer::tensor::{DType, Dim, Shape, TensorType};

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
    // Both branches take the captures of both.
    let mut captures = branches[0].captures.clone();
    captures.extend(branches[1].captures.iter().filter(|v| !branches[0].captures.contains(v)));
    let then = cx.body(&branches[0].name, &[], &captures, &[], |cx, _| cx.inline_tensors(branches[0], &[]))?;
    let otherwise = cx.body(&branches[1].name, &[], &captures, &[], |cx, _| cx.inline_tensors(branches[1], &[]))?;
    cx.emit_if(condition, then, otherwise)
}

fn loop_(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let body: &Graph = n.required("body")?;
    let carried = body.inputs.len().saturating_sub(2);
    if body.inputs.len() < 2 || n.inputs.len() > 2 + carried {
        return Err(Error::format("the body's inputs do not fit the Loop's"));
    }
    let trips = cx.optional(n, 0)?;
    let condition = cx.optional(n, 1)?;
    let state = (0..carried).map(|i| cx.input(n, 2 + i)).collect::<Result<Vec<_>>>()?;
    cx.emit_loop(trips, condition, &state, &body.captures, &[], |cx, inputs| cx.inline_tensors(body, inputs))
}

impl Cx<'_> {
    /// Emits an If of two graphs without parameters that capture the same values.
    pub fn emit_if(&mut self, condition: ValueId, then: Body, otherwise: Body) -> Result<Vec<ValueId>> {
        let condition = self.single(condition)?;
        let node = self.b.node.clone();
        self.b.program.add_if(self.b.graph, &node, (then.graph, otherwise.graph), condition, &then.captured)
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
