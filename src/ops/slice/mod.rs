//! Slice: every `step`-th element between a start and an end along some axes. Inputs: data, starts, ends, optional steps
//! (integer vectors with one element per axis of `axes`).
//!
//! Starts and ends count from the back where they are negative, and are then clamped: for positive steps to `0..=n`, for
//! negative ones starts to `0..=n - 1` and ends to `-1..=n - 1`. There are `max(ceil((end - start) / step), 0)` elements.

mod bounds;
#[cfg(test)]
mod tests;

use super::strided::Strided;
use super::{Inputs, Kernel, OpDef, Prepare};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{Dim, Dims, Shape, TensorType, normalize_axis};
use bounds::{Piece, piece};

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Slice {
    /// The axes that are cut, each at most once; negative ones count from the back. Empty for the first ones.
    pub axes: Vec<i64>,
}

impl OpDef for Slice {
    type Table<'a> = schema::Slice<'a>;
    const NAME: &'static str = "Slice";
    const INPUTS: (usize, usize) = (3, 4);

    fn read(table: Self::Table<'_>) -> Result<Self> {
        Ok(Slice { axes: table.axes().into_iter().flatten().map(i64::from).collect() })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        let axes: Vec<i32> = self.axes.iter().map(|&a| a as i32).collect();
        let axes = Some(b.create_vector(&axes));
        schema::Slice::create(b, &schema::SliceArgs { axes })
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let x = inputs.get(0)?;
        let (starts, ends) = (inputs.vector(1)?, inputs.vector(2)?);
        let steps = match inputs.opt(3) {
            Some(_) => inputs.vector(3)?,
            None => vec![Dim::Fixed(1); starts.len()],
        };
        let axes = self.axes(x.shape.rank(), starts.len())?;
        if ends.len() != starts.len() || steps.len() != starts.len() {
            let (a, b, c) = (starts.len(), ends.len(), steps.len());
            return Err(Error::shape(format!("{a} starts, {b} ends and {c} steps; their numbers must agree")));
        }
        let mut dims = x.shape.to_vec();
        let mut pieces = vec![];
        for (i, axis) in axes.into_iter().enumerate() {
            let piece = piece(&dims[axis], &starts[i], &ends[i], &steps[i])?;
            dims[axis] = piece.len.clone();
            pieces.push((axis, piece));
        }
        let ty = TensorType::new(x.dtype, Shape::new(dims)?);
        Ok(vec![match (&x.value, x.shape.as_fixed(), ty.shape.as_fixed()) {
            (Some(value), Some(from), Some(to)) => ty.with_value(strided(&from, &to, &pieces)?.apply(value)),
            _ => ty,
        }])
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        Ok(self.strided(cx)?.kernel(cx))
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        self.strided(cx)?.cuda_kernel(cx)
    }
}

impl Slice {
    /// The copy that takes the pieces of operands of known shape.
    fn strided(&self, cx: &Prepare<'_>) -> Result<Strided> {
        let (from, starts, ends) = (cx.dims(0), cx.vector(1)?, cx.vector(2)?);
        let steps = cx.optional(3).map(|_| cx.vector(3)).transpose()?;
        let mut pieces = vec![];
        for (i, axis) in self.axes(from.len(), starts.len())?.into_iter().enumerate() {
            let step = steps.as_ref().map_or(1, |s| s[i]);
            let piece = piece(&from[axis].into(), &starts[i].into(), &ends[i].into(), &step.into())?;
            pieces.push((axis, piece));
        }
        strided(&from, &cx.out_dims(0), &pieces)
    }

    /// The axes from the front, for `n` starts.
    fn axes(&self, rank: usize, n: usize) -> Result<Vec<usize>> {
        let axes: Vec<usize> = match &self.axes[..] {
            [] => (0..n as i64).map(|a| normalize_axis(a, rank)).collect::<Result<_>>()?,
            axes => axes.iter().map(|&a| normalize_axis(a, rank)).collect::<Result<_>>()?,
        };
        if axes.len() != n {
            return Err(Error::shape(format!("{n} starts for {} axes", axes.len())));
        }
        match (1..n).find(|&i| axes[..i].contains(&axes[i])) {
            Some(i) => Err(Error::invalid(format!("axis {} is given twice", axes[i]))),
            None => Ok(axes),
        }
    }
}

/// The copy that takes `pieces` (each along one axis) out of a tensor of shape `from`.
fn strided(from: &Dims, to: &Dims, pieces: &[(usize, Piece)]) -> Result<Strided> {
    let strides = from.strides();
    let mut steps: Vec<isize> = strides.iter().map(|&s| s as isize).collect();
    let mut offset = 0;
    for (axis, Piece { start, step, .. }) in pieces {
        let unknown = || Error::internal("a slice whose bounds are not numbers");
        let (start, step) = (start.fixed().ok_or_else(unknown)?, step.ok_or_else(unknown)?);
        // Nothing is read where an extent is 0, nor a second element where it is 1.
        if to[*axis] > 0 {
            offset += start as usize * strides[*axis];
        }
        steps[*axis] = if to[*axis] > 1 { steps[*axis].saturating_mul(step as isize) } else { 0 };
    }
    Ok(Strided::new(offset, to.iter().copied().zip(steps)))
}
