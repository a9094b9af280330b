//! Cells, one after another; each point adds four stretches of channels.

use super::{RoiAlign, RoiMode};
use crate::cpu::Isa;
use crate::error::{Error, Result};
use crate::ops::elementwise::Number;
use crate::ops::index::resolve;
use crate::ops::sample::{Real, Sample, add_scaled};
use crate::ops::{Kernel, Prepare};
use crate::tensor::{Args, DType, Grid};
use half::{bf16, f16};
use std::marker::PhantomData;
use std::ops::Range;

/// Multiplications worth a part of their own.
const GRAIN: usize = 32 * 1024;

/// Most points of one cell, so that a region of absurd size does not take forever.
const MOST_POINTS: f64 = (1 << 20) as f64;

/// The kernel.
pub fn prepare(cx: &Prepare<'_>, op: &RoiAlign) -> Box<dyn Kernel> {
    let [batches, height, width, channels] = cx.dims(0)[..] else { panic!("data has rank 4 (infer has checked)") };
    let cells = Cells { op: op.clone(), isa: cx.isa, batches, height, width, channels, count: cx.out_dims(0)[0] };
    match cx.outputs[0].dtype {
        DType::F16 => Box::new(Aligner::<f16> { cells, element: PhantomData }),
        DType::BF16 => Box::new(Aligner::<bf16> { cells, element: PhantomData }),
        DType::F32 => Box::new(Aligner::<f32> { cells, element: PhantomData }),
        _ => Box::new(Aligner::<f64> { cells, element: PhantomData }),
    }
}

struct Cells {
    op: RoiAlign,
    isa: Isa,
    batches: usize,
    height: usize,
    width: usize,
    channels: usize,
    count: usize,
}

struct Aligner<T> {
    cells: Cells,
    element: PhantomData<T>,
}

/// A region along one axis.
#[derive(Clone, Copy)]
struct Span {
    start: f64,
    /// Extent of a cell.
    cell: f64,
    /// Points in each cell.
    points: f64,
    /// Elements of the data.
    extent: usize,
}

/// The two elements around a point, and the weight of the second.
type Pair = ([usize; 2], f64);

impl Span {
    fn new(op: &RoiAlign, start: f64, end: f64, cells: usize, extent: usize) -> Self {
        let offset = if op.half_pixel { 0.5 } else { 0.0 };
        let (start, end) = (start * f64::from(op.scale) - offset, end * f64::from(op.scale) - offset);
        let size = if op.half_pixel { end - start } else { (end - start).max(1.0) };
        let cell = size / cells as f64;
        let points = if op.sampling_ratio > 0 { op.sampling_ratio as f64 } else { cell.ceil().max(0.0) };
        Span { start, cell, points, extent }
    }

    /// The elements around point `i` of a cell; None if it lies outside.
    fn point(&self, cell: usize, i: usize) -> Option<Pair> {
        let x = self.start + cell as f64 * self.cell + (i as f64 + 0.5) * self.cell / self.points;
        let last = self.extent.checked_sub(1)?;
        if !(-1.0..=self.extent as f64).contains(&x) {
            return None;
        }
        let x = x.max(0.0);
        let low = x as usize;
        Some(if low >= last { ([last, last], 0.0) } else { ([low, low + 1], x - low as f64) })
    }
}

impl<T: Sample + Number> Kernel for Aligner<T> {
    fn phases(&self) -> Vec<Grid> {
        let c = &self.cells;
        let points = c.op.sampling_ratio.clamp(2, 64).pow(2);
        vec![Grid::by_cost(c.count * c.op.height * c.op.width, c.channels * points * 4, GRAIN)]
    }

    fn scratch_bytes(&self) -> usize {
        2 * self.cells.channels * size_of::<T::Wide>()
    }

    fn run(&self, _phase: usize, args: &mut Args<'_>) -> Result<()> {
        let c = &self.cells;
        let (from, regions, batches) = (args.input::<T>(0), args.input::<T>(1), args.input::<i64>(2));
        let (sum, wide) = args.scratch::<T::Wide>().split_at_mut(c.channels);
        let mut tile = args.output::<T>(0);
        let len = c.height * c.width * c.channels;
        for row in tile.rows() {
            let (region, y, x) = (row / c.op.width / c.op.height, row / c.op.width % c.op.height, row % c.op.width);
            let batch = resolve(batches[region], c.batches, 0)?;
            let from = &from[batch * len..(batch + 1) * len];
            let corner = |i: usize| regions[region * 4 + i].to_f64();
            if c.op.mode == RoiMode::Elements {
                let rows = elements(&c.op, corner(1), corner(3), (y, c.op.height), c.height);
                let columns = elements(&c.op, corner(0), corner(2), (x, c.op.width), c.width);
                self.largest_element(from, rows, columns, tile.row(row));
                continue;
            }
            let vertical = Span::new(&c.op, corner(1), corner(3), c.op.height, c.height);
            let horizontal = Span::new(&c.op, corner(0), corner(2), c.op.width, c.width);
            if vertical.points * horizontal.points > MOST_POINTS {
                return Err(Error::invalid(format!("region {region} is too large to be sampled")));
            }
            self.cell(from, (vertical, y), (horizontal, x), sum, wide);
            T::narrow(c.isa, sum, tile.row(row));
        }
        Ok(())
    }
}

/// The elements along one axis of cell `cell` of `cells`, of a region from `start` to `end`.
fn elements(op: &RoiAlign, start: f64, end: f64, (cell, cells): (usize, usize), extent: usize) -> Range<usize> {
    // Far outside, where the elements are does not matter; sums of what is within stay exact.
    let corner = |at: f64| (at as f32 * op.scale).round().clamp(-1e9, 1e9);
    let (start, end) = (corner(start), corner(end));
    let size = (end - start + 1.0).max(1.0) / cells as f32;
    let edge = |at: f32| (at + start).clamp(0.0, extent as f32) as usize;
    edge((cell as f32 * size).floor())..edge(((cell + 1) as f32 * size).ceil())
}

impl<T: Sample + Number> Aligner<T> {
    /// The largest of the given elements for each channel; 0 for none.
    fn largest_element(&self, from: &[T], rows: Range<usize>, columns: Range<usize>, to: &mut [T]) {
        let c = &self.cells;
        to.fill(T::from_f64(0.0));
        let mut is_first = true;
        for row in rows {
            for column in columns.clone() {
                let at = (row * c.width + column) * c.channels;
                for (to, &from) in to.iter_mut().zip(&from[at..at + c.channels]) {
                    if is_first || from.to_f64() > to.to_f64() {
                        *to = from;
                    }
                }
                is_first = false;
            }
        }
    }
}

impl<T: Sample> Aligner<T> {
    /// The channels of one cell, in `sum`.
    fn cell(
        &self,
        from: &[T],
        (vertical, y): (Span, usize),
        (horizontal, x): (Span, usize),
        sum: &mut [T::Wide],
        wide: &mut [T::Wide],
    ) {
        let c = &self.cells;
        let count = (vertical.points * horizontal.points).max(1.0);
        sum.fill(T::Wide::default());
        let mut is_first = true;
        for i in 0..vertical.points as usize {
            for j in 0..horizontal.points as usize {
                // A point outside is 0, which counts in a maximum.
                let inside = vertical.point(y, i).zip(horizontal.point(x, j));
                let ((rows, wy), (cols, wx)) = inside.unwrap_or((([0; 2], 0.0), ([0; 2], 0.0)));
                let scale = if inside.is_some() { 1.0 } else { 0.0 };
                let near = [(rows[0], cols[0], (1.0 - wy) * (1.0 - wx)), (rows[0], cols[1], (1.0 - wy) * wx)];
                let far = [(rows[1], cols[0], wy * (1.0 - wx)), (rows[1], cols[1], wy * wx)];
                for (row, col, weight) in near.into_iter().chain(far) {
                    let at = (row * c.width + col) * c.channels;
                    let from = from.get(at..at + c.channels).unwrap_or(&[]);
                    let from = T::wide(c.isa, from, wide);
                    match c.op.mode {
                        RoiMode::Average => add_scaled(c.isa, from, scale * weight / count, sum),
                        RoiMode::Max | RoiMode::Elements => largest(from, T::Wide::of(scale * weight), is_first, sum),
                    }
                    is_first = false;
                }
            }
        }
    }
}

/// The larger of each element and the weighted `from`; the latter if it is the first.
fn largest<A: Real>(from: &[A], weight: A, is_first: bool, to: &mut [A]) {
    for (to, &from) in to.iter_mut().zip(from) {
        let value = from * weight;
        if is_first || value > *to {
            *to = value;
        }
    }
}
