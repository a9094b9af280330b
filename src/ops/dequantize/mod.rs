//! Dequantize: y = (x - zero point) · scale. Inputs: x (u8, i8, u16, i16, i32), scale (f32, f16, bf16), zero point (of x's type; 0
//! if absent).
//!
//! There is one scale for all elements, or one per index along an axis, or one per block of neighbours along an axis, and
//! as many zero points. The result is computed in f32 and rounded once.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use super::quantize::{scales, single};
use super::{Inputs, Kernel, OpDef, Prepare};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{DType, TensorType};

/// See the [module](self).
#[derive(Clone, Debug, PartialEq)]
pub struct Dequantize {
    /// Axis of the scales, if there are several.
    pub axis: i64,
    /// Elements along the axis that share a scale; 0 for scales of single indices.
    pub block: usize,
    /// Element type of the result: f32, f16 or bf16.
    pub to: DType,
}

impl OpDef for Dequantize {
    type Table<'a> = schema::Dequantize<'a>;
    const NAME: &'static str = "Dequantize";
    const INPUTS: (usize, usize) = (2, 3);

    fn read(table: Self::Table<'_>) -> Result<Self> {
        Ok(Dequantize {
            axis: table.axis().into(),
            block: table.block() as usize,
            to: DType::from_code(table.to().into())?,
        })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        let args =
            schema::DequantizeArgs { axis: self.axis as i32, block: self.block as u32, to: self.to as u8 };
        schema::Dequantize::create(b, &args)
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let x = inputs.get(0)?;
        if !scales::is_quantized(x.dtype) && x.dtype != DType::I32 {
            return Err(Error::dtype(format!("input 0 is {}; u8, i8, u16, i16 and i32 can be dequantized", x.dtype)));
        }
        if !single(inputs.get(1)?.dtype) || !single(self.to) {
            return Err(Error::dtype("the scale and the result must be f32, f16 or bf16"));
        }
        inputs.expect_dtype(2, x.dtype)?;
        scales::check(inputs, self.axis, self.block)?;
        Ok(vec![TensorType::new(self.to, x.shape.clone())])
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        cpu::prepare(self, cx)
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        cuda::prepare(self, cx)
    }
}
