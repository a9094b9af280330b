//! Three phases: the extremes of each part, the scale and zero point that follow from them, the quantization.

use crate::cpu::Isa;
use crate::cpu::simd::{Machine, Work};
use crate::error::Result;
use crate::ops::elementwise::Flat;
use crate::ops::quantize::Round;
use crate::ops::quantize::scales::Values;
use crate::ops::{Kernel, Prepare};
use crate::tensor::{Args, Grid};
use std::sync::atomic::Ordering::Relaxed;

/// The kernel for an input that `infer` has accepted.
pub fn prepare(cx: &Prepare<'_>) -> Box<dyn Kernel> {
    Box::new(DynamicQuantizeKernel {
        isa: cx.isa,
        flat: Flat::new(cx.input(0).info.numel(), 1),
        results: cx.outputs.len(),
    })
}

struct DynamicQuantizeKernel {
    isa: Isa,
    flat: Flat,
    results: usize,
}

impl Kernel for DynamicQuantizeKernel {
    fn phases(&self) -> Vec<Grid> {
        vec![self.flat.grid, Grid::ONE, self.flat.grid]
    }

    /// The extremes of each part, then the scale and zero point: a pair of f32 each.
    fn shared_bytes(&self) -> usize {
        (self.flat.grid.parts() + 1) * size_of::<u64>()
    }

    fn run(&self, phase: usize, args: &mut Args<'_>) -> Result<()> {
        let parts = self.flat.grid.parts();
        let words = args.shared_words();
        match phase {
            0 => {
                let x = &args.input::<f32>(0)[self.flat.range(args)];
                words[args.part()].store(pack(self.isa.dispatch(Extremes(x))), Relaxed);
            }
            1 => {
                let extremes = words[..parts].iter().map(|word| unpack(word.load(Relaxed)));
                let (scale, zero) = choose(extremes.fold((0.0, 0.0), |a, b| (a.0.min(b.0), a.1.max(b.1))));
                words[parts].store(pack((scale, zero)), Relaxed);
                if self.results > 1 {
                    args.output::<f32>(1).into_slice().fill(scale);
                }
                if self.results > 2 {
                    args.output::<u8>(2).into_slice().fill(zero as u8);
                }
            }
            _ => {
                let (scale, zero) = unpack(words[parts].load(Relaxed));
                let x = &args.input::<f32>(0)[self.flat.range(args)];
                let y = args.output::<u8>(0).into_slice();
                self.isa.dispatch(Round { x, scale: Values::One(scale), zero: Values::One(zero), y });
            }
        }
        Ok(())
    }
}

/// Scale and zero point for values between these extremes.
fn choose((low, high): (f32, f32)) -> (f32, f32) {
    let scale = if high > low { (high - low) / 255.0 } else { 1.0 };
    (scale, (-low / scale).clamp(0.0, 255.0).round_ties_even())
}

fn pack((a, b): (f32, f32)) -> u64 {
    u64::from(a.to_bits()) << 32 | u64::from(b.to_bits())
}

fn unpack(word: u64) -> (f32, f32) {
    (f32::from_bits((word >> 32) as u32), f32::from_bits(word as u32))
}

/// The smallest and largest of the elements and 0; NaN counts as 0.
struct Extremes<'a>(&'a [f32]);

/// Independent extremes.
const LANES: usize = 64;

impl Work for Extremes<'_> {
    type Out = (f32, f32);

    #[inline(always)]
    fn run<M: Machine>(self) -> (f32, f32) {
        let (mut low, mut high) = ([0f32; LANES], [0f32; LANES]);
        let (chunks, rest) = self.0.as_chunks::<LANES>();
        for chunk in chunks {
            for i in 0..LANES {
                low[i] = if chunk[i] < low[i] { chunk[i] } else { low[i] };
                high[i] = if chunk[i] > high[i] { chunk[i] } else { high[i] };
            }
        }
        let low = low.iter().chain(rest).fold(0.0, |a: f32, &b| a.min(b));
        let high = high.iter().chain(rest).fold(0.0, |a: f32, &b| a.max(b));
        (low, high)
    }
}
