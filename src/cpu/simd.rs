//! The one way to run vector code: plain loops, written once, compiled for each instruction set.
//!
//! A [`Work`] is a loop over slices, generic over the [`Machine`]. [`Isa::dispatch`] inlines it into a function that has
//! the target features of one instruction set, where LLVM vectorises it at the full width. Rules for the code inside:
//!
//! - `run` and everything it calls on elements is `#[inline(always)]`: code that is not inlined has baseline features.
//!   Closures are safe only in adaptors that are inlined themselves; `for` loops always are.
//! - `M::mul_add` is the multiply-add (never `f32::mul_add`, which is a library call on the baseline).
//! - No branches on elements: `if` with two cheap values becomes a select; libm functions do not vectorise (use
//!   [`math`](super::math)).
//! - Slices of one length: re-slice to a common `n` before the loop, so that bounds checks vanish.
//!
//! Kernels that need exact control of registers use [`Machine::Vector`] instead of plain loops.
#![allow(unsafe_code, reason = "intrinsics, called after checking that the CPU has them")]

#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
mod vector;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::isa::Isa;
#[cfg(target_arch = "aarch64")]
use neon as native;
pub(super) use portable::Four;
#[cfg(target_arch = "aarch64")]
pub(super) use std::arch::aarch64::float32x4_t;
#[cfg(target_arch = "x86_64")]
pub(super) use std::arch::x86_64::{__m256, __m512};
#[cfg(target_arch = "x86_64")]
use x86 as native;

/// The arithmetic of one instruction set, for use inside [`Work::run`].
///
/// The implementors have no name outside of this module: code that is given an `M` runs on a CPU that has it.
pub trait Machine: Copy + 'static {
    /// The instruction set.
    const ISA: Isa;
    /// `f32` elements in one vector.
    const LANES: usize;
    /// A register of that many elements.
    type Vector: Vector;
    /// `a * b + c`, rounded once where the instruction set has FMA, twice on the baseline.
    fn mul_add(a: f32, b: f32, c: f32) -> f32;
}

/// A register of `f32`.
///
/// # Safety
/// All functions need the instruction set of the vector, and pointers valid for the elements they touch.
#[allow(clippy::missing_safety_doc, reason = "said once for the trait")]
pub trait Vector: Copy + 'static {
    /// Elements.
    const LANES: usize;
    /// `value` in all lanes.
    unsafe fn splat(value: f32) -> Self;
    /// `LANES` elements.
    unsafe fn load(from: *const f32) -> Self;
    /// The first `n` < `LANES` elements, and zeros.
    unsafe fn load_first(from: *const f32, n: usize) -> Self;
    /// Stores `LANES` elements.
    unsafe fn store(self, to: *mut f32);
    /// Stores the first `n` < `LANES` elements.
    unsafe fn store_first(self, to: *mut f32, n: usize);
    /// `self + other`.
    unsafe fn add(self, other: Self) -> Self;
    /// `self - other`.
    unsafe fn sub(self, other: Self) -> Self;
    /// `self * other`.
    unsafe fn mul(self, other: Self) -> Self;
    /// `self * factor + addend`, fused where the instruction set has it.
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// The larger of two numbers; NaN where `self` is.
    unsafe fn max(self, other: Self) -> Self;
    /// The smaller of two numbers; NaN where `self` is.
    unsafe fn min(self, other: Self) -> Self;
    /// `self`, which has no NaN, and `other` in lanes where that is larger: a NaN is not.
    unsafe fn or_larger(self, other: Self) -> Self;
    /// `self`, and `other` in lanes where that is NaN.
    unsafe fn or_nan(self, other: Self) -> Self;
    /// `self`, and `value` in lanes where `other` is equal to that.
    unsafe fn or_equal(self, other: Self, value: Self) -> Self;
    /// Lane i of the result is lane `index[i]`, below `LANES`; `index` has as many elements.
    unsafe fn permute(self, index: &[u32]) -> Self;
    /// For each i below four, lane i of each four lanes in all of the four.
    unsafe fn spread_fours(self) -> [Self; 4];

    /// The first `n` elements (at most `LANES`), and zeros.
    #[inline(always)]
    unsafe fn load_up_to(from: *const f32, n: usize) -> Self {
        // SAFETY: the caller's promises.
        unsafe { if n >= Self::LANES { Self::load(from) } else { Self::load_first(from, n) } }
    }

    /// Stores the first `n` elements (at most `LANES`).
    #[inline(always)]
    unsafe fn store_up_to(self, to: *mut f32, n: usize) {
        // SAFETY: the caller's promises.
        unsafe { if n >= Self::LANES { self.store(to) } else { self.store_first(to, n) } }
    }
}

/// Asks for the cache line at any address, in the first-level cache.
#[inline(always)]
pub(super) fn prefetch_near(address: *const f32) {
    #[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
    native::prefetch_near(address);
    #[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
    let _ = address;
}

/// Asks for the cache line at any address, in the second-level cache.
#[inline(always)]
pub(super) fn prefetch_far(address: *const f32) {
    #[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
    native::prefetch_far(address);
    #[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
    let _ = address;
}

/// A computation that [`Isa::dispatch`] compiles for every instruction set.
pub trait Work {
    /// The result of the computation.
    type Out;
    /// Runs on machine `M`. Implementations must be `#[inline(always)]`, see the [module](self) for the rules.
    fn run<M: Machine>(self) -> Self::Out;
}

/// The implementors of [`Machine`].
mod machines {
    use super::{Isa, Machine};

    macro_rules! machines {
        ($($(#[$attribute:meta])* $name:ident, $vector:ty, |$a:ident, $b:ident, $c:ident| $mul_add:expr;)*) => {$(
            #[derive(Clone, Copy, Debug)]
            $(#[$attribute])*
            pub struct $name;

            $(#[$attribute])*
            impl Machine for $name {
                const ISA: Isa = Isa::$name;
                const LANES: usize = <$vector as super::Vector>::LANES;
                type Vector = $vector;

                #[inline(always)]
                fn mul_add($a: f32, $b: f32, $c: f32) -> f32 {
                    $mul_add
                }
            }
        )*};
    }

    machines! {
        Scalar, super::Four, |a, b, c| a * b + c;
        #[cfg(target_arch = "x86_64")]
        Avx2, super::__m256, |a, b, c| a.mul_add(b, c);
        #[cfg(target_arch = "x86_64")]
        Avx512, super::__m512, |a, b, c| a.mul_add(b, c);
        #[cfg(target_arch = "aarch64")]
        Neon, super::float32x4_t, |a, b, c| a.mul_add(b, c);
    }
}
use machines::*;

impl Isa {
    /// Runs `work` compiled for this instruction set; for one that this CPU lacks, as [`Isa::Scalar`].
    #[inline]
    pub fn dispatch<W: Work>(self, work: W) -> W::Out {
        match self {
            // SAFETY: the CPU has the features of this instruction set.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 if self.is_available() => unsafe { avx2(work) },
            // SAFETY: the CPU has the features of this instruction set.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Amx if self.is_available() => unsafe { avx512(work) },
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => work.run::<Neon>(),
            _ => scalar(work),
        }
    }
}

/// One copy for all callers of a work: where there is a vector unit, this is hardly ever called.
#[inline(never)]
fn scalar<W: Work>(work: W) -> W::Out {
    work.run::<Scalar>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn avx2<W: Work>(work: W) -> W::Out {
    work.run::<Avx2>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
fn avx512<W: Work>(work: W) -> W::Out {
    work.run::<Avx512>()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Which;

    impl Work for Which {
        type Out = (Isa, usize);

        #[inline(always)]
        fn run<M: Machine>(self) -> (Isa, usize) {
            (M::ISA, M::LANES)
        }
    }

    #[test]
    fn dispatch_runs_the_machine_asked_for_or_scalar() {
        for isa in Isa::ALL {
            let machine = if isa == Isa::Amx { Isa::Avx512 } else { isa };
            let expected = if isa.is_available() { machine } else { Isa::Scalar };
            assert_eq!(isa.dispatch(Which).0, expected);
        }
    }

    struct Axpy<'a>(&'a mut [f32], &'a [f32]);

    impl Work for Axpy<'_> {
        type Out = ();

        #[inline(always)]
        fn run<M: Machine>(self) {
            for (y, x) in self.0.iter_mut().zip(self.1) {
                *y = M::mul_add(*x, 3.0, *y);
            }
        }
    }

    #[test]
    fn loops_compute_the_same_on_every_machine() {
        for isa in Isa::available() {
            let x: Vec<f32> = (0..101).map(|i| i as f32).collect();
            let mut y = x.clone();
            isa.dispatch(Axpy(&mut y, &x));
            assert!(y.iter().zip(&x).all(|(y, x)| *y == 4.0 * x), "{isa}");
        }
    }
}
