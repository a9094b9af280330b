//! Products on tiles of bfloat16, for processors that have them: each `f32` is the sum of three bfloat16.
//!
//! A significand of 24 bits is exactly three of 8, `x = x1 + x2 + x3`. Of the nine products of such parts the six largest
//! are summed, in `f32`; the three others together are at most 2^-23 of a product, as much as one rounding of it (Henry,
//! Tang and Heinecke, "Leveraging the bfloat16 Artificial Intelligence Datatype For Higher-Precision Computations", arXiv
//! 1904.06376). So results are as near to the exact ones as those of multiply-adds, at about half of their time.
//!
//! Tiles know no denormal numbers: parts below 2^-126 count as zero. Rows of A and groups of panels of B with elements
//! that are not finite, or so large that a part may not be, are left to the vector kernels; which ones depends on
//! nothing but their elements. Both operands are split on the way, a strip of A for all panels and a group of panels for
//! the whole strip, so that no copy of the weights is kept.

use super::kernel::PANEL;
use super::partition::{DepthBlock, columns};
use super::{Block, Gemm, GemmShape, Located, Pass, panels};
use crate::cpu::activation::Simple;
use crate::cpu::parts::even;
use crate::cpu::simd::prefetch_near;
use std::ops::Range;

/// The functions of an instruction set. Safe to call when the CPU has it and the arguments are valid.
#[derive(Debug)]
pub(super) struct Bf16x3 {
    pub rows: unsafe fn(&SplitRows, &mut Odd),
    /// Whether the panel has odd elements.
    pub panel: unsafe fn(&SplitPanel) -> bool,
    pub product: unsafe fn(&TileProduct),
    pub finish: unsafe fn(&Finish, &Odd),
    /// Prepares the thread for tiles of so many rows, until `end`.
    pub begin: unsafe fn(usize),
    pub end: unsafe fn(),
}

/// Rows of a tile, and elements of K that it holds of each.
pub(super) const TILE: usize = 16;
pub(super) const CHUNK: usize = 32;
/// Bytes of a tile, and of the three that hold the parts of a chunk.
pub(super) const TILE_BYTES: usize = TILE * CHUNK * 2;
const CHUNK_BYTES: usize = 3 * TILE_BYTES;
/// Panels that are multiplied at once.
pub(super) const GROUP: usize = 2;
/// Bytes of a strip of A, in parts: with a group of panels and what it makes of C it stays in a second-level cache of
/// 2 MiB, as all processors with tiles have.
const STRIP_BYTES: usize = 1 << 20;
/// Rows of a strip.
const STRIP: usize = 256;
/// Products of tiles that fetch the panels that follow, each so many rows per chunk.
const AHEAD: usize = 4;
pub(super) const ROWS_AHEAD: usize = CHUNK / AHEAD;

/// Exponents from which numbers are odd: rounding to a part may overflow.
pub(super) const ODD: u32 = 0x7f00_0000;

/// Which rows of a strip have odd elements.
#[derive(Default)]
pub(super) struct Odd([u64; STRIP / 64]);

impl Odd {
    pub fn insert(&mut self, row: usize) {
        self.0[row / 64] |= 1 << (row % 64);
    }

    pub fn contains(&self, row: usize) -> bool {
        self.0[row / 64] >> (row % 64) & 1 != 0
    }
}

/// Rows of A to split into blocks of `height` rows: of each block, chunk by chunk, the tiles of the three parts.
pub(super) struct SplitRows {
    pub count: usize,
    /// As in [`Tiles`](super::Tiles).
    pub rows: *const *const f32,
    pub row_stride: usize,
    pub offset: usize,
    pub segments: usize,
    pub depth: usize,
    pub height: usize,
    pub to: *mut u8,
}

/// A panel of B to split: chunk by chunk, the tiles of the three parts.
pub(super) struct SplitPanel {
    pub panel: *const f32,
    pub segments: usize,
    pub depth: usize,
    pub to: *mut u8,
}

/// The product of one or two blocks of rows and one or two panels.
pub(super) struct TileProduct {
    pub chunks: usize,
    pub a: [*const u8; 2],
    pub b: [*const u8; GROUP],
    /// How many of these there are.
    pub blocks: usize,
    pub panels: usize,
    /// Receives the sums: rows of `GROUP` panels.
    pub sums: *mut f32,
    /// Rows of a block.
    pub height: usize,
    /// The panels to fetch rows of.
    pub next: [*const f32; GROUP],
}

/// Sums that become rows of C, all but the odd ones.
pub(super) struct Finish {
    pub sums: *const f32,
    /// Rows of the strip.
    pub rows: Range<usize>,
    pub cols: usize,
    /// The first of these rows. What follows is as in [`Tiles`](super::Tiles).
    pub c: *mut f32,
    pub c_stride: usize,
    pub addend: *const f32,
    pub addend_stride: usize,
    pub bias: *const f32,
    pub simple: Simple,
}

/// Multiply-adds per cycle of the vector kernels; cycles of the product of two tiles per row of the first; cycles per
/// element of A that is split, of B, which comes from memory, and of C.
const VECTOR_RATE: f32 = 26.0;
const TILE_ROW: f32 = 1.4;
const SPLIT_A: f32 = 0.9;
const SPLIT_B: f32 = 1.4;
const FINISH: f32 = 0.25;
/// The share of the vector kernels' time that tiles must stay below: cores that use them lower their clock for a while.
const WORTH: f32 = 0.9;

/// Rows of a strip whose passes have so many chunks.
fn strip_rows(chunks: usize) -> usize {
    (STRIP_BYTES / (chunks * CHUNK_BYTES / TILE).max(1)).clamp(2 * TILE, STRIP) / TILE * TILE
}

impl Gemm {
    /// Whether tiles are expected to be faster than vectors. A function of the shape only, so that results are as well.
    pub(super) fn tiles_pay(&self) -> bool {
        let GemmShape { m, n, segments, depth } = self.shape;
        if m < TILE || n == 0 || segments * depth == 0 {
            return false;
        }
        let strips = m.div_ceil(strip_rows(self.most_chunks())) as f32;
        let chunks = (segments * depth.div_ceil(CHUNK)) as f32;
        let (rows, columns, k) = (m as f32, (panels(n) * PANEL) as f32, chunks * CHUNK as f32);
        let vectors = rows * columns * (segments * depth) as f32 / VECTOR_RATE;
        let product = rows * columns / PANEL as f32 * chunks * 6.0 * TILE_ROW;
        let split = k * (rows * SPLIT_A + strips * columns * SPLIT_B);
        product + split + rows * columns * FINISH < WORTH * vectors
    }

    /// Chunks of the longest pass.
    fn most_chunks(&self) -> usize {
        (0..self.blocks.len()).map(|i| chunks(&self.blocks.get(i))).max().unwrap_or(0)
    }

    /// Bytes of scratch memory for the operands and sums in tiles.
    pub(super) fn tile_bytes(&self) -> usize {
        if self.bf16x3.is_none() {
            return 0;
        }
        // Passes of fewer chunks have longer strips.
        let bytes =
            |chunks: usize| (self.most_rows().min(strip_rows(chunks)).div_ceil(TILE) + GROUP) * chunks * CHUNK_BYTES;
        let passes = (0..self.blocks.len()).map(|i| chunks(&self.blocks.get(i)));
        passes.map(bytes).max().unwrap_or(0) + SUMS_BYTES
    }

    /// As [`Gemm::run_pass`] on tiles.
    ///
    /// # Safety
    /// As for [`Gemm::run_pass`].
    pub(super) unsafe fn run_pass_on_tiles(&self, kernel: &Bf16x3, pass: &Pass, block: &Block<'_>) {
        let count = block.rows.len();
        let strips = count.div_ceil(strip_rows(chunks(&pass.block)));
        for strip in 0..strips {
            let rows = even(count, strips, strip);
            let strip = Strip {
                gemm: self,
                kernel,
                pass,
                block,
                rows: block.rows.start + rows.start..block.rows.start + rows.end,
                table: block.table[pass.block.first_segment * count + rows.start..].as_ptr(),
            };
            // SAFETY: the caller's promises.
            unsafe { strip.run() };
        }
    }
}

/// Chunks of a pass. Those of different segments lie apart in A, so each segment has its own.
fn chunks(block: &DepthBlock) -> usize {
    block.segments * block.depth.div_ceil(CHUNK)
}

/// Bytes of the sums of two blocks of rows.
const SUMS_BYTES: usize = 2 * TILE * GROUP * PANEL * size_of::<f32>();

/// Some rows of a block in one pass over K.
struct Strip<'a> {
    gemm: &'a Gemm,
    kernel: &'a Bf16x3,
    pass: &'a Pass,
    block: &'a Block<'a>,
    rows: Range<usize>,
    /// Locates these rows from the pass's first segment on.
    table: *const *const f32,
}

/// Where a strip's operands and sums are, in tiles.
struct Memory {
    a: *mut u8,
    b: [*mut u8; GROUP],
    sums: *mut f32,
}

impl Memory {
    fn new(memory: *mut u8, chunks: usize) -> Memory {
        let panel_bytes = chunks * CHUNK_BYTES;
        let sums = memory.wrapping_add(GROUP * panel_bytes);
        let b = [memory, memory.wrapping_add(panel_bytes)];
        Memory { a: sums.wrapping_add(SUMS_BYTES), b, sums: sums.cast() }
    }
}

impl Strip<'_> {
    /// # Safety
    /// As for [`Gemm::run_pass_on_tiles`].
    unsafe fn run(&self) {
        let Strip { gemm, kernel, pass, block, ref rows, .. } = *self;
        let (DepthBlock { segments, depth, .. }, count) = (pass.block, rows.len());
        let blocks = count.div_ceil(TILE);
        // Of even height, so that no tile is nearly empty.
        let height = count.div_ceil(blocks);
        let memory = Memory::new(block.tiles, chunks(&pass.block));
        let (offset, row_stride) = (pass.offset + pass.block.offset, block.rows.len());
        let mut odd = Odd::default();
        // SAFETY: the caller's promises; the memory has room for the blocks, the panels and the sums.
        unsafe {
            (kernel.begin)(height);
            let split =
                SplitRows { count, rows: self.table, row_stride, offset, segments, depth, height, to: memory.a };
            (kernel.rows)(&split, &mut odd);
            for group in gemm.groups(block.panels) {
                self.group(&group, height, &memory, &odd);
            }
            (kernel.end)();
        }
    }

    /// All rows of one group of panels.
    ///
    /// # Safety
    /// As for [`Gemm::run_pass_on_tiles`].
    unsafe fn group(&self, group: &Range<usize>, height: usize, memory: &Memory, odd: &Odd) {
        let Strip { gemm, kernel, pass, block, ref rows, table } = *self;
        let (DepthBlock { segments, depth, .. }, out) = (pass.block, block.out);
        let b = (gemm.start(block.b, pass.first_k, group.start), gemm.after(pass, block, group.end));
        let cols = columns(gemm.shape.n, group);
        let panel = |b: *const f32, p: usize| b.wrapping_add(p * gemm.panel_rows * PANEL);
        let located = Located { table, row_stride: block.rows.len(), apart: None };
        // SAFETY: the caller's promises.
        unsafe {
            let mut odd_panels = false;
            for p in 0..group.len() {
                odd_panels |= (kernel.panel)(&SplitPanel { panel: panel(b.0, p), segments, depth, to: memory.b[p] });
            }
            if odd_panels {
                gemm.run_panels(pass, rows, b, group, located, out);
            } else {
                self.tiles(cols, [panel(b.1, 0), panel(b.1, 1)], height, memory, odd);
                for row in (0..rows.len()).filter(|&row| odd.contains(row)) {
                    let this = rows.start + row..rows.start + row + 1;
                    gemm.run_panels(pass, &this, b, group, Located { table: table.add(row), ..located }, out);
                }
            }
            gemm.finish(pass, rows, group, out);
        }
    }

    /// All tiles of some columns of C.
    ///
    /// # Safety
    /// As for [`Gemm::run_pass_on_tiles`].
    unsafe fn tiles(&self, cols: Range<usize>, next: [*const f32; GROUP], height: usize, memory: &Memory, odd: &Odd) {
        let Strip { kernel, pass, block: &Block { out, .. }, ref rows, .. } = *self;
        let (chunks, count) = (chunks(&pass.block), rows.len());
        for (pair, start) in (0..count).step_by(2 * height).enumerate() {
            let end = (start + 2 * height).min(count);
            let a = memory.a.wrapping_add(2 * pair * chunks * CHUNK_BYTES).cast_const();
            let row = rows.start + start;
            // Later tiles ask for what the first have fetched.
            let ahead = pair % AHEAD * chunks * ROWS_AHEAD * PANEL;
            // SAFETY: the caller's promises; `memory` has the operands in tiles.
            unsafe {
                let addend = pass.addend.at(row, cols.start);
                if !addend.is_null() {
                    for i in 0..end - start {
                        for column in (0..cols.len()).step_by(PANEL) {
                            prefetch_near(addend.wrapping_add(i * pass.addend.stride + column));
                        }
                    }
                }
                (kernel.product)(&TileProduct {
                    chunks,
                    a: [a, a.wrapping_add(chunks * CHUNK_BYTES)],
                    b: memory.b.map(|b| b.cast_const()),
                    blocks: (end - start).div_ceil(height),
                    panels: panels(cols.len()),
                    sums: memory.sums,
                    height,
                    next: next.map(|next| next.wrapping_add(ahead)),
                });
                let finish = Finish {
                    sums: memory.sums,
                    rows: start..end,
                    cols: cols.len(),
                    c: out.data.add(row * out.stride + cols.start),
                    c_stride: out.stride,
                    addend,
                    addend_stride: pass.addend.stride,
                    bias: if pass.bias.is_null() { pass.bias } else { pass.bias.add(cols.start) },
                    simple: pass.simple,
                };
                (kernel.finish)(&finish, odd);
            }
        }
    }
}
