//! Expand: repeats dimensions of extent 1 so that the input has the shape that NumPy's broadcasting rules give for it and
//! the target. Inputs: data, target shape (integer vector).

#[cfg(test)]
mod tests;

use super::strided::Strided;
use super::{Inputs, Kernel, OpDef, Prepare};
use crate::error::Result;
use crate::schema;
use crate::tensor::{Dims, TensorType};

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Expand;

impl OpDef for Expand {
    type Table<'a> = schema::Expand<'a>;
    const NAME: &'static str = "Expand";
    const INPUTS: (usize, usize) = (2, 2);

    fn read(_: Self::Table<'_>) -> Result<Self> {
        Ok(Expand)
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        schema::Expand::create(b, &schema::ExpandArgs {})
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let x = inputs.get(0)?;
        let ty = TensorType::new(x.dtype, x.shape.broadcast(&inputs.vector(1)?)?);
        let small = ty.shape.numel().fixed().is_some_and(|n| n as usize <= TensorType::MAX_VALUES);
        Ok(vec![match (&x.value, x.shape.as_fixed(), ty.shape.as_fixed()) {
            (Some(value), Some(from), Some(to)) if small => ty.with_value(strided(&from, &to).apply(value)),
            _ => ty,
        }])
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        Ok(strided(&cx.dims(0), &cx.out_dims(0)).kernel(cx))
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        strided(&cx.dims(0), &cx.out_dims(0)).cuda_kernel(cx)
    }
}

fn strided(from: &Dims, to: &Dims) -> Strided {
    let (strides, skip) = (from.strides(), to.len() - from.len());
    let stride = |i: usize| match i.checked_sub(skip) {
        Some(i) if from[i] != 1 => strides[i] as isize,
        _ => 0,
    };
    Strided::new(0, to.iter().enumerate().map(|(i, &extent)| (extent, stride(i))))
}
