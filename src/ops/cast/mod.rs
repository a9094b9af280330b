//! Cast: the same numbers as another element type. Input: any tensor.
//!
//! Floats round to nearest even, and overflow to infinity. Floats become integers by truncation, saturated at the limits of
//! the type, 0 for NaN. Integers become narrower ones by their low bits. Bool is 0 or 1, and everything but 0 is true.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use super::{Inputs, Kernel, OpDef, Prepare};
use crate::error::Result;
use crate::schema;
use crate::tensor::{DType, Dim, TensorType};

/// See the [module](self).
#[derive(Clone, Debug, PartialEq)]
pub struct Cast {
    /// Element type of the result.
    pub to: DType,
}

impl OpDef for Cast {
    type Table<'a> = schema::Cast<'a>;
    const NAME: &'static str = "Cast";
    const INPUTS: (usize, usize) = (1, 1);

    fn read(table: Self::Table<'_>) -> Result<Self> {
        Ok(Cast { to: DType::from_code(table.to().into())? })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        schema::Cast::create(b, &schema::CastArgs { to: self.to as u8 })
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let x = inputs.get(0)?;
        let ty = TensorType::new(self.to, x.shape.clone());
        let value = x.value.as_ref().and_then(|v| v.iter().map(|d| self.convert(d)).collect());
        Ok(vec![match value {
            Some(value) => ty.with_value(value),
            None => ty,
        }])
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        Ok(cpu::prepare(cx))
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        cuda::prepare(self, cx)
    }
}

impl Cast {
    /// An element of an integer tensor as one of the result, if that is known.
    fn convert(&self, element: &Dim) -> Option<Dim> {
        match (self.to, element.fixed()) {
            (DType::I32, Some(n)) => Some(Dim::Fixed((n as i32).into())),
            (DType::Bool, Some(n)) => Some(Dim::Fixed((n != 0).into())),
            (DType::Bool, None) => element.sub(&Dim::Fixed(1)).is_nonnegative().then_some(Dim::Fixed(1)),
            _ => Some(element.clone()),
        }
    }
}
