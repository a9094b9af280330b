//! A plain copy; plans use the input's memory instead wherever they can.

use super::{Kernel, Prepare};
use crate::ops::kernel;
use crate::tensor::Grid;

/// Bytes worth a part of their own.
const GRAIN: usize = 256 * 1024;

/// Copies input 0 to output 0, whatever their shapes.
pub fn copy(cx: &Prepare<'_>) -> Box<dyn Kernel> {
    let info = cx.outputs[0];
    let size = info.dtype.size();
    kernel(Grid::by_cost(info.numel(), size, GRAIN), move |args| {
        let from = args.view(0).expect("input 0 is present").bytes();
        let to = args.output_bytes(0);
        let rows = to.rows();
        to.into_slice().copy_from_slice(&from[rows.start * size..rows.end * size]);
        Ok(())
    })
}
