//! Cutting work into parts. What is computed for an element never depends on the part that it is in, so that results have
//! the same bits for any number of threads.

use std::ops::{Range, RangeInclusive};

/// The `i`-th of `parts` nearly equal ranges that cover `0..len`.
pub(crate) fn even(len: usize, parts: usize, i: usize) -> Range<usize> {
    // Larger and smaller ranges alternate, so that neighbouring ones together are nearly equal too.
    let (size, rest) = (len / parts, len % parts);
    let start = |i: usize| i * size + i * rest / parts;
    start(i)..start(i + 1)
}

/// Parts along two dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    pub row_parts: usize,
    pub column_parts: usize,
}

/// Most parts of one phase: a few for each of many threads.
const MOST: usize = 64;

impl Split {
    /// Cuts `rows` x `columns` pieces of `work` steps each into parts of at least `least` steps, rows first.
    pub fn new(rows: usize, columns: usize, work: usize, least: usize) -> Split {
        let total = rows.saturating_mul(columns).saturating_mul(work);
        let parts = (total / least).clamp(1, MOST);
        let row_parts = parts.min(rows.max(1));
        Split { row_parts, column_parts: (parts / row_parts).clamp(1, columns.max(1)) }
    }

    /// The cut that finishes soonest for these thread counts: `cost` is that of a part for so many threads, when there are so
    /// many parts along the rows and along the columns, of which there may be `row_parts` and 1 to `columns`.
    pub fn cheapest(
        threads: &[usize],
        row_parts: RangeInclusive<usize>,
        columns: usize,
        cost: impl Fn(usize, Split) -> f32,
    ) -> Split {
        let (fewest, most) = row_parts.into_inner();
        let mut best = (Split { row_parts: fewest, column_parts: 1 }, f32::INFINITY);
        for column_parts in [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48].into_iter().filter(|&parts| parts <= columns) {
            for target in [1, 2, 4, 8, 16, 32, 48, 64].into_iter().chain(threads.iter().copied()) {
                let row_parts = (target / column_parts).clamp(fewest, most);
                let parts = row_parts * column_parts;
                let split = Split { row_parts, column_parts };
                let all = |&t: &usize| (parts.div_ceil(t) * t) as f32 * cost(t, split);
                let cost = threads.iter().map(all).sum();
                if cost < best.1 {
                    best = (split, cost);
                }
            }
        }
        best.0
    }

    /// Number of parts.
    pub fn parts(&self) -> usize {
        self.row_parts * self.column_parts
    }

    /// Rows and columns of part `part`, of so many in all.
    pub fn ranges(&self, rows: usize, columns: usize, part: usize) -> (Range<usize>, Range<usize>) {
        let (row, column) = (part / self.column_parts, part % self.column_parts);
        (even(rows, self.row_parts, row), even(columns, self.column_parts, column))
    }
}
