//! Sums of products over every type that has them, for kernels that are written once and used where no tuned one
//! exists. Integers wrap.

use super::elementwise::Number;
use crate::cpu::simd::Machine;
use crate::cpu::{Activation, fold, math};
use crate::tensor::Element;
use std::ops::{Add, Div, Mul, Sub};

/// An element type with a multiply-add.
pub trait Arith: Element {
    /// `a * b + c`.
    fn mul_add<M: Machine>(a: Self, b: Self, c: Self) -> Self;
    /// `self + other`.
    fn plus(self, other: Self) -> Self;
    /// Applies an activation to every element. Only f32 has others than none.
    fn activate<M: Machine>(_activation: Activation, _values: &mut [Self]) {}
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

wrapping! { i32, i64 }

impl Arith for f32 {
    #[inline(always)]
    fn activate<M: Machine>(activation: Activation, values: &mut [Self]) {
        activation.apply_to(M::ISA, values);
    }

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
    Arith + Number + PartialOrd + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// `self` to the power of `exponent`, for positive `self`.
    fn power<M: Machine>(self, exponent: f32) -> Self;
    /// The absolute value.
    fn magnitude(self) -> Self;
    /// e to the power of `self`.
    fn exponential<M: Machine>(self) -> Self;
    /// The hyperbolic tangent.
    fn hyperbolic_tangent<M: Machine>(self) -> Self;
    /// Whether it is not a number.
    fn is_nan(self) -> bool;
    /// Σ x.
    fn sum_of<M: Machine>(x: &[Self]) -> Self;
    /// Σ (x - center)².
    fn sum_of_squares<M: Machine>(x: &[Self], center: Self) -> Self;
    /// The largest element; NaN counts as smaller than all. Minus infinity if there is none.
    fn largest<M: Machine>(x: &[Self]) -> Self;
}

/// Sums kept apart in a long sum, so that it vectorises and rounding errors stay small.
const LANES: usize = 64;

/// Folds `$x`, optionally together with `$y`, by `$fold`, an expression in an element (of each) and the result so far,
/// which begins as `$start`; results of the lanes are folded by `$join`.
macro_rules! lanes {
    ($x:expr, $start:expr, |$element:ident, $so_far:ident| $fold:expr, $join:expr) => {
        lanes!($x, $x, $start, |$element, _unused, $so_far| $fold, $join)
    };
    ($x:expr, $y:expr, $start:expr, |$a:ident, $b:ident, $so_far:ident| $fold:expr, $join:expr) => {{
        let mut lanes = [$start; LANES];
        let (x_blocks, x_rest) = $x.as_chunks::<LANES>();
        let (y_blocks, y_rest) = $y.as_chunks::<LANES>();
        for (x, y) in x_blocks.iter().zip(y_blocks) {
            for i in 0..LANES {
                let ($a, $b, $so_far) = (x[i], y[i], lanes[i]);
                lanes[i] = $fold;
            }
        }
        for ((lane, &$a), &$b) in lanes.iter_mut().zip(x_rest).zip(y_rest) {
            let $so_far = *lane;
            *lane = $fold;
        }
        tree(lanes, $join)
    }};
}

impl Real for f32 {
    #[inline(always)]
    fn sum_of<M: Machine>(x: &[Self]) -> Self {
        fold::sum::<M>(x)
    }

    #[inline(always)]
    fn sum_of_squares<M: Machine>(x: &[Self], center: Self) -> Self {
        fold::sum_of_squares::<M>(x, center)
    }

    #[inline(always)]
    fn largest<M: Machine>(x: &[Self]) -> Self {
        fold::largest::<M>(x)
    }

    #[inline(always)]
    fn exponential<M: Machine>(self) -> Self {
        math::exp::<M>(self)
    }

    #[inline(always)]
    fn hyperbolic_tangent<M: Machine>(self) -> Self {
        math::tanh::<M>(self)
    }

    #[inline(always)]
    fn is_nan(self) -> bool {
        self.is_nan()
    }

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
    fn sum_of<M: Machine>(x: &[Self]) -> Self {
        lanes!(x, 0.0, |x, sum| sum + x, |a, b| a + b)
    }

    #[inline(always)]
    fn sum_of_squares<M: Machine>(x: &[Self], center: Self) -> Self {
        lanes!(x, 0.0, |x, sum| <f64 as Arith>::mul_add::<M>(x - center, x - center, sum), |a, b| a + b)
    }

    #[inline(always)]
    fn largest<M: Machine>(x: &[Self]) -> Self {
        let (start, larger) = (f64::NEG_INFINITY, |a, b| if b > a { b } else { a });
        lanes!(x, start, |x, max| larger(max, x), larger)
    }

    #[inline(always)]
    fn exponential<M: Machine>(self) -> Self {
        self.exp()
    }

    #[inline(always)]
    fn hyperbolic_tangent<M: Machine>(self) -> Self {
        self.tanh()
    }

    #[inline(always)]
    fn is_nan(self) -> bool {
        self.is_nan()
    }

    #[inline(always)]
    fn power<M: Machine>(self, exponent: f32) -> Self {
        self.powf(exponent.into())
    }

    #[inline(always)]
    fn magnitude(self) -> Self {
        self.abs()
    }
}

/// Σ |x|.
#[inline(always)]
pub fn sum_of_absolutes<T: Real>(x: &[T]) -> T {
    lanes!(x, T::default(), |x, sum| sum + x.magnitude(), |a, b| a + b)
}

/// Σ x · y, over the shorter of the two.
#[inline(always)]
pub fn dot<T: Real, M: Machine>(x: &[T], y: &[T]) -> T {
    let n = x.len().min(y.len());
    let (x, y) = (&x[..n], &y[..n]);
    lanes!(x, y, T::default(), |x, y, sum| T::mul_add::<M>(x, y, sum), |a, b| a + b)
}

/// Adds `factor · x` to `sums`.
#[inline(always)]
pub fn add_scaled<T: Real, M: Machine>(sums: &mut [T], factor: T, x: &[T]) {
    for (sum, x) in sums.iter_mut().zip(x) {
        *sum = T::mul_add::<M>(factor, *x, *sum);
    }
}

/// Folds all lanes, halving their number, which is a power of two.
#[inline(always)]
fn tree<T: Copy, const N: usize>(mut lanes: [T; N], join: impl Fn(T, T) -> T) -> T {
    let mut width = N / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = join(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}
