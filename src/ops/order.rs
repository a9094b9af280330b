//! A total order of the elements of every type, for sorting.

use crate::tensor::Element;
use half::{bf16, f16};
use std::cmp::Ordering;

/// An element type whose elements can be sorted. NaN is above everything else and equal to itself, and zeros are equal
/// whatever their sign, as NumPy sorts.
pub trait Sortable: Element {
    /// A number that is ordered as the elements are, of whatever type: so one routine sorts all of them.
    fn key(self) -> i64;
}

macro_rules! integers {
    ($($ty:ty)*) => {$(
        impl Sortable for $ty {
            #[inline(always)]
            fn key(self) -> i64 {
                self.into()
            }
        }
    )*};
}

macro_rules! floats {
    ($($ty:ty as $int:ty, $zero:expr;)*) => {$(
        impl Sortable for $ty {
            #[inline(always)]
            fn key(self) -> i64 {
                // The numbers from zero up are in order as integers; those below are in reverse order.
                let bits = self.to_bits() as $int;
                let ordered = bits ^ (((bits >> (<$int>::BITS - 1)) as $int) & <$int>::MAX);
                match () {
                    _ if self.is_nan() => i64::MAX,
                    _ if self == $zero => 0,
                    _ => ordered.into(),
                }
            }
        }
    )*};
}

integers! { i8 i16 i32 i64 u8 u16 u32 }
floats! { f32 as i32, 0.0; f64 as i64, 0.0; f16 as i16, f16::ZERO; bf16 as i16, bf16::ZERO; }

impl Sortable for u64 {
    #[inline(always)]
    fn key(self) -> i64 {
        (self as i64) ^ i64::MIN
    }
}

/// Puts the `k` first of `indices` in front, in order. Panics if there are fewer.
#[inline(never)]
pub fn first(indices: &mut [u64], k: usize, compare: &dyn Fn(u64, u64) -> Ordering) {
    if k < indices.len() && k > 0 {
        indices.select_nth_unstable_by(k - 1, |a, b| compare(*a, *b));
    }
    indices[..k].sort_unstable_by(|a, b| compare(*a, *b));
}

/// Sorts indices; equal ones stay in their order.
#[inline(never)]
pub fn stable(indices: &mut [usize], compare: &dyn Fn(usize, usize) -> Ordering) {
    indices.sort_by(|a, b| compare(*a, *b));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_in_order() {
        let sorted = [f64::NEG_INFINITY, -2e300, -1.0, -1e-320, 0.0, 1e-320, 1.0, 2.0, f64::INFINITY, f64::NAN];
        assert!(sorted.windows(2).all(|w| w[0].key() < w[1].key()));
        assert!((-0.0f64).key() == 0.0f64.key() && (-f64::NAN).key() == f64::NAN.key());
        let sorted = [f32::NEG_INFINITY, -3.0, -1e-40, 0.0, 1e-40, 7.0, f32::INFINITY, f32::NAN];
        assert!(sorted.windows(2).all(|w| w[0].key() < w[1].key()));
        let halves = sorted.map(|x| f16::from_f32(x * 1e10));
        assert!(halves[..2].iter().chain(&halves[4..]).map(|h| h.key()).is_sorted());
        let halves = [-8f32, -1.0, 0.0, 0.5, 9.0, f32::INFINITY, f32::NAN].map(bf16::from_f32);
        assert!(halves.windows(2).all(|w| w[0].key() < w[1].key()));
    }

    #[test]
    fn the_first_come_in_order() {
        let values = [5, 1, 4, 1, 3];
        let compare = |a: u64, b: u64| values[a as usize].cmp(&values[b as usize]).then(a.cmp(&b));
        for k in 0..=5 {
            let mut order = [0, 1, 2, 3, 4];
            first(&mut order, k, &compare);
            assert_eq!(order[..k], [1, 3, 4, 2, 0][..k]);
        }
        let mut order = [0, 1, 2, 3, 4];
        stable(&mut order, &|a, b| values[a].cmp(&values[b]));
        assert_eq!(order, [1, 3, 4, 2, 0]);
    }
}
