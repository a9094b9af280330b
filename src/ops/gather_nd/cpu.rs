//! Copies a row for each tuple.

use crate::error::Result;
use crate::ops::index::{Index, Tuples};
use crate::ops::strided::{copy_grid, copy_run};
use crate::ops::{Kernel, Prepare, kernel};
use crate::tensor::{Args, DType, Element};

#[derive(Clone, Copy)]
struct Rows {
    tuples: Tuples,
    /// Tuples in each batch.
    count: usize,
    /// Elements of the data in each batch.
    batch: usize,
}

/// The kernel.
pub fn prepare(cx: &Prepare<'_>, batch_dims: usize) -> Box<dyn Kernel> {
    let (data, indices) = (cx.dims(0), cx.dims(1));
    let (axes, inner) = (indices[indices.len() - 1], data[batch_dims..].iter().product::<usize>());
    let count = indices[batch_dims..indices.len() - 1].iter().product();
    let rows = Rows { tuples: Tuples::new(&data, batch_dims, axes), count, batch: inner };
    let total = indices[..indices.len() - 1].iter().product();
    let (size, wide) = (cx.outputs[0].dtype.size(), cx.input(1).info.dtype == DType::I64);
    kernel(copy_grid(total, rows.tuples.slice_len(), size), move |args| match (size, wide) {
        (1, true) => rows.gather::<u8, i64>(args),
        (2, true) => rows.gather::<u16, i64>(args),
        (4, true) => rows.gather::<u32, i64>(args),
        (_, true) => rows.gather::<u64, i64>(args),
        (1, false) => rows.gather::<u8, i32>(args),
        (2, false) => rows.gather::<u16, i32>(args),
        (4, false) => rows.gather::<u32, i32>(args),
        (_, false) => rows.gather::<u64, i32>(args),
    })
}

impl Rows {
    fn gather<T: Element, I: Index>(&self, args: &mut Args<'_>) -> Result<()> {
        let (from, indices) = (args.words::<T>(0), args.input::<I>(1));
        let mut tile = args.output_words::<T>(0);
        let cols = tile.cols();
        if cols.is_empty() {
            return Ok(());
        }
        for row in tile.rows() {
            let at = row / self.count * self.batch + self.tuples.slice(indices, row)? * self.tuples.slice_len();
            copy_run(tile.row(row), &from[at + cols.start..at + cols.end]);
        }
        Ok(())
    }
}
