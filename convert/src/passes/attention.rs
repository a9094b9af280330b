//! Finds attention in the operators that exporters write for it: a product of queries and keys, scaled and masked in one
//! of many ways, a softmax, and a product with the values.
//!
//! A query whose keys all are masked by minus infinity gives zeros, as in PyTorch, whether or not the exporter has
//! written the guard against the NaN that softmax makes of it.

use super::rewrite::{Rewriter, Rule};
use super::select::through_product;
use super::views::{Arranged, reshape, scaled};
use infer::cpu::Activation;
use infer::error::Result;
use infer::graph::ValueId;
use infer::ops::attention::Arrangement;
use infer::ops::binary::BinaryKind;
use infer::ops::softmax::SoftmaxKind;
use infer::ops::unary::UnaryKind;
use infer::ops::{Attention, Binary, Expand, MatMul, Op, Unary, Where};
use infer::tensor::{DType, Dim};

/// The rules of this file.
pub const RULES: &[Rule] = &[attention];

/// Masked scores are at most this where they are not minus infinity: adding a score to it changes nothing.
const MASKED: f64 = -1e30;

/// A tensor that bounds the keys of queries.
enum Mask {
    /// Added to the scores.
    Added(ValueId),
    /// Where a condition is as given, the score becomes a number.
    Replaced { condition: ValueId, when: bool, by: f64 },
}

/// Scores of queries and keys, as found.
struct Scores {
    /// The product, and its operands.
    product: MatMul,
    q: ValueId,
    k: ValueId,
    /// Extents of the product.
    dims: Vec<Dim>,
    scale: f64,
    /// Masks and the extents of the scores where they apply.
    masks: Vec<(Mask, Vec<Dim>)>,
}

/// A product without bias or activation, and its operands.
fn plain_product(op: &Op, inputs: &[Option<ValueId>]) -> Option<(MatMul, ValueId, ValueId)> {
    match (op, inputs) {
        (Op::MatMul(m), &[Some(a), Some(b)]) if m.activation == Activation::None => Some((m.clone(), a, b)),
        _ => None,
    }
}

/// The input of a Reshape that leaves the last two dimensions alone.
fn outer_reshape(r: &Rewriter<'_>, value: ValueId) -> Option<ValueId> {
    let (Op::Reshape(_), inputs) = r.producer(value)? else { return None };
    let x = inputs[0]?;
    let (from, to) = (r.b.dims(x), r.b.dims(value));
    (from.len() > 2 && to.len() > 2 && from[from.len() - 2..] == to[to.len() - 2..]).then_some(x)
}

/// What Softmax makes `value`, whether bare or with NaN replaced by 0.
fn weights(r: &Rewriter<'_>, value: ValueId) -> Option<ValueId> {
    let mut value = value;
    while let Some(x) = outer_reshape(r, value).filter(|_| r.only_use(value)) {
        value = x;
    }
    let (softmax, uses) = match r.producer(value)? {
        (Op::Where(_), &[Some(condition), Some(zero), Some(x)]) => {
            let guarded = match r.producer(condition)? {
                (Op::Unary(u), inputs) => u.kind == UnaryKind::IsNan && inputs[0] == Some(x),
                _ => false,
            };
            let alone = r.only_use(value) && r.only_use(condition);
            (guarded && alone && r.b.known_scalar(zero) == Some(0.0)).then_some((x, 2))?
        }
        _ => (value, 1),
    };
    let (Op::Softmax(s), inputs) = r.producer(softmax)? else { return None };
    let last = s.axis == -1 || s.axis == r.b.rank(softmax) as i64 - 1;
    let fits = last && s.kind == SoftmaxKind::Softmax && r.uses(softmax) <= uses;
    inputs[0].filter(|_| fits)
}

impl Scores {
    /// Follows scores back to the product of queries and keys.
    fn trace(r: &Rewriter<'_>, mut value: ValueId) -> Option<Self> {
        let (mut scale, mut masks) = (1.0, vec![]);
        loop {
            if !r.only_use(value) {
                return None;
            }
            let dims = r.b.dims(value);
            if let Some((product, q, k)) = r.producer(value).and_then(|(op, inputs)| plain_product(op, inputs)) {
                scale *= f64::from(product.alpha);
                return Some(Scores { product, q, k, dims, scale, masks });
            }
            if let Some((op @ Op::MatMul(_), &[a, b, Some(mask)])) = r.producer(value) {
                let (product, q, k) = plain_product(op, &[a, b])?;
                masks.push((Mask::Added(mask), dims.clone()));
                scale *= f64::from(product.alpha);
                return Some(Scores { product, q, k, dims, scale, masks });
            }
            value = if let Some(x) = outer_reshape(r, value) {
                x
            } else if let Some((x, factor)) = scaled(r, value) {
                // A factor of masked scores would be one of the mask too.
                scale *= factor;
                match masked(r, x) {
                    Some(_) => return None,
                    None => x,
                }
            } else {
                let (x, mask) = masked(r, value)?;
                masks.push((mask, dims));
                x
            };
        }
    }
}

/// Scores and mask of a value that is masked scores.
fn masked(r: &Rewriter<'_>, value: ValueId) -> Option<(ValueId, Mask)> {
    let shape = &r.b.ty(value).shape;
    match r.producer(value)? {
        (Op::Binary(b), &[Some(x), Some(y)]) if b.kind == BinaryKind::Add && b.activation == Activation::None => {
            let scores = |v: ValueId| r.b.ty(v).shape == *shape && !r.b.is_constant(v) && leads_to_product(r, v);
            match (scores(x), scores(y)) {
                (true, _) => Some((x, Mask::Added(y))),
                (_, true) => Some((y, Mask::Added(x))),
                _ => None,
            }
        }
        (Op::Where(_), &[Some(condition), Some(x), Some(y)]) => {
            let (scores, number, when) = match (r.b.known_scalar(x), r.b.known_scalar(y)) {
                (None, Some(number)) => (x, number, false),
                (Some(number), None) => (y, number, true),
                _ => return None,
            };
            let fits = number <= MASKED && r.b.ty(scores).shape == *shape;
            fits.then_some((scores, Mask::Replaced { condition, when, by: number }))
        }
        _ => None,
    }
}

/// Whether scaling, masking and a product of two operands makes a value.
fn leads_to_product(r: &Rewriter<'_>, mut value: ValueId) -> bool {
    loop {
        if matches!(r.producer(value), Some((Op::MatMul(_), inputs)) if inputs[1].is_some_and(|k| !r.b.is_constant(k)))
        {
            return true;
        }
        let next = outer_reshape(r, value)
            .or_else(|| scaled(r, value).map(|(x, _)| x))
            .or_else(|| masked(r, value).map(|(x, _)| x));
        match next {
            Some(x) => value = x,
            None => return false,
        }
    }
}

/// Extents batch, heads, queries and keys of scores.
fn four(scores: &Scores) -> Option<[Dim; 4]> {
    let dims = scores.dims.as_slice();
    let wide = scores.masks.iter().find(|(_, d)| d.len() == 4).map(|(_, d)| d.as_slice());
    match (dims, wide) {
        ([b, h, q, k], _) => Some([b.clone(), h.clone(), q.clone(), k.clone()]),
        ([_, q, k], Some([b, h, ..])) => Some([b.clone(), h.clone(), q.clone(), k.clone()]),
        ([h, q, k], _) => Some([Dim::Fixed(1), h.clone(), q.clone(), k.clone()]),
        ([b, h, g, q, k], _) => Some([b.clone(), h.mul(g), q.clone(), k.clone()]),
        _ => None,
    }
}

/// The mask for scores of extents `to`, when it applies to scores of extents `at`.
fn fit(r: &mut Rewriter<'_>, mask: ValueId, at: &[Dim], to: &[Dim; 4]) -> Result<Option<ValueId>> {
    let dims = r.b.dims(mask);
    if dims.last() != to.last() {
        return Ok(None);
    }
    if at == to || at.len() == 3 && to[0] == Dim::Fixed(1) && at == &to[1..] {
        return Ok(Some(mask));
    }
    // Leading extents of 1 that only one of the two has.
    let ones = at.len().saturating_sub(4);
    if at[..ones].iter().all(|d| *d == Dim::Fixed(1)) && at[ones..] == *to {
        let skip = dims.len().saturating_sub(4);
        return reshape(r, mask, &dims[skip..]);
    }
    if !r.b.is_constant(mask) {
        return Ok(None);
    }
    let rows = dims.len().checked_sub(2).map_or(Dim::Fixed(1), |i| dims[i].clone());
    let full: Option<Vec<i64>> = at[..at.len() - 2].iter().chain([&rows, &to[3]]).map(Dim::fixed).collect();
    let Some(full) = full else { return Ok(None) };
    let full = r.b.ints(&full)?;
    let wide = r.emit1(Expand, &[mask, full])?;
    let [b, h, ..] = to.clone();
    if r.b.is_constant(wide) { reshape(r, wide, &[b, h, rows, to[3].clone()]) } else { Ok(None) }
}

impl Mask {
    /// The tensor to be added to scores.
    fn added(&self, r: &mut Rewriter<'_>, dtype: DType) -> Result<ValueId> {
        match *self {
            Mask::Added(mask) => Ok(mask),
            Mask::Replaced { condition, when, by } => {
                let (zero, by) = (r.b.scalar(dtype, 0.0)?, r.b.scalar(dtype, by)?);
                let (x, y) = if when { (by, zero) } else { (zero, by) };
                r.emit1(Where, &[condition, x, y])
            }
        }
    }

    /// A condition that holds for keys that count, where that is all there is to it.
    fn condition(&self, r: &mut Rewriter<'_>) -> Result<Option<ValueId>> {
        match *self {
            Mask::Replaced { condition, when, by: f64::NEG_INFINITY } => match when {
                true => r.emit1(Unary::from(UnaryKind::Not), &[condition]).map(Some),
                false => Ok(Some(condition)),
            },
            _ => Ok(None),
        }
    }
}

/// One mask for all; the outer None if there is none that does it.
fn combine(r: &mut Rewriter<'_>, scores: &Scores, to: &[Dim; 4]) -> Result<Option<Option<ValueId>>> {
    if let [(mask, at)] = &scores.masks[..]
        && let Some(condition) = mask.condition(r)?
    {
        return Ok(fit(r, condition, at, to)?.map(Some));
    }
    let mut sum = None;
    for (mask, at) in &scores.masks {
        let added = mask.added(r, DType::F32)?;
        let Some(added) = fit(r, added, at, to)? else { return Ok(None) };
        sum = Some(match sum {
            Some(sum) => r.emit1(Binary::from(BinaryKind::Add), &[added, sum])?,
            None => added,
        });
    }
    Ok(Some(sum))
}

/// Queries, keys or values `[batch, heads, sequence, size]`, if they are that under the shape of the product.
fn operand(arranged: Option<Arranged>, leading: &[Dim], [b, h, ..]: &[Dim; 4]) -> Option<Arranged> {
    let arranged = arranged?;
    let n = arranged.extents.len().checked_sub(2)?;
    if arranged.extents[..n] != *leading {
        return None;
    }
    let [sequence, size] = [arranged.extents[n].clone(), arranged.extents[n + 1].clone()];
    arranged.reshaped(&[b.clone(), h.clone(), sequence, size])
}

/// The operand as `[batch, sequence, heads · size]`.
fn sequence_first(x: &Arranged) -> Option<Arranged> {
    let [b, h, s, d] = x.extents.as_slice() else { return None };
    let to = [b.clone(), s.clone(), h.mul(d)];
    x.transposed(&[0, 2, 1, 3])?.reshaped(&to)
}

fn attention(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Result<Option<Vec<ValueId>>> {
    let Some((second, p, v)) = plain_product(op, inputs) else { return Ok(None) };
    if second.transpose_a || second.alpha != 1.0 || r.b.dtype(p) != DType::F32 || !r.only_use(p) {
        return Ok(None);
    }
    let Some(scores) = weights(r, p).and_then(|s| Scores::trace(r, s)) else { return Ok(None) };
    let Some((operands, scale)) = operands(r, &scores, p, (v, second.transpose_b)) else { return Ok(None) };
    let Some(to) = four(&scores) else { return Ok(None) };
    let Some(mask) = combine(r, &scores, &to)? else { return Ok(None) };
    let Some(y) = emit(r, operands, scale as f32, mask)? else { return Ok(None) };
    let dims = super::simplify::output_shape(r, op, inputs)?.to_vec();
    Ok(reshape(r, y, &dims)?.map(|y| vec![y]))
}

/// Q, K and V, and the factor of their product.
fn operands(
    r: &Rewriter<'_>,
    scores: &Scores,
    p: ValueId,
    (v, swap_v): (ValueId, bool),
) -> Option<([Arranged; 3], f64)> {
    let to = four(scores)?;
    let swap = |x: Arranged, swap: bool| if swap { x.swapped() } else { Some(x) };
    let (q, q_scale) = Arranged::trace_scaled(r, scores.q)?;
    let (k, k_scale) = Arranged::trace_scaled(r, scores.k)?;
    let leading = &scores.dims[..scores.dims.len() - 2];
    let q = operand(swap(q, scores.product.transpose_a), leading, &to)?;
    let k = operand(swap(k, !scores.product.transpose_b), leading, &to)?;
    let p = r.b.dims(p);
    let v = operand(swap(Arranged::trace(r, v)?, swap_v), p.get(..p.len().checked_sub(2)?)?, &to)?;
    let scale = scores.scale * q_scale * k_scale;
    let fits = (scale as f32).is_normal() && q.extents[3] == k.extents[3] && k.extents[2] == v.extents[2];
    let [k, v] = match (shared(r, &k), shared(r, &v)) {
        (Some(k), Some(v)) if k.extents[1] == v.extents[1] => [k, v],
        _ => [k, v],
    };
    fits.then_some(([q, k, v], scale))
}

/// Keys or values `[batch, heads, sequence, size]`, each head of which is repeated for a group of queries: without the
/// repetition.
fn shared(r: &Rewriter<'_>, repeated: &Arranged) -> Option<Arranged> {
    let (Op::Expand(_), inputs) = r.producer(repeated.source)? else { return None };
    let x = inputs[0]?;
    let (from, to) = (r.b.dims(x), r.b.dims(repeated.source));
    let changed: Vec<usize> = (0..to.len()).filter(|&i| from.get(i) != Some(&to[i])).collect();
    let &[axis] = changed.as_slice() else { return None };
    if from.len() != to.len() || from[axis] != Dim::Fixed(1) {
        return None;
    }
    let before = |dims: &[Dim]| dims.iter().fold(Dim::Fixed(1), |n, d| n.mul(d));
    let atom = (0..repeated.atoms.len()).find(|&n| before(&repeated.atoms[..n]) == before(&to[..axis]))?;
    // Heads of a group are neighbours.
    if repeated.atoms[atom] != to[axis] || repeated.dims[1].last() != Some(&atom) {
        return None;
    }
    let mut one = Arranged { source: x, ..repeated.clone() };
    one.extents[1] = repeated.extents[1].floor_div(&to[axis]);
    one.atoms.remove(atom);
    one.dims[1].pop();
    one.dims.iter_mut().flatten().filter(|a| **a > atom).for_each(|a| *a -= 1);
    Arranged::trace(r, x)?.then(&one)
}

/// Emits the attention under the arrangement that moves less data; the result is `[batch, heads, sequence, size]`.
fn emit(
    r: &mut Rewriter<'_>,
    mut operands: [Arranged; 3],
    scale: f32,
    mask: Option<ValueId>,
) -> Result<Option<ValueId>> {
    for operand in &mut operands {
        if let Some(other) = through_product(r, operand)?
            && sequence_first(&other).is_some_and(|x| x.in_order())
        {
            *operand = other;
        }
    }
    let moved = |x: &&Arranged| !x.in_order();
    let interleaved: Option<Vec<Arranged>> = operands.iter().map(sequence_first).collect();
    let [heads, kv_heads] = [0, 1].map(|i| operands[i].extents[1].fixed().and_then(|h| u32::try_from(h).ok()));
    let (batch, rows, size) = (&operands[0].extents[0], &operands[0].extents[2], &operands[2].extents[3]);
    let mut op = Attention { scale, ..Attention::default() };
    // The result most often goes on interleaved.
    if let (Some(interleaved), Some(heads), Some(kv_heads)) = (interleaved, heads, kv_heads)
        && interleaved.iter().filter(moved).count() <= operands.iter().filter(moved).count() + 1
    {
        (op.heads, op.kv_heads, op.arrangement) = (heads, kv_heads, Arrangement::SequenceFirst);
        let Some(y) = emit_operator(r, op, &interleaved, mask)? else { return Ok(None) };
        let dims = [batch.clone(), rows.clone(), Dim::from(heads as usize), size.clone()];
        let Some(y) = reshape(r, y, &dims)? else { return Ok(None) };
        return r.transpose(y, &[0, 2, 1, 3]).map(Some);
    }
    emit_operator(r, op, &operands, mask)
}

fn emit_operator(
    r: &mut Rewriter<'_>,
    op: Attention,
    operands: &[Arranged],
    mask: Option<ValueId>,
) -> Result<Option<ValueId>> {
    let mut inputs = vec![];
    for operand in operands {
        let Some(x) = operand.emit(r)? else { return Ok(None) };
        inputs.push(Some(x));
    }
    inputs.extend(mask.map(Some));
    Ok(Some(r.emit(op, &inputs)?[0]))
}
