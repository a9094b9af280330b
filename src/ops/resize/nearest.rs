//! Nearest elements: copies.

use super::cpu::Frame;
use crate::error::Result;
use crate::ops::Kernel;
use crate::ops::strided::copy_run;
use crate::tensor::{Args, Element, Grid};

/// Bytes of output worth a part of their own.
const GRAIN: usize = 64 * 1024;

/// The kernel.
pub struct Nearest<T> {
    /// The output as rows.
    pub frame: Frame,
    /// Value outside the data.
    pub extrapolation: T,
}

impl<T: Element> Kernel for Nearest<T> {
    fn phases(&self) -> Vec<Grid> {
        let f = &self.frame;
        vec![Grid::by_cost(f.rows, f.to * f.inner * size_of::<T>(), GRAIN)]
    }

    fn run(&self, _phase: usize, args: &mut Args<'_>) -> Result<()> {
        let (f, from) = (&self.frame, args.input::<T>(0));
        let mut tile = args.output::<T>(0);
        let rows = tile.rows();
        let Some(to) = tile.whole_rows(&rows).filter(|to| !to.is_empty()) else { return Ok(()) };
        let len = f.to * f.inner;
        let mut last = None;
        for (i, row) in rows.enumerate() {
            let (done, rest) = to.split_at_mut(i * len);
            let to = &mut rest[..len];
            let source = f.place(row).map(|place| place.row(0).0);
            match source {
                // Neighbouring rows often have the same source.
                Some(_) if source == last => to.copy_from_slice(&done[(i - 1) * len..]),
                Some(at) => self.fill(to, &from[at..]),
                None => to.fill(self.extrapolation),
            }
            last = source;
        }
        Ok(())
    }
}

impl<T: Element> Nearest<T> {
    fn fill(&self, to: &mut [T], from: &[T]) {
        let f = &self.frame;
        for (to, &i) in to.chunks_exact_mut(f.inner).zip(&f.row.index) {
            copy_run(to, &from[i * f.inner..(i + 1) * f.inner]);
        }
        let outside = f.row.outside.iter().enumerate().filter(|(_, outside)| **outside);
        outside.for_each(|(i, _)| to[i * f.inner..(i + 1) * f.inner].fill(self.extrapolation));
    }
}
