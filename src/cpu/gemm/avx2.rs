//! Micro-kernels for x86-64 with AVX2 and FMA: tiles of 6 x 16, twelve of the sixteen registers accumulate.

use super::kernel::{Micro, Narrow, TileFn, Tiles, tiles};
use crate::cpu::Isa;
use crate::cpu::simd::__m256;

/// Up to 6 rows by one panel; fewer rows take more panels, so that there are always at least eight sums in flight.
/// Up to 12 rows by half a panel.
pub(super) const F32_6X16: Micro =
    Micro { isa: Isa::Avx2, rows: 6, depth: 256, near: 320 << 10, tiles: TILES, narrow: NARROW, bf16x3: None };

const TILES: &[&[TileFn]] = &[
    &[f32_tile::<1, 2>, f32_tile::<1, 4>, f32_tile::<1, 6>, f32_tile::<1, 8>],
    &[f32_tile::<2, 2>, f32_tile::<2, 4>],
    &[f32_tile::<3, 2>, f32_tile::<3, 4>],
    &[f32_tile::<4, 2>],
    &[f32_tile::<5, 2>],
    &[f32_tile::<6, 2>],
];

macro_rules! narrow {
    ($($rows:literal)*) => { &[$(f32_tile::<$rows, 1>),*] };
}

const NARROW: Narrow = Narrow { columns: 8, tiles: narrow!(1 2 3 4 5 6 7 8 9 10 11 12) };

#[target_feature(enable = "avx2,fma")]
unsafe fn f32_tile<const ROWS: usize, const VECTORS: usize>(t: &Tiles) {
    // SAFETY: the caller's promises.
    unsafe { tiles::<__m256, ROWS, VECTORS>(t) }
}
