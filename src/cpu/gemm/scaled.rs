//! Products of a matrix whose elements change on the way: `A'[i][k] = activation(A[i][k] * factor[k] + shift[k])`.
//!
//! Before each pass over K a part makes what the pass reads of its rows in scratch memory, which stays in the second-level
//! cache. So each element of A is read and changed once for each part in its row: parts are rather cut by rows.

use super::{Block, Gemm, GemmShape, Output, PANEL, Pass, Rows, StridedRows, finish_rows};
use crate::cpu::activation::{Activation, Simple};
use crate::cpu::simd::{Machine, Vector, Work};
use crate::cpu::{Isa, Target, scratch};
use crate::error::Result;
use std::ops::Range;

/// Elements of A that are changed per cycle, on the scale of the cost model of the partition.
const CHANGE: f32 = 4.0;

/// What happens to A.
#[derive(Clone, Copy, Debug)]
pub struct Scaling {
    /// One factor per column of A.
    pub factors: *const f32,
    /// One summand per column, or null.
    pub shifts: *const f32,
    /// Applied last.
    pub activation: Activation,
}

/// A product of known shape on a known instruction set, cut into independent parts.
#[derive(Clone, Copy, Debug)]
pub struct ScaledGemm {
    isa: Isa,
    gemm: Gemm,
}

impl ScaledGemm {
    /// Plans the product of an `m` x `k` and a `k` x `n` matrix.
    ///
    /// # Errors
    /// A size overflows.
    pub fn new(target: Target, m: usize, n: usize, k: usize) -> Result<ScaledGemm> {
        Ok(ScaledGemm { isa: target.isa, gemm: Gemm::changing(target, GemmShape::matrix(m, n, k), CHANGE)? })
    }

    /// Parts, independent of each other. None where the product is empty.
    pub fn parts(&self) -> usize {
        self.gemm.parts()
    }

    /// Bytes of scratch memory that a part needs.
    pub fn scratch_bytes(&self) -> usize {
        let blocks = self.gemm.blocks;
        let depth = (0..blocks.len()).map(|i| blocks.get(i).depth).max().unwrap_or(0);
        self.gemm.scratch_bytes() + self.gemm.most_rows() * pitch(depth) * size_of::<f32>()
    }

    /// Computes part `part` of the product; `b` is the packed B.
    ///
    /// # Safety
    /// As for [`Gemm::run_part`], with `scratch` aligned to 64 bytes; the factors and shifts are one per column of A.
    pub unsafe fn run_part(
        &self,
        part: usize,
        (a, scaling): (&StridedRows, &Scaling),
        b: *const f32,
        out: &Output,
        scratch: *mut u8,
    ) {
        let gemm = &self.gemm;
        let (rows, panels) = gemm.ranges(part);
        // SAFETY: the caller's promises; the changed rows follow the product's own memory.
        unsafe {
            let table = scratch::slice::<*const f32>(scratch, rows.len());
            let tiles = scratch.add(gemm.table_bytes());
            let to = scratch.add(gemm.scratch_bytes()).cast::<f32>();
            let following = gemm.start(b, 0, panels.end);
            for i in 0..gemm.blocks.len() {
                let mut pass = Pass::new(gemm, i, 0, out);
                let columns = pass.block.offset..pass.block.offset + pass.block.depth;
                self.change(&rows, &columns, (a, scaling), to);
                StridedRows { data: to, stride: pitch(columns.len()) }.locate(0..rows.len(), table);
                // The changed rows begin with the columns of the pass.
                pass.block.offset = 0;
                gemm.run_pass(
                    &pass,
                    &Block { rows: &rows, panels: &panels, table, apart: None, b, following, out, tiles },
                );
            }
        }
    }

    /// Makes the changed elements of A in some rows and columns.
    ///
    /// # Safety
    /// The elements, factors and shifts exist; `to` has room for the rows and belongs to the caller.
    unsafe fn change(
        &self,
        rows: &Range<usize>,
        columns: &Range<usize>,
        (a, scaling): (&StridedRows, &Scaling),
        to: *mut f32,
    ) {
        let from = StridedRows { data: a.data.wrapping_add(rows.start * a.stride), ..*a };
        self.isa.dispatch(Change { from, rows: rows.len(), columns: columns.clone(), scaling: *scaling, to });
        let changed = Output { activation: scaling.activation, ..Output::new(to, pitch(columns.len())) };
        // SAFETY: the rows were just written.
        unsafe { finish_rows(self.isa, &changed, 0..rows.len(), 0..columns.len()) };
    }
}

/// Elements from one changed row of `depth` elements to the next.
fn pitch(depth: usize) -> usize {
    depth.next_multiple_of(PANEL)
}

/// Scales, shifts and clips columns of `rows` rows. Made by [`ScaledGemm::change`] only, whose caller answers for the
/// pointers.
struct Change {
    from: StridedRows,
    rows: usize,
    columns: Range<usize>,
    scaling: Scaling,
    to: *mut f32,
}

impl Work for Change {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        let lanes = M::Vector::LANES;
        let whole = self.columns.len() / lanes * lanes;
        for row in 0..self.rows {
            // SAFETY: the promise of the maker; the last vector is cut short.
            unsafe {
                for column in (0..whole).step_by(lanes) {
                    self.vector::<M>(row, column, lanes);
                }
                if whole < self.columns.len() {
                    self.vector::<M>(row, whole, self.columns.len() - whole);
                }
            }
        }
    }
}

impl Change {
    /// `n` columns, up to a vector, of a row.
    #[inline(always)]
    unsafe fn vector<M: Machine>(&self, row: usize, column: usize, n: usize) {
        let (at, Scaling { factors, shifts, activation }) = (self.columns.start + column, self.scaling);
        let simple = activation.simple(M::ISA).unwrap_or(Simple::NONE);
        // SAFETY: the promise of the maker.
        unsafe {
            let x = M::Vector::load_up_to(self.from.data.add(row * self.from.stride + at), n);
            let shift = if shifts.is_null() { M::Vector::splat(0.0) } else { M::Vector::load_up_to(shifts.add(at), n) };
            let y = simple.apply(x.mul_add(M::Vector::load_up_to(factors.add(at), n), shift));
            y.store_up_to(self.to.add(row * pitch(self.columns.len()) + column), n);
        }
    }
}
