//! Cutting work into parts. The cut is a function of shapes only, so that results have the same bits for any number of
//! threads.

use std::ops::Range;

/// The `i`-th of `parts` nearly equal ranges that cover `0..len`.
pub(crate) fn even(len: usize, parts: usize, i: usize) -> Range<usize> {
    let (size, rest) = (len / parts, len % parts);
    let start = i * size + i.min(rest);
    start..start + size + usize::from(i < rest)
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
