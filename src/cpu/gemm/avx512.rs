//! Micro-kernels for x86-64 with AVX-512: tiles of 14 x 32, 28 of the 32 registers accumulate.

use super::kernel::{Micro, Tile, TileFn, tile};
use crate::cpu::Isa;
use crate::cpu::simd::__m512;

/// Up to 14 rows by two panels; tiles of few rows take four.
pub(super) const F32_14X32: Micro = Micro { isa: Isa::Avx512, rows: 14, depth: 192, tiles: TILES, halves: &[] };

macro_rules! tiles {
    ($rows:literal: $($panels:literal)*) => { &[$(f32_tile::<$rows, $panels>),*] };
}

const TILES: &[&[TileFn]] = &[
    tiles!(1: 1 2 3 4),
    tiles!(2: 1 2 3 4),
    tiles!(3: 1 2 3 4),
    tiles!(4: 1 2 3 4),
    tiles!(5: 1 2),
    tiles!(6: 1 2),
    tiles!(7: 1 2),
    tiles!(8: 1 2),
    tiles!(9: 1 2),
    tiles!(10: 1 2),
    tiles!(11: 1 2),
    tiles!(12: 1 2),
    tiles!(13: 1 2),
    tiles!(14: 1 2),
];

#[target_feature(enable = "avx512f")]
unsafe fn f32_tile<const ROWS: usize, const VECTORS: usize>(t: &Tile) {
    // SAFETY: the caller's promises.
    unsafe { tile::<__m512, ROWS, VECTORS>(t) }
}
