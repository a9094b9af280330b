//! Copies row pieces: the output is a matrix whose rows hold one row of each input.

use crate::error::Result;
use crate::ops::strided::{copy_grid, copy_run};
use crate::ops::{Kernel, Prepare, kernel};
use crate::tensor::{Args, Element, normalize_axis};
use std::ops::Range;

/// Rows that all inputs are copied to before the next ones, so that they stay in the first-level cache.
const ROWS: usize = 16;

/// The kernel for inputs of rank `rank`.
pub fn prepare(cx: &Prepare<'_>, rank: usize, axis: i64) -> Result<Box<dyn Kernel>> {
    let axis = normalize_axis(axis, rank)?;
    let width = |dims: &[usize]| dims[axis..].iter().product::<usize>();
    let mut start = 0;
    let mut pieces = vec![];
    for i in 0..cx.inputs.len() {
        let end = start + width(&cx.dims(i));
        pieces.push(start..end);
        start = end;
    }
    let (dims, size) = (cx.out_dims(0), cx.outputs[0].dtype.size());
    let rows = dims[..axis].iter().product();
    Ok(kernel(copy_grid(rows, width(&dims), size), move |args| {
        match size {
            1 => run::<u8>(&pieces, args),
            2 => run::<u16>(&pieces, args),
            4 => run::<u32>(&pieces, args),
            _ => run::<u64>(&pieces, args),
        }
        Ok(())
    }))
}

/// Fills this part's tile; `pieces` are the columns of the output that each input fills.
fn run<T: Element>(pieces: &[Range<usize>], args: &mut Args<'_>) {
    let mut tile = args.output_words::<T>(0);
    let (rows, cols) = (tile.rows(), tile.cols());
    for first in rows.clone().step_by(ROWS) {
        for (i, piece) in pieces.iter().enumerate() {
            let (start, end) = (piece.start.max(cols.start), piece.end.min(cols.end));
            if start >= end {
                continue;
            }
            let from = args.words::<T>(i);
            for row in first..rows.end.min(first + ROWS) {
                let at = row * piece.len() + start - piece.start;
                let to = &mut tile.row(row)[start - cols.start..end - cols.start];
                copy_run(to, &from[at..at + end - start]);
            }
        }
    }
}
