//! Removes operators that change nothing.

use super::rewrite::{Rewriter, Rule};
use infer::error::Result;
use infer::graph::{NodeKind, ValueId};
use infer::ops::binary::BinaryKind;
use infer::ops::{Op, Reshape};
use infer::tensor::Shape;

/// The rules of this file.
pub const RULES: &[Rule] = &[reshape, only_input, neutral];

/// Outputs in place of an operator's, if a rule applies.
type Replaced = Result<Option<Vec<ValueId>>>;

/// A Reshape to the same shape is nothing; one of a Reshape replaces it.
fn reshape(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let (Op::Reshape(_), [Some(x), Some(_)]) = (op, inputs) else { return Ok(None) };
    let to = output_shape(r, op, inputs)?;
    if to == r.b.ty(*x).shape {
        return Ok(Some(vec![*x]));
    }
    let Some((Op::Reshape(_), inner)) = r.producer(*x) else { return Ok(None) };
    let Some(inner) = inner[0] else { return Ok(None) };
    let Some(target) = r.b.reshape_target(inner, &to) else { return Ok(None) };
    let target = r.b.ints(&target)?;
    Ok(Some(vec![r.emit1(Reshape::default(), &[inner, target])?]))
}

/// A Concat of one tensor, a Split into one.
fn only_input(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let [Some(x)] = inputs else { return Ok(None) };
    let single = match op {
        Op::Concat(_) => true,
        Op::Split(s) => s.sizes.len().max(s.parts) == 1,
        _ => false,
    };
    let same = single && output_shape(r, op, inputs)? == r.b.ty(*x).shape;
    Ok(same.then(|| vec![*x]))
}

/// x + 0, x - 0, x · 1, x / 1.
fn neutral(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let (Op::Binary(b), [Some(x), Some(y)]) = (op, inputs) else { return Ok(None) };
    if b.activation != infer::cpu::Activation::None {
        return Ok(None);
    }
    let (neutral, commutes) = match b.kind {
        BinaryKind::Add => (0.0, true),
        BinaryKind::Sub => (0.0, false),
        BinaryKind::Mul => (1.0, true),
        BinaryKind::Div => (1.0, false),
        _ => return Ok(None),
    };
    for (kept, other) in [(*x, Some(*y)), (*y, commutes.then_some(*x))] {
        let Some(other) = other else { continue };
        if r.b.known_scalar(other) == Some(neutral) && output_shape(r, op, inputs)? == r.b.ty(kept).shape {
            return Ok(Some(vec![kept]));
        }
    }
    Ok(None)
}

/// The shape of an operator's first output.
pub fn output_shape(r: &Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Result<Shape> {
    let types = r.b.program.infer_node(r.b.graph, &NodeKind::Op(op.clone()), inputs)?;
    Ok(types[0].shape.clone())
}
