//! Convolutions.

use super::{Cx, Table};
use crate::onnx::model::Node;
use infer::error::{Error, Result};
use infer::graph::ValueId;
use infer::ops::{Conv, ConvInteger};
use infer::tensor::Dim;

pub const TABLE: Table = &[("Conv", conv), ("ConvInteger", integer)];

fn conv(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (x, w, bias) = (cx.input(n, 0)?, cx.input(n, 1)?, cx.optional(n, 2)?);
    let kernel = cx.kernel(n, w)?;
    let spatial = cx.spatial(x, kernel.len())?;
    let window = cx.window(n, &spatial, &kernel)?;
    let op = Conv { window, groups: groups(n)?, ..Conv::default() };
    let (x, w) = (cx.b.channels_last(x)?, cx.b.channels_last(w)?);
    let y = cx.b.emit(op, &[Some(x), Some(w), bias])?[0];
    Ok(vec![cx.b.channels_first(y)?])
}

fn integer(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let zeros = (cx.optional(n, 2)?, cx.optional(n, 3)?);
    let y = cx.integer_conv(n, (cx.input(n, 0)?, zeros.0), (cx.input(n, 1)?, zeros.1))?;
    Ok(vec![cx.b.channels_first(y)?])
}

/// Number of channel groups.
pub fn groups(n: &Node) -> Result<u32> {
    let groups = n.int("group", 1)?;
    u32::try_from(groups).ok().filter(|&g| g > 0).ok_or_else(|| Error::format(format!("{groups} groups")))
}

impl Cx<'_> {
    /// The convolution of bytes with weights, each with its zero point, that the node's attributes describe; the result
    /// is channels-last.
    pub fn integer_conv(
        &mut self,
        n: &Node,
        (x, x_zero): (ValueId, Option<ValueId>),
        (w, w_zero): (ValueId, Option<ValueId>),
    ) -> Result<ValueId> {
        let kernel = self.kernel(n, w)?;
        let spatial = self.spatial(x, kernel.len())?;
        let op = ConvInteger { window: self.window(n, &spatial, &kernel)?, groups: groups(n)? };
        let (x, w) = (self.b.channels_last(x)?, self.b.channels_last(w)?);
        Ok(self.b.emit(op, &[Some(x), Some(w), x_zero, w_zero])?[0])
    }

    /// Spatial extents of `x`, which must have `rank` of them behind batch and channels.
    pub fn spatial(&self, x: ValueId, rank: usize) -> Result<Vec<Dim>> {
        let dims = self.b.dims(x);
        if dims.len() != rank + 2 {
            let ty = self.b.ty(x);
            return Err(Error::shape(format!("an input {ty} for a kernel of {rank} spatial dimensions")));
        }
        Ok(dims[2..].to_vec())
    }

    /// Spatial extents of weights `[.., .., taps..]`, which `kernel_shape` must repeat if it is given.
    pub fn kernel(&self, n: &Node, w: ValueId) -> Result<Vec<usize>> {
        let stated = n.ints("kernel_shape")?;
        let dims = self.b.dims(w);
        if dims.len() < 3 {
            return Err(Error::shape(format!("weights {}; at least 3 dimensions are needed", self.b.ty(w))));
        }
        let mut kernel = vec![];
        for (i, dim) in dims[2..].iter().enumerate() {
            let said = stated.and_then(|s| s.get(i)).copied();
            match dim.fixed().or(said).map(usize::try_from) {
                Some(Ok(k)) if said.is_none_or(|s| s == k as i64) => kernel.push(k),
                _ => return Err(Error::shape(format!("kernel_shape {stated:?} for weights {}", self.b.ty(w)))),
            }
        }
        if stated.is_some_and(|s| s.len() != kernel.len()) {
            return Err(Error::shape(format!("kernel_shape {stated:?} for weights {}", self.b.ty(w))));
        }
        Ok(kernel)
    }
}
