//! Micro-kernels for x86-64 with AVX-512: tiles of 14 x 32, 28 of the 32 registers accumulate.

use super::kernel::{Micro, Tile, TileFn, tile};
use crate::cpu::Isa;
use crate::cpu::simd::__m512;

/// Up to 14 rows by two panels; tiles of few rows take four.
pub(super) const F32_14X32: Micro = Micro { isa: Isa::Avx512, rows: 14, depth: 192, tiles: TILES };

macro_rules! row {
    ($rows:literal: $($panels:literal)*) => { &[$(f32_tile::<$rows, $panels>),*] };
}

const TILES: &[&[TileFn]] = &[
    row!(1: 1 2 3 4),
    row!(2: 1 2 3 4),
    row!(3: 1 2 3 4),
    row!(4: 1 2 3 4),
    row!(5: 1 2),
    row!(6: 1 2),
    row!(7: 1 2),
    row!(8: 1 2),
    row!(9: 1 2),
    row!(10: 1 2),
    row!(11: 1 2),
    row!(12: 1 2),
    row!(13: 1 2),
    row!(14: 1 2),
];

#[target_feature(enable = "avx512f")]
unsafe fn f32_tile<const ROWS: usize, const VECTORS: usize>(t: &Tile) {
    // SAFETY: the caller's promises.
    unsafe { tile::<__m512, ROWS, VECTORS>(t) }
}
