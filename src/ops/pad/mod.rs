//! Pad: adds elements before and after the input along some axes. Inputs: data, pads (integer vector: the number of
//! elements before each axis of `axes`, then those after each), optional constant value (a scalar; 0 if absent).
//!
//! Negative pads take elements away. Modes that repeat the data repeat what is left of it then.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use super::{Inputs, Kernel, OpDef, Prepare};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{Dim, MAX_RANK, Shape, TensorType, normalize_axis};

/// What the added elements are. The numbers are those of the file format.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[repr(u8)]
pub enum PadMode {
    /// The constant value.
    #[default]
    Constant = 0,
    /// The data mirrored at its first and last element, which are not repeated.
    Reflect = 1,
    /// The first and the last element.
    Edge = 2,
    /// The data over and over again.
    Wrap = 3,
}

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Pad {
    /// What the added elements are.
    pub mode: PadMode,
    /// The axes that pads are given for, each at most once; negative ones count from the back. Empty for all.
    pub axes: Vec<i64>,
}

impl OpDef for Pad {
    type Table<'a> = schema::Pad<'a>;
    const NAME: &'static str = "Pad";
    const INPUTS: (usize, usize) = (2, 3);

    fn read(table: Self::Table<'_>) -> Result<Self> {
        let mode = match table.mode() {
            0 => PadMode::Constant,
            1 => PadMode::Reflect,
            2 => PadMode::Edge,
            3 => PadMode::Wrap,
            mode => return Err(Error::format(format!("unknown padding mode {mode}"))),
        };
        Ok(Pad { mode, axes: table.axes().into_iter().flatten().map(i64::from).collect() })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        let axes: Vec<i32> = self.axes.iter().map(|&a| a as i32).collect();
        let axes = Some(b.create_vector(&axes));
        schema::Pad::create(b, &schema::PadArgs { mode: self.mode as u8, axes })
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let (x, pads) = (inputs.get(0)?, inputs.vector(1)?);
        inputs.expect_dtype(2, x.dtype)?;
        if let Some(value) = inputs.opt(2).filter(|v| v.shape.numel().fixed().is_some_and(|n| n != 1)) {
            return Err(Error::shape(format!("the padding value is {value}; a scalar is needed")));
        }
        let axes = self.axes(x.shape.rank())?;
        if pads.len() != 2 * axes.len() {
            return Err(Error::shape(format!("{} pads for {} axes; two per axis are needed", pads.len(), axes.len())));
        }
        let mut dims = x.shape.to_vec();
        for (i, &axis) in axes.iter().enumerate() {
            let (before, after) = (&pads[i], &pads[i + axes.len()]);
            let extent = dims[axis].add(before).add(after);
            let kept = dims[axis].add(&before.minimum(&Dim::Fixed(0))).add(&after.minimum(&Dim::Fixed(0)));
            let bad = |n: &Dim, least: i64| n.fixed().is_some_and(|n| n < least);
            let nothing_to_repeat = self.mode != PadMode::Constant && bad(&kept, 1) && extent != Dim::Fixed(0);
            if bad(&extent, 0) || nothing_to_repeat {
                let n = &dims[axis];
                return Err(Error::shape(format!("axis {axis} of extent {n} cannot be padded by {before} and {after}")));
            }
            dims[axis] = extent;
        }
        Ok(vec![TensorType::new(x.dtype, Shape::new(dims)?)])
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        let (before, after) = self.pads(cx)?;
        Ok(cpu::prepare(cx, self.mode, &before, &after))
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        let (before, after) = self.pads(cx)?;
        cuda::prepare(self, cx, &before, &after)
    }
}

impl Pad {
    /// The pads before and after each axis of operands of known shape.
    fn pads(&self, cx: &Prepare<'_>) -> Result<([i64; MAX_RANK], [i64; MAX_RANK])> {
        let (mut before, pads) = ([0; MAX_RANK], cx.vector(1)?);
        let mut after = before;
        let axes = self.axes(cx.dims(0).len())?;
        for (i, &axis) in axes.iter().enumerate() {
            (before[axis], after[axis]) = (pads[i], pads[i + axes.len()]);
        }
        Ok((before, after))
    }

    /// The axes from the front.
    fn axes(&self, rank: usize) -> Result<Vec<usize>> {
        if self.axes.is_empty() {
            return Ok((0..rank).collect());
        }
        let axes = self.axes.iter().map(|&a| normalize_axis(a, rank)).collect::<Result<Vec<_>>>()?;
        match (1..axes.len()).find(|&i| axes[..i].contains(&axes[i])) {
            Some(i) => Err(Error::invalid(format!("axis {} is given twice", axes[i]))),
            None => Ok(axes),
        }
    }
}
