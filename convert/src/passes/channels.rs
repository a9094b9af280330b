//! Channels that are joined, shuffled, split or flattened before a convolution or a product are moved once, or not at all.
//!
//! A convolution reads its channels in any order if its weights have the same. So it reads the channels of each tensor
//! that they come from one after another, and what only rearranges channels in between disappears.

use super::rewrite::{Rewriter, Rule};
use super::views::Arranged;
use infer::cpu::Activation;
use infer::error::Result;
use infer::graph::ValueId;
use infer::ops::binary::BinaryKind;
use infer::ops::{Binary, Concat, Conv, Gather, Op, Slice};
use infer::tensor::{Dim, normalize_axis};

/// The rules of this file.
pub const RULES: &[Rule] = &[gathered, flattened, gated];

/// Outputs in place of an operator's, if a rule applies.
type Replaced = Result<Option<Vec<ValueId>>>;

/// Most operators that are looked through for one input.
const MOST: usize = 256;

/// Pixels for each output channel from which on it is less work to scale weights than what they multiply.
const PIXELS: i64 = 8;

/// Most channels that are followed one by one.
const MAX_CHANNELS: usize = 1 << 14;

/// Channels of a tensor: the first, and how many.
type Part = (ValueId, usize, usize);

/// Where each channel of a channels-last tensor comes from: a tensor, and the channel there.
type Origin = Vec<(ValueId, usize)>;

/// The extent of the last dimension.
fn channels(r: &Rewriter<'_>, value: ValueId) -> Option<usize> {
    r.b.dims(value).last()?.fixed().and_then(|n| usize::try_from(n).ok()).filter(|n| *n <= MAX_CHANNELS)
}

/// The origin of a value's channels, and whether their order changes on the way. Looks through `most` operators, of which
/// it takes off those that it has looked at: what is joined with itself again and again has no end of ways through it.
fn trace(r: &Rewriter<'_>, value: ValueId, most: &mut usize) -> Option<(Origin, bool)> {
    let own = || Some(((0..channels(r, value)?).map(|c| (value, c)).collect(), false));
    let Some(left) = most.checked_sub(1) else { return own() };
    *most = left;
    let last = |axis: i64| normalize_axis(axis, r.b.rank(value)).is_ok_and(|axis| axis + 1 == r.b.rank(value));
    match r.made_by(value) {
        Some((Op::Split(s), &[Some(x)], parts)) if last(s.axis) => {
            let before = parts.iter().take_while(|v| **v != value);
            let start = before.map(|v| channels(r, *v)).sum::<Option<usize>>()?;
            let count = channels(r, value)?;
            let (origin, shuffled) = trace(r, x, most)?;
            Some((origin.get(start..start + count)?.to_vec(), shuffled))
        }
        Some((Op::Concat(c), inputs, _)) if last(c.axis) => {
            let (mut all, mut any) = (vec![], false);
            for (i, input) in inputs.iter().enumerate() {
                let (origin, shuffled) = trace(r, (*input)?, most)?;
                let (start, count) = c.parts.get(i).copied().unwrap_or((0, origin.len()));
                all.extend_from_slice(origin.get(start..start + count)?);
                any |= shuffled;
            }
            Some((all, any))
        }
        Some((Op::Reshape(_) | Op::Transpose(_), ..)) => match shuffle(r, value) {
            Some((x, order)) => {
                let (origin, _) = trace(r, x, most)?;
                Some((order.into_iter().map(|c| origin.get(c).copied()).collect::<Option<_>>()?, true))
            }
            None => own(),
        },
        _ => own(),
    }
}

/// The tensor of which `value` is the same with its channels in another order, and that order.
fn shuffle(r: &Rewriter<'_>, value: ValueId) -> Option<(ValueId, Vec<usize>)> {
    let arranged = Arranged::trace(r, value)?;
    let tail = arranged.last_atoms(r)?;
    let first = arranged.atoms.len() - tail;
    let (last, outer) = arranged.dims.split_last()?;
    let alike = r.b.dims(arranged.source) == arranged.extents && outer.concat().into_iter().eq(0..first);
    if !alike || last.len() != tail || last.is_sorted() {
        return None;
    }
    Some((arranged.source, order(&arranged, first)?))
}

/// Where each element along the last dimension is among the atoms from `first` on, in the source's order.
fn order(arranged: &Arranged, first: usize) -> Option<Vec<usize>> {
    let extents = arranged.atoms[first..].iter().map(|d| d.fixed().and_then(|n| usize::try_from(n).ok()));
    let extents: Vec<usize> = extents.collect::<Option<_>>()?;
    let mut order = vec![0];
    for atom in arranged.dims.last()?.iter().map(|a| a - first) {
        let stride: usize = extents[atom + 1..].iter().product();
        let steps = 0..extents[atom];
        order = order.iter().flat_map(|at| steps.clone().map(move |step| at + step * stride)).collect();
    }
    Some(order)
}

/// Channels sorted by the tensors from which they come, as a part of each, and the place in `origin` of each.
fn sorted(origin: &Origin) -> Option<(Vec<Part>, Vec<usize>)> {
    let mut sources: Vec<ValueId> = vec![];
    for (source, _) in origin {
        if !sources.contains(source) {
            sources.push(*source);
        }
    }
    let mut places: Vec<usize> = (0..origin.len()).collect();
    let rank = |source: ValueId| sources.iter().position(|s| *s == source);
    places.sort_by_key(|&i| (rank(origin[i].0), origin[i].1));
    let mut parts: Vec<Part> = vec![];
    for &i in &places {
        let (source, channel) = origin[i];
        match parts.last_mut() {
            Some((of, start, count)) if *of == source => {
                // A channel that is missing or that comes twice would need a part of its own.
                if *start + *count != channel {
                    return None;
                }
                *count += 1;
            }
            _ => parts.push((source, channel, 1)),
        }
    }
    Some((parts, places))
}

/// These parts of tensors side by side.
fn joined(r: &mut Rewriter<'_>, parts: &[Part]) -> Result<ValueId> {
    let axis = r.b.rank(parts[0].0) as i64 - 1;
    let whole =
        |r: &Rewriter<'_>, &(v, start, count): &(ValueId, usize, usize)| start == 0 && channels(r, v) == Some(count);
    if let &[(x, start, count)] = parts {
        if whole(r, &parts[0]) {
            return Ok(x);
        }
        let (start, end) = (r.b.ints(&[start as i64])?, r.b.ints(&[(start + count) as i64])?);
        return r.emit1(Slice { axes: vec![axis] }, &[x, start, end]);
    }
    let all = parts.iter().all(|p| whole(r, p));
    let taken = if all { vec![] } else { parts.iter().map(|&(_, start, count)| (start, count)).collect() };
    let inputs: Vec<ValueId> = parts.iter().map(|p| p.0).collect();
    r.emit1(Concat { parts: taken, ..Concat::along(axis) }, &inputs)
}

/// A constant with the elements along `axis` in this order.
fn reordered(r: &mut Rewriter<'_>, constant: ValueId, axis: usize, order: &[usize]) -> Result<ValueId> {
    let order: Vec<i64> = order.iter().map(|&i| i as i64).collect();
    let order = r.b.ints(&order)?;
    r.emit1(Gather { axis: axis as i64 }, &[constant, order])
}

/// A convolution of each channel by itself, with constant weights.
fn of_each_channel(r: &Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Option<Conv> {
    let Op::Conv(c) = op else { return None };
    let weights = inputs[1].filter(|w| r.b.is_constant(*w))?;
    let alone = [2, 3].map(|i| inputs.get(i).copied().flatten());
    let dims = r.b.dims(weights);
    let each = i64::from(c.groups) > 1
        && dims.first() == Some(&Dim::Fixed(c.groups.into()))
        && dims.last() == Some(&Dim::Fixed(1));
    let fits = alone[1].is_none() && alone[0].is_none_or(|b| r.b.is_constant(b)) && !c.channels_first_input;
    (each && fits).then(|| c.clone())
}

/// A convolution of channels that are shuffled, perhaps after one of each channel by itself.
fn gathered(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let (Op::Conv(conv), &[Some(x), Some(weights), ..]) = (op, inputs) else { return Ok(None) };
    if conv.groups != 1 || conv.channels_first_input || !r.b.is_constant(weights) {
        return Ok(None);
    }
    let each = r.producer(x).and_then(|(op, inputs)| Some((of_each_channel(r, op, inputs)?, inputs.to_vec())));
    let each = each.filter(|_| r.only_use(x));
    let shuffled = each.as_ref().map_or(Some(x), |(_, inputs)| inputs[0]);
    let mut most = MOST;
    let Some((origin, true)) = shuffled.and_then(|v| trace(r, v, &mut most)) else { return Ok(None) };
    let Some((parts, places)) = sorted(&origin) else { return Ok(None) };
    let mut y = joined(r, &parts)?;
    if let Some((each, mut inputs)) = each {
        inputs[0] = Some(y);
        for vector in inputs[1..].iter_mut().flatten() {
            *vector = reordered(r, *vector, 0, &places)?;
        }
        y = r.emit(each, &inputs)?[0];
    }
    let last = r.b.rank(weights) - 1;
    let mut inputs = inputs.to_vec();
    inputs[0] = Some(y);
    inputs[1] = Some(reordered(r, weights, last, &places)?);
    r.emit(conv.clone(), &inputs).map(Some)
}

/// A product of an image that is flattened in another order than it has in memory: the rows of the weights have that
/// order instead.
fn flattened(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let (Op::MatMul(m), &[Some(x), Some(weights), ..]) = (op, inputs) else { return Ok(None) };
    if m.transpose_a || m.transpose_b || !r.b.is_constant(weights) || r.b.rank(weights) != 2 {
        return Ok(None);
    }
    let Some(mut arranged) = Arranged::trace(r, x) else { return Ok(None) };
    let Some((last, outer)) = arranged.dims.split_last() else { return Ok(None) };
    let first = arranged.atoms.len() - last.len();
    if last.is_sorted() || !outer.concat().into_iter().eq(0..first) {
        return Ok(None);
    }
    let Some(order) = order(&arranged, first) else { return Ok(None) };
    arranged.dims.iter_mut().for_each(|atoms| atoms.sort_unstable());
    let Some(x) = arranged.emit(r)? else { return Ok(None) };
    let mut rows: Vec<usize> = (0..order.len()).collect();
    rows.sort_by_key(|&row| order[row]);
    let mut inputs = inputs.to_vec();
    inputs[0] = Some(x);
    inputs[1] = Some(reordered(r, weights, 0, &rows)?);
    r.emit(op.clone(), &inputs).map(Some)
}

/// A factor for each channel, the same for all pixels, of what a convolution with one tap reads is a factor of its
/// weights: there are fewer of these than pixels.
fn gated(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let (Op::Conv(conv), &[Some(x), Some(weights), ..]) = (op, inputs) else { return Ok(None) };
    let Some((Op::Binary(b), &[Some(left), Some(right)])) = r.producer(x) else { return Ok(None) };
    let plain = b.kind == BinaryKind::Mul && b.activation == Activation::None && r.only_use(x);
    let (w, dims) = (r.b.dims(weights), r.b.dims(x));
    let ones = |dims: &[Dim]| dims.iter().all(|d| *d == Dim::Fixed(1));
    let rank = dims.len();
    if !plain || conv.groups != 1 || conv.channels_first_input || !r.b.is_constant(weights) || !ones(&w[1..rank - 1]) {
        return Ok(None);
    }
    let pixels = dims[..rank - 1].iter().try_fold(1i64, |n, d| n.checked_mul(d.fixed()?));
    let enough = pixels.zip(w[0].fixed()).is_some_and(|(pixels, outputs)| pixels / PIXELS >= outputs);
    for (tensor, gate) in [(left, right), (right, left)] {
        let of = r.b.dims(gate);
        let each = of.len() <= rank && of.last() == dims.last() && ones(&of[..of.len() - 1]);
        if enough && each && r.b.dims(tensor) == dims {
            let mut inputs = inputs.to_vec();
            inputs[0] = Some(tensor);
            inputs[1] = Some(r.emit1(Binary::from(BinaryKind::Mul), &[weights, gate])?);
            return r.emit(conv.clone(), &inputs).map(Some);
        }
    }
    Ok(None)
}
