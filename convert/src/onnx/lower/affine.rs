//! Grids of sampling coordinates under affine maps.

use super::{Cx, Table};
use crate::onnx::model::Node;
use infer::error::{Error, Result};
use infer::graph::ValueId;
use infer::ops::binary::BinaryKind;
use infer::ops::{MatMul, Range};
use infer::tensor::{DType, Dim};

pub const TABLE: Table = &[("AffineGrid", affine_grid)];

/// The coordinates of each element of an image `[N, C, extents..]`, the last axis first, and a 1, times a matrix
/// `[K, K + 1]` for each image.
fn affine_grid(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (theta, size) = (cx.input(n, 0)?, cx.input(n, 1)?);
    let axes = match cx.b.dims(size)[..] {
        [Dim::Fixed(rank @ 4..=5)] => rank as usize - 2,
        _ => return Err(Error::shape(format!("sizes {}; 4 or 5 are needed", cx.b.ty(size)))),
    };
    let align = n.flag("align_corners", false)?;
    let dtype = cx.b.dtype(theta);
    let wide = if dtype == DType::F64 { dtype } else { DType::F32 };
    let extents = cx.b.slice(size, 0, 2, i64::MAX)?;
    let mut columns = vec![];
    for axis in (0..axes).rev() {
        let extent = cx.b.pick(size, 0, axis as i64 + 2)?;
        let column = cx.coordinates(extent, align, wide)?;
        let column = cx.b.unsqueeze(column, &(1..axes - axis).collect::<Vec<_>>())?;
        columns.push(cx.b.expand(column, extents)?);
    }
    let one = cx.b.scalar(wide, 1.0)?;
    columns.push(cx.b.expand(one, extents)?);
    for column in &mut columns {
        *column = cx.b.reshape(*column, &[-1, 1])?;
    }
    let points = cx.b.concat(1, &columns)?;
    let theta = cx.b.cast(theta, wide)?;
    let grid = cx.b.emit1(MatMul { transpose_b: true, ..MatMul::default() }, &[points, theta])?;
    let (batch, last) = (cx.b.extent((theta, 0))?, cx.b.ints(&[axes as i64])?);
    let shape = cx.b.concat(0, &[batch, extents, last])?;
    let grid = cx.b.reshape_by(grid, shape)?;
    Ok(vec![cx.b.cast(grid, dtype)?])
}

impl Cx<'_> {
    /// The coordinates of `extent` elements (an i64 scalar) of which -1 and 1 are the outer edges, or with `align` the
    /// centres of the first and the last: (2i + 1 - n) / n, or (2i + 1 - n) / (n - 1).
    fn coordinates(&mut self, extent: ValueId, align: bool, dtype: DType) -> Result<ValueId> {
        let (start, step) = (self.b.array(&[], &[0i64])?, self.b.array(&[], &[1i64])?);
        let index = self.b.emit1(Range, &[start, extent, step])?;
        let steps = self.b.sub(extent, step)?;
        let twice = self.b.binary_with(BinaryKind::Mul, index, 2.0)?;
        let offset = self.b.sub(twice, steps)?;
        // A single element is in the middle.
        let span = if align { self.b.binary(BinaryKind::Max, steps, step)? } else { extent };
        let (offset, span) = (self.b.cast(offset, dtype)?, self.b.cast(span, dtype)?);
        self.b.div(offset, span)
    }
}
