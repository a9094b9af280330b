//! Micro-kernels for any target: plain arithmetic on groups of four, which compilers map to 128-bit registers.

use super::kernel::{Micro, Narrow, TileFn, Tiles, tiles};
use crate::cpu::Isa;
use crate::cpu::simd::Four;

/// Up to 3 rows by one panel.
pub(super) const F32_3X16: Micro = Micro {
    isa: Isa::Scalar,
    rows: 3,
    depth: 256,
    near: 320 << 10,
    tiles: TILES,
    narrow: Narrow { columns: 0, tiles: &[] },
    bf16x3: None,
};

const TILES: &[&[TileFn]] = &[&[f32_tile::<1>], &[f32_tile::<2>], &[f32_tile::<3>]];

unsafe fn f32_tile<const ROWS: usize>(t: &Tiles) {
    // SAFETY: the caller's promises.
    unsafe { tiles::<Four, ROWS, 4>(t) }
}
