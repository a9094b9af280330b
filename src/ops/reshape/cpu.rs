//! A plain copy; plans use the input's memory instead wherever they can.

use super::{Kernel, Prepare};
use crate::ops::kernel;
use crate::tensor::Grid;

/// Bytes worth a part of their own.
const GRAIN: usize = 256 * 1024;

pub fn copy(cx: &Prepare<'_>) -> Box<dyn Kernel> {
    let info = cx.outputs[0];
    let bytes = info.numel() * info.dtype.size();
    let grid = Grid::by_cost(info.numel(), info.dtype.size(), GRAIN.min(bytes.max(1)));
    kernel(grid, move |args| {
        let from = args.view(0).expect("input 0 is present").bytes();
        let mut to = args.output_bytes(0);
        let range = to.cols();
        to.row(0).copy_from_slice(&from[range]);
        Ok(())
    })
}
