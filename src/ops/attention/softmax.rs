//! One row of scores.

use super::shape::MaskRow;
use crate::cpu::fold;
use crate::cpu::math::exp2_weight;
use crate::cpu::simd::Machine;
use crate::ops::arith::Real;

/// Scores that are handled side by side: rows have a multiple of them in memory.
pub const LANES: usize = 16;

/// Scales scores and applies the soft cap (0 for none).
#[inline(always)]
pub fn cap<T: Real, M: Machine>(scores: &mut [T], scale: T, softcap: T) {
    if softcap == T::default() {
        scores.iter_mut().for_each(|s| *s = *s * scale);
    } else {
        scores.iter_mut().for_each(|s| *s = (*s * scale / softcap).hyperbolic_tangent::<M>() * softcap);
    }
}

/// Applies a mask of the same length; a removed key has minus infinity, whatever its score. Scores are scaled before a mask
/// is added to them.
#[inline(always)]
pub fn mask<T: Real, M: Machine>(scores: &mut [T], mask: MaskRow<'_, T>, scale: T) {
    let removed = T::from_f64(f64::NEG_INFINITY);
    match mask {
        MaskRow::None => {}
        MaskRow::Bool(keep) => {
            for (s, keep) in scores.iter_mut().zip(keep) {
                *s = if *keep != 0 { *s } else { removed };
            }
        }
        MaskRow::Float(bias) => {
            for (s, bias) in scores.iter_mut().zip(bias) {
                *s = if *bias == removed { removed } else { T::mul_add::<M>(*s, scale, *bias) };
            }
        }
    }
}

/// Replaces scores by `exp(score - reference)`, where the reference is the larger of their maximum and `before`. Returns
/// it and the sum. If it is minus infinity, nothing counts, and all become 0.
#[inline(always)]
pub fn exponentials<T: Real, M: Machine>(scores: &mut [T], before: T) -> (T, T) {
    let here = T::largest::<M>(scores);
    let reference = if here > before { here } else { before };
    if reference == T::from_f64(f64::NEG_INFINITY) && !scores.iter().any(|s| s.is_nan()) {
        scores.fill(T::default());
        return (reference, T::default());
    }
    scores.iter_mut().for_each(|s| *s = (*s - reference).exponential::<M>());
    (reference, T::sum_of::<M>(scores))
}

/// Replaces scores, a multiple of [`LANES`], by `2^(factor · (score - reference))`, where the reference is no smaller than
/// any of them. Returns the sum. If it is minus infinity, nothing counts, and all become 0.
#[inline(always)]
pub fn weights<M: Machine>(scores: &mut [f32], factor: f32, reference: f32) -> f32 {
    if reference == f32::NEG_INFINITY && !scores.iter().any(|s| s.is_nan()) {
        scores.fill(0.0);
        return 0.0;
    }
    let (blocks, _) = scores.as_chunks_mut::<LANES>();
    let mut sums = [0.0; LANES];
    for block in blocks {
        for i in 0..LANES {
            block[i] = exp2_weight::<M>((block[i] - reference) * factor);
            sums[i] += block[i];
        }
    }
    fold::sum::<M>(&sums)
}
