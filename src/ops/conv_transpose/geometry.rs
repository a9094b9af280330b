//! The extents of a transposed convolution, and which inputs reach an output.

use super::ConvTranspose;
use crate::cpu::conv::{Spatial, Window};
use crate::ops::Prepare;
use crate::ops::window::spatial;

/// Extents in numbers; spatial ones with leading 1 where there are fewer than three.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    pub batch: usize,
    pub groups: usize,
    /// Channels of a group.
    pub group_in: usize,
    pub group_out: usize,
    pub input: Spatial,
    pub output: Spatial,
    pub window: Window,
}

impl Geometry {
    pub fn new(op: &ConvTranspose, cx: &Prepare<'_>) -> Self {
        let (x, w, out) = (cx.dims(0), cx.dims(1), cx.out_dims(0));
        let inner = 1..x.len() - 1;
        let groups = op.groups as usize;
        Geometry {
            batch: x[0],
            groups,
            group_in: w[w.len() - 1],
            group_out: w[0] / groups,
            input: spatial(&x[inner.clone()], 1),
            output: spatial(&out[inner.clone()], 1),
            window: op.window.to_cpu(&w[inner]),
        }
    }

    /// Output channels of all groups.
    pub fn out_channels(&self) -> usize {
        self.groups * self.group_out
    }

    /// Input channels of all groups.
    pub fn in_channels(&self) -> usize {
        self.groups * self.group_in
    }

    /// The input that reaches output `o` by tap `tap` along dimension `d`.
    pub fn source(&self, d: usize, o: usize, tap: usize) -> Option<usize> {
        let Window { stride, dilation, pad_begin, .. } = &self.window;
        let reached = (o + pad_begin[d]).checked_sub(tap * dilation[d])?;
        let i = reached / stride[d];
        (reached % stride[d] == 0 && i < self.input[d]).then_some(i)
    }
}
