//! One row of scores.

use super::shape::MaskRow;
use crate::cpu::simd::Machine;
use crate::ops::arith::{Real, largest, sum};

/// Scales scores and applies the soft cap (0 for none).
#[inline(always)]
pub fn cap<T: Real, M: Machine>(scores: &mut [T], scale: T, softcap: T) {
    if softcap == T::default() {
        scores.iter_mut().for_each(|s| *s = *s * scale);
    } else {
        scores.iter_mut().for_each(|s| *s = (*s * scale / softcap).hyperbolic_tangent::<M>() * softcap);
    }
}

/// Applies a mask of the same length; a removed key has minus infinity, whatever its score.
#[inline(always)]
pub fn mask<T: Real>(scores: &mut [T], mask: MaskRow<'_, T>) {
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
                *s = if *bias == removed { removed } else { *s + *bias };
            }
        }
    }
}

/// Replaces scores by `exp(score - reference)`, where the reference is the larger of their maximum and `before`. Returns
/// it and the sum. If it is minus infinity, nothing counts, and all become 0.
#[inline(always)]
pub fn exponentials<T: Real, M: Machine>(scores: &mut [T], before: T) -> (T, T) {
    let here = largest(scores);
    let reference = if here > before { here } else { before };
    if reference == T::from_f64(f64::NEG_INFINITY) && !scores.iter().any(|s| s.is_nan()) {
        scores.fill(T::default());
        return (reference, T::default());
    }
    scores.iter_mut().for_each(|s| *s = (*s - reference).exponential::<M>());
    (reference, sum(scores))
}
