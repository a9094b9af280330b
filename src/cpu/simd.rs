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
//! Matrix kernels, which need exact control of registers, use intrinsics instead (see `gemm`).
#![allow(unsafe_code, reason = "calls functions with target features after checking that the CPU has them")]

use super::isa::Isa;

/// The arithmetic of one instruction set, for use inside [`Work::run`].
pub trait Machine: Copy + 'static {
    /// The instruction set.
    const ISA: Isa;
    /// `f32` elements in one vector.
    const LANES: usize;
    /// `a * b + c`, rounded once where the instruction set has FMA, twice on [`Scalar`].
    fn mul_add(a: f32, b: f32, c: f32) -> f32;
}

/// A computation that [`Isa::dispatch`] compiles for every instruction set.
pub trait Work {
    /// The result of the computation.
    type Out;
    /// Runs on machine `M`. Implementations must be `#[inline(always)]`, see the [module](self) for the rules.
    fn run<M: Machine>(self) -> Self::Out;
}

macro_rules! machines {
    ($($(#[$doc:meta])* $name:ident, $lanes:literal, |$a:ident, $b:ident, $c:ident| $mul_add:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl Machine for $name {
            const ISA: Isa = Isa::$name;
            const LANES: usize = $lanes;

            #[inline(always)]
            fn mul_add($a: f32, $b: f32, $c: f32) -> f32 {
                $mul_add
            }
        }
    )*};
}

machines! {
    /// The baseline of the compilation target.
    Scalar, 4, |a, b, c| a * b + c;
    /// x86-64 with AVX2, FMA and F16C.
    Avx2, 8, |a, b, c| a.mul_add(b, c);
    /// x86-64 with AVX-512.
    Avx512, 16, |a, b, c| a.mul_add(b, c);
    /// AArch64 with Advanced SIMD.
    Neon, 4, |a, b, c| a.mul_add(b, c);
}

impl Isa {
    /// Runs `work` compiled for this instruction set; for one that this CPU lacks, as [`Isa::Scalar`].
    #[inline]
    pub fn dispatch<W: Work>(self, work: W) -> W::Out {
        if !self.is_available() {
            return work.run::<Scalar>();
        }
        match self {
            // SAFETY: the CPU has the features of this instruction set, checked above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { avx2(work) },
            // SAFETY: the CPU has the features of this instruction set, checked above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { avx512(work) },
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => work.run::<Neon>(),
            _ => work.run::<Scalar>(),
        }
    }
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
            let expected = if isa.is_available() { isa } else { Isa::Scalar };
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
