//! Cumulative sums and products along an axis. Input: a numeric tensor.
//!
//! Element i of the result combines elements 0 to i of the input; without element i if `exclusive`, and the elements from i to
//! the last one if `reverse`. Floats are combined in f64 and rounded once each; integers wrap.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use super::{Inputs, Kernel, OpDef, Prepare};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{DType, TensorType, normalize_axis};

/// How elements are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CumulativeKind {
    /// Their sum; 0 for none.
    Sum,
    /// Their product; 1 for none.
    Prod,
}

impl CumulativeKind {
    /// Every kind; each one's index is its number in model files.
    pub const ALL: [CumulativeKind; 2] = [CumulativeKind::Sum, CumulativeKind::Prod];
}

/// See the [module](self).
#[derive(Clone, Debug, PartialEq)]
pub struct Cumulative {
    /// How elements are combined.
    pub kind: CumulativeKind,
    /// The axis; negative ones count from the back.
    pub axis: i64,
    /// An element is not part of its own result.
    pub exclusive: bool,
    /// From the last element to the first.
    pub reverse: bool,
}

impl OpDef for Cumulative {
    type Table<'a> = schema::Cumulative<'a>;
    const NAME: &'static str = "Cumulative";
    const INPUTS: (usize, usize) = (1, 1);

    fn read(table: Self::Table<'_>) -> Result<Self> {
        let unknown = || Error::version(format!("unknown accumulation {}; a newer library may know it", table.kind()));
        Ok(Cumulative {
            kind: CumulativeKind::ALL.get(table.kind() as usize).copied().ok_or_else(unknown)?,
            axis: table.axis().into(),
            exclusive: table.exclusive(),
            reverse: table.reverse(),
        })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        let args = schema::CumulativeArgs {
            kind: self.kind as u8,
            axis: self.axis as i32,
            exclusive: self.exclusive,
            reverse: self.reverse,
        };
        schema::Cumulative::create(b, &args)
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let x = inputs.get(0)?;
        if x.dtype == DType::Bool {
            return Err(Error::dtype("input 0 is bool; a numeric type is needed"));
        }
        x.shape.axis(self.axis)?;
        Ok(vec![TensorType::new(x.dtype, x.shape.clone())])
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        let axis = normalize_axis(self.axis, cx.dims(0).len())?;
        Ok(cpu::prepare(self, cx, axis))
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        cuda::prepare(self, cx)
    }
}
