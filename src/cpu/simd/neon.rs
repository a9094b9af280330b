//! Vectors of AArch64, where Advanced SIMD is part of the baseline.

use super::{Vector, vector::vector};
use std::arch::aarch64::*;
use std::arch::asm;

/// The first `n` < 4 elements, and zeros.
///
/// # Safety
/// They can be read.
#[inline(always)]
unsafe fn load_first4(from: *const f32, n: usize) -> float32x4_t {
    // SAFETY: the caller's promise.
    unsafe {
        let zeros = vdupq_n_f32(0.0);
        match n {
            0 => zeros,
            1 => vld1q_lane_f32::<0>(from, zeros),
            2 => vcombine_f32(vld1_f32(from), vget_low_f32(zeros)),
            _ => vld1q_lane_f32::<2>(from.add(2), vcombine_f32(vld1_f32(from), vget_low_f32(zeros))),
        }
    }
}

/// Stores the first `n` < 4 elements.
///
/// # Safety
/// `to` is valid for them.
#[inline(always)]
unsafe fn store_first4(value: float32x4_t, to: *mut f32, n: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        if n >= 2 {
            vst1_f32(to, vget_low_f32(value));
        }
        match n {
            1 => vst1q_lane_f32::<0>(to, value),
            3 => vst1q_lane_f32::<2>(to.add(2), value),
            _ => {}
        }
    }
}

/// For each lane the places of the four bytes of lane `index[i]`.
///
/// # Safety
/// `index` has four elements.
#[inline(always)]
unsafe fn bytes_of_lanes(index: &[u32]) -> uint8x16_t {
    // SAFETY: the caller's promise.
    unsafe {
        let first = vmulq_n_u32(vld1q_u32(index.as_ptr()), 0x0404_0404);
        vreinterpretq_u8_u32(vaddq_u32(first, vdupq_n_u32(0x0302_0100)))
    }
}

#[inline(always)]
pub(super) fn prefetch_near(address: *const f32) {
    // SAFETY: a hint, for which any address will do.
    unsafe { asm!("prfm pldl1keep, [{}]", in(reg) address, options(nostack, preserves_flags, readonly)) }
}

#[inline(always)]
pub(super) fn prefetch_far(address: *const f32) {
    // SAFETY: as above.
    unsafe { asm!("prfm pldl2keep, [{}]", in(reg) address, options(nostack, preserves_flags, readonly)) }
}

vector! {
    float32x4_t, 4, vdupq_n_f32, vld1q_f32, vst1q_f32, vaddq_f32, vsubq_f32, vmulq_f32,
    mul_add(self, factor, addend) vfmaq_f32(addend, self, factor),
    max(self, other) vmaxq_f32(self, other),
    min(self, other) vminq_f32(self, other),
    load_first(from, n) load_first4(from, n),
    store_first(self, to, n) store_first4(self, to, n),
    permute(self, index) vreinterpretq_f32_u8(vqtbl1q_u8(vreinterpretq_u8_f32(self), bytes_of_lanes(index))),
    spread_fours vdupq_laneq_f32 [0, 1, 2, 3],
    or_larger(self, other) vmaxnmq_f32(self, other),
    or_nan(self, other) vbslq_f32(vceqq_f32(other, other), self, other),
    or_equal(self, other, value) vbslq_f32(vceqq_f32(other, value), value, self),
}
