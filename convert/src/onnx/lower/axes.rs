//! Axes that are known only when the model runs, while our operators have them as attributes: arithmetic on vectors with
//! one element per axis, and operators under an If for each axis.

use super::Cx;
use crate::builder::Builder;
use infer::error::{Error, Result};
use infer::graph::ValueId;
use infer::ops::binary::BinaryKind;
use infer::ops::reduce::ReduceKind;
use infer::tensor::{DType, Dim, MAX_RANK};

impl Cx<'_> {
    /// For each of the k axes, a row that tells which of `rank` axes it is: bool `[k, rank]`.
    fn axis_matrix(&mut self, axes: ValueId, rank: usize) -> Result<ValueId> {
        let axes = self.b.reshape(axes, &[-1, 1])?;
        let dtype = self.b.dtype(axes);
        let mut rows = vec![];
        for offset in [0, rank as i64] {
            let all: Vec<i64> = (0..rank as i64).map(|i| i - offset).collect();
            let all = self.b.ints(&all)?;
            let all = self.b.cast(all, dtype)?;
            rows.push(self.b.binary(BinaryKind::Equal, axes, all)?);
        }
        self.b.binary(BinaryKind::Or, rows[0], rows[1])
    }

    /// For each of `rank` axes, whether it is one of `axes`: bool `[rank]`.
    pub fn axis_mask(&mut self, axes: ValueId, rank: usize) -> Result<ValueId> {
        let matrix = self.axis_matrix(axes, rank)?;
        self.b.reduce(ReduceKind::Max, matrix, &[0], false)
    }

    /// An i64 vector with the elements of `values` at the axes that belong to them, and `other` elsewhere.
    pub fn spread(&mut self, axes: ValueId, rank: usize, values: ValueId, other: i64) -> Result<ValueId> {
        let (matrix, mask) = (self.axis_matrix(axes, rank)?, self.axis_mask(axes, rank)?);
        let values = self.b.cast(values, DType::I64)?;
        let values = self.b.reshape(values, &[-1, 1])?;
        let (zero, other) = (self.b.ints(&[0])?, self.b.ints(&[other])?);
        let values = self.b.select(matrix, values, zero)?;
        let values = self.b.reduce(ReduceKind::Sum, values, &[0], false)?;
        self.b.select(mask, values, other)
    }

    /// How many axes there are; an error if that is not known, or more than a tensor can have.
    pub fn axis_count(&self, axes: ValueId) -> Result<usize> {
        match &self.b.dims(axes)[..] {
            [] => Ok(1),
            [Dim::Fixed(n)] if (0..=MAX_RANK as i64).contains(n) => Ok(*n as usize),
            [Dim::Fixed(n)] => Err(Error::shape(format!("{n} axes; a tensor has at most {MAX_RANK}"))),
            _ => Err(Error::unsupported(format!("axes {}, whose number is not known", self.b.ty(axes)))),
        }
    }

    /// `rank` less the number of axes.
    pub fn rank_without(&self, rank: usize, axes: ValueId) -> Result<usize> {
        let count = self.axis_count(axes)?;
        rank.checked_sub(count).ok_or_else(|| Error::format(format!("{count} axes for rank {rank}")))
    }

    /// For each axis, how many before it are not in the mask: i64 `[rank]`.
    fn unset_before(&mut self, mask: ValueId, rank: usize) -> Result<ValueId> {
        let before: Vec<i64> = (0..rank * rank).map(|i| i64::from(i % rank < i / rank)).collect();
        let before = self.b.array(&[rank, rank], &before)?;
        let zero = self.b.ints(&[0])?;
        let unset = self.b.select(mask, zero, before)?;
        self.b.reduce(ReduceKind::Sum, unset, &[1], false)
    }

    /// The `kept` elements of an i64 vector that are not in the mask.
    pub fn without(&mut self, vector: ValueId, mask: ValueId, kept: usize) -> Result<ValueId> {
        if kept == 0 {
            return self.b.ints(&[]);
        }
        let rank = self.b.dims(mask)[0].fixed().unwrap_or(0) as usize;
        let before = self.unset_before(mask, rank)?;
        let rows: Vec<i64> = (0..kept as i64).collect();
        let rows = self.b.array(&[kept, 1], &rows)?;
        let here = self.b.binary(BinaryKind::Equal, rows, before)?;
        let zero = self.b.ints(&[0])?;
        let unset = self.b.select(mask, zero, vector)?;
        let here = self.b.select(here, unset, zero)?;
        self.b.reduce(ReduceKind::Sum, here, &[1], false)
    }

    /// An i64 vector with 1s at the axes of the mask, which has `rank` elements, and the elements of `vector` elsewhere.
    pub fn with_ones(&mut self, vector: ValueId, mask: ValueId, rank: usize) -> Result<ValueId> {
        let one = self.b.ints(&[1])?;
        // One more, so that there is an element to pick (and not to use) for axes behind the last one.
        let vector = self.b.concat(0, &[vector, one])?;
        let before = self.unset_before(mask, rank)?;
        let picked = self.b.gather(vector, before, 0)?;
        self.b.select(mask, one, picked)
    }

    /// `f(x)` if axis `i` is in the mask, else `x`.
    pub fn if_axis(
        &mut self,
        mask: ValueId,
        i: usize,
        x: ValueId,
        f: impl FnOnce(&mut Builder<'_>, ValueId) -> Result<ValueId>,
    ) -> Result<ValueId> {
        let condition = self.b.pick(mask, 0, i as i64)?;
        let then = self.body("axis", &[], &[], &[x], |cx, inputs| Ok(vec![f(&mut cx.b, inputs[0])?]))?;
        let otherwise = self.body("other", &[], &[], &[x], |_, inputs| Ok(inputs.to_vec()))?;
        Ok(self.emit_if(condition, [then, otherwise])?[0])
    }
}
