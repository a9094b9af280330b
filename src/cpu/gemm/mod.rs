//! Matrix products `C = activation(A * B + bias + residual)` in `f32`, with B packed as P16.
//!
//! A is given row by row, through a table of pointers: plain strided rows, or the rows of a convolution, of which each
//! kernel tap is a segment. So one driver serves both, and nothing of A is copied.
//!
//! A part (a range of rows and of panels) runs the loops of Goto and van de Geijn, "Anatomy of high-performance matrix
//! multiplication", with A unpacked: for each pass over K, for each group of panels, which then stays in a near cache,
//! for each tile of rows; where all panels stay near, for strips of a few tiles, one after the other. Partial sums wait
//! in C. Sums are over blocks of K, which also keeps their rounding small.
#![allow(unsafe_code, reason = "micro-kernels with raw pointers to disjoint parts of one output")]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod direct;
pub mod kernel;
#[cfg(target_arch = "aarch64")]
mod neon;
pub mod pack;
mod partition;
mod scalar;
pub mod scaled;
#[cfg(test)]
pub(crate) mod tests;

use super::activation::Activation;
use super::parts::Split;
use super::{Isa, Target, scratch};
use crate::error::{Error, Result};
use kernel::{Micro, PANEL, Tiles};
use partition::{DepthBlocks, FETCH, columns, partition};
use std::ops::Range;
use std::ptr;

pub use pack::{Matrix, pack, packed_len, panels, unpack};

/// The extents of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GemmShape {
    /// Rows of A and C.
    pub m: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Runs of contiguous elements that make up a row of A: 1 for a matrix.
    pub segments: usize,
    /// Elements of each run; `segments * depth` is K.
    pub depth: usize,
}

impl GemmShape {
    /// The product of an `m` x `k` and a `k` x `n` matrix.
    pub fn matrix(m: usize, n: usize, k: usize) -> Self {
        GemmShape { m, n, segments: 1, depth: k }
    }
}

/// Where the rows of A are.
pub trait Rows {
    /// Writes the address of segment `s` of row `rows.start + r` to `table[s * rows.len() + r]`.
    fn locate(&self, rows: Range<usize>, table: &mut [*const f32]);
}

/// A matrix whose rows are contiguous.
#[derive(Clone, Copy, Debug)]
pub struct StridedRows {
    /// The first element.
    pub data: *const f32,
    /// Elements from one row to the next.
    pub stride: usize,
}

impl Rows for StridedRows {
    fn locate(&self, rows: Range<usize>, table: &mut [*const f32]) {
        for (row, entry) in rows.zip(table) {
            *entry = self.data.wrapping_add(row * self.stride);
        }
    }
}

/// Where C goes, and what happens on the way.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// The first element.
    pub data: *mut f32,
    /// Elements from one row to the next.
    pub stride: usize,
    /// One value per column, or null.
    pub bias: *const f32,
    /// A matrix of the shape of C, or null. May be C itself.
    pub residual: *const f32,
    /// Elements from one row of the residual to the next.
    pub residual_stride: usize,
    /// Applied last.
    pub activation: Activation,
}

impl Output {
    /// A bare product.
    pub fn new(data: *mut f32, stride: usize) -> Self {
        let activation = Activation::None;
        Output { data, stride, bias: ptr::null(), residual: ptr::null(), residual_stride: 0, activation }
    }
}

/// Bytes of B that are read again for each strip of A; they stay in the second-level cache.
const B_BLOCK: usize = 300 << 10;
/// Tiles of rows of a strip.
const STRIP: usize = 12;

/// A product of known shape on a known instruction set, cut into independent parts. Cheap to make and to copy.
#[derive(Clone, Copy, Debug)]
pub struct Gemm {
    micro: &'static Micro,
    shape: GemmShape,
    partition: Split,
    blocks: DepthBlocks,
    /// Panels that a tile takes at once.
    group: usize,
    /// Rows of each panel of B, of which the product uses K.
    panel_rows: usize,
}

impl Gemm {
    /// Plans a product.
    ///
    /// # Errors
    /// A size overflows.
    pub fn new(target: Target, shape: GemmShape) -> Result<Gemm> {
        Gemm::fetching(target, shape, FETCH)
    }

    /// As [`Gemm::new`], where parts get so many elements of A per cycle.
    fn fetching(target: Target, shape: GemmShape, rate: f32) -> Result<Gemm> {
        let GemmShape { m, n, segments, depth } = shape;
        let overflow = || Error::no_memory(format!("a product of {m} x {n} over {segments} x {depth} is too large"));
        let k = segments.checked_mul(depth).ok_or_else(overflow)?;
        packed_len(n, k)?;
        m.checked_mul(n.max(segments)).and_then(|x| x.checked_mul(size_of::<usize>())).ok_or_else(overflow)?;
        let whole = Gemm::whole(target.isa, shape);
        let width = whole.group * PANEL;
        let extents = (m, panels(n).div_ceil(whole.group), width, k);
        let partition = partition(target.thread_counts(), extents, rate, whole.micro);
        Ok(Gemm { partition, ..whole })
    }

    /// A product in a single part, of a shape whose sizes do not overflow.
    pub(crate) fn whole(isa: Isa, shape: GemmShape) -> Gemm {
        let micro = Micro::select(isa);
        let tiles = shape.m.div_ceil(micro.rows).max(1);
        let group = micro.panels(shape.m.div_ceil(tiles).max(1)).min(panels(shape.n).max(1));
        let k = shape.segments * shape.depth;
        // With one tile of rows no panel is used twice, so nothing is gained by keeping it in cache.
        let target = if shape.m > micro.rows { micro.depth } else { k.max(1) };
        let blocks = DepthBlocks::new(shape.segments, shape.depth, target);
        Gemm { micro, shape, partition: Split { row_parts: 1, column_parts: 1 }, blocks, group, panel_rows: k }
    }

    /// The same product of `m` rows and `n` columns, no more than there are: what is computed for each is the same.
    pub(crate) fn of_rows_and_columns(self, m: usize, n: usize) -> Gemm {
        Gemm { shape: GemmShape { m, n, ..self.shape }, group: self.group.min(panels(n).max(1)), ..self }
    }

    /// The same product with a B whose panels have `rows` rows, more than are used; `b` points to the first one used.
    pub(crate) fn in_panels_of(self, rows: usize) -> Gemm {
        Gemm { panel_rows: rows, ..self }
    }

    /// The extents.
    pub fn shape(&self) -> GemmShape {
        self.shape
    }

    /// Parts, independent of each other. None where C is empty.
    pub fn parts(&self) -> usize {
        if self.shape.m == 0 || self.shape.n == 0 { 0 } else { self.partition.parts() }
    }

    /// Bytes of scratch memory that a part needs.
    pub fn scratch_bytes(&self) -> usize {
        self.most_rows() * self.shape.segments * size_of::<*const f32>()
    }

    fn most_rows(&self) -> usize {
        self.shape.m.div_ceil(self.partition.row_parts)
    }

    /// Computes part `part` of C. `b` is the packed B.
    ///
    /// Parts may run at the same time and in any order, each with its own scratch memory, which need not be initialised.
    ///
    /// # Safety
    /// - `part < parts()`.
    /// - The rows that `a` locates hold `depth` readable elements in each segment, `b` holds [`packed_len`] elements,
    ///   `out.bias` `n`, `out.residual` and `out.data` `m` rows of `n`.
    /// - Nothing else accesses this part of C meanwhile; C overlaps no other operand, except that the residual may be
    ///   exactly C.
    /// - `scratch` is aligned to 8 bytes and has `scratch_bytes()`.
    pub unsafe fn run_part(&self, part: usize, a: &dyn Rows, b: *const f32, out: &Output, scratch: *mut u8) {
        let (rows, groups) = self.ranges(part);
        // SAFETY: the caller's promises; a part has at most `most_rows` rows.
        unsafe {
            let table = scratch::slice::<*const f32>(scratch, rows.len() * self.shape.segments);
            for strip in self.strips(rows.clone(), groups.len()) {
                let table = &mut table[..strip.len() * self.shape.segments];
                a.locate(strip.clone(), table);
                // The next part begins with the panels that follow.
                let next = if strip.end < rows.end { groups.start } else { groups.end };
                self.run_block(&strip, &groups, (table, 0), (b, self.start(b, 0, next)), out);
            }
        }
    }

    /// Cuts rows into strips whose A and C stay near while `groups` groups of panels pass, where these stay near as well.
    fn strips(&self, rows: Range<usize>, groups: usize) -> impl Iterator<Item = Range<usize>> {
        let bytes = groups * self.group * self.panel_rows * PANEL * size_of::<f32>();
        let fits = groups > 1 && self.blocks.len() == 1 && bytes <= B_BLOCK;
        let height = if fits { STRIP * self.micro.rows } else { rows.len() };
        rows.clone().step_by(height.max(1)).map(move |start| start..(start + height).min(rows.end))
    }

    /// Rows and groups of panels of a part.
    fn ranges(&self, part: usize) -> (Range<usize>, Range<usize>) {
        self.partition.ranges(self.shape.m, panels(self.shape.n).div_ceil(self.group), part)
    }

    /// Computes all of C, of which `table` locates the rows of A as [`Rows::locate`] does, `offset` elements before their
    /// start. What is read after `b` is at `following`, which may be any address.
    ///
    /// # Safety
    /// As for [`Gemm::run_part`].
    pub(super) unsafe fn run_all(
        &self,
        (table, offset): (&[*const f32], usize),
        (b, following): (*const f32, *const f32),
        out: &Output,
    ) {
        let groups = panels(self.shape.n).div_ceil(self.group);
        // SAFETY: the caller's promises.
        unsafe { self.run_block(&(0..self.shape.m), &(0..groups), (table, offset), (b, following), out) }
    }

    /// # Safety
    /// As for [`Gemm::run_part`]; `table` locates `rows`, `offset` elements before their start.
    unsafe fn run_block(
        &self,
        rows: &Range<usize>,
        groups: &Range<usize>,
        (table, offset): (&[*const f32], usize),
        (b, following): (*const f32, *const f32),
        out: &Output,
    ) {
        for i in 0..self.blocks.len() {
            // SAFETY: the caller's promises.
            unsafe { self.run_pass(&Pass::new(self, i, offset, out), rows, groups, table, (b, following), out) };
        }
    }

    /// One pass over K.
    ///
    /// # Safety
    /// As for [`Gemm::run_part`]; `table` locates `rows`, as much before their start as the pass skips.
    unsafe fn run_pass(
        &self,
        pass: &Pass,
        rows: &Range<usize>,
        groups: &Range<usize>,
        table: &[*const f32],
        (b, following): (*const f32, *const f32),
        out: &Output,
    ) {
        let i = pass.index;
        for group in groups.clone() {
            let next = match (group + 1 < groups.end, pass.last) {
                (true, _) => self.start(b, i, group + 1),
                (false, false) => self.start(b, i + 1, groups.start),
                (false, true) => following,
            };
            // SAFETY: the caller's promises.
            unsafe { self.run_panels(pass, rows, (self.start(b, i, group), next), group, table, out) };
        }
    }

    /// Where pass `pass` begins to read group `group` of the panels of `b`.
    fn start(&self, b: *const f32, pass: usize, group: usize) -> *const f32 {
        let block = self.blocks.get(pass);
        let first_k = block.first_segment * self.shape.depth + block.offset;
        b.wrapping_add((group * self.group * self.panel_rows + first_k) * PANEL)
    }

    /// One pass over K for one group of panels, which start at `this_b`: all tiles of rows. `next_b` is read afterwards.
    ///
    /// # Safety
    /// As for [`Gemm::run_part`].
    unsafe fn run_panels(
        &self,
        pass: &Pass,
        rows: &Range<usize>,
        (this_b, next_b): (*const f32, *const f32),
        group: usize,
        table: &[*const f32],
        out: &Output,
    ) {
        let n = self.shape.n;
        let panel = group * self.group;
        let group = self.group.min(panels(n) - panel);
        let column = panel * PANEL;
        let block = &pass.block;
        let cols = columns(n, panel, group);
        let tiles = rows.len().div_ceil(self.micro.most_rows(cols)).max(1);
        // The first tiles have a row more than the others, where the rows do not come out even.
        let (height, higher) = (rows.len() / tiles, rows.len() % tiles);
        for (height, tiles) in [(height + 1, 0..higher), (height, higher..tiles)] {
            if tiles.is_empty() || height == 0 {
                continue;
            }
            let first = if tiles.start == 0 { 0 } else { higher * (height + 1) };
            let row = rows.start + first;
            // SAFETY: the offsets stay inside the operands, by the caller's promises. A tile has at most as many rows
            // as its micro-kernel, and a group at most as many panels as the highest tile of the product takes.
            unsafe {
                let t = Tiles {
                    count: tiles.len(),
                    rows: table.as_ptr().add(block.first_segment * rows.len() + first),
                    row_stride: rows.len(),
                    offset: pass.offset + block.offset,
                    segments: block.segments,
                    depth: block.depth,
                    b: this_b,
                    next_b,
                    before: tiles.start,
                    panel_stride: self.panel_rows * PANEL,
                    c: out.data.add(row * out.stride + column),
                    c_stride: out.stride,
                    cols,
                    addend: pass.addend.at(row, column),
                    addend_stride: pass.addend.stride,
                    bias: if pass.bias.is_null() { pass.bias } else { pass.bias.add(column) },
                    lo: pass.lo,
                    hi: pass.hi,
                };
                self.micro.function(height, group, cols)(&t);
            }
        }
        if pass.last {
            // SAFETY: these columns of C belong to this part.
            unsafe { finish_rows(self.micro.isa, out, rows.clone(), column..column + cols) };
        }
    }
}

/// What one pass over K adds and applies.
struct Pass {
    index: usize,
    block: partition::DepthBlock,
    /// Elements to skip at the start of every row of A.
    offset: usize,
    addend: Addend,
    bias: *const f32,
    lo: f32,
    hi: f32,
    last: bool,
}

#[derive(Clone, Copy)]
struct Addend {
    data: *const f32,
    stride: usize,
}

impl Addend {
    /// # Safety
    /// The element exists, or there is no addend.
    unsafe fn at(&self, row: usize, column: usize) -> *const f32 {
        // SAFETY: the caller's promise.
        if self.data.is_null() { self.data } else { unsafe { self.data.add(row * self.stride + column) } }
    }
}

impl Pass {
    /// The residual is added in the first pass, before C, which may be the same memory, receives partial sums.
    fn new(gemm: &Gemm, i: usize, offset: usize, out: &Output) -> Pass {
        let (first, last) = (i == 0, i + 1 == gemm.blocks.len());
        let addend = if first {
            Addend { data: out.residual, stride: out.residual_stride }
        } else {
            Addend { data: out.data, stride: out.stride }
        };
        let bounds = out.activation.bounds().filter(|_| last);
        let (lo, hi) = bounds.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
        Pass {
            index: i,
            block: gemm.blocks.get(i),
            offset,
            addend,
            bias: if last { out.bias } else { ptr::null() },
            lo,
            hi,
            last,
        }
    }
}

/// Applies the activation to a block of C while it is in cache, unless it only clips: that is done when C is stored.
///
/// # Safety
/// The block of C exists and belongs to the caller.
pub(super) unsafe fn finish_rows(isa: Isa, out: &Output, rows: Range<usize>, columns: Range<usize>) {
    if out.activation.bounds().is_some() {
        return;
    }
    let block = rows.map(|row| {
        let first = out.data.wrapping_add(row * out.stride + columns.start);
        // SAFETY: the caller's promise; rows do not overlap.
        unsafe { std::slice::from_raw_parts_mut(first, columns.len()) }
    });
    out.activation.apply_to_rows(isa, block);
}
