//! Tiles for x86-64; 32-byte registers hold two side by side.

use super::{Element, Isa, Job, tile};
use std::arch::x86_64::*;

/// Transposes with elements of `SIZE` bytes, `S` to a row of 16 bytes.
///
/// # Safety
/// As for [`Job::run`].
pub unsafe fn run<T: Element, const SIZE: usize, const S: usize>(isa: Isa, job: Job<T>) {
    // SAFETY: passed on to the caller; AVX2 is available where it is used.
    unsafe {
        if matches!(isa, Isa::Avx2 | Isa::Avx512 | Isa::Amx) && isa.is_available() && job.cols >= 2 * S {
            wide::<T, SIZE, S>(job);
        } else {
            job.blocks(S, S, |job| tile::<T, __m128i, S>(job, unpack::<SIZE>));
        }
    }
}

/// # Safety
/// As for [`Job::run`], on a CPU with AVX2.
#[target_feature(enable = "avx2")]
unsafe fn wide<T: Element, const SIZE: usize, const S: usize>(job: Job<T>) {
    // SAFETY: passed on to the caller.
    unsafe { job.blocks(S, 2 * S, |tile| wide_tile::<T, SIZE, S>(tile)) }
}

/// # Safety
/// As for [`Job::run`], on a CPU with AVX2; the transpose has S rows and 2 S columns.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn wide_tile<T: Element, const SIZE: usize, const S: usize>(job: Job<T>) {
    // SAFETY: rows of the matrix have 16 bytes and those of its transpose 32, as the caller vouches.
    unsafe {
        let mut rows = [_mm256_setzero_si256(); S];
        for (i, row) in rows.iter_mut().enumerate() {
            let (low, high) = (job.src.add(i * job.stride), job.src.add((i + S) * job.stride));
            *row = _mm256_loadu2_m128i(high.cast(), low.cast());
        }
        for _ in 0..S.ilog2() {
            let old = rows;
            for i in 0..S / 2 {
                (rows[2 * i], rows[2 * i + 1]) = unpack_wide::<SIZE>(old[i], old[i + S / 2]);
            }
        }
        for (r, row) in rows.into_iter().enumerate() {
            _mm256_storeu_si256(job.dst.add(r * job.dst_stride).cast(), row);
        }
    }
}

#[inline(always)]
fn unpack<const SIZE: usize>(a: __m128i, b: __m128i) -> (__m128i, __m128i) {
    // SAFETY: SSE2 is part of x86-64.
    unsafe {
        match SIZE {
            1 => (_mm_unpacklo_epi8(a, b), _mm_unpackhi_epi8(a, b)),
            2 => (_mm_unpacklo_epi16(a, b), _mm_unpackhi_epi16(a, b)),
            4 => (_mm_unpacklo_epi32(a, b), _mm_unpackhi_epi32(a, b)),
            _ => (_mm_unpacklo_epi64(a, b), _mm_unpackhi_epi64(a, b)),
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn unpack_wide<const SIZE: usize>(a: __m256i, b: __m256i) -> (__m256i, __m256i) {
    match SIZE {
        1 => (_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b)),
        2 => (_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)),
        4 => (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b)),
        _ => (_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b)),
    }
}
