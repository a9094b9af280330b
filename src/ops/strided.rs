//! Strided copies: a contiguous output whose elements are read from the input at constant distances along each axis.
//! Transpose, Slice, Expand and Tile are such copies; the shapes that they have in common are recognised here.

use super::{Kernel, Prepare, kernel};
use crate::cpu::isa::Isa;
use crate::cpu::simd::{Machine, Work};
use crate::cpu::transpose::{Source, transpose};
use crate::tensor::{Args, Element, Grid, MAX_RANK, Tile};
use std::ops::Range;

/// Bytes of output worth a part of their own.
const GRAIN: usize = 64 * 1024;

/// Shortest piece of a contiguous run, in bytes, worth a part of its own.
const PIECE: usize = 4096;

/// Smallest side of a transposed matrix worth a part of its own.
const SIDE: usize = 64;

/// Most axes: twice the largest rank, for Tile.
const MAX_AXES: usize = 2 * MAX_RANK;

/// Parts of a matrix whose rows are filled with runs of several elements of `size` bytes each.
pub fn copy_grid(rows: usize, cols: usize, size: usize) -> Grid {
    let parts = (rows * cols * size / GRAIN).clamp(1, Grid::MAX_PARTS);
    let row_parts = parts.min(rows.max(1));
    let col_parts = (parts / row_parts).clamp(1, (cols * size).div_ceil(PIECE).max(1));
    Grid { rows: rows.max(1), cols: cols.max(1), row_parts, col_parts: col_parts.min(cols.max(1)) }
}

/// Copies a run; a library call for a handful of elements would take longer than the copy. Panics if lengths differ.
#[inline(always)]
pub fn copy_run<T: Copy>(to: &mut [T], from: &[T]) {
    match (to, from) {
        ([a], [x]) => *a = *x,
        ([a, b], [x, y]) => (*a, *b) = (*x, *y),
        ([a, b, c], [x, y, z]) => (*a, *b, *c) = (*x, *y, *z),
        ([a, b, c, d], [x, y, z, w]) => (*a, *b, *c, *d) = (*x, *y, *z, *w),
        (to, from) => to.copy_from_slice(from),
    }
}

/// One axis of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Axis {
    extent: usize,
    /// Elements of the input between neighbours along the axis.
    stride: isize,
}

/// Where each element of an output is in the input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Strided {
    offset: usize,
    axes: Axes,
}

/// Axes, outermost first.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Axes {
    len: usize,
    axes: [Axis; MAX_AXES],
}

impl Axes {
    fn push(&mut self, axis: Axis) {
        self.axes[self.len] = axis;
        self.len += 1;
    }

    fn as_slice(&self) -> &[Axis] {
        &self.axes[..self.len]
    }

    fn numel(&self) -> usize {
        self.as_slice().iter().map(|a| a.extent).product()
    }

    /// Distance in the input from element 0 to element `index`, counted in row-major order.
    fn distance(&self, mut index: usize) -> isize {
        let mut distance = 0;
        for axis in self.as_slice().iter().rev() {
            distance += (index % axis.extent) as isize * axis.stride;
            index /= axis.extent;
        }
        distance
    }
}

impl FromIterator<Axis> for Axes {
    fn from_iter<I: IntoIterator<Item = Axis>>(axes: I) -> Self {
        let mut out = Axes::default();
        axes.into_iter().for_each(|a| out.push(a));
        out
    }
}

impl Strided {
    /// The copy whose first element is at `offset` in the input and whose axes, outermost first, have the given
    /// extents and strides. Axes that can be walked as one are merged.
    pub fn new(offset: usize, axes: impl IntoIterator<Item = (usize, isize)>) -> Self {
        let mut merged = Axes::default();
        for (extent, stride) in axes.into_iter().filter(|a| a.0 != 1) {
            match merged.axes[..merged.len].last_mut() {
                Some(outer) if outer.stride == stride * extent as isize => {
                    *outer = Axis { extent: outer.extent * extent, stride };
                }
                _ => merged.push(Axis { extent, stride }),
            }
        }
        Strided { offset, axes: merged }
    }

    /// The elements of the output, from those of the input.
    pub fn apply<T: Clone>(&self, from: &[T]) -> Vec<T> {
        let at = |i| self.offset.wrapping_add_signed(self.axes.distance(i));
        (0..self.axes.numel()).map(|i| from[at(i)].clone()).collect()
    }

    /// Where the first element of the output is in the input.
    #[cfg(feature = "cuda")]
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Extent of each axis, outermost first, and elements of the input between neighbours along it.
    #[cfg(feature = "cuda")]
    pub fn axes(&self) -> impl DoubleEndedIterator<Item = (usize, isize)> {
        self.axes.as_slice().iter().map(|a| (a.extent, a.stride))
    }

    /// The kernel that copies input 0 to output 0.
    pub fn kernel(self, cx: &Prepare<'_>) -> Box<dyn Kernel> {
        let (isa, size) = (cx.isa, cx.outputs[0].dtype.size());
        let copy = StridedCopy::new(self);
        kernel(copy.grid(size), move |args| {
            match size {
                1 => copy.run::<u8>(isa, args),
                2 => copy.run::<u16>(isa, args),
                4 => copy.run::<u32>(isa, args),
                _ => copy.run::<u64>(isa, args),
            }
            Ok(())
        })
    }
}

/// A strided copy as its kernel sees it: matrices, each spanning two axes, inside the others.
///
/// Columns are the last axis. Rows are the axis whose neighbours are adjacent in memory if that is not the last one
/// (then the matrix is transposed), else the axis before the last.
#[derive(Clone, Copy, Debug)]
struct StridedCopy {
    offset: usize,
    before: Axes,
    rows: Axis,
    between: Axes,
    cols: Axis,
}

impl StridedCopy {
    fn new(strided: Strided) -> Self {
        const ONE: Axis = Axis { extent: 1, stride: 0 };
        let (&cols, outer) = strided.axes.as_slice().split_last().unwrap_or((&ONE, &[]));
        let adjacent = outer.iter().rposition(|a| a.stride == 1).filter(|_| cols.stride > 1);
        let (before, rows, between) = match adjacent.or(outer.len().checked_sub(1)) {
            Some(at) => (&outer[..at], outer[at], &outer[at + 1..]),
            None => (outer, ONE, &[][..]),
        };
        let axes = |axes: &[Axis]| axes.iter().copied().collect();
        StridedCopy { offset: strided.offset, before: axes(before), rows, between: axes(between), cols }
    }

    fn is_transposed(&self) -> bool {
        self.rows.stride == 1 && self.cols.stride > 1
    }

    /// Rows are `before` x `rows`, cells are `between`, or single elements if that is empty.
    fn grid(&self, size: usize) -> Grid {
        let (before, between) = (self.before.numel(), self.between.numel());
        let rows = before * self.rows.extent;
        let cols = if between > 1 { between } else { self.cols.extent };
        let bytes = rows * between * self.cols.extent * size;
        if bytes == 0 {
            return Grid::ONE;
        }
        if !self.is_transposed() {
            return copy_grid(rows, cols, size);
        }
        let parts = (bytes / GRAIN).clamp(1, Grid::MAX_PARTS);
        let row_parts = parts.min(before * self.rows.extent.div_ceil(SIDE));
        let col_parts = (parts / row_parts).clamp(1, if between > 1 { between } else { cols.div_ceil(SIDE) });
        Grid { rows, cols, row_parts, col_parts }
    }

    fn run<T: Element>(&self, isa: Isa, args: &mut Args<'_>) {
        let (rows, cells) = args.ranges();
        let from = args.words::<T>(0);
        let mut tile = args.output_words::<T>(0);
        if tile.cols().is_empty() {
            return;
        }
        let mut row = rows.start;
        while row < rows.end {
            let (outer, first) = (row / self.rows.extent, row % self.rows.extent);
            let count = (self.rows.extent - first).min(rows.end - row);
            let start = self.offset.wrapping_add_signed(self.before.distance(outer));
            let start = start.wrapping_add_signed(first as isize * self.rows.stride);
            let mut matrix =
                Matrix { isa, from, tile: &mut tile, rows: row..row + count, axes: (self.rows, self.cols) };
            if self.between.numel() == 1 {
                let start = start.wrapping_add_signed(cells.start as isize * self.cols.stride);
                matrix.copy(start, 0..cells.len());
            } else {
                for (i, cell) in cells.clone().enumerate() {
                    let start = start.wrapping_add_signed(self.between.distance(cell));
                    matrix.copy(start, i * self.cols.extent..(i + 1) * self.cols.extent);
                }
            }
            row += count;
        }
    }
}

/// Rows of a tile and the axes that they are filled along.
struct Matrix<'a, 't, T> {
    isa: Isa,
    from: &'a [T],
    tile: &'a mut Tile<'t, T>,
    rows: Range<usize>,
    axes: (Axis, Axis),
}

impl<T: Element> Matrix<'_, '_, T> {
    /// Fills columns `cols` of the rows; `start` is the first element's place in the input.
    fn copy(&mut self, start: usize, cols: Range<usize>) {
        let (rows, columns) = self.axes;
        if rows.stride == 1 && columns.stride > 1 {
            let source = Source { from: &self.from[start..], stride: columns.stride as usize };
            return transpose(self.isa, source, self.tile, &self.rows, &cols);
        }
        match (columns.stride, cols.len()) {
            (1, n) => self.each_row(start, cols, |from, start, to| copy_run(to, &from[start..start + n])),
            (0, _) => self.each_row(start, cols, |from, start, to| to.fill(from[start])),
            (-1, n) => {
                let isa = self.isa;
                self.each_row(start, cols, |from, start, to| isa.dispatch(Reverse(&from[start + 1 - n..=start], to)));
            }
            (stride, _) if stride > 1 => {
                let step = stride as usize;
                let copy =
                    |to: &mut [T], from: &[T]| to.iter_mut().zip(from.iter().step_by(step)).for_each(|(t, f)| *t = *f);
                self.each_row(start, cols, |from, start, to| copy(to, &from[start..]));
            }
            (stride, _) => self.each_row(start, cols, |from, start, to| {
                to.iter_mut().enumerate().for_each(|(i, t)| *t = from[start.wrapping_add_signed(i as isize * stride)]);
            }),
        }
    }

    #[inline(always)]
    fn each_row(&mut self, mut start: usize, cols: Range<usize>, copy: impl Fn(&[T], usize, &mut [T])) {
        for row in self.rows.clone() {
            copy(self.from, start, &mut self.tile.row(row)[cols.clone()]);
            start = start.wrapping_add_signed(self.axes.0.stride);
        }
    }
}

struct Reverse<'a, T>(&'a [T], &'a mut [T]);

impl<T: Element> Work for Reverse<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        for (from, to) in self.0.iter().rev().zip(self.1) {
            *to = *from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_merge() {
        let whole = Strided::new(0, [(2, 12), (1, 99), (3, 4), (4, 1)]);
        assert_eq!(whole.axes.as_slice(), [Axis { extent: 24, stride: 1 }]);
        let repeated = Strided::new(5, [(2, 0), (3, 0), (4, 1)]);
        assert_eq!(repeated.axes.as_slice(), [Axis { extent: 6, stride: 0 }, Axis { extent: 4, stride: 1 }]);
        let backwards = Strided::new(5, [(2, -3), (3, -1)]);
        assert_eq!(backwards.apply(&[0, 1, 2, 3, 4, 5]), [5, 4, 3, 2, 1, 0]);
    }

    #[test]
    fn grids_keep_transposed_sides_long() {
        let to_channels_last = StridedCopy::new(Strided::new(0, [(12544, 1), (64, 12544)])).grid(4);
        assert_eq!((to_channels_last.row_parts, to_channels_last.col_parts), (49, 1));
        let to_channels_first = StridedCopy::new(Strided::new(0, [(64, 1), (12544, 64)])).grid(4);
        assert_eq!((to_channels_first.row_parts, to_channels_first.col_parts), (1, 49));
        assert_eq!(StridedCopy::new(Strided::new(0, [(0, 1), (5, 7)])).grid(4), Grid::ONE);
    }
}
