//! ScatterNd: a copy of the data in which the slices that tuples of indices select are combined with updates, in order.
//! Inputs: data, indices (i64 or i32), updates.
//!
//! The last axis of the indices holds tuples for the first axes of the data:
//! `out[indices[i..].., s..]` is combined with `updates[i.., s..]`. Negative indices count from the back; others outside
//! their axis are an error when the model runs.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use super::index::expect_indices;
pub use super::scatter::Reduction;
use super::{Inputs, Kernel, OpDef, Prepare};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{Dim, TensorType};

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ScatterNd {
    /// How an update and what stands in its place become one.
    pub reduction: Reduction,
}

impl OpDef for ScatterNd {
    type Table<'a> = schema::ScatterNd<'a>;
    const NAME: &'static str = "ScatterNd";
    const INPUTS: (usize, usize) = (3, 3);

    fn read(table: Self::Table<'_>) -> Result<Self> {
        Ok(ScatterNd { reduction: Reduction::from_code(table.reduction())? })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        schema::ScatterNd::create(b, &schema::ScatterNdArgs { reduction: self.reduction as u8 })
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let (x, indices, updates) = (inputs.get(0)?, inputs.get(1)?, inputs.get(2)?);
        expect_indices(inputs, 1)?;
        inputs.expect_dtype(2, x.dtype)?;
        let Some((tuple, outer)) = indices.shape.split_last() else {
            return Err(Error::shape("the indices are a scalar; their last axis holds tuples"));
        };
        if let Some(tuple) = tuple.fixed() {
            let Some(slice) = x.shape.get(tuple as usize..) else {
                return Err(Error::shape(format!("tuples of {tuple} indices for data of shape {}", x.shape)));
            };
            let want = [outer, slice].concat();
            let differ = |(a, b): (&Dim, &Dim)| a.fixed().zip(b.fixed()).is_some_and(|(a, b)| a != b);
            if want.len() != updates.shape.rank() || want.iter().zip(updates.shape.iter()).any(differ) {
                let (i, u) = (&indices.shape, &updates.shape);
                return Err(Error::shape(format!("updates of shape {u} for indices of shape {i} into {x}")));
            }
        }
        Ok(vec![TensorType::new(x.dtype, x.shape.clone())])
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        Ok(cpu::prepare(cx, self.reduction))
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        cuda::prepare(cx, self.reduction)
    }
}
