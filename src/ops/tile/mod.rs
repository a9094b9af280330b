//! Tile: repeats the whole input along each axis. Inputs: data, repeats (integer vector, one per axis).

#[cfg(test)]
mod tests;

use super::strided::Strided;
use super::{Inputs, Kernel, OpDef, Prepare};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{Dim, Dims, Shape, TensorType};

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Tile;

impl OpDef for Tile {
    type Table<'a> = schema::Tile<'a>;
    const NAME: &'static str = "Tile";
    const INPUTS: (usize, usize) = (2, 2);

    fn read(_: Self::Table<'_>) -> Result<Self> {
        Ok(Tile)
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        schema::Tile::create(b, &schema::TileArgs {})
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let (x, repeats) = (inputs.get(0)?, inputs.vector(1)?);
        if repeats.len() != x.shape.rank() {
            return Err(Error::shape(format!("{} repeats for {x}; one per axis is needed", repeats.len())));
        }
        if let Some(n) = repeats.iter().find(|n| n.fixed().is_some_and(|n| n < 0)) {
            return Err(Error::invalid(format!("{n} repeats")));
        }
        let dims: Vec<Dim> = x.shape.iter().zip(&repeats).map(|(d, n)| d.mul(n)).collect();
        let ty = TensorType::new(x.dtype, Shape::new(dims)?);
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

/// Each axis as two: the repeats, along which the input stands still, and the input's own.
fn strided(from: &Dims, to: &Dims) -> Strided {
    let strides = from.strides();
    let pair = |i: usize| [(to[i] / from[i].max(1), 0), (from[i], strides[i] as isize)];
    Strided::new(0, (0..from.len()).flat_map(pair))
}
