//! Matrix products `C = activation(A * B + bias + residual)` in `f32`, with B packed as P16.
//!
//! A is given row by row, through a table of pointers: plain strided rows, or the rows of a convolution, of which each
//! kernel tap is a segment. So one driver serves both, and nothing of A is copied.
//!
//! A part (a range of rows and of panels) runs the loops of Goto and van de Geijn, "Anatomy of high-performance matrix
//! multiplication", with A unpacked: for each pass over K, for each group of panels, which then stays in a near cache,
//! for each tile of rows; where all panels stay near, for strips of a few tiles, one after the other. Partial sums wait
//! in C. Sums are over blocks of K, which also keeps their rounding small. Where the CPU has tiles of bfloat16, large
//! products take those ([`bf16x3`]).
#![allow(unsafe_code, reason = "micro-kernels with raw pointers to disjoint parts of one output")]

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "other processors have no such tiles"))]
mod bf16x3;
pub mod direct;
pub mod kernel;
#[cfg(target_arch = "aarch64")]
mod neon;
mod operands;
pub mod pack;
mod partition;
mod scalar;
pub mod scaled;
#[cfg(test)]
pub(crate) mod tests;

use super::activation::Simple;
use super::parts::Split;
use super::{Isa, Target, scratch};
use crate::error::{Error, Result};
use bf16x3::Bf16x3;
use kernel::{Micro, PANEL, Tiles};
use partition::{DepthBlock, DepthBlocks, Rates, columns, partition};
use std::ops::Range;
use std::ptr;

pub use operands::{Output, Rows, StridedRows};
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
    /// Panels that a tile takes at once, at most.
    group: usize,
    /// Rows of each panel of B, of which the product uses K.
    panel_rows: usize,
    /// For products on tiles.
    bf16x3: Option<&'static Bf16x3>,
}

impl Gemm {
    /// Plans a product.
    ///
    /// # Errors
    /// A size overflows.
    pub fn new(target: Target, shape: GemmShape) -> Result<Gemm> {
        Gemm::changing(target, shape, f32::INFINITY)
    }

    /// As [`Gemm::new`], where parts first change so many elements of A per cycle.
    fn changing(target: Target, shape: GemmShape, rate: f32) -> Result<Gemm> {
        let GemmShape { m, n, segments, depth } = shape;
        let overflow = || Error::no_memory(format!("a product of {m} x {n} over {segments} x {depth} is too large"));
        let k = segments.checked_mul(depth).ok_or_else(overflow)?;
        packed_len(n, k)?;
        m.checked_mul(n.max(segments)).and_then(|x| x.checked_mul(size_of::<usize>())).ok_or_else(overflow)?;
        let whole = Gemm::whole(target.isa, shape).on_tiles();
        let extents = (m, panels(n).div_ceil(whole.unit()), whole.unit() * PANEL, k);
        let rates = if whole.bf16x3.is_some() { Rates::TILES } else { Rates::VECTORS };
        let partition = partition(&target.thread_counts(), extents, rates.changing(rate), whole.micro);
        Ok(Gemm { partition, ..whole })
    }

    /// The same product on tiles of bfloat16, where the CPU has them and it is worth it.
    fn on_tiles(self) -> Gemm {
        match self.micro.bf16x3.filter(|_| self.tiles_pay()) {
            Some(kernel) => Gemm { bf16x3: Some(kernel), group: bf16x3::GROUP.min(panels(self.shape.n)), ..self },
            None => self,
        }
    }

    /// The same on tiles whether or not that is faster, if there are any and the product is not empty.
    #[cfg(test)]
    pub(super) fn only_on_tiles(self) -> Option<Gemm> {
        let GemmShape { m, n, segments, depth } = self.shape;
        let kernel = self.micro.bf16x3.filter(|_| m > 0 && n > 0 && segments * depth > 0)?;
        Some(Gemm { bf16x3: Some(kernel), group: bf16x3::GROUP.min(panels(n)), ..self })
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
        Gemm {
            micro,
            shape,
            partition: Split { row_parts: 1, column_parts: 1 },
            blocks,
            group,
            panel_rows: k,
            bf16x3: None,
        }
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
        self.table_bytes() + self.tile_bytes()
    }

    fn table_bytes(&self) -> usize {
        (self.most_rows() * self.shape.segments * size_of::<*const f32>()).next_multiple_of(64)
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
        let (rows, panels) = self.ranges(part);
        // SAFETY: the caller's promises; a part has at most `most_rows` rows.
        unsafe {
            let table = scratch::slice::<*const f32>(scratch, rows.len() * self.shape.segments);
            let tiles = scratch.wrapping_add(self.table_bytes());
            // The rows of a tile tell where those of all others are, if they are as far apart.
            let apart = a.apart().filter(|_| self.bf16x3.is_none());
            let most = if apart.is_some() { self.micro.tallest() } else { usize::MAX };
            for strip in self.strips(rows.clone(), panels.len()) {
                let located = strip.start..strip.end.min(strip.start.saturating_add(most));
                let table = &mut table[..located.len() * self.shape.segments];
                a.locate(located, table);
                // The next part begins with the panels that follow.
                let next = if strip.end < rows.end { panels.start } else { panels.end };
                let following = self.start(b, 0, next);
                self.run_block(&Block { rows: &strip, panels: &panels, table, apart, b, following, out, tiles }, 0);
            }
        }
    }

    /// Cuts rows into strips whose A and C stay near while `panels` panels pass, where these stay near as well.
    fn strips(&self, rows: Range<usize>, panels: usize) -> impl Iterator<Item = Range<usize>> {
        let bytes = panels * self.panel_rows * PANEL * size_of::<f32>();
        let fits = panels > self.group && self.blocks.len() == 1 && bytes <= B_BLOCK && self.bf16x3.is_none();
        let height = if fits { STRIP * self.micro.rows } else { rows.len() };
        rows.clone().step_by(height.max(1)).map(move |start| start..(start + height).min(rows.end))
    }

    /// Panels that no partition separates: on tiles it depends on all of a group whether they take it.
    fn unit(&self) -> usize {
        if self.bf16x3.is_some() { self.group } else { 1 }
    }

    /// Rows and panels of a part.
    fn ranges(&self, part: usize) -> (Range<usize>, Range<usize>) {
        let (all, unit) = (panels(self.shape.n), self.unit());
        let (rows, units) = self.partition.ranges(self.shape.m, all.div_ceil(unit), part);
        (rows, units.start * unit..(units.end * unit).min(all))
    }

    /// Cuts panels, which start at a whole unit, into groups of at most [`Gemm::group`]: on tiles whole ones, where there are
    /// so many, on vectors nearly equal ones.
    fn groups(&self, panels: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let (mut next, end) = (panels.start, panels.end);
        let count = panels.len().div_ceil(self.group);
        let (least, larger) = match self.bf16x3 {
            Some(_) => (self.group, 0),
            None => (panels.len() / count.max(1), panels.len() % count.max(1)),
        };
        (0..count).map(move |i| {
            let start = next;
            next = (start + least + usize::from(i < larger)).min(end);
            start..next
        })
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
        let (rows, panels) = (&(0..self.shape.m), &(0..panels(self.shape.n)));
        debug_assert!(self.bf16x3.is_none(), "tiles need scratch memory");
        // SAFETY: the caller's promises.
        unsafe {
            let tiles = ptr::null_mut();
            self.run_block(&Block { rows, panels, table, apart: None, b, following, out, tiles }, offset)
        }
    }

    /// The rows begin `offset` elements after where the table says.
    ///
    /// # Safety
    /// As for [`Gemm::run_part`].
    unsafe fn run_block(&self, block: &Block<'_>, offset: usize) {
        for i in 0..self.blocks.len() {
            // SAFETY: the caller's promises.
            unsafe { self.run_pass(&Pass::new(self, i, offset, block.out), block) };
        }
    }

    /// One pass over K.
    ///
    /// # Safety
    /// As for [`Gemm::run_part`]; the table locates the rows as much before their start as the pass skips.
    unsafe fn run_pass(&self, pass: &Pass, block: &Block<'_>) {
        if let Some(kernel) = self.bf16x3 {
            // SAFETY: the caller's promises.
            return unsafe { self.run_pass_on_tiles(kernel, pass, block) };
        }
        let Block { rows, panels, table, apart, out, .. } = *block;
        let table = table.as_ptr().wrapping_add(pass.block.first_segment * rows.len());
        let located = Located { table, row_stride: rows.len(), apart };
        for group in self.groups(panels) {
            let b = (self.start(block.b, pass.first_k, group.start), self.after(pass, block, group.end));
            // SAFETY: the caller's promises.
            unsafe {
                self.run_panels(pass, rows, b, &group, located, out);
                self.finish(pass, rows, &group, out);
            }
        }
    }

    /// What is read of B after the panels before `panel` in this pass.
    fn after(&self, pass: &Pass, block: &Block<'_>, panel: usize) -> *const f32 {
        match (panel < block.panels.end, pass.last) {
            (true, _) => self.start(block.b, pass.first_k, panel),
            (false, false) => self.start(block.b, self.first_k(pass.index + 1), block.panels.start),
            (false, true) => block.following,
        }
    }

    /// The first step of K of pass `pass`.
    fn first_k(&self, pass: usize) -> usize {
        let block = self.blocks.get(pass);
        block.first_segment * self.shape.depth + block.offset
    }

    /// Where panel `panel` of `b` is read from step `first_k` on.
    fn start(&self, b: *const f32, first_k: usize, panel: usize) -> *const f32 {
        b.wrapping_add((panel * self.panel_rows + first_k) * PANEL)
    }

    /// One pass over K for one group of panels, which start at `this_b`: all tiles of rows, which are `located`. `next_b` is
    /// read afterwards.
    ///
    /// # Safety
    /// As for [`Gemm::run_part`].
    unsafe fn run_panels(
        &self,
        pass: &Pass,
        rows: &Range<usize>,
        (this_b, next_b): (*const f32, *const f32),
        group: &Range<usize>,
        located: Located,
        out: &Output,
    ) {
        let column = group.start * PANEL;
        let block = &pass.block;
        let cols = columns(self.shape.n, group).len();
        let readers = rows.len().div_ceil(self.micro.most_rows(cols)).max(1);
        // The first tiles have a row more than the others, where the rows do not come out even.
        let (height, higher) = (rows.len() / readers, rows.len() % readers);
        for (height, tiles) in [(height + 1, 0..higher), (height, higher..readers)] {
            if tiles.is_empty() || height == 0 {
                continue;
            }
            let first = if tiles.start == 0 { 0 } else { higher * (height + 1) };
            let row = rows.start + first;
            let Located { table, row_stride, apart } = located;
            // SAFETY: the offsets stay inside the operands, by the caller's promises. A tile has at most as many rows
            // as its micro-kernel, and a group at most as many panels as the highest tile of the product takes.
            unsafe {
                let t = Tiles {
                    count: tiles.len(),
                    rows: if apart.is_some() { table } else { table.add(first) },
                    row_stride,
                    offset: pass.offset + block.offset + apart.map_or(0, |apart| first * apart),
                    next_tile: apart.map_or((height, 0), |apart| (0, height * apart)),
                    segments: block.segments,
                    depth: block.depth,
                    b: this_b,
                    next_b,
                    readers,
                    before: tiles.start,
                    panel_stride: self.panel_rows * PANEL,
                    c: out.data.add(row * out.stride + column),
                    c_stride: out.stride,
                    cols,
                    addend: pass.addend.at(row, column),
                    addend_stride: pass.addend.stride,
                    bias: if pass.bias.is_null() { pass.bias } else { pass.bias.add(column) },
                    simple: pass.simple,
                };
                self.micro.function(height, group.len(), cols)(&t);
            }
        }
    }

    /// Applies the activation to these rows of a group of panels after the last pass.
    ///
    /// # Safety
    /// As for [`Gemm::run_part`].
    unsafe fn finish(&self, pass: &Pass, rows: &Range<usize>, group: &Range<usize>, out: &Output) {
        if pass.last {
            // SAFETY: these columns of C belong to this part.
            unsafe { finish_rows(self.micro.isa, out, rows.clone(), columns(self.shape.n, group)) };
        }
    }
}

/// Some rows and panels of a product, and its operands.
struct Block<'a> {
    rows: &'a Range<usize>,
    panels: &'a Range<usize>,
    /// Locates the rows as [`Rows::locate`] does, or those of the first tile, if all rows are so many elements `apart`.
    table: &'a [*const f32],
    apart: Option<usize>,
    b: *const f32,
    /// What is read after `b`: any address.
    following: *const f32,
    out: &'a Output,
    /// Scratch memory of [`Gemm::tile_bytes`], for products on tiles.
    tiles: *mut u8,
}

/// Where the rows of A are: `table[s * row_stride + r]` points to row `r` of segment `s` of a pass. If rows are so many
/// elements `apart`, it has those of a tile only.
#[derive(Clone, Copy)]
struct Located {
    table: *const *const f32,
    row_stride: usize,
    apart: Option<usize>,
}

/// What one pass over K adds and applies.
struct Pass {
    index: usize,
    block: DepthBlock,
    /// The first step of K.
    first_k: usize,
    /// Elements to skip at the start of every row of A.
    offset: usize,
    addend: Addend,
    bias: *const f32,
    simple: Simple,
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
        let simple = out.activation.simple(gemm.micro.isa).filter(|_| last).unwrap_or(Simple::NONE);
        Pass {
            index: i,
            block: gemm.blocks.get(i),
            first_k: gemm.first_k(i),
            offset,
            addend,
            bias: if last { out.bias } else { ptr::null() },
            simple,
            last,
        }
    }
}

/// Applies the activation to a block of C while it is in cache, unless it is a simple one: that is done when C is stored.
///
/// # Safety
/// The block of C exists and belongs to the caller.
pub(super) unsafe fn finish_rows(isa: Isa, out: &Output, rows: Range<usize>, columns: Range<usize>) {
    if out.activation.simple(isa).is_some() {
        return;
    }
    let block = rows.map(|row| {
        let first = out.data.wrapping_add(row * out.stride + columns.start);
        // SAFETY: the caller's promise; rows do not overlap.
        unsafe { std::slice::from_raw_parts_mut(first, columns.len()) }
    });
    out.activation.apply_to_rows(isa, block);
}
