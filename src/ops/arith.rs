//! Sums of products over every type that has them, for kernels that are written once and used where no tuned one
//! exists. Integers wrap.

use super::elementwise::Number;
use crate::cpu::math;
use crate::cpu::simd::Machine;
use crate::tensor::Element;
use std::ops::{Add, Div, Mul, Sub};

/// An element type with a multiply-add.
pub trait Arith: Element {
    /// `a * b + c`.
    fn mul_add<M: Machine>(a: Self, b: Self, c: Self) -> Self;
    /// `self + other`.
    fn plus(self, other: Self) -> Self;
}

macro_rules! wrapping {
    ($($ty:ty),*) => {$(
        impl Arith for $ty {
            #[inline(always)]
            fn mul_add<M: Machine>(a: Self, b: Self, c: Self) -> Self {
                a.wrapping_mul(b).wrapping_add(c)
            }

            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
        }
    )*};
}

wrapping! { i32, i64, u32, u64 }

impl Arith for f32 {
    #[inline(always)]
    fn mul_add<M: Machine>(a: Self, b: Self, c: Self) -> Self {
        M::mul_add(a, b, c)
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self + other
    }
}

impl Arith for f64 {
    #[inline(always)]
    fn mul_add<M: Machine>(a: Self, b: Self, c: Self) -> Self {
        a * b + c
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self + other
    }
}

/// A floating-point type that kernels compute in.
pub trait Real:
    Arith + Number + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// `self` to the power of `exponent`, for positive `self`.
    fn power<M: Machine>(self, exponent: f32) -> Self;
    /// The absolute value.
    fn magnitude(self) -> Self;
}

impl Real for f32 {
    #[inline(always)]
    fn power<M: Machine>(self, exponent: f32) -> Self {
        math::exp::<M>(exponent * math::log::<M>(self))
    }

    #[inline(always)]
    fn magnitude(self) -> Self {
        self.abs()
    }
}

impl Real for f64 {
    #[inline(always)]
    fn power<M: Machine>(self, exponent: f32) -> Self {
        self.powf(exponent.into())
    }

    #[inline(always)]
    fn magnitude(self) -> Self {
        self.abs()
    }
}

/// Sums kept apart in a long sum, so that it vectorises and rounding errors stay small.
const LANES: usize = 64;

/// A sum over `$x` of `$term`, an expression in an element and the sum so far.
macro_rules! lanes {
    ($x:expr, |$element:ident, $sum:ident| $term:expr) => {{
        let mut sums = [T::default(); LANES];
        let (blocks, rest) = $x.as_chunks::<LANES>();
        for block in blocks {
            for i in 0..LANES {
                let ($element, $sum) = (block[i], sums[i]);
                sums[i] = $term;
            }
        }
        for (i, &$element) in rest.iter().enumerate() {
            let $sum = sums[i];
            sums[i] = $term;
        }
        tree(sums)
    }};
}

/// Σ x.
#[inline(always)]
pub fn sum<T: Real>(x: &[T]) -> T {
    lanes!(x, |x, sum| sum + x)
}

/// Σ |x|.
#[inline(always)]
pub fn sum_of_absolutes<T: Real>(x: &[T]) -> T {
    lanes!(x, |x, sum| sum + x.magnitude())
}

/// Σ (x - center)².
#[inline(always)]
pub fn sum_of_squares<T: Real, M: Machine>(x: &[T], center: T) -> T {
    lanes!(x, |x, sum| T::mul_add::<M>(x - center, x - center, sum))
}

/// The sum of all lanes, halving their number.
#[inline(always)]
fn tree<T: Real>(mut sums: [T; LANES]) -> T {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            sums[i] = sums[i] + sums[i + width];
        }
        width /= 2;
    }
    sums[0]
}
