//! Micro-kernels for x86-64 with AVX-512: tiles of 14 x 32, 28 of the 32 registers accumulate.

use super::kernel::{Micro, Tile, TileFn, Vector, tile};
use crate::cpu::Isa;
use std::arch::x86_64::*;

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

/// A mask that selects the first `n` < 16 lanes.
#[inline(always)]
fn first(n: usize) -> __mmask16 {
    (1 << n) - 1
}

impl Vector for __m512 {
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the trait's promises, as for all functions of this implementation.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as above.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Self {
        // SAFETY: as above.
        unsafe { _mm512_maskz_loadu_ps(first(n), from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above.
        unsafe { _mm512_storeu_ps(to, self) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        // SAFETY: as above.
        unsafe { _mm512_mask_storeu_ps(to, first(n), self) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { _mm512_add_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: as above.
        unsafe { _mm512_fmadd_ps(self, factor, addend) }
    }

    #[inline(always)]
    unsafe fn clamp(self, lo: Self, hi: Self) -> Self {
        // SAFETY: as above. Both instructions give their second operand where one is NaN.
        unsafe { _mm512_min_ps(hi, _mm512_max_ps(lo, self)) }
    }
}
