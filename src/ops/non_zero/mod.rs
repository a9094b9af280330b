//! NonZero: coordinates of the elements that are not zero, in row-major order, as the columns of an i64 matrix with one row
//! per axis. Input: data. A scalar counts as a vector of one element.

#[cfg(test)]
mod tests;

use super::elementwise::for_type;
use super::{Inputs, Kernel, OpDef, Prepare, Tensor};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{DType, Dim, Element, Shape, TensorType};

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct NonZero;

impl OpDef for NonZero {
    type Table<'a> = schema::NonZero<'a>;
    const NAME: &'static str = "NonZero";
    const INPUTS: (usize, usize) = (1, 1);

    fn read(_: Self::Table<'_>) -> Result<Self> {
        Ok(NonZero)
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        schema::NonZero::create(b, &schema::NonZeroArgs {})
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let rank = inputs.get(0)?.shape.rank().max(1);
        Ok(vec![TensorType::new(DType::I64, Shape::new([Dim::from(rank), Dim::Unknown])?)])
    }

    fn prepare_cpu(&self, _: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        Err(Error::internal("the extents of NonZero depend on data"))
    }

    fn run_dynamic(&self, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>> {
        let Some(Some(x)) = inputs.first() else { return Err(Error::invalid("input 0 is missing")) };
        let places = for_type!(x.info.dtype, places(x));
        let dims = x.info.dims;
        let rank = dims.len().max(1);
        let mut out = vec![0i64; rank * places.len()];
        // The scalar's coordinate, 0, is there already.
        let strides = dims.strides();
        for (axis, row) in out.chunks_exact_mut(places.len().max(1)).enumerate().take(dims.len()) {
            for (to, &at) in row.iter_mut().zip(&places) {
                *to = (at / strides[axis] % dims[axis]) as i64;
            }
        }
        Ok(vec![Tensor::new(&[rank, places.len()], &out)?])
    }
}

/// Places of the elements that are not zero; neither sign of a floating-point zero counts.
fn places<T: Element>(x: &Tensor) -> Vec<usize> {
    x.elements::<T>().iter().enumerate().filter(|(_, e)| **e != T::default()).map(|(i, _)| i).collect()
}
