//! Gather: slices of the data, selected by index along one axis. Inputs: data, indices (i64 or i32).
//!
//! `out[a.., i.., b..] = data[a.., indices[i..], b..]` with `a` the axes before `axis` and `b` those after it. Negative
//! indices count from the back; others outside the axis are an error when the model runs.

mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
#[cfg(test)]
mod tests;

use super::index::{expect_indices, resolve};
use super::{Inputs, Kernel, OpDef, Prepare};
use crate::error::Result;
use crate::schema;
use crate::tensor::{Dim, Shape, TensorType};

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Gather {
    /// The axis of the data that the indices count along; negative ones count from the back.
    pub axis: i64,
}

impl OpDef for Gather {
    type Table<'a> = schema::Gather<'a>;
    const NAME: &'static str = "Gather";
    const INPUTS: (usize, usize) = (2, 2);

    fn read(table: Self::Table<'_>) -> Result<Self> {
        Ok(Gather { axis: table.axis().into() })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        schema::Gather::create(b, &schema::GatherArgs { axis: self.axis as i32 })
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let (x, indices) = (inputs.get(0)?, inputs.get(1)?);
        expect_indices(inputs, 1)?;
        let axis = x.shape.axis(self.axis)?;
        let dims = [&x.shape[..axis], &indices.shape, &x.shape[axis + 1..]].concat();
        let ty = TensorType::new(x.dtype, Shape::new(dims)?);
        Ok(vec![match values(x, axis, indices)? {
            Some(value) => ty.with_value(value),
            None => ty,
        }])
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        cpu::prepare(cx, self.axis)
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        cuda::prepare(cx, self.axis)
    }
}

/// The elements, where those of the data and the indices are known.
fn values(x: &TensorType, axis: usize, indices: &TensorType) -> Result<Option<Vec<Dim>>> {
    let (Some(value), Some(dims), Some(indices)) = (&x.value, x.shape.as_fixed(), indices.fixed_value()) else {
        return Ok(None);
    };
    let (n, inner) = (dims[axis], dims[axis + 1..].iter().product::<usize>());
    let mut out = vec![];
    for outer in 0..dims[..axis].iter().product() {
        for &index in &indices {
            let at = (outer * n + resolve(index, n, axis)?) * inner;
            out.extend_from_slice(&value[at..at + inner]);
            if out.len() > TensorType::MAX_VALUES {
                return Ok(None);
            }
        }
    }
    Ok(Some(out))
}
