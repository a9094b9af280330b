//! Micro-kernels for AArch64 with Advanced SIMD: tiles of 5 x 16, 20 of the 32 registers accumulate.

use super::kernel::{Micro, Narrow, TileFn, Tiles, tiles};
use crate::cpu::Isa;
use crate::cpu::simd::float32x4_t;

/// Up to 5 rows by one panel; few rows take more panels: sixteen sums hide the latency of as many multiply-adds as large
/// cores begin in that time. Up to 12 rows by half a panel. Elements of A are loaded in pairs, a register for each: with
/// another row some sums would be in memory.
pub(super) const F32_5X16: Micro =
    Micro { isa: Isa::Neon, rows: 5, depth: 256, near: 320 << 10, tiles: TILES, narrow: NARROW, bf16x3: None };

const TILES: &[&[TileFn]] = &[
    &[f32_tile::<1, 4>, f32_tile::<1, 8>, f32_tile::<1, 12>, f32_tile::<1, 16>],
    &[f32_tile::<2, 4>, f32_tile::<2, 8>],
    &[f32_tile::<3, 4>, f32_tile::<3, 8>],
    &[f32_tile::<4, 4>],
    &[f32_tile::<5, 4>],
];

macro_rules! narrow {
    ($($rows:literal)*) => { &[$(f32_tile::<$rows, 2>),*] };
}

const NARROW: Narrow = Narrow { columns: 8, tiles: narrow!(1 2 3 4 5 6 7 8 9 10 11 12) };

unsafe fn f32_tile<const ROWS: usize, const VECTORS: usize>(t: &Tiles) {
    // SAFETY: the caller's promises.
    unsafe { tiles::<float32x4_t, ROWS, VECTORS>(t) }
}
