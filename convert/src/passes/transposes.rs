//! Moves Transposes towards the outputs until they meet their inverse, become a Reshape, or can go no further. Between
//! the spatial operators, which are channels-last, none is left.

use super::rewrite::{Rewriter, Rule};
use super::views::{self, Arranged};
use infer::error::Result;
use infer::graph::ValueId;
use infer::ops::{Concat, Conv, MatMul, Op, Pad, Reduce, Slice, Softmax, Split};
use infer::tensor::{Dim, normalize_axis};

/// The rules of this file.
pub const RULES: &[Rule] = &[
    compose,
    only_ones_move,
    through_elementwise,
    through_reduce,
    through_softmax,
    through_concat,
    through_split,
    through_slice,
    through_pad,
    through_reshape,
    into_matmul,
];

/// Rules that end a channels-first region; after the others, which might have removed the Transpose.
pub const LAST: &[Rule] = &[into_conv];

/// Outputs in place of an operator's, if a rule applies.
type Replaced = Result<Option<Vec<ValueId>>>;

fn is_identity(perm: &[usize]) -> bool {
    perm.iter().copied().eq(0..perm.len())
}

/// The permutation that undoes another.
pub fn inverse(perm: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; perm.len()];
    perm.iter().enumerate().for_each(|(i, &p)| inverse[p] = i);
    inverse
}

/// The permutation that makes `[N, C, spatial..]` channels-last.
pub fn channels_last(rank: usize) -> Vec<usize> {
    [0].into_iter().chain(2..rank).chain([1]).collect()
}

/// A Transpose of a Transpose is one Transpose, or none.
fn compose(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let (Op::Transpose(t), Some(x)) = (op, inputs[0]) else { return Ok(None) };
    if t.perm.is_empty() {
        let perm: Vec<usize> = (0..r.b.rank(x)).rev().collect();
        return Ok(Some(vec![r.transpose(x, &perm)?]));
    }
    if is_identity(&t.perm) {
        return Ok(Some(vec![x]));
    }
    let Some((inner, first)) = r.transposed(x) else { return Ok(None) };
    let perm: Vec<usize> = t.perm.iter().map(|&p| first[p]).collect();
    Ok(Some(vec![r.transpose(inner, &perm)?]))
}

/// A Transpose that keeps the order of all dimensions other than 1 moves no data.
fn only_ones_move(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let (Op::Transpose(t), Some(x)) = (op, inputs[0]) else { return Ok(None) };
    let dims = r.b.dims(x);
    let real: Vec<usize> = t.perm.iter().copied().filter(|&p| dims[p] != Dim::Fixed(1)).collect();
    if !real.is_sorted() {
        return Ok(None);
    }
    let target: Vec<Dim> = t.perm.iter().map(|&p| dims[p].clone()).collect();
    reshape(r, x, &target)
}

/// A Reshape to possibly symbolic dimensions; None if they cannot be expressed.
fn reshape(r: &mut Rewriter<'_>, x: ValueId, dims: &[Dim]) -> Replaced {
    let Some(target) = r.b.reshape_target(x, dims) else { return Ok(None) };
    let target = r.b.ints(&target)?;
    Ok(Some(vec![r.emit1(infer::ops::Reshape::default(), &[x, target])?]))
}

/// The permutation that all inputs have in common, and the inputs without it. Constants are permuted back.
pub fn common_perm(
    r: &mut Rewriter<'_>,
    inputs: &[ValueId],
    rank: usize,
) -> Result<Option<(Vec<usize>, Vec<ValueId>)>> {
    let found = inputs.iter().find_map(|&v| r.transposed(v).filter(|(x, _)| r.b.rank(*x) == rank));
    let Some((_, perm)) = found else { return Ok(None) };
    let mut bare = vec![];
    for &v in inputs {
        let inner = match r.transposed(v) {
            Some((x, p)) if p == perm => Some(x),
            _ => without_perm(r, v, &perm)?,
        };
        match inner {
            Some(x) => bare.push(x),
            None => return Ok(None),
        }
    }
    Ok(Some((perm, bare)))
}

/// `value` permuted back, if that costs nothing at run time: a constant, or where elements stay in their order.
fn without_perm(r: &mut Rewriter<'_>, value: ValueId, perm: &[usize]) -> Result<Option<ValueId>> {
    let dims = r.b.dims(value);
    if dims.iter().all(|d| *d == Dim::Fixed(1)) && dims.len() <= 1 {
        return Ok(Some(value));
    }
    let mut full = vec![Dim::Fixed(1); perm.len().saturating_sub(dims.len())];
    full.extend(dims);
    let inverse = inverse(perm);
    if r.b.is_constant(value) {
        let Some(wide) = views::reshape(r, value, &full)? else { return Ok(None) };
        return r.transpose(wide, &inverse).map(Some);
    }
    let bare = Arranged::trace(r, value).and_then(|a| a.reshaped(&full)?.transposed(&inverse));
    match bare.filter(Arranged::in_order) {
        Some(bare) => bare.emit(r),
        None => Ok(None),
    }
}

fn through_elementwise(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    if !matches!(op, Op::Unary(_) | Op::Binary(_) | Op::Cast(_) | Op::Where(_)) {
        return Ok(None);
    }
    let values: Vec<ValueId> = inputs.iter().flatten().copied().collect();
    let rank = values.iter().map(|&v| r.b.rank(v)).max().unwrap_or(0);
    let Some((perm, bare)) = common_perm(r, &values, rank)? else { return Ok(None) };
    let y = r.emit1(op.clone(), &bare)?;
    Ok(Some(vec![r.transpose(y, &perm)?]))
}

/// The axes of the tensor behind a permutation that are these axes of the permuted one.
fn behind(perm: &[usize], axes: &[i64]) -> Result<Vec<i64>> {
    axes.iter().map(|&a| Ok(perm[normalize_axis(a, perm.len())?] as i64)).collect()
}

fn through_reduce(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let (Op::Reduce(reduce), Some(x)) = (op, inputs[0]) else { return Ok(None) };
    let Some((bare, perm)) = r.transposed(x) else { return Ok(None) };
    let mut axes = behind(&perm, &reduce.axes)?;
    axes.sort_unstable();
    let y = r.emit1(Reduce { axes: axes.clone(), ..reduce.clone() }, &[bare])?;
    if reduce.keep_dims {
        return Ok(Some(vec![r.transpose(y, &perm)?]));
    }
    let kept: Vec<usize> = perm.iter().copied().filter(|&p| !axes.contains(&(p as i64))).collect();
    let rest: Vec<usize> = kept.iter().map(|&p| kept.iter().filter(|&&q| q < p).count()).collect();
    Ok(Some(vec![r.transpose(y, &rest)?]))
}

fn through_softmax(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let (Op::Softmax(s), Some(x)) = (op, inputs[0]) else { return Ok(None) };
    let Some((bare, perm)) = r.transposed(x) else { return Ok(None) };
    let axis = behind(&perm, &[s.axis])?[0];
    let y = r.emit1(Softmax { axis, ..s.clone() }, &[bare])?;
    Ok(Some(vec![r.transpose(y, &perm)?]))
}

fn through_slice(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let (Op::Slice(s), Some(x)) = (op, inputs[0]) else { return Ok(None) };
    let Some((bare, perm)) = r.transposed(x) else { return Ok(None) };
    if s.axes.is_empty() {
        return Ok(None);
    }
    let mut inputs = inputs.to_vec();
    inputs[0] = Some(bare);
    let y = r.emit(Slice { axes: behind(&perm, &s.axes)? }, &inputs)?[0];
    Ok(Some(vec![r.transpose(y, &perm)?]))
}

fn through_pad(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let (Op::Pad(pad), Some(x)) = (op, inputs[0]) else { return Ok(None) };
    let Some((bare, perm)) = r.transposed(x) else { return Ok(None) };
    let all: Vec<i64> = (0..perm.len() as i64).collect();
    let axes = behind(&perm, if pad.axes.is_empty() { &all } else { &pad.axes })?;
    let mut inputs = inputs.to_vec();
    inputs[0] = Some(bare);
    let y = r.emit(Pad { axes, ..pad.clone() }, &inputs)?[0];
    Ok(Some(vec![r.transpose(y, &perm)?]))
}

/// A convolution of few channels reads a channels-first input itself.
fn into_conv(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let (Op::Conv(c), Some(x)) = (op, inputs[0]) else { return Ok(None) };
    let Some((bare, perm)) = r.transposed(x) else { return Ok(None) };
    let few = r.b.dims(bare).get(1).and_then(Dim::fixed).is_some_and(|n| n <= 4);
    if c.channels_first_input || !few || c.groups != 1 || perm != channels_last(perm.len()) {
        return Ok(None);
    }
    let mut inputs = inputs.to_vec();
    inputs[0] = Some(bare);
    r.emit(Conv { channels_first_input: true, ..c.clone() }, &inputs).map(Some)
}

fn through_concat(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let Op::Concat(c) = op else { return Ok(None) };
    if !c.is_plain() {
        return Ok(None);
    }
    let values: Vec<ValueId> = inputs.iter().flatten().copied().collect();
    let rank = r.b.rank(values[0]);
    let Some((perm, bare)) = common_perm(r, &values, rank)? else { return Ok(None) };
    let axis = perm[normalize_axis(c.axis, rank)?] as i64;
    let y = r.emit1(Concat::along(axis), &bare)?;
    Ok(Some(vec![r.transpose(y, &perm)?]))
}

fn through_split(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let (Op::Split(s), Some(x)) = (op, inputs[0]) else { return Ok(None) };
    let Some((bare, perm)) = r.transposed(x) else { return Ok(None) };
    let axis = perm[normalize_axis(s.axis, perm.len())?] as i64;
    let parts = r.emit(Split { axis, ..s.clone() }, &[Some(bare)])?;
    parts.into_iter().map(|v| r.transpose(v, &perm)).collect::<Result<Vec<_>>>().map(Some)
}

/// A Reshape goes before the Transpose. Dimensions that it merges must be neighbours there, or are made so first.
fn through_reshape(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let (Op::Reshape(_), [Some(x), Some(target)]) = (op, inputs) else { return Ok(None) };
    let Some((bare, perm)) = r.transposed(*x) else { return Ok(None) };
    let types =
        r.b.program.infer_node(r.b.graph, &infer::graph::NodeKind::Op(op.clone()), &[Some(*x), Some(*target)])?;
    let to = types[0].shape.to_vec();
    let Some(mut groups) = groups(&r.b.dims(*x), &to) else { return Ok(None) };
    // Each group's place before the Transpose.
    groups.iter_mut().flat_map(|g| &mut g.from).for_each(|axis| *axis = perm[*axis]);
    let mut order: Vec<usize> = (0..groups.len()).collect();
    order.sort_by_key(|&i| groups[i].from.iter().min().copied());
    let from: Vec<usize> = order.iter().flat_map(|&i| groups[i].from.clone()).collect();
    // Leading dimensions of 1 stay in front, so that a batch of one is laid out like any other.
    let lead = to.iter().take_while(|d| **d == Dim::Fixed(1)).count();
    let axes: Vec<usize> = (0..lead).chain(order.iter().flat_map(|&i| groups[i].to.clone())).collect();
    let together = groups.iter().all(|g| g.from.windows(2).all(|w| w[1] == w[0] + 1));
    let mut x = bare;
    if !together {
        // What must move to come together moves alone, if the rest can go on.
        let ones = (0..perm.len()).filter(|i| !from.contains(i));
        let perm: Vec<usize> = from.iter().copied().chain(ones).collect();
        if is_identity(&axes) {
            return Ok(None);
        }
        x = r.transpose(bare, &perm)?;
    }
    let dims: Vec<Dim> = axes.iter().map(|&a| to[a].clone()).collect();
    let Some(y) = reshape(r, x, &dims)? else { return Ok(None) };
    Ok(Some(vec![r.transpose(y[0], &inverse(&axes))?]))
}

/// Dimensions before and after a Reshape that hold the same elements.
struct Group {
    from: Vec<usize>,
    to: Vec<usize>,
}

/// The finest groups of a Reshape from `from` to `to`; dimensions of 1 are left out before and, but for leading ones, go
/// along after. None where a product of named dimensions cannot be followed.
fn groups(from: &[Dim], to: &[Dim]) -> Option<Vec<Group>> {
    let real = |dims: &[Dim]| (0..dims.len()).filter(|&i| dims[i] != Dim::Fixed(1)).collect::<Vec<_>>();
    let (mut a, mut b) = (real(from).into_iter().peekable(), real(to).into_iter().peekable());
    let mut groups: Vec<Group> = vec![];
    while a.peek().is_some() || b.peek().is_some() {
        let (mut g, mut have, mut want) = (Group { from: vec![], to: vec![] }, Dim::Fixed(1), Dim::Fixed(1));
        loop {
            let grow_from = match (&have, &want) {
                _ if g.from.is_empty() => true,
                _ if have == want && !g.to.is_empty() => break,
                (Dim::Fixed(h), Dim::Fixed(w)) => h < w,
                (Dim::Fixed(_), _) => true,
                _ => false,
            };
            if grow_from {
                let axis = a.next()?;
                have = have.mul(&from[axis]);
                g.from.push(axis);
            } else {
                let axis = b.next()?;
                want = want.mul(&to[axis]);
                g.to.push(axis);
            }
        }
        groups.push(g);
    }
    if groups.iter().any(|g| g.from.is_empty()) || groups.is_empty() {
        return None;
    }
    // Each dimension of 1 goes with the group before it; those before all groups are left out.
    for axis in (0..to.len()).filter(|&i| to[i] == Dim::Fixed(1)) {
        let Some(at) = groups.iter().rposition(|g| g.to[0] < axis) else { continue };
        let place = groups[at].to.partition_point(|&t| t < axis);
        groups[at].to.insert(place, axis);
    }
    Some(groups)
}

/// A Transpose of the last two dimensions of an operand is an attribute of the product.
fn into_matmul(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let Op::MatMul(m) = op else { return Ok(None) };
    for (i, flip) in [
        (0, MatMul { transpose_a: !m.transpose_a, ..m.clone() }),
        (1, MatMul { transpose_b: !m.transpose_b, ..m.clone() }),
    ] {
        let Some((x, perm)) = inputs[i].and_then(|v| r.transposed(v)) else { continue };
        let n = perm.len();
        if n >= 2 && is_identity(&perm[..n - 2]) && perm[n - 2..] == [n - 1, n - 2] {
            let mut inputs = inputs.to_vec();
            inputs[i] = Some(x);
            return r.emit(flip, &inputs).map(Some);
        }
    }
    Ok(None)
}
