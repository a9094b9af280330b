//! Copies rows: the output is a matrix with a row for each index in each outer slice.

use crate::error::{Error, Result};
use crate::ops::index::{Index, resolve};
use crate::ops::strided::{copy_grid, copy_run};
use crate::ops::{Kernel, Prepare, kernel};
use crate::tensor::{Args, DType, Element, Layout, normalize_axis};

/// The data as `outer` x `n` rows of `inner` elements, gathered by `count` indices along axis `axis`.
#[derive(Clone, Copy)]
struct Rows {
    axis: usize,
    n: usize,
    inner: usize,
    count: usize,
}

/// The kernel.
pub fn prepare(cx: &Prepare<'_>, axis: i64) -> Result<Box<dyn Kernel>> {
    if cx.input(0).layout != Layout::RowMajor {
        return Err(Error::unsupported("Gather reads row-major data only"));
    }
    let (dims, size, wide) = (cx.dims(0), cx.outputs[0].dtype.size(), cx.input(1).info.dtype == DType::I64);
    let axis = normalize_axis(axis, dims.len())?;
    let inner = dims[axis + 1..].iter().product();
    let rows = Rows { axis, n: dims[axis], inner, count: cx.input(1).info.numel() };
    let outer: usize = dims[..axis].iter().product();
    Ok(kernel(copy_grid(outer * rows.count, inner, size), move |args| match (size, wide) {
        (1, true) => rows.gather::<u8, i64>(args),
        (2, true) => rows.gather::<u16, i64>(args),
        (4, true) => rows.gather::<u32, i64>(args),
        (_, true) => rows.gather::<u64, i64>(args),
        (1, false) => rows.gather::<u8, i32>(args),
        (2, false) => rows.gather::<u16, i32>(args),
        (4, false) => rows.gather::<u32, i32>(args),
        (_, false) => rows.gather::<u64, i32>(args),
    }))
}

impl Rows {
    fn gather<T: Element, I: Index>(&self, args: &mut Args<'_>) -> Result<()> {
        let (from, indices) = (args.words::<T>(0), args.input::<I>(1));
        let mut tile = args.output_words::<T>(0);
        let (rows, cols) = (tile.rows(), tile.cols());
        if cols.is_empty() {
            return Ok(());
        }
        let mut row = rows.start;
        while row < rows.end {
            let (outer, first) = (row / self.count, row % self.count);
            let count = (self.count - first).min(rows.end - row);
            let indices = &indices[first..first + count];
            let from = &from[outer * self.n * self.inner..][..self.n * self.inner];
            if self.inner == 1 {
                let to = tile.whole_rows(&(row..row + count)).expect("rows of one element are not cut");
                for (to, &index) in to.iter_mut().zip(indices) {
                    *to = from[resolve(index, self.n, self.axis)?];
                }
            } else {
                for (i, &index) in indices.iter().enumerate() {
                    let at = resolve(index, self.n, self.axis)? * self.inner;
                    copy_run(tile.row(row + i), &from[at + cols.start..at + cols.end]);
                }
            }
            row += count;
        }
        Ok(())
    }
}
