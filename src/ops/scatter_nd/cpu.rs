//! Updates, one after another; parts own columns of the slices.

use super::Reduction;
use crate::error::Result;
use crate::ops::index::{Index, Tuples};
use crate::ops::scatter::{self, Function};
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
    let (places, replace) = ((tuples, count), reduction == Reduction::Replace);
    match reduction.function(cx.outputs[0].dtype) {
        Function::B1(combine) => kernel(cx, grid, places, replace, combine),
        Function::B2(combine) => kernel(cx, grid, places, replace, combine),
        Function::B4(combine) => kernel(cx, grid, places, replace, combine),
        Function::B8(combine) => kernel(cx, grid, places, replace, combine),
    }
}

fn kernel<T: Element>(
    cx: &Prepare<'_>,
    grid: Grid,
    (tuples, count): (Tuples, usize),
    replace: bool,
    combine: fn(T, T) -> T,
) -> Box<dyn Kernel> {
    let wide = cx.input(1).info.dtype == DType::I64;
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
