//! Products of which columns are selected, and products of rearranged rows.
//!
//! Queries, keys and values often come from one product, whose result is then cut up. Products with the matching columns
//! of the weights need no cutting. Rows may as well be rearranged after a product as before it, where that may undo
//! another rearrangement.

use super::rewrite::{Rewriter, Rule};
use super::views::{Arranged, reshape};
use infer::error::Result;
use infer::graph::ValueId;
use infer::ops::binary::BinaryKind;
use infer::ops::{Binary, Gather, MatMul, Norm, Op, Slice, Split};
use infer::tensor::{DType, Dim, normalize_axis};

/// The rules of this file.
pub const RULES: &[Rule] = &[columns, rows_later, elements_later, sums_later, undone];

/// Outputs in place of an operator's, if a rule applies.
type Replaced = Result<Option<Vec<ValueId>>>;

/// Fewest columns worth a product of their own.
const FEWEST: i64 = 32;

/// A product with constant weights `[K, N]` or `[N, K]` and, possibly, constant bias `[N]`.
struct Linear {
    op: MatMul,
    x: ValueId,
    weights: ValueId,
    bias: Option<ValueId>,
    columns: i64,
}

impl Linear {
    fn new(r: &Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Option<Self> {
        let (Op::MatMul(op), &[Some(x), Some(weights), ref rest @ ..]) = (op, inputs) else { return None };
        let bias = rest.first().copied().flatten();
        let [a, b] = r.b.dims(weights).try_into().ok()?;
        let columns = if op.transpose_b { a } else { b }.fixed()?;
        let vector = |b: ValueId| r.b.is_constant(b) && r.b.dims(b) == [Dim::Fixed(columns)];
        let plain = !op.transpose_a && r.b.rank(x) > 1 && r.b.is_constant(weights);
        let alone = rest.get(1).copied().flatten().is_none() && bias.is_none_or(vector);
        (plain && alone).then(|| Linear { op: op.clone(), x, weights, bias, columns })
    }

    fn emit(&self, r: &mut Rewriter<'_>) -> Result<ValueId> {
        let mut inputs = vec![Some(self.x), Some(self.weights)];
        inputs.extend(self.bias.map(Some));
        Ok(r.emit(self.op.clone(), &inputs)?[0])
    }
}

/// A Gather of one element, a Slice, or a Split along one axis, with constant arguments.
struct Selection<'a> {
    op: &'a Op,
    arguments: &'a [Option<ValueId>],
    axis: usize,
    /// Whether the axis disappears.
    drops: bool,
}

impl<'a> Selection<'a> {
    fn new(r: &Rewriter<'_>, op: &'a Op, inputs: &'a [Option<ValueId>]) -> Option<(ValueId, Self)> {
        let (&x, arguments) = inputs.split_first()?;
        let x = x?;
        let axis = match op {
            Op::Gather(g) if r.b.rank(arguments[0]?) == 0 => g.axis,
            Op::Split(s) => s.axis,
            Op::Slice(s) if s.axes.len() == 1 => s.axes[0],
            _ => return None,
        };
        let axis = normalize_axis(axis, r.b.rank(x)).ok()?;
        let constant = arguments.iter().flatten().all(|&v| r.b.is_constant(v));
        let drops = matches!(op, Op::Gather(_));
        constant.then_some((x, Selection { op, arguments, axis, drops }))
    }

    /// The same selection along another axis of another tensor.
    fn of(&self, r: &mut Rewriter<'_>, x: ValueId, axis: usize) -> Result<Vec<ValueId>> {
        let axis = axis as i64;
        let op: Op = match self.op {
            Op::Split(s) => Split { axis, ..s.clone() }.into(),
            Op::Slice(_) => Slice { axes: vec![axis] }.into(),
            _ => Gather { axis }.into(),
        };
        let inputs: Vec<_> = [Some(x)].iter().chain(self.arguments).copied().collect();
        r.emit(op, &inputs)
    }
}

/// Whether nothing but the selections of `value` reads what the chain from `source` to `value` makes; how many there are.
fn readers(r: &Rewriter<'_>, source: ValueId, value: ValueId) -> Option<i64> {
    let uses = r.uses(value).max(1);
    let (mut at, mut allowed) = (value, uses);
    while at != source {
        let (op, inputs) = r.producer(at)?;
        // Uses of a Transpose count as uses of its input.
        allowed = if matches!(op, Op::Transpose(_)) { allowed } else { 1 };
        at = inputs[0]?;
        if r.uses(at) > allowed {
            return None;
        }
    }
    i64::try_from(uses).ok()
}

/// A selection of columns of a product is a product with these columns of the weights.
fn columns(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let Some((x, selection)) = Selection::new(r, op, inputs) else { return Ok(None) };
    let Some(arranged) = Arranged::trace(r, x) else { return Ok(None) };
    let product = r.producer(arranged.source).and_then(|(op, inputs)| Linear::new(r, op, inputs));
    let (Some(linear), Some(tail)) = (product, arranged.last_atoms(r)) else { return Ok(None) };
    let first = arranged.atoms.len() - tail;
    let &[atom] = arranged.dims[selection.axis].as_slice() else { return Ok(None) };
    let tail: Option<Vec<i64>> = arranged.atoms[first..].iter().map(Dim::fixed).collect();
    let (Some(tail), Some(uses)) = (tail, readers(r, arranged.source, x)) else { return Ok(None) };
    if atom < first || r.b.dtype(linear.weights) != DType::F32 {
        return Ok(None);
    }
    let types = r.b.program.infer_node(r.b.graph, &infer::graph::NodeKind::Op(op.clone()), inputs)?;
    let extent =
        |ty: &infer::tensor::TensorType| if selection.drops { Some(1) } else { ty.shape[selection.axis].fixed() };
    let Some(extents) = types.iter().map(extent).collect::<Option<Vec<i64>>>() else { return Ok(None) };
    let unit = linear.columns / tail[atom - first];
    let enough = extents.iter().all(|n| n * unit >= FEWEST);
    if !enough || uses * unit * extents.iter().sum::<i64>() > linear.columns {
        return Ok(None);
    }
    let parts = selected(r, &linear, &selection, &tail, atom - first)?;
    let mut outputs = vec![];
    for (part, extent) in parts.into_iter().zip(extents) {
        let y = part.emit(r)?;
        let Some(y) = without(&arranged, y, atom, &selection, extent).emit(r)? else { return Ok(None) };
        outputs.push(y);
    }
    Ok(Some(outputs))
}

/// The products of a selection along one of the dimensions `tail` into which the columns are cut.
fn selected(
    r: &mut Rewriter<'_>,
    l: &Linear,
    selection: &Selection<'_>,
    tail: &[i64],
    at: usize,
) -> Result<Vec<Linear>> {
    let depth = if l.op.transpose_b { 1 } else { 0 };
    let depth = r.b.dims(l.weights)[depth].fixed().unwrap_or(0);
    let before: &[i64] = if l.op.transpose_b { &[] } else { &[depth] };
    let after: &[i64] = if l.op.transpose_b { &[depth] } else { &[] };
    let cut = r.b.reshape(l.weights, &[before, tail, after].concat())?;
    let weights = selection.of(r, cut, before.len() + at)?;
    let biases = match l.bias {
        Some(bias) => {
            let cut = r.b.reshape(bias, tail)?;
            selection.of(r, cut, at)?.into_iter().map(Some).collect()
        }
        None => vec![None; weights.len()],
    };
    let mut parts = vec![];
    for (weights, bias) in weights.into_iter().zip(biases) {
        let columns = r.b.dims(weights).iter().filter_map(Dim::fixed).product::<i64>() / depth.max(1);
        let weights = r.b.reshape(weights, &[before, &[columns], after].concat())?;
        let bias = bias.map(|b| r.b.reshape(b, &[columns])).transpose()?;
        parts.push(Linear { op: l.op.clone(), x: l.x, weights, bias, columns });
    }
    Ok(parts)
}

/// The arrangement of a part of the source, of which an atom is gone or has a smaller extent.
fn without(whole: &Arranged, source: ValueId, atom: usize, selection: &Selection<'_>, extent: i64) -> Arranged {
    let mut part = Arranged { source, ..whole.clone() };
    if selection.drops {
        part.dims.remove(selection.axis);
        part.extents.remove(selection.axis);
    } else {
        part.extents[selection.axis] = Dim::Fixed(extent);
    }
    if extent == 1 {
        part.atoms.remove(atom);
        part.dims.iter_mut().for_each(|dim| dim.retain(|a| *a != atom));
        part.dims.iter_mut().flatten().filter(|a| **a > atom).for_each(|a| *a -= 1);
    } else {
        part.atoms[atom] = Dim::Fixed(extent);
    }
    part
}

/// The rearrangement of rows that makes a value: its source's last dimension is the value's.
fn rearranged_rows(r: &Rewriter<'_>, value: ValueId) -> Option<Arranged> {
    let arranged = Arranged::trace(r, value)?;
    let tail = arranged.last_atoms(r)?;
    let first = arranged.atoms.len() - tail;
    let last = arranged.dims.last()?;
    let kept =
        arranged.extents.last() == r.b.dims(arranged.source).last() && last.iter().copied().eq(first..first + tail);
    (kept && arranged.source != value && r.b.rank(arranged.source) > 1).then_some(arranged)
}

/// The same rearrangement of rows of `columns` elements.
fn with_columns(r: &Rewriter<'_>, rows: &Arranged, source: ValueId, columns: Dim) -> Option<Arranged> {
    let first = rows.atoms.len() - rows.last_atoms(r)?;
    let mut wide = Arranged { source, ..rows.clone() };
    wide.atoms.truncate(first);
    let last = wide.dims.len() - 1;
    wide.dims[last] = if columns == Dim::Fixed(1) { vec![] } else { vec![first] };
    wide.atoms.extend((columns != Dim::Fixed(1)).then(|| columns.clone()));
    wide.extents[last] = columns;
    Some(wide)
}

/// A Reshape that leaves rows as they are comes after a product.
fn rows_later(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let Some(linear) = Linear::new(r, op, inputs) else { return Ok(None) };
    let Some(rows) = rearranged_rows(r, linear.x).filter(Arranged::in_order) else { return Ok(None) };
    Ok(product_first(r, linear, &rows)?.map(|y| y.emit(r)).transpose()?.flatten().map(|y| vec![y]))
}

/// The product of rows that are rearranged afterwards.
fn product_first(r: &mut Rewriter<'_>, mut linear: Linear, rows: &Arranged) -> Result<Option<Arranged>> {
    linear.x = rows.source;
    let y = linear.emit(r)?;
    Ok(with_columns(r, rows, y, Dim::Fixed(linear.columns)))
}

/// A rearrangement of a product's rows that undoes one from before the product.
fn undone(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let (Op::Transpose(t), Some(x)) = (op, inputs[0]) else { return Ok(None) };
    let Some(after) = Arranged::trace(r, x).and_then(|a| a.transposed(&t.perm)) else { return Ok(None) };
    match through_product(r, &after)? {
        Some(whole) if whole.in_order() => Ok(whole.emit(r)?.map(|y| vec![y])),
        _ => Ok(None),
    }
}

/// A rearrangement of a product in terms of the product of what the product's rows are rearranged from.
pub fn through_product(r: &mut Rewriter<'_>, after: &Arranged) -> Result<Option<Arranged>> {
    let linear = r.producer(after.source).and_then(|(op, inputs)| Linear::new(r, op, inputs));
    let Some(linear) = linear.filter(|_| r.only_use(after.source)) else { return Ok(None) };
    let Some(rows) = rearranged_rows(r, linear.x).filter(|rows| !rows.in_order()) else { return Ok(None) };
    let Some(whole) = product_first(r, linear, &rows)? else { return Ok(None) };
    Ok(whole.then(after))
}

/// A function of each element, or of each row, comes before a Reshape.
fn elements_later(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let Some(x) = inputs.first().copied().flatten() else { return Ok(None) };
    let arranged = match op {
        Op::Unary(_) => Arranged::trace(r, x).filter(|a| a.source != x),
        Op::Norm(Norm::Layer { axis, .. } | Norm::Rms { axis, .. })
            if normalize_axis((*axis).into(), r.b.rank(x))? + 1 == r.b.rank(x) =>
        {
            rearranged_rows(r, x)
        }
        _ => return Ok(None),
    };
    let Some(arranged) = arranged.filter(Arranged::in_order) else { return Ok(None) };
    let op = match op.clone() {
        Op::Norm(Norm::Layer { epsilon, .. }) => Norm::Layer { axis: -1, epsilon }.into(),
        Op::Norm(Norm::Rms { epsilon, .. }) => Norm::Rms { axis: -1, epsilon }.into(),
        op => op,
    };
    let mut inputs = inputs.to_vec();
    inputs[0] = Some(arranged.source);
    let mut outputs = vec![];
    for y in r.emit(op, &inputs)? {
        let mut dims = arranged.extents.clone();
        let whole = r.b.dims(y).last() == r.b.dims(arranged.source).last();
        if let (false, Some(last)) = (whole, dims.last_mut()) {
            *last = Dim::Fixed(1);
        }
        let Some(y) = reshape(r, y, &dims)? else { return Ok(None) };
        outputs.push(y);
    }
    Ok(Some(outputs))
}

/// A function of two tensors of which one is reshaped comes before the Reshape, if the other may be reshaped back: a
/// number, a vector along a last dimension that the Reshape keeps, or what is to be added to a product.
fn sums_later(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let (Op::Binary(b), &[Some(x), Some(y)]) = (op, inputs) else { return Ok(None) };
    let shape = super::simplify::output_shape(r, op, inputs)?;
    for (value, other, swap) in [(x, y, false), (y, x, true)] {
        let Some(whole) = Arranged::trace(r, value).filter(|a| a.source != value && a.in_order()) else { continue };
        if r.b.ty(value).shape != shape {
            continue;
        }
        let Some(other) = before_reshape(r, b, value, &whole, other)? else { continue };
        let (x, y) = if swap { (other, whole.source) } else { (whole.source, other) };
        let sum = r.emit1(b.clone(), &[x, y])?;
        return Ok(reshape(r, sum, &whole.extents)?.map(|y| vec![y]));
    }
    Ok(None)
}

/// The other operand of a function of `value`, for the tensor that is reshaped to it.
fn before_reshape(
    r: &mut Rewriter<'_>,
    b: &Binary,
    value: ValueId,
    whole: &Arranged,
    other: ValueId,
) -> Result<Option<ValueId>> {
    let dims = r.b.dims(other);
    let from = r.b.dims(whole.source);
    let ones = dims.iter().rev().skip(1).all(|d| *d == Dim::Fixed(1));
    match dims.last() {
        None => return Ok(Some(other)),
        Some(Dim::Fixed(1)) if ones => return reshape(r, other, &[]),
        Some(last) if ones && from.last() == Some(last) && rearranged_rows(r, value).is_some() => {
            return reshape(r, other, std::slice::from_ref(last));
        }
        _ => {}
    }
    let linear = |r: &Rewriter<'_>, v| matches!(r.producer(v), Some((Op::MatMul(_) | Op::Conv(_), _)));
    let back = Arranged::trace(r, other).filter(|o| o.in_order() && o.extents == whole.extents);
    let Some(back) = back else { return Ok(None) };
    let adds = b.kind == BinaryKind::Add && r.only_use(value) && linear(r, whole.source) && !linear(r, back.source);
    if adds || r.b.dims(back.source) == from { reshape(r, back.source, &from) } else { Ok(None) }
}
