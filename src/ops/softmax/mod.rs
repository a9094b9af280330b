//! Softmax: `e^x / Σ e^x` over one axis, its logarithm, or the indicator of the largest element. Input: a tensor of a
//! floating-point type.
//!
//! Exponentials are those of distances from the largest element, so nothing overflows; elements that are all -inf give
//! NaN, as 0 / 0 does. Hardmax is 1 at the first of the largest elements and 0 elsewhere.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use super::{Inputs, Kernel, OpDef, Prepare, widen};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{DType, TensorType, normalize_axis};

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SoftmaxKind {
    /// e^x / Σ e^x.
    Softmax,
    /// x - ln Σ e^x.
    LogSoftmax,
    /// 1 at the first of the largest elements, 0 elsewhere.
    Hardmax,
}

impl SoftmaxKind {
    /// Every kind; each one's index is its number in model files.
    pub const ALL: [SoftmaxKind; 3] = [SoftmaxKind::Softmax, SoftmaxKind::LogSoftmax, SoftmaxKind::Hardmax];
}

/// See the [module](self).
#[derive(Clone, Debug, PartialEq)]
pub struct Softmax {
    /// What is computed.
    pub kind: SoftmaxKind,
    /// The axis; negative ones count from the back.
    pub axis: i64,
}

impl OpDef for Softmax {
    type Table<'a> = schema::Softmax<'a>;
    const NAME: &'static str = "Softmax";
    const INPUTS: (usize, usize) = (1, 1);

    fn read(table: Self::Table<'_>) -> Result<Self> {
        let unknown = || Error::version(format!("unknown softmax {}; a newer library may know it", table.kind()));
        let kind = SoftmaxKind::ALL.get(table.kind() as usize).copied().ok_or_else(unknown)?;
        Ok(Softmax { kind, axis: table.axis().into() })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        schema::Softmax::create(b, &schema::SoftmaxArgs { kind: self.kind as u8, axis: self.axis as i32 })
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let x = inputs.float(0)?;
        x.shape.axis(self.axis)?;
        Ok(vec![TensorType::new(x.dtype, x.shape.clone())])
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        let x = cx.input(0).info;
        let axis = normalize_axis(self.axis, x.dims.len())?;
        match x.dtype {
            DType::F32 => Ok(cpu::prepare(self.kind, &x.dims, axis, cx.isa)),
            DType::F64 => Ok(cpu::prepare_f64(self.kind, &x.dims, axis)),
            _ => widen::prepare(self, cx),
        }
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        cuda::prepare(self, cx)
    }
}
