//! Vectors of x86-64.

use super::{Vector, vector::vector};
use std::arch::x86_64::*;

/// A mask that selects the first `n` of 8 lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn first8(n: usize) -> __m256i {
    _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}

/// Stores the first `n` < 8 elements in pieces: CPUs take many times as long for a store with a mask.
///
/// # Safety
/// `to` is valid for them.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn store_first8(value: __m256, mut to: *mut f32, n: usize) {
    let mut rest = _mm256_castps256_ps128(value);
    // SAFETY: the caller's promise.
    unsafe {
        if n & 4 != 0 {
            _mm_storeu_ps(to, rest);
            rest = _mm256_extractf128_ps::<1>(value);
            to = to.add(4);
        }
        if n & 2 != 0 {
            _mm_storel_pd(to.cast(), _mm_castps_pd(rest));
            rest = _mm_movehl_ps(rest, rest);
            to = to.add(2);
        }
        if n & 1 != 0 {
            _mm_store_ss(to, rest);
        }
    }
}

/// A mask that selects the first `n` < 16 lanes.
#[inline(always)]
fn first16(n: usize) -> __mmask16 {
    (1 << n) - 1
}

#[inline(always)]
pub(super) fn prefetch_near(address: *const f32) {
    // SAFETY: a hint, for which any address will do; part of every x86-64.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
}

#[inline(always)]
pub(super) fn prefetch_far(address: *const f32) {
    // SAFETY: as above.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) }
}

vector! {
    __m256, 8, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps, _mm256_sub_ps, _mm256_mul_ps,
    mul_add(self, factor, addend) _mm256_fmadd_ps(self, factor, addend),
    // Of these instructions the result is the second operand where one is NaN.
    max(self, other) _mm256_max_ps(other, self),
    min(self, other) _mm256_min_ps(other, self),
    load_first(from, n) _mm256_maskload_ps(from, first8(n)),
    store_first(self, to, n) store_first8(self, to, n),
    permute(self, index) _mm256_permutevar8x32_ps(self, _mm256_loadu_si256(index.as_ptr().cast())),
    spread_fours _mm256_permute_ps [0x00, 0x55, 0xaa, 0xff],
    or_larger(self, other) _mm256_max_ps(other, self),
    or_nan(self, other) _mm256_blendv_ps(self, other, _mm256_cmp_ps::<_CMP_UNORD_Q>(other, other)),
    or_equal(self, other, value) _mm256_blendv_ps(self, value, _mm256_cmp_ps::<_CMP_EQ_OQ>(other, value)),
}

vector! {
    __m512, 16, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps, _mm512_sub_ps, _mm512_mul_ps,
    mul_add(self, factor, addend) _mm512_fmadd_ps(self, factor, addend),
    max(self, other) _mm512_max_ps(other, self),
    min(self, other) _mm512_min_ps(other, self),
    load_first(from, n) _mm512_maskz_loadu_ps(first16(n), from),
    store_first(self, to, n) _mm512_mask_storeu_ps(to, first16(n), self),
    permute(self, index) _mm512_permutexvar_ps(_mm512_loadu_si512(index.as_ptr().cast()), self),
    spread_fours _mm512_permute_ps [0x00, 0x55, 0xaa, 0xff],
    or_larger(self, other) _mm512_max_ps(other, self),
    or_nan(self, other) _mm512_mask_mov_ps(self, _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(other, other), other),
    or_equal(self, other, value) _mm512_mask_mov_ps(self, _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(other, value), value),
}
