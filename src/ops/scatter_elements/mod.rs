//! ScatterElements: a copy of the data in which `out[i.. with i[axis] replaced by indices[i..]]` is combined with
//! `updates[i..]`, in row-major order of the updates. Inputs: data, indices (i64 or i32), updates.
//!
//! Indices and updates have one shape, of the data's rank; extents other than that along `axis` are at most the data's.
//! Negative indices count from the back; others outside the axis are an error when the model runs.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use super::gather_elements::expect_inside;
use super::index::expect_indices;
pub use super::scatter::Reduction;
use super::{Inputs, Kernel, OpDef, Prepare};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::TensorType;

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ScatterElements {
    /// The axis that the indices count along; negative ones count from the back.
    pub axis: i64,
    /// How an update and what stands in its place become one.
    pub reduction: Reduction,
}

impl OpDef for ScatterElements {
    type Table<'a> = schema::ScatterElements<'a>;
    const NAME: &'static str = "ScatterElements";
    const INPUTS: (usize, usize) = (3, 3);

    fn read(table: Self::Table<'_>) -> Result<Self> {
        Ok(ScatterElements { axis: table.axis().into(), reduction: Reduction::from_code(table.reduction())? })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        let args = schema::ScatterElementsArgs { axis: self.axis as i32, reduction: self.reduction as u8 };
        schema::ScatterElements::create(b, &args)
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let (x, indices, updates) = (inputs.get(0)?, inputs.get(1)?, inputs.get(2)?);
        expect_indices(inputs, 1)?;
        inputs.expect_dtype(2, x.dtype)?;
        expect_inside(&indices.shape, &x.shape, x.shape.axis(self.axis)?)?;
        let differ = |(a, b): (&crate::tensor::Dim, &crate::tensor::Dim)| match (a.fixed(), b.fixed()) {
            (Some(a), Some(b)) => a != b,
            _ => false,
        };
        if indices.shape.rank() != updates.shape.rank() || indices.shape.iter().zip(updates.shape.iter()).any(differ) {
            return Err(Error::shape(format!("indices of shape {} for updates {updates}", indices.shape)));
        }
        Ok(vec![TensorType::new(x.dtype, x.shape.clone())])
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        cpu::prepare(cx, self)
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        cuda::prepare(cx, self)
    }
}
