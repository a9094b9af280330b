//! GridSample: interpolates the data at given coordinates. Inputs: data `[N, extents.., C]`, grid `[N, out.., K]` with K the
//! number of extents and the coordinates of the last axis first. Output: `[N, out.., C]`.
//!
//! Coordinates from -1 to 1 span an axis: between the centres of its first and last element with `align_corners`, else
//! between their outer edges. They are computed in the grid's type, f16 and bf16 in f32.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod place;
#[cfg(test)]
mod tests;

use super::{Inputs, Kernel, OpDef, Prepare};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{DType, Dim, Shape, TensorType};

/// How elements around a coordinate are combined. The numbers are those of the file format.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[repr(u8)]
pub enum GridMode {
    /// Two elements along each axis, by their distance.
    #[default]
    Linear = 0,
    /// The nearest element; of two the one with the even index.
    Nearest = 1,
    /// Four elements along each axis, by Keys' cubic convolution with a = -0.75.
    Cubic = 2,
}

/// What stands outside the data. The numbers are those of the file format.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[repr(u8)]
pub enum GridPadding {
    /// Zeros.
    #[default]
    Zeros = 0,
    /// The element at the edge.
    Border = 1,
    /// The data mirrored at what -1 and 1 stand for.
    Reflection = 2,
}

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct GridSample {
    /// How elements are combined.
    pub mode: GridMode,
    /// What stands outside the data.
    pub padding: GridPadding,
    /// Whether -1 and 1 are centres of elements rather than edges.
    pub align_corners: bool,
}

impl OpDef for GridSample {
    type Table<'a> = schema::GridSample<'a>;
    const NAME: &'static str = "GridSample";
    const INPUTS: (usize, usize) = (2, 2);

    fn read(table: Self::Table<'_>) -> Result<Self> {
        let mode = match table.mode() {
            0 => GridMode::Linear,
            1 => GridMode::Nearest,
            2 => GridMode::Cubic,
            mode => return Err(Error::format(format!("unknown mode {mode} of a GridSample"))),
        };
        let padding = match table.padding() {
            0 => GridPadding::Zeros,
            1 => GridPadding::Border,
            2 => GridPadding::Reflection,
            padding => return Err(Error::format(format!("unknown padding {padding} of a GridSample"))),
        };
        Ok(GridSample { mode, padding, align_corners: table.align_corners() })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        let (mode, padding) = (self.mode as u8, self.padding as u8);
        schema::GridSample::create(b, &schema::GridSampleArgs { mode, padding, align_corners: self.align_corners })
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let (x, grid) = (inputs.get(0)?, inputs.float(1)?);
        if x.dtype == DType::Bool {
            return Err(Error::dtype("bool cannot be interpolated"));
        }
        let differ = |a: &Dim, b: &Dim| a.fixed().zip(b.fixed()).is_some_and(|(a, b)| a != b);
        let (x_shape, g_shape) = (&x.shape, &grid.shape);
        let rank = x_shape.rank();
        if rank < 3 || g_shape.rank() != rank || differ(&g_shape[rank - 1], &Dim::from(rank - 2)) {
            return Err(Error::shape(format!("data {x} at the coordinates of {grid}")));
        }
        if differ(&x_shape[0], &g_shape[0]) {
            return Err(Error::shape(format!("{} tensors at the coordinates of {}", x_shape[0], g_shape[0])));
        }
        let is_empty = |d: &Dim| *d == Dim::Fixed(0);
        if x_shape[1..rank - 1].iter().any(is_empty) && !g_shape.iter().any(is_empty) {
            return Err(Error::shape(format!("data {x} has no elements to take")));
        }
        let batch = if x_shape[0].fixed().is_some() { &x_shape[0] } else { &g_shape[0] };
        let dims = [std::slice::from_ref(batch), &g_shape[1..rank - 1], &x_shape[rank - 1..]].concat();
        Ok(vec![TensorType::new(x.dtype, Shape::new(dims)?)])
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        Ok(cpu::prepare(cx, self))
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        cuda::prepare(self, cx)
    }
}
