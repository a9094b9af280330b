//! Copies row pieces: the input is a matrix whose rows hold one row of each output.

use crate::error::Result;
use crate::ops::strided::{copy_grid, copy_run};
use crate::ops::{Kernel, Prepare, kernel};
use crate::tensor::{Args, Element, Grid, normalize_axis};

/// The kernel.
pub fn prepare(cx: &Prepare<'_>, axis: i64) -> Result<Box<dyn Kernel>> {
    let (dims, size) = (cx.dims(0), cx.outputs[0].dtype.size());
    let axis = normalize_axis(axis, dims.len())?;
    let width = |dims: &[usize]| dims[axis..].iter().product::<usize>();
    let rows = dims[..axis].iter().product();
    let widths: Vec<usize> = cx.outputs.iter().map(|out| width(&out.dims)).collect();
    let total = width(&dims);
    // Columns of a grid divide every output.
    let common = widths.iter().fold(0, |a, &b| gcd(a, b));
    let grid = copy_grid(rows, total, size);
    let grid = Grid { cols: common.max(1), col_parts: grid.col_parts.min(common.max(1)), ..grid };
    Ok(kernel(grid, move |args| {
        match size {
            1 => run::<u8>(&widths, total, args),
            2 => run::<u16>(&widths, total, args),
            4 => run::<u32>(&widths, total, args),
            _ => run::<u64>(&widths, total, args),
        }
        Ok(())
    }))
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Fills this part's tiles; rows of the input have `total` elements, those of the outputs `widths`.
fn run<T: Element>(widths: &[usize], total: usize, args: &mut Args<'_>) {
    let from = args.words::<T>(0);
    let mut start = 0;
    for (i, width) in widths.iter().enumerate() {
        let mut tile = args.output_words::<T>(i);
        let cols = tile.cols();
        for row in if cols.is_empty() { 0..0 } else { tile.rows() } {
            let at = row * total + start + cols.start;
            copy_run(tile.row(row), &from[at..at + cols.len()]);
        }
        start += width;
    }
}
