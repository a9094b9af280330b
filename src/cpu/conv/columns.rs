//! Sums over windows of which each input pixel is loaded once for all taps that touch it: neighbouring pixels of the output
//! at a time, whose sums stay in registers.

use super::lines::Lines;
use crate::cpu::simd::Vector;
use std::ops::Range;

/// Most pixels of a block: the widths of images are often multiples of 7, and the sums leave registers for the weights.
pub(super) const PIXELS: usize = 7;

/// Most columns of the input under a block.
const MOST_COLUMNS: usize = 19;

/// Repeats a block for each input column of a block of pixels. Sums must be indexed by constants, or they live in memory.
macro_rules! for_columns {
    ($j:ident < $columns:ident $body:block) => {
        for_columns!(@ $j $columns $body 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18)
    };
    (@ $j:ident $columns:ident $body:block $($i:literal)*) => {$(
        if $i < $columns {
            let $j = $i;
            $body
        }
    )*};
}

/// Neighbouring pixels of a line, or with a dilated window pixels as far apart as its taps.
pub(super) struct Pixels {
    /// The first one.
    pub start: usize,
    pub count: usize,
    /// Distance of neighbours.
    pub apart: usize,
    /// Which columns of the input are there: bit 0 for the first tap of the first pixel, one bit for each tap's distance.
    pub there: u32,
    /// Whether there are all pixels and columns.
    pub full: bool,
}

impl Pixels {
    /// Those with these numbers of the pixels of a line that leave `remainder` when their column is divided by the
    /// window's dilation, under a window of `K` taps and stride `S`, one of which or the dilation is 1.
    #[inline(always)]
    pub fn new<const K: usize, const S: usize>(lines: &Lines, remainder: usize, numbers: Range<usize>) -> Pixels {
        let Lines { window, input, .. } = lines;
        let (apart, count) = (window.dilation[2], numbers.len());
        let start = remainder + numbers.start * apart;
        let columns = (count - 1) * S + K;
        // Columns from `before` on are not in the padding in front, columns up to `end` not in that behind.
        let before = window.pad_begin[2].saturating_sub(start * S).div_ceil(apart).min(columns);
        let end = (input[2] + window.pad_begin[2]).saturating_sub(start * S).div_ceil(apart).min(columns);
        let there = (1u32 << end) - (1u32 << before.min(end));
        Pixels { start, count, apart, there, full: count == PIXELS && there == (1 << columns) - 1 }
    }
}

/// How the values of a pixel become a vector.
pub(super) trait Load {
    /// # Safety
    /// The values are readable.
    unsafe fn load<V: Vector>(&self, from: *const f32) -> V;
}

/// So many values, up to a vector.
pub(super) struct UpTo(pub usize);

impl Load for UpTo {
    #[inline(always)]
    unsafe fn load<V: Vector>(&self, from: *const f32) -> V {
        // SAFETY: the caller's promise.
        unsafe { V::load_up_to(from, self.0) }
    }
}

/// The columns of the input under a block of pixels.
pub(super) struct Columns {
    /// Elements from one to the next.
    pub apart: usize,
    pub there: u32,
    /// Elements of the weights from one tap to the next.
    pub tap: usize,
}

impl Columns {
    /// `sums` and a row of the window's taps: the first column is at `from`, if there is one.
    ///
    /// # Safety
    /// The columns that are there can be loaded, and `K` weights of a panel each.
    #[inline(always)]
    pub unsafe fn add<V: Vector, const K: usize, const S: usize, const FULL: bool>(
        &self,
        mut from: *const f32,
        weights: *const f32,
        mut sums: [V; PIXELS],
        load: &impl Load,
    ) -> [V; PIXELS] {
        let count = (PIXELS - 1) * S + K;
        const { assert!((PIXELS - 1) * S + K <= MOST_COLUMNS) };
        // SAFETY: the caller's promises.
        unsafe {
            let mut taps = [V::splat(0.0); K];
            for tap in 0..K {
                taps[tap] = V::load(weights.add(tap * self.tap));
            }
            for_columns!(j < count {
                if j > 0 {
                    from = from.wrapping_add(self.apart);
                }
                if FULL || self.there & 1 << j != 0 {
                    let x: V = load.load(from);
                    for tap in 0..K {
                        if j >= tap && (j - tap) % S == 0 && (j - tap) / S < PIXELS {
                            sums[(j - tap) / S] = x.mul_add(taps[tap], sums[(j - tap) / S]);
                        }
                    }
                }
            });
        }
        sums
    }
}
