//! Shape: the input's extents from axis `start` to axis `end` (exclusive) as an i64 vector. Input: data of any type.

#[cfg(test)]
mod tests;

use super::{Inputs, Kernel, OpDef, Prepare, kernel};
use crate::error::Result;
use crate::schema;
use crate::tensor::{DType, Grid, Shape as Extents, TensorType};
use std::ops::Range;

/// See the [module](self).
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// First axis; negative ones count from the back. Clamped to the axes that there are.
    pub start: i64,
    /// End of the axes, likewise.
    pub end: i64,
}

impl Default for Shape {
    /// All axes.
    fn default() -> Self {
        Shape { start: 0, end: i32::MAX.into() }
    }
}

impl OpDef for Shape {
    type Table<'a> = schema::Shape<'a>;
    const NAME: &'static str = "Shape";
    const INPUTS: (usize, usize) = (1, 1);

    fn read(table: Self::Table<'_>) -> Result<Self> {
        Ok(Shape { start: table.start().into(), end: table.end().into() })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        schema::Shape::create(b, &schema::ShapeArgs { start: self.start as i32, end: self.end as i32 })
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let x = inputs.get(0)?;
        let extents = &x.shape[self.axes(x.shape.rank())];
        Ok(vec![TensorType::new(DType::I64, Extents::fixed(&[extents.len()])?).with_value(extents.to_vec())])
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        let dims = cx.dims(0);
        let axes = self.axes(dims.len());
        Ok(kernel(Grid::ONE, move |args| {
            let to = args.output::<i64>(0).into_slice();
            to.iter_mut().zip(&dims[axes.clone()]).for_each(|(to, &d)| *to = d as i64);
            Ok(())
        }))
    }
}

impl Shape {
    fn axes(&self, rank: usize) -> Range<usize> {
        let clamp = |axis: i64| {
            let from_front = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
            from_front.clamp(0, rank as i64) as usize
        };
        let start = clamp(self.start);
        start..clamp(self.end).max(start)
    }
}
