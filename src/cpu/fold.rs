//! Sums and maxima of rows, kept in registers: several vectors side by side, whose order of addition depends on the
//! instruction set only.
#![allow(unsafe_code, reason = "vectors of the machine that the caller runs on")]

use super::simd::{Machine, Vector};

/// Vectors side by side, and the most elements of one.
const WIDE: usize = 4;
const MOST_LANES: usize = 16;

/// What a row is folded to: a constant wherever it is used, so that it costs no branches.
#[derive(Clone, Copy)]
enum Fold {
    Sum,
    /// The sum of squares of the distances from a centre.
    Squares(f32),
    /// The largest number; NaN counts as smaller than all.
    Largest,
}

/// # Safety
/// The functions on vectors need the vector's instruction set.
impl Fold {
    /// The result for no elements.
    #[inline(always)]
    fn start(self) -> f32 {
        if matches!(self, Fold::Largest) { f32::NEG_INFINITY } else { 0.0 }
    }

    /// An element that changes no result.
    #[inline(always)]
    fn neutral(self) -> f32 {
        if let Fold::Squares(center) = self { center } else { self.start() }
    }

    /// The result with more elements.
    #[inline(always)]
    unsafe fn step<V: Vector>(self, so_far: V, x: V) -> V {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Fold::Sum => so_far.add(x),
                Fold::Squares(center) => {
                    let distance = x.sub(V::splat(center));
                    distance.mul_add(distance, so_far)
                }
                Fold::Largest => so_far.or_larger(x),
            }
        }
    }

    /// The result of two results.
    #[inline(always)]
    unsafe fn join<V: Vector>(self, a: V, b: V) -> V {
        // SAFETY: the caller's promise.
        unsafe { if matches!(self, Fold::Largest) { a.max(b) } else { a.add(b) } }
    }

    /// The result of the results in all lanes.
    #[inline(always)]
    unsafe fn join_lanes<V: Vector>(self, mut lanes: V) -> f32 {
        let mut width = V::LANES / 2;
        let mut all = [0.0; MOST_LANES];
        // SAFETY: the caller's promise; there are at most as many lanes as the arrays have elements.
        unsafe {
            while width > 0 {
                let other: [u32; MOST_LANES] = std::array::from_fn(|i| (i ^ width) as u32);
                lanes = self.join(lanes, lanes.permute(&other[..V::LANES]));
                width /= 2;
            }
            lanes.store(all.as_mut_ptr());
        }
        all[0]
    }
}

/// Σ x.
#[inline(always)]
pub fn sum<M: Machine>(x: &[f32]) -> f32 {
    fold::<M>(x, Fold::Sum)
}

/// Σ (x - center)².
#[inline(always)]
pub fn sum_of_squares<M: Machine>(x: &[f32], center: f32) -> f32 {
    fold::<M>(x, Fold::Squares(center))
}

/// The largest element; NaN counts as smaller than all. Minus infinity if there is none.
#[inline(always)]
pub fn largest<M: Machine>(x: &[f32]) -> f32 {
    fold::<M>(x, Fold::Largest)
}

#[inline(always)]
fn fold<M: Machine>(x: &[f32], f: Fold) -> f32 {
    let lanes = M::LANES;
    let whole = x.len() / lanes * lanes;
    let wide = whole / (WIDE * lanes) * (WIDE * lanes);
    let mut last = [f.neutral(); MOST_LANES];
    last[..x.len() - whole].copy_from_slice(&x[whole..]);
    // SAFETY: `M` is the machine this runs on, all vectors are inside of `x` or the array.
    unsafe {
        let mut so_far = [M::Vector::splat(f.start()); WIDE];
        for first in (0..wide).step_by(WIDE * lanes) {
            for (i, so_far) in so_far.iter_mut().enumerate() {
                *so_far = f.step(*so_far, M::Vector::load(x.as_ptr().add(first + i * lanes)));
            }
        }
        for first in (wide..whole).step_by(lanes) {
            so_far[0] = f.step(so_far[0], M::Vector::load(x.as_ptr().add(first)));
        }
        if whole < x.len() {
            so_far[1] = f.step(so_far[1], M::Vector::load(last.as_ptr()));
        }
        let [a, b, c, d] = so_far;
        f.join_lanes(f.join(f.join(a, b), f.join(c, d)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Isa;
    use crate::cpu::simd::Work;

    struct All<'a>(&'a [f32]);

    impl Work for All<'_> {
        type Out = [f32; 3];

        #[inline(always)]
        fn run<M: Machine>(self) -> [f32; 3] {
            [sum::<M>(self.0), sum_of_squares::<M>(self.0, 0.5), largest::<M>(self.0)]
        }
    }

    #[test]
    fn match_plain_loops_for_every_length() {
        for isa in Isa::available() {
            for len in 0..150 {
                let x: Vec<f32> = (0..len).map(|i| ((i * 37) % 64) as f32 * 0.25 - 9.0).collect();
                let exact = [
                    x.iter().sum(),
                    x.iter().map(|x| (x - 0.5) * (x - 0.5)).sum(),
                    x.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b)),
                ];
                // Multiples of 1/16 of which all sums are exact.
                assert_eq!(isa.dispatch(All(&x)), exact, "{isa} {len}");
            }
        }
    }

    #[test]
    fn nan_is_no_largest_element() {
        for isa in Isa::available() {
            for place in 0..40 {
                let mut x = vec![-3.0; 40];
                x[place] = f32::NAN;
                x[39 - place] = 2.0;
                let [sum, _, largest] = isa.dispatch(All(&x));
                assert!(sum.is_nan() && largest == 2.0, "{isa} {place}: {largest}");
            }
        }
    }
}
