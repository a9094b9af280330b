//! Micro-kernels for x86-64 with AVX2 and FMA: tiles of 6 x 16, twelve of the sixteen registers accumulate.

use super::kernel::{Micro, Tile, TileFn, Vector, tile};
use crate::cpu::Isa;
use std::arch::x86_64::*;

/// Up to 6 rows by one panel; fewer rows take more panels, so that there are always at least eight sums in flight.
pub(super) const F32_6X16: Micro = Micro { isa: Isa::Avx2, rows: 6, depth: 256, tiles: TILES };

const TILES: &[&[TileFn]] = &[
    &[f32_tile::<1, 2>, f32_tile::<1, 4>, f32_tile::<1, 6>, f32_tile::<1, 8>],
    &[f32_tile::<2, 2>, f32_tile::<2, 4>],
    &[f32_tile::<3, 2>, f32_tile::<3, 4>],
    &[f32_tile::<4, 2>],
    &[f32_tile::<5, 2>],
    &[f32_tile::<6, 2>],
];

#[target_feature(enable = "avx2,fma")]
unsafe fn f32_tile<const ROWS: usize, const VECTORS: usize>(t: &Tile) {
    // SAFETY: the caller's promises.
    unsafe { tile::<__m256, ROWS, VECTORS>(t) }
}

/// A mask that selects the first `n` of 8 lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn first(n: usize) -> __m256i {
    _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}

impl Vector for __m256 {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the trait's promises, as for all functions of this implementation.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as above.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Self {
        // SAFETY: as above.
        unsafe { _mm256_maskload_ps(from, first(n)) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above.
        unsafe { _mm256_storeu_ps(to, self) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        // SAFETY: as above.
        unsafe { _mm256_maskstore_ps(to, first(n), self) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { _mm256_add_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: as above.
        unsafe { _mm256_fmadd_ps(self, factor, addend) }
    }

    #[inline(always)]
    unsafe fn clamp(self, lo: Self, hi: Self) -> Self {
        // SAFETY: as above. Both instructions give their second operand where one is NaN.
        unsafe { _mm256_min_ps(hi, _mm256_max_ps(lo, self)) }
    }
}
