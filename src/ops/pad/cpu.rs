//! Fills rows along the last padded axis: what is before the data, the data in one run, what is after it.

use super::PadMode;
use crate::ops::strided::copy_run;
use crate::ops::{Kernel, Prepare, kernel};
use crate::tensor::{Args, Element, Grid, MAX_RANK};
use std::ops::Range;

/// Bytes of output worth a part of their own.
const GRAIN: usize = 64 * 1024;

/// One axis, or several neighbours without padding taken as one.
#[derive(Clone, Copy, Debug, Default)]
struct Axis {
    /// Extent in the output.
    out: usize,
    /// Extent in the input.
    extent: usize,
    /// Place of the input's first element in the output.
    shift: i64,
    /// The elements of the input that are left by negative pads.
    kept: (i64, i64),
    /// Elements of the input between neighbours along the axis.
    stride: usize,
}

impl Axis {
    /// The element of the input that stands at `i` in the output; None for a constant.
    fn source(&self, mode: PadMode, i: usize) -> Option<usize> {
        let (first, end) = self.kept;
        let (n, at) = (end - first, i as i64 - self.shift - first);
        let at = match mode {
            _ if (0..n).contains(&at) => at,
            PadMode::Constant => return None,
            PadMode::Edge => at.clamp(0, n - 1),
            PadMode::Wrap => at.rem_euclid(n),
            PadMode::Reflect => {
                let turn = (2 * (n - 1)).max(1);
                let at = at.rem_euclid(turn);
                at.min(turn - at).min(n - 1)
            }
        };
        Some((first + at) as usize)
    }

    /// The part of the output that the input fills in one run.
    fn data(&self) -> Range<usize> {
        let place = |i: i64| (i + self.shift).clamp(0, self.out as i64) as usize;
        place(self.kept.0)..place(self.kept.1.max(self.kept.0))
    }
}

/// A padded copy as its kernel sees it.
#[derive(Clone, Copy)]
struct Padded {
    mode: PadMode,
    /// Axes outside the rows.
    outer: ([Axis; MAX_RANK], usize),
    /// The axis along which rows are filled, in units of `unit` elements.
    row: Axis,
    unit: usize,
}

/// The kernel for these pads before and after each axis.
pub fn prepare(cx: &Prepare<'_>, mode: PadMode, before: &[i64], after: &[i64]) -> Box<dyn Kernel> {
    let (padded, size) = (Padded::new(cx, mode, before, after), cx.outputs[0].dtype.size());
    let rows = padded.outer.0[..padded.outer.1].iter().map(|a| a.out).product();
    let has_value = cx.optional(2).is_some();
    kernel(Grid::by_cost(rows, padded.row.out * padded.unit * size, GRAIN), move |args| {
        match size {
            1 => padded.run::<u8>(has_value, args),
            2 => padded.run::<u16>(has_value, args),
            4 => padded.run::<u32>(has_value, args),
            _ => padded.run::<u64>(has_value, args),
        }
        Ok(())
    })
}

impl Padded {
    fn new(cx: &Prepare<'_>, mode: PadMode, before: &[i64], after: &[i64]) -> Self {
        let (from, to) = (cx.dims(0), cx.out_dims(0));
        let strides = from.strides();
        let is_padded = |i: &usize| before[*i] != 0 || after[*i] != 0;
        let last = (0..from.len()).rev().find(is_padded).unwrap_or(0);
        let axis = |i: usize| {
            let extent = from[i] as i64;
            let kept = ((-before[i]).clamp(0, extent), (extent + after[i].min(0)).max(0));
            Axis { out: to[i], extent: from[i], shift: before[i], kept, stride: strides[i] }
        };
        let mut outer = ([Axis::default(); MAX_RANK], 0);
        for i in 0..last {
            if i > 0 && !is_padded(&i) && !is_padded(&(i - 1)) {
                let n = outer.0[outer.1 - 1].extent * from[i];
                outer.0[outer.1 - 1] = Axis { out: n, extent: n, shift: 0, kept: (0, n as i64), stride: strides[i] };
            } else {
                outer.0[outer.1] = axis(i);
                outer.1 += 1;
            }
        }
        let scalar = Axis { out: 1, extent: 1, shift: 0, kept: (0, 1), stride: 1 };
        let (row, unit) = if from.is_empty() { (scalar, 1) } else { (axis(last), from[last + 1..].iter().product()) };
        Padded { mode, outer, row, unit }
    }

    fn run<T: Element>(&self, has_value: bool, args: &mut Args<'_>) {
        let from = args.words::<T>(0);
        let value = if has_value { args.words::<T>(2)[0] } else { T::default() };
        let mut tile = args.output_words::<T>(0);
        if tile.cols().is_empty() {
            return;
        }
        for row in tile.rows() {
            let to = tile.row(row);
            match self.start(row) {
                Some(start) => self.fill_row(to, from, start, value),
                None => to.fill(value),
            }
        }
    }

    /// Where the input's part of a row begins; None if the row holds constants only.
    fn start(&self, mut row: usize) -> Option<usize> {
        let mut start = 0;
        for axis in self.outer.0[..self.outer.1].iter().rev() {
            start += axis.source(self.mode, row % axis.out)? * axis.stride;
            row /= axis.out;
        }
        Some(start)
    }

    fn fill_row<T: Element>(&self, to: &mut [T], from: &[T], start: usize, value: T) {
        let (unit, data) = (self.unit, self.row.data());
        let mut pad = |range: Range<usize>| {
            if self.mode == PadMode::Constant {
                return to[range.start * unit..range.end * unit].fill(value);
            }
            for i in range {
                let at = start + self.row.source(self.mode, i).unwrap_or(0) * unit;
                copy_run(&mut to[i * unit..(i + 1) * unit], &from[at..at + unit]);
            }
        };
        pad(0..data.start);
        pad(data.end..self.row.out);
        if !data.is_empty() {
            let at = start + (data.start as i64 - self.row.shift) as usize * unit;
            to[data.start * unit..data.end * unit].copy_from_slice(&from[at..at + data.len() * unit]);
        }
    }
}
