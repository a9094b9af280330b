//! Updates, one after another; parts own slices along the first axis unless indices cross them.

use super::ScatterElements;
use crate::error::{Error, Result};
use crate::ops::gather_elements::walk;
use crate::ops::index::{Index, resolve};
use crate::ops::scatter::{self, Function};
use crate::ops::{Kernel, Prepare, Walk};
use crate::tensor::{Args, DType, Dims, Element, Grid, normalize_axis};

/// Updates worth a part of their own.
const GRAIN: usize = 8 * 1024;

/// Where updates go.
struct Updates {
    walk: Walk<1>,
    axis: usize,
    data: Dims,
    /// Extent of the indices along the first axis, and elements in each of its slices.
    slices: (usize, usize),
}

/// The kernel.
pub fn prepare(cx: &Prepare<'_>, op: &ScatterElements) -> Result<Box<dyn Kernel>> {
    let (data, indices) = (cx.dims(0), cx.dims(1));
    if data.is_empty() {
        return Err(Error::internal("ScatterElements of a scalar"));
    }
    let axis = normalize_axis(op.axis, data.len())?;
    let slices = (indices[0], indices[1..].iter().product::<usize>());
    let rows = if axis == 0 { 1 } else { data[0].max(1) };
    let grid = Grid::by_cost(rows, slices.1, GRAIN);
    let updates = Updates { walk: walk(&data, &indices, axis), axis, data, slices };
    Ok(match op.reduction.function(cx.outputs[0].dtype) {
        Function::B1(combine) => kernel(cx, grid, updates, combine),
        Function::B2(combine) => kernel(cx, grid, updates, combine),
        Function::B4(combine) => kernel(cx, grid, updates, combine),
        Function::B8(combine) => kernel(cx, grid, updates, combine),
    })
}

fn kernel<T: Element>(cx: &Prepare<'_>, grid: Grid, updates: Updates, combine: fn(T, T) -> T) -> Box<dyn Kernel> {
    let wide = cx.input(1).info.dtype == DType::I64;
    scatter::kernel(cx, grid, move |args| match wide {
        true => updates.apply::<T, i64>(args, combine),
        false => updates.apply::<T, i32>(args, combine),
    })
}

impl Updates {
    fn apply<T: Element, I: Index>(&self, args: &mut Args<'_>, combine: fn(T, T) -> T) -> Result<()> {
        let (indices, updates) = (args.input::<I>(1), args.words::<T>(2));
        let (n, stride) = (self.data[self.axis], self.data.strides()[self.axis]);
        let rows = if self.axis == 0 { 0..self.data[0] } else { args.ranges().0 };
        let first = rows.start * self.data.strides()[0];
        let to = args.output_words::<T>(0).into_slice();
        let (count, len) = self.slices;
        let range = if self.axis == 0 { 0..count * len } else { rows.start.min(count) * len..rows.end.min(count) * len };
        let [step] = self.walk.inner_strides();
        let mut at = range.start;
        for run in self.walk.runs(range) {
            for i in 0..run.len {
                let place = run.at[0] + i * step + resolve(indices[at + i], n, self.axis)? * stride - first;
                to[place] = combine(to[place], updates[at + i]);
            }
            at += run.len;
        }
        Ok(())
    }
}
