//! Reductions of few neighbouring results over many elements, as a mean over the pixels of an image.
//!
//! The elements are cut into slices, each with results of its own, which a second phase joins in order. Unlike a cut of
//! the results this lets a thread read the pixels that it has computed.

use super::ReduceKind;
use super::cpu::{COLUMNS, Fold, ReduceKernel, by_kind};
use crate::cpu::simd::{Machine, Work};
use crate::error::Result;
use crate::ops::Kernel;
use crate::tensor::{Args, Grid};
use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Most slices, and fewest elements of a result in one.
const MOST: usize = 16;
const FEWEST: usize = 4;

/// A reduction in slices.
pub struct Slices {
    pub kernel: ReduceKernel,
    /// Slices of each row of results.
    pub slices: usize,
}

impl Slices {
    /// How many slices a reduction that is worth `parts` parts is cut into: one where it has enough rows of results, or no
    /// neighbouring results.
    pub fn count(kernel: &ReduceKernel, parts: usize) -> usize {
        let fits = kernel.columns && kernel.kind != ReduceKind::LogSumExp && kernel.grid.row_parts < parts;
        if fits { parts.next_multiple_of(2).min(MOST).min(kernel.count / FEWEST).max(1) } else { 1 }
    }
}

impl Kernel for Slices {
    fn phases(&self) -> Vec<Grid> {
        let Grid { rows, row_parts, .. } = self.kernel.grid;
        vec![Grid::rows(rows * self.slices, rows * self.slices), Grid::rows(rows, row_parts)]
    }

    fn shared_bytes(&self) -> usize {
        self.kernel.grid.rows * self.slices * self.kernel.width * size_of::<u64>()
    }

    fn scratch_bytes(&self) -> usize {
        2 * COLUMNS * size_of::<f32>()
    }

    fn run(&self, phase: usize, args: &mut Args<'_>) -> Result<()> {
        let (k, slices) = (&self.kernel, self.slices);
        let (share, _) = args.ranges();
        let scratch = args.scratch::<f32>();
        let words = args.shared_words();
        let partial = |units: Range<usize>| &words[units.start * k.width..units.end * k.width];
        if phase == 0 {
            let (x, cut) = (args.input::<f32>(0), Grid::rows(k.count, slices));
            for unit in share {
                let row = unit / slices;
                let Some(run) = k.kept.runs(row * k.width..(row + 1) * k.width).next() else { continue };
                let (elements, _) = cut.ranges(unit % slices);
                let to = partial(unit..unit + 1);
                k.isa.dispatch(Slice { k, elements, x: &x[run.at[0]..], to, scratch: &mut *scratch });
            }
            return Ok(());
        }
        for (row, out) in share.zip(args.output::<f32>(0).into_slice().chunks_exact_mut(k.width)) {
            k.isa.dispatch(Join { k, from: partial(row * slices..(row + 1) * slices), out });
        }
        Ok(())
    }
}

/// The results of one slice.
struct Slice<'a> {
    k: &'a ReduceKernel,
    elements: Range<usize>,
    x: &'a [f32],
    to: &'a [AtomicU64],
    scratch: &'a mut [f32],
}

impl Work for Slice<'_> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        let (out, partial) = self.scratch.split_at_mut(COLUMNS);
        for (c, to) in self.to.chunks(COLUMNS).enumerate() {
            let (x, out) = (&self.x[c * COLUMNS..], &mut out[..to.len()]);
            by_kind!(self.k.kind, F => self.k.fold_columns::<F>(self.elements.clone(), x, out, partial));
            for (word, y) in to.iter().zip(out) {
                word.store(y.to_bits().into(), Relaxed);
            }
        }
    }
}

/// One row of results, of all slices.
struct Join<'a> {
    k: &'a ReduceKernel,
    from: &'a [AtomicU64],
    out: &'a mut [f32],
}

impl Work for Join<'_> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(mut self) {
        by_kind!(self.k.kind, F => self.join::<F>());
        self.k.finish::<M>(self.out);
    }
}

impl Join<'_> {
    #[inline(always)]
    fn join<F: Fold>(&mut self) {
        self.out.fill(F::INIT);
        for slice in self.from.chunks_exact(self.k.width) {
            for (y, word) in self.out.iter_mut().zip(slice) {
                *y = F::join(*y, f32::from_bits(word.load(Relaxed) as u32));
            }
        }
    }
}
