//! Sums of products over every type that has them, for kernels that are written once and used where no tuned one
//! exists. Integers wrap.

use crate::cpu::simd::Machine;
use crate::tensor::Element;

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
