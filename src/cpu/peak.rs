//! The most that this machine computes: what measured rates are compared with.
#![allow(unsafe_code, reason = "vector registers")]
#![allow(clippy::needless_range_loop, reason = "loops over registers are unrolled by constant index")]

use super::Isa;
use super::parallel::Gang;
use super::simd::{Machine, Vector, Work};
use crate::error::Result;
use std::hint::black_box;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// Independent sums: the latency of a multiply-add times how many begin at once, and still in registers.
const SUMS: usize = if cfg!(target_arch = "aarch64") { 24 } else { 12 };

/// Multiply-adds of each sum in one measurement, some 300 microseconds: long beside the start of the threads.
const STEPS: usize = 900_000 / SUMS;

/// Measurements, of which the best counts: the machine may be busy with something else.
const ROUNDS: usize = 60;

/// Floating-point operations per second in `f32` that all threads of the gang reach together, at the same time, with
/// multiply-adds on registers; takes some 20 milliseconds.
///
/// # Errors
/// The gang cannot run, see [`Gang::run`].
pub fn peak_flops(isa: Isa, gang: &Gang) -> Result<f64> {
    let mut best = 0.0;
    for _ in 0..ROUNDS {
        let operations = AtomicUsize::new(0);
        let start = Instant::now();
        gang.run(&|_| {
            operations.fetch_add(isa.dispatch(MultiplyAdds), Relaxed);
        })?;
        best = f64::max(best, operations.into_inner() as f64 / start.elapsed().as_secs_f64());
    }
    Ok(best)
}

/// Returns how many operations it has done.
struct MultiplyAdds;

impl Work for MultiplyAdds {
    type Out = usize;

    #[inline(always)]
    fn run<M: Machine>(self) -> usize {
        // SAFETY: the CPU has the instruction set of `M`; the array has at least as many elements as a vector.
        unsafe {
            // Sums grow by so small a share that they stay finite. They are also what is added to: where that is what an
            // instruction overwrites, nothing needs to be copied.
            let share = M::Vector::splat(black_box(1e-5));
            let mut sums = [share; SUMS];
            for i in 0..SUMS {
                sums[i] = M::Vector::splat(black_box(i as f32));
            }
            for _ in 0..STEPS {
                for i in 0..SUMS {
                    sums[i] = sums[i].mul_add(share, sums[i]);
                }
            }
            let mut seen = [[0.0f32; 16]; SUMS];
            for i in 0..SUMS {
                sums[i].store(seen[i].as_mut_ptr());
            }
            black_box(seen);
            2 * SUMS * STEPS * M::LANES
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
