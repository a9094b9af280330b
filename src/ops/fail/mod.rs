//! Fail: an error in place of a value. It stands in a branch of an If whose operators do not fit the shapes that they are
//! given there, so that the model can be used as long as that branch is not taken. No inputs; the output has the type that
//! the attributes say, as far as they do.

#[cfg(test)]
mod tests;

use super::{Inputs, Kernel, OpDef, Prepare, Tensor};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{DType, Dim, Shape, TensorType};

/// See the [module](self).
#[derive(Clone, Debug, PartialEq)]
pub struct Fail {
    /// What is wrong.
    pub message: String,
    /// Element type of the output.
    pub dtype: DType,
    /// Extents of the output, None where they are not known.
    pub dims: Vec<Option<u32>>,
}

impl OpDef for Fail {
    type Table<'a> = schema::Fail<'a>;
    const NAME: &'static str = "Fail";
    const INPUTS: (usize, usize) = (0, 0);

    fn read(t: Self::Table<'_>) -> Result<Self> {
        Ok(Fail {
            message: t.message().unwrap_or_default().into(),
            dtype: DType::from_code(t.dtype().into())?,
            dims: t.dims().iter().flatten().map(|d| u32::try_from(d).ok()).collect(),
        })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        let dims: Vec<i64> = self.dims.iter().map(|d| d.map_or(-1, i64::from)).collect();
        let (message, dims) = (b.create_string(&self.message), b.create_vector(&dims));
        let args = schema::FailArgs { message: Some(message), dtype: self.dtype as u8, dims: Some(dims) };
        schema::Fail::create(b, &args)
    }

    fn infer(&self, _inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let dims = self.dims.iter().map(|d| d.map_or(Dim::Unknown, |d| Dim::Fixed(d.into())));
        Ok(vec![TensorType::new(self.dtype, Shape::new(dims.collect::<Vec<_>>())?)])
    }

    fn prepare_cpu(&self, _cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        Err(self.error())
    }

    fn run_dynamic(&self, _inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>> {
        Err(self.error())
    }
}

impl Fail {
    fn error(&self) -> Error {
        Error::shape(format!("a branch that does not fit its shapes: {}", self.message))
    }
}
