//! NonMaxSuppression: selects boxes by score, leaving out those that overlap a selected one too much. Inputs: boxes
//! (f32 `[batches, boxes, 4]`), scores (f32 `[batches, classes, boxes]`), optional most boxes per class (i64 scalar; 0 if
//! absent, which selects nothing), overlap threshold (f32 scalar; 0) and score threshold (f32 scalar; none).
//!
//! The output has a row (batch, class, box; i64) for each selected box, by batch, class and descending score; of equal
//! scores the lower box index comes first. A box is left out if its intersection with a selected box of its class divided
//! by their union is above the overlap threshold, or if its score is not above the score threshold or is NaN.

mod boxes;
#[cfg(test)]
mod tests;

use super::order::Sortable;
use super::{Inputs, Kernel, OpDef, Prepare, Tensor};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{DType, Dim, Element, Shape, TensorType};
use boxes::{Rectangle, Selected};
use std::cmp::Reverse;

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct NonMaxSuppression {
    /// Boxes are (x of the centre, y of the centre, width, height) rather than (y, x, y, x) of two opposite corners.
    pub center_point_box: bool,
}

impl OpDef for NonMaxSuppression {
    type Table<'a> = schema::NonMaxSuppression<'a>;
    const NAME: &'static str = "NonMaxSuppression";
    const INPUTS: (usize, usize) = (2, 5);

    fn read(table: Self::Table<'_>) -> Result<Self> {
        Ok(NonMaxSuppression { center_point_box: table.center_point_box() })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        let args = schema::NonMaxSuppressionArgs { center_point_box: self.center_point_box };
        schema::NonMaxSuppression::create(b, &args)
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let (boxes, scores) = (inputs.get(0)?, inputs.get(1)?);
        for (i, dtype) in [DType::F32, DType::F32, DType::I64, DType::F32, DType::F32].into_iter().enumerate() {
            inputs.expect_dtype(i, dtype)?;
        }
        let differ = |a: &Dim, b: &Dim| a.fixed().zip(b.fixed()).is_some_and(|(a, b)| a != b);
        let fits = boxes.shape.rank() == 3
            && scores.shape.rank() == 3
            && !differ(&boxes.shape[2], &Dim::Fixed(4))
            && !differ(&boxes.shape[0], &scores.shape[0])
            && !differ(&boxes.shape[1], &scores.shape[2]);
        if !fits {
            return Err(Error::shape(format!("boxes {boxes} with scores {scores}")));
        }
        for i in 2..5 {
            if let Some(ty) = inputs.opt(i).filter(|t| t.shape.numel().fixed().is_some_and(|n| n > 1)) {
                return Err(Error::shape(format!("input {i} is {ty}; a scalar is needed")));
            }
        }
        Ok(vec![TensorType::new(DType::I64, Shape::new([Dim::Unknown, Dim::Fixed(3)])?)])
    }

    fn prepare_cpu(&self, _: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        Err(Error::internal("the extents of NonMaxSuppression depend on data"))
    }

    fn run_dynamic(&self, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>> {
        let [Some(boxes), Some(scores), ..] = inputs else { return Err(Error::invalid("boxes or scores are missing")) };
        let limits = Limits {
            count: scalar::<i64>(inputs, 2).unwrap_or(0).try_into().unwrap_or(0),
            overlap: scalar(inputs, 3).unwrap_or(0.0),
            score: scalar(inputs, 4),
        };
        let dims = scores.info.dims;
        let (classes, count) = (dims[1], dims[2]);
        let corners: Vec<Rectangle> =
            boxes.elements::<f32>().as_chunks().0.iter().map(|b| Rectangle::new(b, self.center_point_box)).collect();
        let mut out: Vec<i64> = vec![];
        for batch in 0..dims[0] {
            let corners = &corners[batch * count..(batch + 1) * count];
            for class in 0..classes {
                let scores = &scores.elements::<f32>()[(batch * classes + class) * count..][..count];
                for selected in limits.select(corners, scores) {
                    out.extend([batch as i64, class as i64, selected as i64]);
                }
            }
        }
        Ok(vec![Tensor::new(&[out.len() / 3, 3], &out)?])
    }
}

/// The element of an optional input with at most one.
fn scalar<T: Element>(inputs: &[Option<Tensor>], index: usize) -> Option<T> {
    inputs.get(index)?.as_ref()?.elements::<T>().first().copied()
}

struct Limits {
    count: usize,
    overlap: f32,
    score: Option<f32>,
}

impl Limits {
    /// The selected boxes of one class, best first.
    fn select(&self, boxes: &[Rectangle], scores: &[f32]) -> Vec<usize> {
        let enough = |score: f32| !score.is_nan() && self.score.is_none_or(|limit| score > limit);
        let mut candidates: Vec<usize> = (0..boxes.len()).filter(|&i| enough(scores[i])).collect();
        candidates.sort_by_key(|&i| Reverse(scores[i].key()));
        let (mut selected, mut taken) = (vec![], Selected::default());
        for i in candidates {
            if selected.len() >= self.count {
                break;
            }
            if !taken.any_overlaps(&boxes[i], self.overlap) {
                selected.push(i);
                taken.push(boxes[i]);
            }
        }
        selected
    }
}
