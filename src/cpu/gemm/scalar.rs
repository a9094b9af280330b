//! Micro-kernels for any target: plain arithmetic on groups of four, which compilers map to 128-bit registers.

use super::kernel::{Micro, Tile, TileFn, Vector, tile};
use crate::cpu::Isa;

/// Up to 3 rows by one panel.
pub(super) const F32_3X16: Micro = Micro { isa: Isa::Scalar, rows: 3, depth: 256, tiles: TILES };

const TILES: &[&[TileFn]] = &[&[f32_tile::<1>], &[f32_tile::<2>], &[f32_tile::<3>]];

unsafe fn f32_tile<const ROWS: usize>(t: &Tile) {
    // SAFETY: the caller's promises.
    unsafe { tile::<Four, ROWS, 4>(t) }
}

#[derive(Clone, Copy)]
struct Four([f32; 4]);

impl Four {
    #[inline(always)]
    fn zip(self, other: Four, f: impl Fn(f32, f32) -> f32) -> Four {
        let mut result = self;
        for i in 0..4 {
            result.0[i] = f(self.0[i], other.0[i]);
        }
        result
    }
}

impl Vector for Four {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Four([value; 4])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the trait's promises, as for all functions of this implementation.
        Four(unsafe { from.cast::<[f32; 4]>().read() })
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Self {
        let mut values = [0.0; 4];
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(from, values.as_mut_ptr(), n) };
        Four(values)
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above.
        unsafe { to.cast::<[f32; 4]>().write(self.0) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(self.0.as_ptr(), to, n) };
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        self.zip(factor, |a, b| a * b).zip(addend, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn clamp(self, lo: Self, hi: Self) -> Self {
        let bounded = self.zip(lo, |x, lo| if x < lo { lo } else { x });
        bounded.zip(hi, |x, hi| if x > hi { hi } else { x })
    }
}
