//! Scores of an attention and the masks that are added to them.
#![allow(unsafe_code, reason = "vectors of the machine that the caller runs on")]

use super::simd::{Machine, Vector};

/// Scales scores and adds a mask to as many of them as it has. Where it is minus infinity, so is the result, whatever the
/// score. The other scores are minus infinity.
#[inline(always)]
pub fn add_mask<M: Machine>(scores: &mut [f32], scale: f32, mask: &[f32]) {
    let (len, whole) = (scores.len(), mask.len() / M::LANES * M::LANES);
    assert!(mask.len() <= len);
    // SAFETY: `M` is the machine this runs on; of each vector only what lies in its slice is accessed.
    unsafe {
        let (scale, lowest) = (M::Vector::splat(scale), M::Vector::splat(f32::NEG_INFINITY));
        let add = |score: M::Vector, mask: M::Vector| score.mul_add(scale, mask).or_equal(mask, lowest);
        for first in (0..whole).step_by(M::LANES) {
            let to = scores.as_mut_ptr().add(first);
            add(M::Vector::load(to), M::Vector::load(mask.as_ptr().add(first))).store(to);
        }
        if whole < mask.len() {
            let (to, left) = (scores.as_mut_ptr().add(whole), len - whole);
            let mask = M::Vector::load_first(mask.as_ptr().add(whole), mask.len() - whole);
            add(M::Vector::load_up_to(to, left), mask).store_up_to(to, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Isa;
    use crate::cpu::simd::Work;

    struct Add<'a>(&'a mut [f32], &'a [f32]);

    impl Work for Add<'_> {
        type Out = ();

        #[inline(always)]
        fn run<M: Machine>(self) {
            add_mask::<M>(self.0, 0.5, self.1);
        }
    }

    #[test]
    fn removes_any_score() {
        for isa in Isa::available() {
            for (len, covered) in (0..70).flat_map(|len| [(len, len), (len, len / 2)]) {
                let mask: Vec<f32> =
                    (0..covered).map(|i| if i % 5 == 2 { f32::NEG_INFINITY } else { i as f32 }).collect();
                let mut scores: Vec<f32> = (0..len).map(|i| if i % 10 == 2 { f32::NAN } else { i as f32 }).collect();
                scores[covered..].fill(f32::NEG_INFINITY);
                let want: Vec<f32> = (0..len)
                    .map(|i| match mask.get(i) {
                        Some(mask) if *mask > f32::NEG_INFINITY => scores[i] * 0.5 + mask,
                        _ => f32::NEG_INFINITY,
                    })
                    .collect();
                isa.dispatch(Add(&mut scores, &mask));
                let same = scores.iter().zip(&want).all(|(a, b)| a == b || a.is_nan() && b.is_nan());
                assert!(same, "{isa} {len} {covered}: {scores:?}");
            }
        }
    }
}
