//! BitCast: the same bytes as elements of another type of the same size. Input: any tensor.

#[cfg(test)]
mod tests;

use super::reshape::copy;
use super::{Inputs, Kernel, OpDef, Prepare};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{DType, TensorType};

/// See the [module](self).
#[derive(Clone, Debug, PartialEq)]
pub struct BitCast {
    /// Element type of the result; not bool, of which not every byte is one.
    pub to: DType,
}

impl OpDef for BitCast {
    type Table<'a> = schema::BitCast<'a>;
    const NAME: &'static str = "BitCast";
    const INPUTS: (usize, usize) = (1, 1);
    const IS_VIEW: bool = true;

    fn read(table: Self::Table<'_>) -> Result<Self> {
        Ok(BitCast { to: DType::from_code(table.to().into())? })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        schema::BitCast::create(b, &schema::BitCastArgs { to: self.to as u8 })
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let (x, to) = (inputs.get(0)?, self.to);
        if x.dtype.size() != to.size() || to == DType::Bool && x.dtype != to {
            return Err(Error::dtype(format!("the bits of {} are not those of {to}", x.dtype)));
        }
        Ok(vec![TensorType::new(to, x.shape.clone())])
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        Ok(copy(cx))
    }
}
