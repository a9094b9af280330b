//! OneHot: along a new axis of extent `depth`, the on-value at the index and the off-value elsewhere. Inputs: indices (any
//! numeric type), depth (a number of any type), values (off-value, on-value; any type).
//!
//! Negative indices count from the back; those outside the axis select nothing. Floating-point indices are truncated.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use super::elementwise::{Number, for_type};
use super::{Inputs, Kernel, OpDef, Prepare};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{DType, Dim, Shape, TensorType, View, normalize_axis};

/// See the [module](self).
#[derive(Clone, Debug, PartialEq)]
pub struct OneHot {
    /// The output's axis that counts the depth; negative ones count from the back.
    pub axis: i64,
}

impl Default for OneHot {
    /// A new last axis.
    fn default() -> Self {
        OneHot { axis: -1 }
    }
}

impl OpDef for OneHot {
    type Table<'a> = schema::OneHot<'a>;
    const NAME: &'static str = "OneHot";
    const INPUTS: (usize, usize) = (3, 3);

    fn read(table: Self::Table<'_>) -> Result<Self> {
        Ok(OneHot { axis: table.axis().into() })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        schema::OneHot::create(b, &schema::OneHotArgs { axis: self.axis as i32 })
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let (indices, values) = (inputs.get(0)?, inputs.get(2)?);
        if indices.dtype == DType::Bool || inputs.get(1)?.dtype == DType::Bool {
            return Err(Error::dtype("the indices and the depth are numbers, not bool"));
        }
        if values.shape.rank() != 1 || values.shape[0].fixed().is_some_and(|n| n != 2) {
            return Err(Error::shape(format!("input 2 is {values}; the off-value and the on-value are needed")));
        }
        let axis = normalize_axis(self.axis, indices.shape.rank() + 1)?;
        let mut dims = indices.shape.to_vec();
        dims.insert(axis, depth(inputs)?);
        Ok(vec![TensorType::new(values.dtype, Shape::new(dims)?)])
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        let dims = cx.out_dims(0);
        Ok(cpu::prepare(cx, normalize_axis(self.axis, dims.len())?))
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        cuda::prepare(cx, normalize_axis(self.axis, cx.out_dims(0).len())?)
    }
}

/// The depth, as far as it is known.
fn depth(inputs: &Inputs<'_>) -> Result<Dim> {
    let ty = inputs.get(1)?;
    if ty.shape.numel().fixed().is_some_and(|n| n != 1) {
        return Err(Error::shape(format!("the depth is {ty}; a scalar is needed")));
    }
    let known = ty.value.as_ref().and_then(|v| v.first().cloned());
    let depth = match (known, inputs.data(1)) {
        (Some(depth), _) => depth,
        (None, Some(data)) => Dim::Fixed(number(&data, 0)),
        (None, None) => Dim::Unknown,
    };
    if depth.fixed().is_some_and(|n| n < 0) {
        return Err(Error::invalid(format!("the depth is {depth}")));
    }
    Ok(depth)
}

/// Element `i` of a numeric tensor, as an integer.
fn number(view: &View<'_>, i: usize) -> i64 {
    fn read<T: Number>(view: &View<'_>, i: usize) -> i64 {
        view.slice::<T>()[i].to_i64()
    }
    for_type!(view.dtype(), read(view, i))
}
