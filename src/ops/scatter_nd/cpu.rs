//! Updates, one after another; parts own columns of the slices.

use super::Reduction;
use crate::error::Result;
use crate::ops::elementwise::for_type;
use crate::ops::index::{Index, Tuples};
use crate::ops::scatter::{self, Reducible};
use crate::ops::{Kernel, Prepare};
use crate::tensor::{Args, DType, Element, Grid};

/// Updated elements worth a part of their own.
const GRAIN: usize = 32 * 1024;

/// Fewest elements of a slice worth a part of their own.
const PIECE: usize = 512;

/// The kernel.
pub fn prepare(cx: &Prepare<'_>, reduction: Reduction) -> Box<dyn Kernel> {
    let (data, indices) = (cx.dims(0), cx.dims(1));
    let tuples = Tuples::new(&data, 0, indices[indices.len() - 1]);
    let count: usize = indices[..indices.len() - 1].iter().product();
    let len = tuples.slice_len();
    let most = (len / PIECE).clamp(1, Grid::MAX_PARTS);
    let parts = (count * len / GRAIN).clamp(1, most);
    let grid = Grid { rows: tuples.slices().max(1), cols: len.max(1), row_parts: 1, col_parts: parts };
    let dtype = cx.outputs[0].dtype;
    match (reduction, dtype) {
        (Reduction::Replace, _) => match dtype.size() {
            1 => kernel::<u8>(cx, grid, (tuples, count), reduction),
            2 => kernel::<u16>(cx, grid, (tuples, count), reduction),
            4 => kernel::<u32>(cx, grid, (tuples, count), reduction),
            _ => kernel::<u64>(cx, grid, (tuples, count), reduction),
        },
        (_, DType::Bool) => kernel::<u8>(cx, grid, (tuples, count), reduction.of_bools()),
        _ => for_type!(dtype, kernel(cx, grid, (tuples, count), reduction)),
    }
}

fn kernel<T: Reducible>(
    cx: &Prepare<'_>,
    grid: Grid,
    (tuples, count): (Tuples, usize),
    reduction: Reduction,
) -> Box<dyn Kernel> {
    let (combine, wide) = (reduction.function::<T>(), cx.input(1).info.dtype == DType::I64);
    let replace = reduction == Reduction::Replace;
    let row = move |to: &mut [T], from: &[T]| match replace {
        true => to.copy_from_slice(from),
        false => to.iter_mut().zip(from).for_each(|(to, &from)| *to = combine(*to, from)),
    };
    scatter::kernel(cx, grid, move |args| match wide {
        true => apply::<T, i64>(args, &tuples, count, row),
        false => apply::<T, i32>(args, &tuples, count, row),
    })
}

fn apply<T: Element, I: Index>(
    args: &mut Args<'_>,
    tuples: &Tuples,
    count: usize,
    row: impl Fn(&mut [T], &[T]),
) -> Result<()> {
    let (indices, updates, len) = (args.input::<I>(1), args.words::<T>(2), tuples.slice_len());
    let mut tile = args.output_words::<T>(0);
    let cols = tile.cols();
    for i in 0..count {
        let slice = tuples.slice(indices, i)?;
        row(tile.row(slice), &updates[i * len + cols.start..i * len + cols.end]);
    }
    Ok(())
}
