//! Micro-kernels: a few rows of A times a few panels of B, accumulated in registers.
//!
//! The algorithm is written once over [`Vector`]; each instruction set has one file with its vector and its table of
//! row and panel counts. [`F32`] lists them best first: selection, tests and benchmarks read that list.
#![allow(clippy::needless_range_loop, reason = "loops over registers are unrolled by constant index")]

use crate::cpu::Isa;
use crate::cpu::activation::Simple;
use crate::cpu::simd::{Vector, prefetch_far, prefetch_near};

use super::bf16x3::Bf16x3;
#[cfg(target_arch = "aarch64")]
use super::neon;
use super::scalar;
#[cfg(target_arch = "x86_64")]
use super::{amx, avx2, avx512};

/// Columns of one panel of packed weights.
pub const PANEL: usize = 16;

/// The `f32` micro-kernels of this target, best first; the last runs everywhere.
pub static F32: &[Micro] = &[
    #[cfg(target_arch = "x86_64")]
    amx::F32_32X32,
    #[cfg(target_arch = "x86_64")]
    avx512::F32_8X48,
    #[cfg(target_arch = "x86_64")]
    avx2::F32_6X16,
    #[cfg(target_arch = "aarch64")]
    neon::F32_5X16,
    scalar::F32_3X16,
];

/// A family of micro-kernels for one instruction set.
#[derive(Debug)]
pub struct Micro {
    /// The instruction set it needs.
    pub isa: Isa,
    /// Rows of the largest tile.
    pub rows: usize,
    /// Steps of K that one pass over a tile takes: its panels are read again for each tile of rows, from a near cache.
    pub depth: usize,
    /// Bytes of A that a part streams repeatedly; they stay in the second-level cache.
    pub(super) near: usize,
    /// Functions for 1, 2, … `rows` rows; each entry has those for 1, 2, … panels.
    pub(super) tiles: &'static [&'static [TileFn]],
    /// For few columns.
    pub(super) narrow: Narrow,
    /// For products that are worth splitting their operands.
    pub(super) bf16x3: Option<&'static Bf16x3>,
}

/// Higher tiles for products, or ends of products, of few columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Narrow {
    /// The most columns, no more than a panel's.
    pub columns: usize,
    /// Functions for 1, 2, … rows.
    pub tiles: &'static [TileFn],
}

/// Computes tiles. Safe to call when the CPU has the micro-kernel's instruction set and the [`Tiles`] are valid.
pub(super) type TileFn = unsafe fn(&Tiles);

impl Micro {
    /// The micro-kernel for `isa`, or the scalar one where `isa` has none or the CPU lacks it.
    pub fn select(isa: Isa) -> &'static Micro {
        let fits = |micro: &&Micro| micro.isa == isa && isa.is_available();
        F32.iter().find(fits).unwrap_or(&F32[F32.len() - 1])
    }

    /// `f32` elements in a vector.
    pub fn lanes(&self) -> usize {
        match self.isa {
            Isa::Amx | Isa::Avx512 => 16,
            Isa::Avx2 => 8,
            Isa::Neon | Isa::Scalar => 4,
        }
    }

    /// The most rows of a tile.
    pub(super) fn tallest(&self) -> usize {
        self.rows.max(self.narrow.tiles.len())
    }

    /// The most rows of a tile of `columns` columns.
    pub(super) fn most_rows(&self, columns: usize) -> usize {
        if columns <= self.narrow.columns { self.narrow.tiles.len() } else { self.rows }
    }

    /// The function for a tile of `rows` rows and `columns` columns in `panels` panels.
    pub(super) fn function(&self, rows: usize, panels: usize, columns: usize) -> TileFn {
        if columns <= self.narrow.columns { self.narrow.tiles[rows - 1] } else { self.tiles[rows - 1][panels - 1] }
    }

    /// The most panels that a tile of `rows` rows takes at once.
    pub fn panels(&self, rows: usize) -> usize {
        self.tiles[rows - 1].len()
    }
}

/// The operands of tiles below each other that read the same panels: `C = simple(bias + A * B + addend)`.
pub(super) struct Tiles {
    pub count: usize,
    /// `rows[s * row_stride + r]` points to row `r`, counted through all tiles, of segment `s` of A.
    pub rows: *const *const f32,
    pub row_stride: usize,
    /// Elements to skip at the start of every row of the first tile.
    pub offset: usize,
    /// What the next tile has more: in `rows`, where they locate each row, or in `offset`.
    pub next_tile: (usize, usize),
    /// K is `segments` runs of `depth` contiguous elements of A.
    pub segments: usize,
    pub depth: usize,
    /// First panel, at the first k. All of its 16 columns are readable.
    pub b: *const f32,
    /// Elements from one panel to the next.
    pub panel_stride: usize,
    /// What will be read next as `b`, or any address: the first of the tiles that read `b`, up to [`AHEAD`], fetch it into
    /// the second-level cache on the way, a part each.
    pub next_b: *const f32,
    /// Tiles that read `b`, and those of them before these.
    pub readers: usize,
    pub before: usize,
    pub c: *mut f32,
    pub c_stride: usize,
    /// Valid columns; what lies beyond them in C, addend and bias is not touched.
    pub cols: usize,
    /// Added to the product, or null. May be C itself.
    pub addend: *const f32,
    pub addend_stride: usize,
    /// One value per column, or null.
    pub bias: *const f32,
    pub simple: Simple,
}

/// Tiles that fetch the next panels, at most. Memory delivers evenly to many tiles what it could not to a few.
const AHEAD: usize = 16;
/// Steps of K for which a tile asks at most for one line of each next panel. As many tiles fetch all of them.
const LINE_STEPS: usize = 4;

/// Repeats a block for each row of a tile. Sums must be indexed by constants, or they live in memory; unrolling loops
/// of this size is not left to the compiler's judgement.
macro_rules! for_rows {
    ($r:ident < $rows:ident $body:block) => {
        for_rows!(@ $r $rows $body 0 1 2 3 4 5 6 7 8 9 10 11 12 13)
    };
    (@ $r:ident $rows:ident $body:block $($i:literal)*) => {$(
        if $i < $rows {
            let $r = $i;
            $body
        }
    )*};
}

pub(in crate::cpu) use for_rows;

/// The micro-kernel for tiles of `ROWS` <= 12 rows and `VECTORS` vectors of columns.
///
/// # Safety
/// The CPU has the instruction set of `V`, and `t` is valid.
#[inline(always)]
pub(super) unsafe fn tiles<V: Vector, const ROWS: usize, const VECTORS: usize>(t: &Tiles) {
    let ahead = t.readers.clamp(LINE_STEPS, AHEAD);
    // Neighbouring requests may be for the same line.
    let stride = (LINE_STEPS * PANEL).div_ceil(ahead);
    let part = t.segments * t.depth / LINE_STEPS * stride;
    // SAFETY: the caller's promises.
    unsafe {
        let mut bias = [V::splat(0.0); VECTORS];
        if !t.bias.is_null() {
            for v in 0..VECTORS {
                bias[v] = V::load_up_to(t.bias.wrapping_add(v * V::LANES), t.cols.saturating_sub(v * V::LANES));
            }
        }
        let (mut rows, mut offset, mut c, mut addend) = (t.rows, t.offset, t.c, t.addend);
        for tile in t.before..t.before + t.count {
            if !addend.is_null() {
                for_rows!(r < ROWS {
                    for v in (0..VECTORS).step_by(PANEL / V::LANES) {
                        prefetch_near(addend.wrapping_add(r * t.addend_stride + v * V::LANES));
                    }
                });
            }
            let mut sums = [bias; ROWS];
            let next_b = if tile < ahead { t.next_b.wrapping_add(tile * part) } else { t.b };
            product(&mut sums, t, (rows, offset), (next_b, stride));
            if t.cols == VECTORS * V::LANES {
                finish(sums, t, c, addend)
            } else {
                finish_edge(sums, t, c, addend)
            }
            rows = rows.add(t.next_tile.0);
            offset += t.next_tile.1;
            c = c.wrapping_add(ROWS * t.c_stride);
            if !addend.is_null() {
                addend = addend.wrapping_add(ROWS * t.addend_stride);
            }
        }
    }
}

/// Adds the product for the tile whose rows the table locates from `table` on, `offset` elements before their start. Fetches from `next_b` on, so many elements
/// for every few steps of K.
#[inline(always)]
unsafe fn product<V: Vector, const ROWS: usize, const VECTORS: usize>(
    sums: &mut [[V; VECTORS]; ROWS],
    t: &Tiles,
    (mut table, offset): (*const *const f32, usize),
    (mut next_b, stride): (*const f32, usize),
) {
    // SAFETY: the caller's promises.
    unsafe {
        let mut b = t.b;
        for _ in 0..t.segments {
            let mut rows = [t.b; ROWS];
            for_rows!(r < ROWS { rows[r] = *table.add(r) });
            let (mut k, end) = (offset, offset + t.depth);
            while k + LINE_STEPS <= end {
                for step in 0..LINE_STEPS {
                    accumulate(sums, &rows, k + step, b.add(step * PANEL), t.panel_stride);
                }
                // A single row reads B as fast as it comes: asking for more of it would only be in the way.
                if ROWS > 1 {
                    for panel in 0..(VECTORS * V::LANES).div_ceil(PANEL) {
                        prefetch_far(next_b.wrapping_add(panel * t.panel_stride));
                    }
                }
                next_b = next_b.wrapping_add(stride);
                b = b.add(LINE_STEPS * PANEL);
                k += LINE_STEPS;
            }
            while k < end {
                accumulate(sums, &rows, k, b, t.panel_stride);
                b = b.add(PANEL);
                k += 1;
            }
            table = table.wrapping_add(t.row_stride);
        }
    }
}

/// One step of K: a rank-one update of the tile.
#[inline(always)]
unsafe fn accumulate<V: Vector, const ROWS: usize, const VECTORS: usize>(
    sums: &mut [[V; VECTORS]; ROWS],
    rows: &[*const f32; ROWS],
    k: usize,
    b: *const f32,
    panel_stride: usize,
) {
    // SAFETY: the caller's promises.
    unsafe {
        let per_panel = PANEL / V::LANES;
        let column = |v: usize| V::load(b.add(v / per_panel * panel_stride + v % per_panel * V::LANES));
        let element = |r: usize| V::splat(*rows[r].add(k));
        // The fewer operands stay in registers, so that the sums do too.
        if ROWS < VECTORS {
            let mut elements = [V::splat(0.0); ROWS];
            for_rows!(r < ROWS { elements[r] = element(r) });
            for v in 0..VECTORS {
                let column = column(v);
                for_rows!(r < ROWS { sums[r][v] = elements[r].mul_add(column, sums[r][v]) });
            }
        } else {
            let mut columns = [V::splat(0.0); VECTORS];
            for v in 0..VECTORS {
                columns[v] = column(v);
            }
            for_rows!(r < ROWS {
                let element = element(r);
                for v in 0..VECTORS {
                    sums[r][v] = element.mul_add(columns[v], sums[r][v]);
                }
            });
        }
    }
}

/// Adds, applies the activation and stores a tile whose columns are all valid.
#[inline(always)]
unsafe fn finish<V: Vector, const ROWS: usize, const VECTORS: usize>(
    mut sums: [[V; VECTORS]; ROWS],
    t: &Tiles,
    c: *mut f32,
    addend: *const f32,
) {
    // SAFETY: the caller's promises.
    unsafe {
        if !addend.is_null() {
            for_rows!(r < ROWS {
                for v in 0..VECTORS {
                    sums[r][v] = sums[r][v].add(V::load(addend.add(r * t.addend_stride + v * V::LANES)));
                }
            });
        }
        if t.simple.lo != f32::NEG_INFINITY {
            let lo = V::splat(t.simple.lo);
            for_rows!(r < ROWS {
                for v in 0..VECTORS {
                    sums[r][v] = sums[r][v].max(lo);
                }
            });
        }
        if t.simple.hi != f32::INFINITY {
            let hi = V::splat(t.simple.hi);
            for_rows!(r < ROWS {
                for v in 0..VECTORS {
                    sums[r][v] = sums[r][v].min(hi);
                }
            });
        }
        if t.simple.gates::<V>() {
            for_rows!(r < ROWS {
                for v in 0..VECTORS {
                    sums[r][v] = Simple::gate(sums[r][v]);
                }
            });
        }
        for_rows!(r < ROWS {
            for v in 0..VECTORS {
                sums[r][v].store(c.add(r * t.c_stride + v * V::LANES));
            }
        });
    }
}

/// As [`finish`] for a tile whose last columns are padding.
#[inline(always)]
unsafe fn finish_edge<V: Vector, const ROWS: usize, const VECTORS: usize>(
    sums: [[V; VECTORS]; ROWS],
    t: &Tiles,
    c: *mut f32,
    addend: *const f32,
) {
    // SAFETY: the caller's promises.
    unsafe {
        for_rows!(r < ROWS {
            for v in 0..VECTORS {
                let n = t.cols.saturating_sub(v * V::LANES);
                let mut value = sums[r][v];
                if !addend.is_null() {
                    let addend = addend.wrapping_add(r * t.addend_stride + v * V::LANES);
                    value = value.add(V::load_up_to(addend, n));
                }
                let to = c.wrapping_add(r * t.c_stride + v * V::LANES);
                t.simple.apply(value).store_up_to(to, n);
            }
        });
    }
}
