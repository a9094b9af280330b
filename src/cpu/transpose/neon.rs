//! Tiles for AArch64.

use super::{Element, Isa, Job, tile};
use std::arch::aarch64::*;

/// Transposes with elements of `SIZE` bytes, `S` to a row of 16 bytes.
///
/// # Safety
/// As for [`Job::run`].
pub unsafe fn run<T: Element, const SIZE: usize, const S: usize>(_: Isa, job: Job<T>) {
    // SAFETY: passed on to the caller.
    unsafe { job.blocks(S, S, |job| tile::<T, uint8x16_t, S>(job, zip::<SIZE>)) }
}

#[inline(always)]
fn zip<const SIZE: usize>(a: uint8x16_t, b: uint8x16_t) -> (uint8x16_t, uint8x16_t) {
    macro_rules! zip {
        ($zip1:ident, $zip2:ident, $to:ident, $from:ident) => {{
            let (a, b) = ($to(a), $to(b));
            ($from($zip1(a, b)), $from($zip2(a, b)))
        }};
    }
    // SAFETY: Advanced SIMD is part of AArch64.
    unsafe {
        match SIZE {
            1 => (vzip1q_u8(a, b), vzip2q_u8(a, b)),
            2 => zip!(vzip1q_u16, vzip2q_u16, vreinterpretq_u16_u8, vreinterpretq_u8_u16),
            4 => zip!(vzip1q_u32, vzip2q_u32, vreinterpretq_u32_u8, vreinterpretq_u8_u32),
            _ => zip!(vzip1q_u64, vzip2q_u64, vreinterpretq_u64_u8, vreinterpretq_u8_u64),
        }
    }
}
