//! Micro-kernels for x86-64 with AVX-512: tiles of 8 x 48, 24 of the 32 registers accumulate.

use super::kernel::{Micro, Narrow, PANEL, TileFn, Tiles, tiles};
use crate::cpu::Isa;
use crate::cpu::simd::__m512;

/// Up to 8 rows by three panels; tiles of few rows take four. No higher: where rows are a multiple of 4 KiB apart, all
/// of a tile share one set of the first-level cache, which has eight ways or more. Panels stream from the second level.
/// Up to 12 rows by a single panel: 8 sums would not hide the latency of multiply-adds.
pub(super) const F32_8X48: Micro =
    Micro { isa: Isa::Avx512, rows: 8, depth: 384, near: 320 << 10, tiles: TILES, narrow: NARROW, bf16x3: None };

macro_rules! tiles {
    ($rows:literal: $($panels:literal)*) => { &[$(f32_tile::<$rows, $panels>),*] };
}

const TILES: &[&[TileFn]] = &[
    tiles!(1: 1 2 3 4),
    tiles!(2: 1 2 3 4),
    tiles!(3: 1 2 3 4),
    tiles!(4: 1 2 3 4),
    tiles!(5: 1 2 3),
    tiles!(6: 1 2 3),
    tiles!(7: 1 2 3),
    tiles!(8: 1 2 3),
];

macro_rules! narrow {
    ($($rows:literal)*) => { &[$(f32_tile::<$rows, 1>),*] };
}

const NARROW: Narrow = Narrow { columns: PANEL, tiles: narrow!(1 2 3 4 5 6 7 8 9 10 11 12) };

#[target_feature(enable = "avx512f")]
unsafe fn f32_tile<const ROWS: usize, const VECTORS: usize>(t: &Tiles) {
    // SAFETY: the caller's promises.
    unsafe { tiles::<__m512, ROWS, VECTORS>(t) }
}
