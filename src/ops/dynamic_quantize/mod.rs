//! Dynamic quantization to u8, with a scale and zero point that fit the tensor. Input: x (f32). Outputs: y (u8), scale (f32
//! scalar), zero point (u8 scalar).
//!
//! With low and high the extremes of x and 0, scale = (high - low) / 255 (1 where all elements are 0), zero point = saturate(round(-low /
//! scale)) and y = saturate(round(x / scale) + zero point), rounded to nearest even.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use super::{Inputs, Kernel, OpDef, Prepare};
use crate::error::Result;
use crate::schema;
use crate::tensor::{DType, Shape, TensorType};

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct DynamicQuantize;

impl OpDef for DynamicQuantize {
    type Table<'a> = schema::DynamicQuantize<'a>;
    const NAME: &'static str = "DynamicQuantize";
    const INPUTS: (usize, usize) = (1, 1);

    fn read(_: Self::Table<'_>) -> Result<Self> {
        Ok(DynamicQuantize)
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        schema::DynamicQuantize::create(b, &schema::DynamicQuantizeArgs {})
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let x = inputs.get(0)?;
        inputs.expect_dtype(0, DType::F32)?;
        let scalar = |dtype| TensorType::new(dtype, Shape::scalar());
        Ok(vec![TensorType::new(DType::U8, x.shape.clone()), scalar(DType::F32), scalar(DType::U8)])
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        Ok(cpu::prepare(cx))
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        cuda::prepare(self, cx)
    }
}
