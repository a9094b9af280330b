//! The most that this machine computes: what measured rates are compared with.
#![allow(unsafe_code, reason = "vector registers")]
#![allow(clippy::needless_range_loop, reason = "loops over registers are unrolled by constant index")]

use super::Isa;
use super::parallel::Gang;
use super::simd::{Machine, Vector, Work};
use crate::error::Result;
use std::hint::black_box;
use std::sync::Mutex;
use std::time::Instant;

/// Independent sums: the latency of a multiply-add times how many begin at once, and still in registers.
const SUMS: usize = 12;

/// Multiply-adds of each sum in one measurement, some 100 microseconds.
const STEPS: usize = 25_000;

/// Measurements, of which the best counts: the machine may be busy with something else.
const ROUNDS: usize = 200;

/// Floating-point operations per second in `f32` that all threads of the gang reach together with multiply-adds on
/// registers; takes some 20 milliseconds.
///
/// # Errors
/// The gang cannot run, see [`Gang::run`].
pub fn peak_flops(isa: Isa, gang: &Gang) -> Result<f64> {
    let total = Mutex::new(0.0);
    gang.run(&|_| {
        let best = (0..ROUNDS).map(|_| isa.dispatch(MultiplyAdds)).fold(0.0, f64::max);
        *total.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += best;
    })?;
    Ok(total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// Operations per second of one thread.
struct MultiplyAdds;

impl Work for MultiplyAdds {
    type Out = f64;

    #[inline(always)]
    fn run<M: Machine>(self) -> f64 {
        // SAFETY: the CPU has the instruction set of `M`; the array has as many elements as a vector.
        unsafe {
            let (factor, addend) = (M::Vector::splat(black_box(0.5)), M::Vector::splat(black_box(1.0)));
            let mut sums = [addend; SUMS];
            let start = Instant::now();
            for _ in 0..STEPS {
                for i in 0..SUMS {
                    sums[i] = sums[i].mul_add(factor, addend);
                }
            }
            let time = start.elapsed().as_secs_f64();
            let mut total = sums[0];
            for sum in &sums[1..] {
                total = total.add(*sum);
            }
            let mut seen = [0.0f32; 16];
            total.store(seen.as_mut_ptr());
            black_box(seen);
            (2 * SUMS * STEPS * M::LANES) as f64 / time
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_and_threads_make_it_faster_than_nothing() {
        let gang = Gang::new(2).unwrap();
        for isa in Isa::available() {
            let peak = peak_flops(isa, &gang).unwrap();
            assert!(peak > 1e8 && peak.is_finite(), "{isa}: {peak}");
        }
    }
}
