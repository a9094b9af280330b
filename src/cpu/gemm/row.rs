//! The micro-kernel for a single row of A: each weight is used once, so the time is that of reading B.
#![allow(clippy::needless_range_loop, reason = "loops over registers are unrolled by constant index")]

use super::kernel::{PANEL, Tile, finish, finish_edge};
use crate::cpu::simd::{Vector, prefetch_near};

/// Sums in flight: what a multiply-add takes to finish, times those that begin in a cycle.
const SUMS: usize = 8;
/// Elements by which B is fetched ahead.
const AHEAD: usize = 512;

/// Panel after panel, so that B streams by in the order in which it lies in memory. `VECTORS` make up a panel; several
/// steps of K are summed apart.
///
/// # Safety
/// The CPU has the instruction set of `V`, and `t` is valid, with one row.
#[inline(always)]
pub(super) unsafe fn row<V: Vector, const VECTORS: usize>(t: &Tile) {
    for first in (0..t.cols).step_by(PANEL) {
        // SAFETY: the caller's promises; the panel exists.
        unsafe {
            let columns = |p: *const f32| if p.is_null() { p } else { p.add(first) };
            let sums = [sums::<V, VECTORS>(t, t.b.add(first / PANEL * t.panel_stride))];
            let cols = (t.cols - first).min(PANEL);
            let panel = Tile { c: t.c.add(first), cols, addend: columns(t.addend), bias: columns(t.bias), ..*t };
            if cols == PANEL { finish(&sums, &panel) } else { finish_edge(&sums, &panel) }
        }
    }
}

/// The products of one panel.
#[inline(always)]
unsafe fn sums<V: Vector, const VECTORS: usize>(t: &Tile, mut b: *const f32) -> [V; VECTORS] {
    let steps = SUMS / VECTORS;
    // SAFETY: the caller's promises.
    unsafe {
        let mut sums = [V::splat(0.0); SUMS];
        for segment in 0..t.segments {
            let a = (*t.rows.add(segment * t.row_stride)).add(t.offset);
            let mut k = 0;
            while k + steps <= t.depth {
                for step in 0..steps {
                    prefetch_near(b.wrapping_add(step * PANEL + AHEAD));
                    add_step::<V, VECTORS>(&mut sums, step * VECTORS, *a.add(k + step), b.add(step * PANEL));
                }
                b = b.add(steps * PANEL);
                k += steps;
            }
            while k < t.depth {
                add_step::<V, VECTORS>(&mut sums, 0, *a.add(k), b);
                b = b.add(PANEL);
                k += 1;
            }
        }
        let mut width = SUMS / 2;
        while width >= VECTORS {
            for i in 0..width {
                sums[i] = sums[i].add(sums[i + width]);
            }
            width /= 2;
        }
        std::array::from_fn(|v| sums[v])
    }
}

/// Adds one step of K to the sums from `first` on.
#[inline(always)]
unsafe fn add_step<V: Vector, const VECTORS: usize>(sums: &mut [V; SUMS], first: usize, a: f32, b: *const f32) {
    // SAFETY: the caller's promises.
    unsafe {
        for v in 0..VECTORS {
            sums[first + v] = V::splat(a).mul_add(V::load(b.add(v * V::LANES)), sums[first + v]);
        }
    }
}
