//! GatherNd: slices of the data, each selected by a tuple of indices. Inputs: data, indices (i64 or i32).
//!
//! The last axis of the indices holds tuples for the data's axes from `batch_dims` on; the first `batch_dims` axes belong
//! together: `out[b.., i.., s..] = data[b.., indices[b.., i..].., s..]`. Negative indices count from the back; others
//! outside their axis are an error when the model runs.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use super::index::expect_indices;
use super::{Inputs, Kernel, OpDef, Prepare};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{Shape, TensorType};

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct GatherNd {
    /// Number of leading axes that data and indices have in common.
    pub batch_dims: usize,
}

impl OpDef for GatherNd {
    type Table<'a> = schema::GatherNd<'a>;
    const NAME: &'static str = "GatherNd";
    const INPUTS: (usize, usize) = (2, 2);

    fn read(table: Self::Table<'_>) -> Result<Self> {
        Ok(GatherNd { batch_dims: table.batch_dims() as usize })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        schema::GatherNd::create(b, &schema::GatherNdArgs { batch_dims: self.batch_dims as u32 })
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let (x, indices) = (inputs.get(0)?, inputs.get(1)?);
        expect_indices(inputs, 1)?;
        let batch = self.batch_dims;
        let Some((tuple, outer)) = indices.shape.split_last().filter(|(_, outer)| batch <= outer.len()) else {
            return Err(Error::shape(format!("indices of shape {} have fewer than {} axes", indices.shape, batch + 1)));
        };
        let Some(tuple) = tuple.fixed() else {
            return Err(Error::unsupported(format!("the tuples' length {tuple} is not known, and so the output's rank")));
        };
        let Some(used) = batch.checked_add(tuple as usize).filter(|&n| n <= x.shape.rank()) else {
            return Err(Error::shape(format!("tuples of {tuple} indices after {batch} axes of data of shape {}", x.shape)));
        };
        let agree = |i: usize| match (x.shape[i].fixed(), outer[i].fixed()) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        if let Some(i) = (0..batch).find(|&i| !agree(i)) {
            return Err(Error::shape(format!("axis {i} of {x} and of indices of shape {} differ", indices.shape)));
        }
        Ok(vec![TensorType::new(x.dtype, Shape::new([outer, &x.shape[used..]].concat())?)])
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        Ok(cpu::prepare(cx, self.batch_dims))
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        cuda::prepare(cx, self.batch_dims)
    }
}
