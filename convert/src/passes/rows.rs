//! Rows of a tensor that are moved about in several steps are moved in one, by a Gather.
//!
//! Shifts, windows and patches of images are written as slices, concatenations and transpositions, each of which copies
//! all there is. What they do to rows is found by doing it to the rows' numbers.

use super::rewrite::{Rewriter, Rule};
use infer::cpu::isa::Isa;
use infer::error::Result;
use infer::graph::ValueId;
use infer::ops::{Gather, Op, Tensor, evaluate};
use infer::tensor::{DType, Dim, normalize_axis};

/// The rules of this file.
pub const RULES: &[Rule] = &[moved_once];

/// Shortest row, in elements, worth moving by itself.
const SHORTEST: usize = 32;
/// Most rows: their numbers are constants of the model.
const MOST: usize = 1 << 16;
/// Longest chain that is followed.
const DEEPEST: usize = 12;

/// A tensor made of rows of another one.
struct Rows {
    source: ValueId,
    /// Elements of a row: the last dimension of the source.
    row: usize,
    /// The number of each row; the last dimension counts rows.
    numbers: Tensor,
    /// Operators that move rows, and whether all are Transposes.
    moves: usize,
    transposes: bool,
}

/// The extents of a value, if all are numbers and none is 0.
fn extents(r: &Rewriter<'_>, value: ValueId) -> Option<Vec<usize>> {
    r.b.dims(value).iter().map(|d| d.fixed().filter(|&n| n > 0).map(|n| n as usize)).collect()
}

impl Rows {
    /// A tensor as rows of itself.
    fn of(r: &Rewriter<'_>, value: ValueId) -> Option<Self> {
        let mut dims = extents(r, value)?;
        let row = std::mem::replace(dims.last_mut()?, 1);
        let count = dims.iter().product::<usize>();
        if row < SHORTEST || count > MOST || r.b.dtype(value) != DType::F32 {
            return None;
        }
        let numbers = Tensor::new(&dims, &(0..count as i64).collect::<Vec<_>>()).ok()?;
        Some(Rows { source: value, row, numbers, moves: 0, transposes: true })
    }

    /// A tensor as rows of the one from which operators that move whole rows make it.
    fn trace(r: &Rewriter<'_>, value: ValueId, depth: usize) -> Option<Self> {
        let made = r.producer(value).filter(|_| depth < DEEPEST);
        made.and_then(|(op, inputs)| Self::after(r, op, inputs, value, depth)).or_else(|| Self::of(r, value))
    }

    /// The rows of an operator's result, which has the shape of `value`.
    fn after(r: &Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>], value: ValueId, depth: usize) -> Option<Self> {
        Self::applied(r, op, inputs, &extents(r, value)?, depth)
    }

    /// The rows of an operator's result of the given extents.
    fn applied(r: &Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>], to: &[usize], depth: usize) -> Option<Self> {
        let rank = to.len();
        let keeps_last = match op {
            Op::Reshape(_) => true,
            Op::Transpose(t) => t.perm.last() == Some(&rank.checked_sub(1)?),
            Op::Slice(s) => {
                !s.axes.is_empty() && s.axes.iter().all(|&a| normalize_axis(a, rank).is_ok_and(|a| a + 1 < rank))
            }
            Op::Gather(g) => {
                let from = r.b.rank(inputs[0]?);
                normalize_axis(g.axis, from).is_ok_and(|a| a + 1 < from)
            }
            Op::Concat(c) => c.is_plain(),
            _ => false,
        };
        if !keeps_last {
            return None;
        }
        let data = if matches!(op, Op::Concat(_)) { inputs.len() } else { 1 };
        let parts = inputs[..data].iter().map(|v| Self::trace(r, (*v)?, depth + 1)).collect::<Option<Vec<_>>>()?;
        let first = parts.first()?;
        let one_source = parts.iter().all(|p| p.source == first.source);
        let whole = parts.iter().zip(inputs).all(|(p, v)| v.is_some_and(|v| p.ends_in_rows(r, v)));
        if !one_source || !whole || to.last()? % first.row != 0 {
            return None;
        }
        let numbers = match op {
            Op::Reshape(_) => {
                let mut dims = to.to_vec();
                *dims.last_mut()? /= first.row;
                Tensor::new(&dims, first.numbers.elements::<i64>()).ok()?
            }
            op => {
                let constants = inputs[data..].iter().map(|v| v.map(|v| r.b.constant(v).ok_or(())).transpose());
                let constants = constants.collect::<std::result::Result<Vec<_>, ()>>().ok()?;
                let numbers = parts.iter().map(|p| Some(&p.numbers));
                let operands: Vec<Option<&Tensor>> = numbers.chain(constants.iter().map(Option::as_ref)).collect();
                evaluate(op, &operands, Isa::detect()).ok()?.into_iter().next()?
            }
        };
        let moves = parts.iter().map(|p| p.moves).sum::<usize>() + usize::from(!matches!(op, Op::Reshape(_)));
        let transposes = matches!(op, Op::Reshape(_) | Op::Transpose(_)) && parts.iter().all(|p| p.transposes);
        Some(Rows { source: first.source, row: first.row, numbers, moves, transposes })
    }

    /// Whether the last dimension of `value`, which is made of these rows, is made of whole ones.
    fn ends_in_rows(&self, r: &Rewriter<'_>, value: ValueId) -> bool {
        let rows = self.numbers.info.dims.last().copied().unwrap_or(0);
        r.b.dims(value).last() == Some(&Dim::from(rows * self.row))
    }
}

/// A result of several operators that only move rows.
fn moved_once(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Result<Option<Vec<ValueId>>> {
    if !matches!(op, Op::Transpose(_) | Op::Slice(_) | Op::Gather(_) | Op::Concat(_)) {
        return Ok(None);
    }
    let dims = super::simplify::output_shape(r, op, inputs)?;
    let to: Option<Vec<usize>> = dims.iter().map(|d| d.fixed().filter(|&n| n > 0).map(|n| n as usize)).collect();
    let rows = to.and_then(|to| Rows::applied(r, op, inputs, &to, 0));
    let Some(rows) = rows.filter(|rows| rows.moves > 1 && !rows.transposes) else { return Ok(None) };
    let numbers = rows.numbers.elements::<i64>().to_vec();
    let (row, count) =
        (Dim::from(rows.row), r.b.dims(rows.source).iter().rev().skip(1).fold(Dim::Fixed(1), |n, d| n.mul(d)));
    let Some(flat) = super::views::reshape(r, rows.source, &[count, row])? else { return Ok(None) };
    let numbers = r.b.ints(&numbers)?;
    let moved = r.emit1(Gather { axis: 0 }, &[flat, numbers])?;
    Ok(super::views::reshape(r, moved, &dims)?.map(|y| vec![y]))
}
