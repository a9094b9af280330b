//! Removes operators that change nothing.

use super::rewrite::{Rewriter, Rule};
use infer::error::Result;
use infer::graph::{NodeKind, ValueId};
use infer::ops::binary::BinaryKind;
use infer::ops::{Op, Reshape};
use infer::tensor::{DType, Dim, Shape, normalize_axis};

/// The rules of this file.
pub const RULES: &[Rule] = &[reshape, only_input, neutral, without_effect, chosen, cast_back, all_in_order];

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

/// An Expand, Tile or Slice to the same shape, and a Pad by nothing. (A Slice that keeps an axis whole may reverse it.)
fn without_effect(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let Some(x) = inputs.first().copied().flatten() else { return Ok(None) };
    let none = |r: &Rewriter<'_>, v: &Option<ValueId>, is: fn(i64) -> bool| {
        v.and_then(|v| r.b.known_ints(v)).is_some_and(|ints| ints.into_iter().all(is))
    };
    let nothing = match op {
        Op::Expand(_) | Op::Tile(_) => true,
        Op::Slice(_) => inputs.get(3).is_none_or(|steps| steps.is_none() || none(r, steps, |step| step > 0)),
        Op::Pad(_) => none(r, &inputs[1], |n| n == 0),
        _ => false,
    };
    let same = nothing && output_shape(r, op, inputs)? == r.b.ty(x).shape;
    Ok(same.then(|| vec![x]))
}

/// Whether all elements of a bool constant are true or all are false.
fn uniform(r: &Rewriter<'_>, value: ValueId) -> Option<bool> {
    let constant = r.b.constant(value).filter(|t| t.info.dtype == DType::Bool)?;
    let (&first, rest) = constant.elements::<u8>().split_first()?;
    rest.iter().all(|&x| (x == 0) == (first == 0)).then_some(first != 0)
}

/// A Where, And or Or of which a constant alone decides, unless the result is larger than what is chosen.
fn chosen(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let choice = match (op, inputs) {
        (Op::Where(_), &[Some(condition), Some(x), Some(y)]) => {
            uniform(r, condition).map(|all| if all { x } else { y })
        }
        (Op::Binary(b), &[Some(x), Some(y)]) if matches!(b.kind, BinaryKind::And | BinaryKind::Or) => {
            let decides = |constant| uniform(r, constant).map(|all| all == (b.kind == BinaryKind::Or));
            match (decides(x), decides(y)) {
                (Some(true), _) | (_, Some(false)) => Some(x),
                (_, Some(true)) | (Some(false), _) => Some(y),
                _ => None,
            }
        }
        _ => None,
    };
    let Some(choice) = choice else { return Ok(None) };
    let shape = output_shape(r, op, inputs)?;
    Ok((shape == r.b.ty(choice).shape).then(|| vec![choice]))
}

/// A Cast to the type that a tensor has, or had before a Cast to a type that holds all its values.
fn cast_back(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let (Op::Cast(cast), &[Some(x)]) = (op, inputs) else { return Ok(None) };
    if r.b.dtype(x) == cast.to {
        return Ok(Some(vec![x]));
    }
    let Some((Op::Cast(_), &[Some(inner)])) = r.producer(x) else { return Ok(None) };
    let back = r.b.dtype(inner) == cast.to && holds(r.b.dtype(x), cast.to);
    Ok(back.then(|| vec![inner]))
}

/// Whether every value of type `small` is one of `large` too.
fn holds(large: DType, small: DType) -> bool {
    use DType::*;
    match small {
        Bool => true,
        U8 => matches!(large, U16 | U32 | U64 | I16 | I32 | I64 | F16 | F32 | F64),
        I8 => matches!(large, I16 | I32 | I64 | F16 | F32 | F64),
        U16 => matches!(large, U32 | U64 | I32 | I64 | F32 | F64),
        I16 => matches!(large, I32 | I64 | F32 | F64),
        U32 => matches!(large, U64 | I64 | F64),
        I32 => matches!(large, I64 | F64),
        F16 | BF16 => matches!(large, F32 | F64),
        F32 => large == F64,
        U64 | I64 | F64 => false,
    }
}

/// A gather of all elements, in order, is a Reshape.
fn all_in_order(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let (Some(x), Some(indices)) = (inputs.first().copied().flatten(), inputs.get(1).copied().flatten()) else {
        return Ok(None);
    };
    let dims = r.b.dims(x);
    let axes = match op {
        Op::Gather(g) => {
            let axis = normalize_axis(g.axis, dims.len())?;
            axis..axis + 1
        }
        Op::GatherNd(g) if g.batch_dims == 0 => 0..r.b.dims(indices).last().and_then(Dim::fixed).unwrap_or(0) as usize,
        _ => return Ok(None),
    };
    let Some(extents) = dims[axes].iter().map(Dim::fixed).collect::<Option<Vec<i64>>>() else { return Ok(None) };
    let Some(known) = index_values(r, indices).filter(|_| !extents.is_empty()) else { return Ok(None) };
    let rows = known.chunks_exact(extents.len());
    let in_order = rows.len() as i64 == extents.iter().product::<i64>()
        && rows.enumerate().all(|(i, row)| {
            let position = row.iter().zip(&extents).fold(0, |sum, (index, extent)| sum * extent + index);
            position == i as i64 && row.iter().zip(&extents).all(|(index, extent)| (0..*extent).contains(index))
        });
    if !in_order {
        return Ok(None);
    }
    let shape = output_shape(r, op, inputs)?;
    Ok(super::views::reshape(r, x, &shape)?.map(|y| vec![y]))
}

/// The elements of a constant of indices.
fn index_values(r: &Rewriter<'_>, value: ValueId) -> Option<Vec<i64>> {
    let narrow = |v: Vec<i32>| v.into_iter().map(i64::from).collect();
    r.b.elements::<i64>(value).or_else(|| r.b.elements::<i32>(value).map(narrow))
}

/// The shape of an operator's first output.
pub fn output_shape(r: &Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Result<Shape> {
    let types = r.b.program.infer_node(r.b.graph, &NodeKind::Op(op.clone()), inputs)?;
    Ok(types[0].shape.clone())
}
