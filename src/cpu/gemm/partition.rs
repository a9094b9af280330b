//! How a product is cut into parts, and each part into blocks. The blocks, over K, are a function of the shape and the
//! micro-kernel only, so that results have the same bits for any number of threads.

use super::kernel::{Micro, PANEL};
use crate::cpu::parts::{Split, even};
use std::ops::Range;

/// Multiply-adds of a product that is not worth sharing.
const SMALL: usize = 100_000;
/// Cycles per part: with [`Rates`] the scale of the cost model.
const PART: f32 = 1_000.0;

/// Values of A per cycle that another core has written and still holds in its own cache.
const REMOTE: f32 = 1.5;

/// What a part does per cycle.
#[derive(Clone, Copy)]
pub(super) struct Rates {
    /// Multiply-adds.
    multiply: f32,
    /// Values of A, and of B, fetched from outer caches, split or changed.
    a: f32,
    b: f32,
}

impl Rates {
    pub const VECTORS: Rates = Rates { multiply: 32.0, a: 8.0, b: 8.0 };
    pub const TILES: Rates = Rates { multiply: 60.0, a: 1.8, b: 1.8 };

    /// The same for parts that first change so many elements of A per cycle.
    pub fn changing(self, rate: f32) -> Rates {
        Rates { a: 1.0 / (1.0 / self.a + 1.0 / rate), ..self }
    }
}

/// Chooses the partition of an `m` x `units * width` product over `k` that finishes soonest for these numbers of
/// threads, weighing evenness against the operands that every part fetches anew.
pub(super) fn partition(
    threads: &[usize],
    (m, units, width, k): (usize, usize, usize, usize),
    rates: Rates,
    micro: &Micro,
) -> Split {
    let most_rows = (micro.near / size_of::<f32>() / micro.depth.min(k.max(1))).max(4 * micro.rows);
    let fewest = m.div_ceil(most_rows).max(1);
    if m == 0 || units == 0 || m.saturating_mul(units * width).saturating_mul(k) < SMALL {
        return Split { row_parts: fewest, column_parts: 1 };
    }
    Split::cheapest(threads, fewest..=m.div_ceil(micro.rows).max(fewest), units, |threads, split| {
        let rows = m.div_ceil(split.row_parts) as f32;
        let columns = (units.div_ceil(split.column_parts) * width) as f32;
        // Rows of A lie where another thread wrote them if a part has more of them than a thread's share.
        let remote = if split.row_parts < threads { rows / REMOTE } else { 0.0 };
        PART + k as f32 * (rows * columns / rates.multiply + rows / rates.a + remote + columns / rates.b)
    })
}

/// A run of K that one pass sums: `segments` of A, from each `depth` elements after the first `offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DepthBlock {
    pub first_segment: usize,
    pub segments: usize,
    pub offset: usize,
    pub depth: usize,
}

/// How K, `segments` runs of `depth` elements, is cut into passes: groups of whole segments, or ranges of each.
#[derive(Clone, Copy, Debug)]
pub(super) struct DepthBlocks {
    segments: usize,
    depth: usize,
    groups: usize,
    ranges: usize,
}

impl DepthBlocks {
    /// Passes of about `target` elements; of everything at once when each weight is used only once.
    pub fn new(segments: usize, depth: usize, target: usize) -> Self {
        let passes = (segments * depth).div_ceil(target + target / 4).max(1);
        if passes <= 1 {
            DepthBlocks { segments, depth, groups: 1, ranges: 1 }
        } else if depth > target {
            DepthBlocks { segments, depth, groups: segments, ranges: depth.div_ceil(target + target / 4) }
        } else {
            DepthBlocks { segments, depth, groups: segments.div_ceil((target / depth).max(1)), ranges: 1 }
        }
    }

    pub fn len(&self) -> usize {
        self.groups * self.ranges
    }

    pub fn get(&self, i: usize) -> DepthBlock {
        if self.len() == 1 {
            // The usual case, without divisions.
            return DepthBlock { first_segment: 0, segments: self.segments, offset: 0, depth: self.depth };
        }
        let segments = even(self.segments, self.groups, i / self.ranges);
        // Whole steps of four, the unrolling of the kernels.
        let quads = even(self.depth.div_ceil(4), self.ranges, i % self.ranges);
        let (start, end) = (quads.start * 4, (quads.end * 4).min(self.depth));
        DepthBlock { first_segment: segments.start, segments: segments.len(), offset: start, depth: end - start }
    }
}

/// The columns of these panels, of `n` in all.
pub(super) fn columns(n: usize, panels: &Range<usize>) -> Range<usize> {
    panels.start * PANEL..(panels.end * PANEL).min(n)
}
