//! Quantize: y = saturate(round(x / scale) + zero point), rounded to nearest even. Inputs: x (f32, f16, bf16, i32), scale (f32,
//! f16, bf16), zero point (of the result's type; 0 if absent).
//!
//! There is one scale for all elements, or one per index along an axis, or one per block of neighbours along an axis, and
//! as many zero points. The quotient is computed in f32 and rounded to the narrower type if `precision` says so. NaN
//! becomes 0.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
pub(super) mod scales;
#[cfg(test)]
mod tests;

pub(super) use cpu::Round;

use super::{Inputs, Kernel, OpDef, Prepare};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{DType, TensorType};

/// See the [module](self).
#[derive(Clone, Debug, PartialEq)]
pub struct Quantize {
    /// Axis of the scales, if there are several.
    pub axis: i64,
    /// Elements along the axis that share a scale; 0 for scales of single indices.
    pub block: usize,
    /// Element type of the result: u8, i8, u16 or i16.
    pub to: DType,
    /// Type in which x and scale are divided: f32, f16 or bf16. If absent, f32, or the type of both x and scale if they
    /// have the same.
    pub precision: Option<DType>,
}

impl OpDef for Quantize {
    type Table<'a> = schema::Quantize<'a>;
    const NAME: &'static str = "Quantize";
    const INPUTS: (usize, usize) = (2, 3);

    fn read(table: Self::Table<'_>) -> Result<Self> {
        if !table.saturate() {
            return Err(Error::version("quantization that does not saturate; a newer library may know it"));
        }
        Ok(Quantize {
            axis: table.axis().into(),
            block: table.block() as usize,
            to: DType::from_code(table.to().into())?,
            precision: (table.precision() != 0).then(|| DType::from_code(table.precision().into())).transpose()?,
        })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        let args = schema::QuantizeArgs {
            axis: self.axis as i32,
            block: self.block as u32,
            to: self.to as u8,
            precision: self.precision.map_or(0, |p| p as u8),
            ..Default::default()
        };
        schema::Quantize::create(b, &args)
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let x = inputs.get(0)?;
        if !single(x.dtype) && x.dtype != DType::I32 {
            return Err(Error::dtype(format!("input 0 is {}; f32, f16, bf16 and i32 can be quantized", x.dtype)));
        }
        if !single(inputs.get(1)?.dtype) || !self.precision.is_none_or(single) {
            return Err(Error::dtype("the scale and the precision of the division must be f32, f16 or bf16"));
        }
        if !scales::is_quantized(self.to) {
            return Err(Error::unsupported(format!("quantization to {}; to u8, i8, u16 and i16 it is possible", self.to)));
        }
        inputs.expect_dtype(2, self.to)?;
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

impl Quantize {
    /// The type in which x and scale of these types are divided.
    fn divided_in(&self, x: DType, scale: DType) -> DType {
        self.precision.unwrap_or(if x == scale { x } else { DType::F32 })
    }
}

/// A float of at most 32 bits.
pub(super) fn single(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F16 | DType::BF16)
}
