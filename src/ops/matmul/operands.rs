//! Operands in the form that the driver reads, copied to shared workspace: B in panels, A row by row.

#![allow(unsafe_code, reason = "parts write disjoint ranges of the shared workspace")]

use super::shape::{Matrices, Problem};
use crate::cpu::gemm::{Matrix, pack, packed_len, panels};
use crate::error::Result;
use crate::tensor::{Args, Grid, PANEL};
use std::ops::Range;

/// Elements worth a part of their own.
const GRAIN: usize = 32 * 1024;

/// The operands that are copied.
pub struct Operands {
    problem: Problem,
    a: Option<Copies>,
    b: Option<Copies>,
    elements: usize,
}

/// Copies of all matrices of an operand.
struct Copies {
    /// Where they start in the workspace, and the length of each, in elements.
    start: usize,
    len: usize,
    count: usize,
    /// Pieces of a matrix that are copied independently: panels of B, blocks of rows of A.
    pieces: usize,
}

impl Operands {
    /// Plans the copies: of A if it is transposed, of B if asked for.
    pub fn new(problem: &Problem, pack_b: bool) -> Result<Self> {
        let Problem { m, n, k, .. } = *problem;
        let mut elements = 0;
        let mut place = |of: &Matrices, len: usize, pieces: usize| {
            let start = elements;
            elements += (len * of.count).next_multiple_of(PANEL);
            Copies { start, len, count: of.count, pieces }
        };
        let a = problem.a.transposed.then(|| place(&problem.a, m * k, m.div_ceil(PANEL)));
        let b_len = packed_len(n, k)?;
        let b = pack_b.then(|| place(&problem.b, b_len, panels(n)));
        Ok(Operands { problem: *problem, a, b, elements })
    }

    /// Bytes of workspace.
    pub fn bytes(&self) -> usize {
        self.elements * size_of::<f32>()
    }

    /// How the copying is cut into parts; None if there is nothing to copy.
    pub fn grid(&self) -> Option<Grid> {
        let pieces: usize = self.a.iter().chain(&self.b).map(|c| c.pieces * c.count).sum();
        (pieces > 0).then(|| Grid::by_cost(pieces, self.elements / pieces, GRAIN))
    }

    /// Copies this part's pieces.
    pub fn run(&self, args: &Args<'_>) {
        let (share, _) = args.ranges();
        let first_of_b = self.a.as_ref().map_or(0, |c| c.pieces * c.count);
        for piece in share {
            match (&self.a, &self.b) {
                (Some(a), _) if piece < first_of_b => self.copy_rows(a, piece, args),
                (_, Some(b)) => self.copy_panel(b, piece - first_of_b, args),
                _ => {}
            }
        }
    }

    fn copy_panel(&self, copies: &Copies, piece: usize, args: &Args<'_>) {
        let Problem { n, k, b, swapped, .. } = self.problem;
        let (matrix, panel) = (piece / copies.pieces, piece % copies.pieces);
        let data = &args.input::<f32>((!swapped).into())[matrix * n * k..][..n * k];
        let from = if b.transposed { Matrix::transposed(data, k, n) } else { Matrix::row_major(data, k, n) };
        // SAFETY: each panel is written by one part.
        let to = unsafe { copies.piece(args, matrix, panel * k * PANEL..(panel + 1) * k * PANEL) };
        pack(&from, panel..panel + 1, to);
    }

    fn copy_rows(&self, copies: &Copies, piece: usize, args: &Args<'_>) {
        let Problem { m, k, swapped, .. } = self.problem;
        let (matrix, block) = (piece / copies.pieces, piece % copies.pieces);
        let data = &args.input::<f32>(swapped.into())[matrix * m * k..][..m * k];
        let rows = block * PANEL..((block + 1) * PANEL).min(m);
        // SAFETY: each block is written by one part.
        let to = unsafe { copies.piece(args, matrix, rows.start * k..rows.end * k) };
        for (i, from) in data.chunks_exact(m).enumerate() {
            for (row, x) in to.chunks_exact_mut(k).zip(&from[rows.clone()]) {
                row[i] = *x;
            }
        }
    }

    /// The A of product `batch`, which has `rows` rows, and the matrix of B, in whatever form the product reads.
    pub fn of_product<'a>(&self, batch: usize, rows: usize, args: &Args<'a>) -> (&'a [f32], &'a [f32]) {
        let p = &self.problem;
        let a_len = p.m * p.k;
        let a = p.a.index(batch) * a_len;
        let a = match &self.a {
            // SAFETY: written in the phase before this one.
            Some(copies) => unsafe { copies.piece(args, 0, a..a + rows * p.k) },
            None => &args.input::<f32>(p.swapped.into())[a..a + rows * p.k],
        };
        let b = match &self.b {
            // SAFETY: written in the phase before this one.
            Some(copies) => unsafe { copies.piece(args, p.b.index(batch), 0..copies.len) },
            None => &args.input::<f32>((!p.swapped).into())[p.b.index(batch) * p.b_len()..][..p.b_len()],
        };
        (a, b)
    }
}

impl Copies {
    /// Elements `range` of a matrix, in workspace.
    ///
    /// # Safety
    /// Nobody writes the range but the caller; nobody reads it if the caller writes.
    unsafe fn piece<'a>(&self, args: &Args<'a>, matrix: usize, range: Range<usize>) -> &'a mut [f32] {
        let first = self.start + matrix * self.len + range.start;
        // SAFETY: the caller's promise.
        unsafe { args.shared(first * size_of::<f32>(), range.len()) }
    }
}
