//! The transforms of Winograd's F(4x4, 3x3) for one tile, on vectors of channels.
//!
//! Interpolation points 0, ±√½, ±√2 and infinity: the rounding error is a third of that of 0, ±1, ±2 (compare Barabasz
//! et al., arXiv 1803.10986), and products of the points are 1, so that most factors are exact.

use crate::cpu::simd::Vector;
use std::mem::MaybeUninit;

/// Extent of an input tile.
pub(super) const IN: usize = 6;
/// Extent of an output tile.
pub(super) const OUT: usize = 4;
/// Elements of an input tile: the products are one matrix product for each.
pub(super) const PLANES: usize = IN * IN;

const A: f32 = std::f32::consts::FRAC_1_SQRT_2;
const B: f32 = std::f32::consts::SQRT_2;

/// Transforms six values of the input.
#[inline(always)]
unsafe fn input_line<V: Vector>(d: [V; IN]) -> [V; IN] {
    // SAFETY: the caller has the vector's instruction set.
    unsafe {
        let times = |x: V, factor: f32, addend: V| x.mul_add(V::splat(factor), addend);
        let (even, odd) = (times(d[2], -2.0, d[4]), times(d[1], -2.0, d[3]));
        let (even2, odd2) = (times(d[2], -0.5, d[4]), times(d[1], -0.5, d[3]));
        [
            times(d[2], -2.5, d[0].add(d[4])),
            times(odd, A, even),
            times(odd, -A, even),
            times(odd2, B, even2),
            times(odd2, -B, even2),
            times(d[3], -2.5, d[1].add(d[5])),
        ]
    }
}

/// Transforms three weights.
#[inline(always)]
unsafe fn weight_line<V: Vector>(g: [V; 3]) -> [V; IN] {
    // SAFETY: the caller has the vector's instruction set.
    unsafe {
        let times = |x: V, factor: f32| x.mul(V::splat(factor));
        let pair = |even: V, odd: V, scale: f32| (times(even.add(odd), scale), times(even.sub(odd), scale));
        let (g1, g2) = pair(g[2].mul_add(V::splat(0.5), g[0]), times(g[1], A), -2.0 / 3.0);
        let (g3, g4) = pair(g[2].mul_add(V::splat(2.0), g[0]), times(g[1], B), 1.0 / 6.0);
        [g[0], g1, g2, g3, g4, g[2]]
    }
}

/// Transforms six sums of products to four values of the output.
#[inline(always)]
unsafe fn output_line<V: Vector>(m: [V; IN]) -> [V; OUT] {
    // SAFETY: the caller has the vector's instruction set.
    unsafe {
        let times = |x: V, factor: f32, addend: V| x.mul_add(V::splat(factor), addend);
        let (sum, difference) = (m[1].add(m[2]), m[1].sub(m[2]));
        let (sum2, difference2) = (m[3].add(m[4]), m[3].sub(m[4]));
        [
            m[0].add(sum).add(sum2),
            times(difference2, B, difference.mul(V::splat(A))),
            times(sum2, 2.0, sum.mul(V::splat(0.5))),
            times(difference2, 2.0 * B, times(difference, 0.5 * A, m[5])),
        ]
    }
}

/// Applies `line` to each row of a tile, then to each column of the result. The elements go from `load` to `store` by
/// row and column; only what is in between has a place of its own.
macro_rules! tile {
    ($name:ident, $line:ident, $from:expr, $to:expr, $doc:literal) => {
        #[doc = $doc]
        #[inline(always)]
        pub(super) unsafe fn $name<V: Vector>(
            load: impl Fn(usize, usize) -> V,
            mut store: impl FnMut(usize, usize, V),
        ) {
            // SAFETY: the caller has the vector's instruction set.
            unsafe {
                let mut rows = [[MaybeUninit::<V>::uninit(); $to]; $from];
                for i in 0..$from {
                    let mut line = [load(i, 0); $from];
                    for j in 1..$from {
                        line[j] = load(i, j);
                    }
                    let line = $line(line);
                    for j in 0..$to {
                        rows[i][j].write(line[j]);
                    }
                }
                for j in 0..$to {
                    let mut column = [rows[0][j].assume_init(); $from];
                    for i in 1..$from {
                        column[i] = rows[i][j].assume_init();
                    }
                    let column = $line(column);
                    for i in 0..$to {
                        store(i, j, column[i]);
                    }
                }
            }
        }
    };
}

tile!(input_tile, input_line, IN, IN, "The transform of an input tile.");
tile!(weight_tile, weight_line, 3, IN, "The transform of the weights.");
tile!(output_tile, output_line, IN, OUT, "The output tile of sums of products.");
