//! If and Loop; Constant and Identity.

use super::{Cx, Table};
use crate::onnx::model::{Graph, Node};
use infer::error::{Error, Result};
use infer::graph::ValueId;
use infer::ops::Tensor;
use infer::tensor::{DType, Shape, TensorType};

pub const TABLE: Table =
    &[("If", if_), ("Loop", loop_), ("Constant", constant), ("Identity", identity), ("Dropout", dropout)];

fn if_(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let condition = cx.input(n, 0)?;
    let (then, otherwise): (&Graph, &Graph) = (n.required("then_branch")?, n.required("else_branch")?);
    // Both branches take the captures of both.
    let branches = [cx.body(then, &[])?, cx.body(otherwise, &[])?];
    let own = [cx.captures(then)?, cx.captures(otherwise)?];
    let mut passed = own[0].clone();
    passed.extend(own[1].iter().filter(|v| !own[0].contains(v)));
    for (branch, own) in branches.iter().zip(&own) {
        let types: Vec<TensorType> = passed.iter().map(|&v| cx.b.ty(v).clone()).collect();
        let g = &mut cx.b.program.graphs[branch.0 as usize];
        let taken = std::mem::take(&mut g.inputs);
        for (v, ty) in passed.iter().zip(types) {
            let input = match own.iter().position(|o| o == v) {
                Some(i) => taken[i],
                None => g.add_value("captured", TensorType::new(ty.dtype, ty.shape)),
            };
            g.inputs.push(input);
        }
    }
    let condition = single(cx, condition)?;
    let node = cx.b.node.clone();
    cx.b.program.add_if(cx.b.graph, &node, (branches[0], branches[1]), condition, &passed)
}

/// A condition of one element, whatever its rank.
fn single(cx: &mut Cx<'_>, condition: ValueId) -> Result<ValueId> {
    if cx.b.rank(condition) == 0 { Ok(condition) } else { cx.b.reshape(condition, &[]) }
}

fn loop_(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let body: &Graph = n.required("body")?;
    let inputs = cx.optional_inputs(n)?;
    let carried = body.inputs.len().saturating_sub(2);
    if body.inputs.len() < 2 || inputs.len() > 2 + carried {
        return Err(Error::format("the body's inputs do not fit the Loop's"));
    }
    let mut arguments = vec![];
    for i in 0..2 {
        let value = inputs.get(i).copied().flatten();
        arguments.push(value.map(|v| single(cx, v)).transpose()?);
    }
    for i in 0..carried {
        arguments.push(Some(cx.input(n, 2 + i)?));
    }
    let scalar = |dtype| TensorType::new(dtype, Shape::scalar());
    let mut parameters = vec![scalar(DType::I64), scalar(DType::Bool)];
    for value in arguments[2..].iter().flatten() {
        parameters.push(loose(cx, *value)?);
    }
    let graph = cx.body(body, &parameters)?;
    arguments.extend(cx.captures(body)?.into_iter().map(Some));
    let node = cx.b.node.clone();
    cx.b.program.add_loop(cx.b.graph, &node, (graph, carried), &arguments)
}

/// The type of a carried value in the body: its extents may change from trip to trip.
fn loose(cx: &mut Cx<'_>, value: ValueId) -> Result<TensorType> {
    let ty = cx.b.ty(value);
    let dims = vec![infer::tensor::Dim::Unknown; ty.shape.rank()];
    Ok(TensorType::new(ty.dtype, Shape::new(dims)?))
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
    } else {
        return Err(Error::unsupported("a Constant of strings or without a value"));
    };
    Ok(vec![cx.b.tensor(tensor)])
}

fn identity(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    Ok(vec![cx.input(n, 0)?])
}

/// Dropout in inference: the input, and a mask that keeps everything.
fn dropout(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let _ = (n.attribute::<f32>("ratio")?, n.attribute::<i64>("seed")?, n.attribute::<i64>("is_test")?);
    let training = cx.optional(n, 2)?.map(|v| cx.b.known_scalar(v).ok_or(())).transpose();
    match training {
        Ok(None | Some(0.0)) if n.output(1).is_none() => Ok(vec![cx.input(n, 0)?]),
        Ok(None | Some(0.0)) => Err(Error::unsupported("Dropout's mask output")),
        _ => Err(Error::unsupported("Dropout in training mode")),
    }
}
