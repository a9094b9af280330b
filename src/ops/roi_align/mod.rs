//! RoiAlign (He et al., "Mask R-CNN", 2017): averages or maxima of interpolated elements in the cells of regions. Inputs:
//! data `[N, H, W, C]`, regions `[R, 4]` (x and y of two corners), batch index of each region (`[R]`, i64). Output:
//! `[R, height, width, C]`.
//!
//! Regions are scaled by `scale` and cut into cells; each cell is sampled at `sampling_ratio` x `sampling_ratio` points, or
//! where that is 0 at as many as the cell is elements high and wide. A point outside the data by more than an element
//! counts as 0. With [`RoiMode::Max`] the largest of the four weighted neighbours of all points is taken, as ONNX defines.
//!
//! With [`RoiMode::Elements`] nothing is interpolated: corners are rounded to elements, both included, cells overlap where
//! the region is not divided evenly, and the result is the largest element of a cell, or 0 for one outside the data.

mod cpu;
#[cfg(test)]
mod tests;

use super::{Inputs, Kernel, OpDef, Prepare};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{DType, Dim, Shape, TensorType};

/// What becomes of the points of a cell. The numbers are those of the file format.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[repr(u8)]
pub enum RoiMode {
    /// Their average.
    #[default]
    Average = 0,
    /// The largest weighted neighbour.
    Max = 1,
    /// The largest element: cells are whole elements, as Girshick's "Fast R-CNN" (2015) has it.
    Elements = 2,
}

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct RoiAlign {
    /// What becomes of the points of a cell.
    pub mode: RoiMode,
    /// Cells along the height of a region.
    pub height: usize,
    /// Cells along its width.
    pub width: usize,
    /// Points along each side of a cell; 0 to choose by the region's size.
    pub sampling_ratio: usize,
    /// What the regions' coordinates are multiplied with.
    pub scale: f32,
    /// Whether coordinates refer to edges of elements rather than centres; if not, regions are at least 1 x 1.
    pub half_pixel: bool,
}

impl OpDef for RoiAlign {
    type Table<'a> = schema::RoiAlign<'a>;
    const NAME: &'static str = "RoiAlign";
    const INPUTS: (usize, usize) = (3, 3);

    fn read(table: Self::Table<'_>) -> Result<Self> {
        let mode = match table.mode() {
            0 => RoiMode::Average,
            1 => RoiMode::Max,
            2 => RoiMode::Elements,
            mode => return Err(Error::format(format!("unknown mode {mode} of a RoiAlign"))),
        };
        Ok(RoiAlign {
            mode,
            height: table.height() as usize,
            width: table.width() as usize,
            sampling_ratio: table.sampling_ratio() as usize,
            scale: table.scale(),
            half_pixel: table.half_pixel(),
        })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        let args = schema::RoiAlignArgs {
            mode: self.mode as u8,
            height: self.height as u32,
            width: self.width as u32,
            sampling_ratio: self.sampling_ratio as u32,
            scale: self.scale,
            half_pixel: self.half_pixel,
        };
        schema::RoiAlign::create(b, &args)
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let (x, regions, batches) = (inputs.float(0)?, inputs.get(1)?, inputs.get(2)?);
        inputs.expect_dtype(1, x.dtype)?;
        inputs.expect_dtype(2, DType::I64)?;
        if self.height == 0 || self.width == 0 {
            return Err(Error::invalid(format!("{} x {} cells", self.height, self.width)));
        }
        let differ = |a: &Dim, b: &Dim| a.fixed().zip(b.fixed()).is_some_and(|(a, b)| a != b);
        let fits = x.shape.rank() == 4
            && regions.shape.rank() == 2
            && batches.shape.rank() == 1
            && !differ(&regions.shape[1], &Dim::Fixed(4))
            && !differ(&regions.shape[0], &batches.shape[0]);
        if !fits {
            return Err(Error::shape(format!("regions {regions} with batch indices {batches} of data {x}")));
        }
        let count = if regions.shape[0].fixed().is_some() { &regions.shape[0] } else { &batches.shape[0] };
        let dims = [count.clone(), Dim::from(self.height), Dim::from(self.width), x.shape[3].clone()];
        Ok(vec![TensorType::new(x.dtype, Shape::new(dims)?)])
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        Ok(cpu::prepare(cx, self))
    }
}
