//! Copies row pieces: the output is a matrix whose rows hold a piece of a row of each input.

use super::Concat;
use crate::cpu::isa::Isa;
use crate::cpu::simd::{Machine, Work};
use crate::error::Result;
use crate::ops::strided::{copy_grid, copy_run};
use crate::ops::{Kernel, Prepare};
use crate::tensor::{Args, Element, Grid, normalize_axis};
use std::ops::Range;

/// Rows that all inputs are copied to before the next ones, so that they stay in the first-level cache.
const ROWS: usize = 16;

/// Elements of which short runs are copied at once.
const BLOCK: usize = 8;

/// What an input gives to each row.
struct Piece {
    /// First element, and elements from row to row, in the input.
    start: usize,
    stride: usize,
    /// Columns of the output.
    cols: Range<usize>,
}

impl Piece {
    /// The columns of the piece among `cols`, and where the first is in row 0 of the input; None if there are none.
    fn within(&self, cols: &Range<usize>) -> Option<(Range<usize>, usize)> {
        let (start, end) = (self.cols.start.max(cols.start), self.cols.end.min(cols.end));
        (start < end).then(|| (start..end, self.start + start - self.cols.start))
    }
}

/// The kernel.
pub fn prepare(op: &Concat, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
    let (dims, size) = (cx.out_dims(0), cx.outputs[0].dtype.size());
    let axis = normalize_axis(op.axis, dims.len())?;
    let width = |dims: &[usize]| dims[axis..].iter().product::<usize>();
    let inner: usize = dims[axis + 1..].iter().product();
    let mut end = 0;
    let mut pieces = vec![];
    for i in 0..cx.inputs.len() {
        let from = cx.dims(i);
        let (first, count) = op.parts.get(i).copied().unwrap_or((0, from[axis]));
        let start = end;
        end += count * inner;
        pieces.push(Piece { start: first * inner, stride: width(&from), cols: start..end });
    }
    let rows = dims[..axis].iter().product();
    let grid = copy_grid(rows, width(&dims), size);
    Ok(Box::new(Copy { isa: cx.isa, grid, size, last: axis + 1 == dims.len(), pieces }))
}

/// Copies pieces of elements of `size` bytes.
struct Copy {
    isa: Isa,
    grid: Grid,
    size: usize,
    /// Whether the last axis is the one along which tensors are joined.
    last: bool,
    pieces: Vec<Piece>,
}

impl Kernel for Copy {
    fn phases(&self) -> Vec<Grid> {
        vec![self.grid]
    }

    fn read_apart(&mut self, input: usize, stride: usize) -> bool {
        if self.last {
            self.pieces[input].stride = stride;
        }
        self.last
    }

    fn leave_out(&mut self, input: usize) {
        let cols = &mut self.pieces[input].cols;
        cols.end = cols.start;
    }

    fn run(&self, _phase: usize, args: &mut Args<'_>) -> Result<()> {
        match self.size {
            1 => run::<u8>(&self.pieces, self.isa, args),
            2 => run::<u16>(&self.pieces, self.isa, args),
            4 => run::<u32>(&self.pieces, self.isa, args),
            _ => run::<u64>(&self.pieces, self.isa, args),
        }
        Ok(())
    }
}

/// Fills this part's tile.
fn run<T: Element>(pieces: &[Piece], isa: Isa, args: &mut Args<'_>) {
    let mut tile = args.output_words::<T>(0);
    let (rows, cols) = (tile.rows(), tile.cols());
    for first in rows.clone().step_by(ROWS) {
        let rows = first..rows.end.min(first + ROWS);
        for (i, piece) in pieces.iter().enumerate() {
            let Some((to, from)) = piece.within(&cols) else { continue };
            let (x, to) = (args.words::<T>(i), to.start - cols.start..to.end - cols.start);
            if let Some(out) = tile.whole_rows(&rows) {
                let x = &x[rows.start * piece.stride + from..];
                isa.dispatch(CopyRows { x, stride: piece.stride, out, width: cols.len(), to });
            } else {
                for row in rows.clone() {
                    let at = row * piece.stride + from;
                    copy_run(&mut tile.row(row)[to.clone()], &x[at..at + to.len()]);
                }
            }
        }
    }
}

/// One piece of whole rows.
struct CopyRows<'s, T> {
    x: &'s [T],
    stride: usize,
    out: &'s mut [T],
    width: usize,
    /// Columns of the output.
    to: Range<usize>,
}

impl<T: Element> Work for CopyRows<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        let CopyRows { x, stride, out, width, to } = self;
        let n = to.len();
        for row in 0..out.len() / width {
            copy_blocks(&mut out[row * width + to.start..][..n], &x[row * stride..][..n]);
        }
    }
}

/// Copies a run; a library call for a short one would take longer than the copy. Panics if lengths differ.
#[inline(always)]
fn copy_blocks<T: Element>(to: &mut [T], from: &[T]) {
    let n = from.len();
    if !(BLOCK..8 * BLOCK).contains(&n) {
        return copy_run(to, from);
    }
    assert!(to.len() == n, "a run of {} elements for one of {n}", to.len());
    let mut at = 0;
    while at < n {
        // The last block overlaps the one before.
        let block = at.min(n - BLOCK);
        to[block..block + BLOCK].copy_from_slice(&from[block..block + BLOCK]);
        at += BLOCK;
    }
}
