//! Trilu: the upper or lower triangle of each matrix; other elements become 0. Inputs: data of rank 2 or more, optional
//! diagonal `k` (an i64 scalar; 0 if absent).
//!
//! Element (i, j) of a matrix stays where `j >= i + k` in the upper triangle, `j <= i + k` in the lower one.

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use super::{Inputs, Kernel, OpDef, Prepare, kernel};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{Args, DType, Element, Grid, TensorType};

/// Bytes of output worth a part of their own.
const GRAIN: usize = 64 * 1024;

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Trilu {
    /// The upper triangle rather than the lower one.
    pub upper: bool,
}

impl OpDef for Trilu {
    type Table<'a> = schema::Trilu<'a>;
    const NAME: &'static str = "Trilu";
    const INPUTS: (usize, usize) = (1, 2);

    fn read(table: Self::Table<'_>) -> Result<Self> {
        Ok(Trilu { upper: table.upper() })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        schema::Trilu::create(b, &schema::TriluArgs { upper: self.upper })
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let x = inputs.get(0)?;
        if x.shape.rank() < 2 {
            return Err(Error::shape(format!("a triangle of {x}; matrices are needed")));
        }
        inputs.expect_dtype(1, DType::I64)?;
        if let Some(k) = inputs.opt(1).filter(|k| k.shape.numel().fixed().is_some_and(|n| n != 1)) {
            return Err(Error::shape(format!("the diagonal is {k}; a scalar is needed")));
        }
        Ok(vec![TensorType::new(x.dtype, x.shape.clone())])
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        let (dims, size, upper) = (cx.dims(0), cx.outputs[0].dtype.size(), self.upper);
        let [outer @ .., height, width] = &dims[..] else { return Err(Error::internal("Trilu of a vector")) };
        let (rows, height, width) = (outer.iter().product::<usize>() * height, *height, *width);
        Ok(kernel(Grid::by_cost(rows, width * size, GRAIN), move |args| {
            match size {
                1 => run::<u8>(args, upper, height, width),
                2 => run::<u16>(args, upper, height, width),
                4 => run::<u32>(args, upper, height, width),
                _ => run::<u64>(args, upper, height, width),
            }
            Ok(())
        }))
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        cuda::prepare(cx, self.upper)
    }
}

fn run<T: Element>(args: &mut Args<'_>, upper: bool, height: usize, width: usize) {
    let from = args.words::<T>(0);
    let k = args.optional::<i64>(1).map_or(0, |k| k[0]);
    let mut tile = args.output_words::<T>(0);
    if width == 0 {
        return;
    }
    for row in tile.rows() {
        let diagonal = k.saturating_add((row % height) as i64);
        let first_above = diagonal.saturating_add(i64::from(!upper)).clamp(0, width as i64) as usize;
        let (to, from) = (tile.row(row), &from[row * width..(row + 1) * width]);
        let (kept, cleared) = if upper { (first_above..width, 0..first_above) } else { (0..first_above, first_above..width) };
        to[kept.clone()].copy_from_slice(&from[kept]);
        to[cleared].fill(T::default());
    }
}
