//! Group normalisation of channels-last tensors.
//!
//! Sums down the channels of blocks of pixels, means of groups from those, and the result, in a phase each. A block is
//! small enough to be read again from cache, to sum what differs from its mean, so nothing cancels (Chan et al.,
//! "Updating formulae and a pairwise algorithm for computing sample variances", 1979). Blocks are combined in order.

use crate::cpu::Isa;
use crate::cpu::simd::{Machine, Work};
use crate::error::Result;
use crate::ops::arith::Real;
use crate::ops::{Kernel, Prepare};
use crate::tensor::{Args, Grid, Tile};
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Elements of a block of pixels.
const BLOCK: usize = 4096;
/// Elements worth a part of their own.
const GRAIN: usize = 16 * 1024;

struct Groups<T> {
    isa: Isa,
    epsilon: f64,
    batch: usize,
    pixels: usize,
    channels: usize,
    /// Channels of a group.
    width: usize,
    /// Pixels of a block, and blocks of a batch.
    block: usize,
    blocks: usize,
    phases: [Grid; 3],
    element: PhantomData<fn() -> T>,
}

/// The kernel of a normalisation of `[batch, .., channels]` in `groups` groups, or one per channel for 0.
pub fn prepare<T: Real>(cx: &Prepare<'_>, groups: usize, epsilon: f32) -> Box<dyn Kernel> {
    let dims = cx.dims(0);
    let (batch, channels) = (dims[0], dims[dims.len() - 1]);
    let pixels: usize = dims[1..dims.len() - 1].iter().product();
    let groups = if groups == 0 { channels } else { groups };
    let width = channels.checked_div(groups).unwrap_or(0);
    let block = BLOCK.div_ceil(channels.max(1)).min(pixels.max(1));
    let blocks = pixels.div_ceil(block);
    let phases = [
        Grid::by_cost(batch * blocks, block * channels, GRAIN),
        Grid::by_cost(batch * groups, blocks * width, GRAIN),
        Grid::by_cost(batch * pixels, channels, GRAIN),
    ];
    let (isa, epsilon) = (cx.isa, epsilon.into());
    Box::new(Groups::<T> { isa, epsilon, batch, pixels, channels, width, block, blocks, phases, element: PhantomData })
}

impl<T: Real> Kernel for Groups<T> {
    fn phases(&self) -> Vec<Grid> {
        self.phases.to_vec()
    }

    fn shared_bytes(&self) -> usize {
        2 * (self.blocks + 1) * self.batch * self.channels * size_of::<u64>()
    }

    fn scratch_bytes(&self) -> usize {
        3 * self.channels * size_of::<T>()
    }

    fn run(&self, phase: usize, args: &mut Args<'_>) -> Result<()> {
        let words = args.shared_words();
        let (sums, results) = words.split_at(2 * self.blocks * self.batch * self.channels);
        let (share, _) = args.ranges();
        match phase {
            0 => {
                let x = args.input::<T>(0);
                let scratch = args.scratch::<T>();
                for unit in share {
                    let pixels = self.block_of(unit);
                    let x = &x[pixels.start * self.channels..pixels.end * self.channels];
                    self.isa.dispatch(Sums { x, channels: self.channels, scratch });
                    self.store(&sums[2 * unit * self.channels..], pixels.len() as f64, scratch);
                }
            }
            1 => share.for_each(|group| self.combine(group, sums, results, args)),
            _ => self.apply(results, args),
        }
        Ok(())
    }
}

fn load(from: &[AtomicU64], index: usize) -> (f64, f64) {
    let at = |i: usize| f64::from_bits(from[i].load(Relaxed));
    (at(2 * index), at(2 * index + 1))
}

impl<T: Real> Groups<T> {
    /// Pixels, of all batches, of block `unit`, of all batches.
    fn block_of(&self, unit: usize) -> Range<usize> {
        let (image, block) = (unit / self.blocks, unit % self.blocks);
        let start = image * self.pixels + block * self.block;
        start..(start + self.block).min((image + 1) * self.pixels)
    }

    /// Stores mean and squared deviations of each channel of a block of `count` pixels.
    fn store(&self, to: &[AtomicU64], count: f64, scratch: &[T]) {
        let at = |part: usize, channel: usize| scratch[part * self.channels + channel].to_f64();
        for (channel, pair) in to.chunks_exact(2).take(self.channels).enumerate() {
            let (center, differences, squares) = (at(0, channel), at(1, channel), at(2, channel));
            pair[0].store((center + differences / count).to_bits(), Relaxed);
            pair[1].store((squares - differences * differences / count).to_bits(), Relaxed);
        }
    }

    /// Pixels, mean and squared deviations of each channel of a group, in each block of its image.
    fn pieces(&self, image: usize, first: usize, sums: &[AtomicU64]) -> impl Iterator<Item = (f64, f64, f64)> {
        (image * self.blocks..(image + 1) * self.blocks).flat_map(move |unit| {
            let count = self.block_of(unit).len() as f64;
            (first..first + self.width).map(move |channel| {
                let (mean, squares) = load(sums, unit * self.channels + channel);
                (count, mean, squares)
            })
        })
    }

    /// Stores the mean of a group, and for each of its channels the factor of what differs from it.
    fn combine(&self, group: usize, sums: &[AtomicU64], results: &[AtomicU64], args: &Args<'_>) {
        let groups = self.channels / self.width;
        let (image, first) = (group / groups, group % groups * self.width);
        let total = (self.pixels * self.width) as f64;
        let mean = self.pieces(image, first, sums).map(|(n, mean, _)| n * mean).sum::<f64>() / total;
        let about = |(n, m, squares): (f64, f64, f64)| squares + n * (m - mean) * (m - mean);
        let variance = self.pieces(image, first, sums).map(about).sum::<f64>() / total;
        let inverse = 1.0 / (variance + self.epsilon).sqrt();
        let scale = args.optional::<T>(1);
        for channel in first..first + self.width {
            let factor = inverse * scale.map_or(1.0, |s| s[channel].to_f64());
            let pair = &results[2 * (image * self.channels + channel)..][..2];
            pair[0].store(mean.to_bits(), Relaxed);
            pair[1].store(factor.to_bits(), Relaxed);
        }
    }

    /// Normalises this part's pixels.
    fn apply(&self, results: &[AtomicU64], args: &mut Args<'_>) {
        let (x, bias) = (args.input::<T>(0), args.optional::<T>(2));
        let (means, factors) = args.scratch::<T>()[..2 * self.channels].split_at_mut(self.channels);
        let mut out = args.output::<T>(0);
        let mut pixels = out.rows();
        while !pixels.is_empty() {
            let image = pixels.start / self.pixels;
            let end = pixels.end.min((image + 1) * self.pixels);
            for (channel, (mean, factor)) in means.iter_mut().zip(factors.iter_mut()).enumerate() {
                let (m, f) = load(results, image * self.channels + channel);
                (*mean, *factor) = (T::from_f64(m), T::from_f64(f));
            }
            let pixels_here = std::mem::replace(&mut pixels.start, end)..end;
            self.isa.dispatch(Apply { x, means, factors, bias, pixels: pixels_here, out: &mut out });
        }
    }
}

/// For each channel of a few pixels: about their mean, and the sums of what differs from it and of its square.
struct Sums<'a, T> {
    x: &'a [T],
    channels: usize,
    scratch: &'a mut [T],
}

impl<T: Real> Work for Sums<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        let Sums { x, channels, scratch } = self;
        let (means, rest) = scratch.split_at_mut(channels);
        let (differences, squares) = rest.split_at_mut(channels);
        let squares = &mut squares[..channels];
        means.fill(T::default());
        for pixel in x.chunks_exact(channels) {
            for (mean, x) in means.iter_mut().zip(pixel) {
                *mean = *mean + *x;
            }
        }
        let share = T::from_f64(channels as f64 / x.len() as f64);
        means.iter_mut().for_each(|mean| *mean = *mean * share);
        differences.fill(T::default());
        squares.fill(T::default());
        for pixel in x.chunks_exact(channels) {
            let sums = differences.iter_mut().zip(squares.iter_mut());
            for ((x, mean), (difference, square)) in pixel.iter().zip(means.iter()).zip(sums) {
                let d = *x - *mean;
                *difference = *difference + d;
                *square = T::mul_add::<M>(d, d, *square);
            }
        }
    }
}

/// The result for pixels of one image.
struct Apply<'s, 'a, T> {
    x: &'a [T],
    means: &'s [T],
    factors: &'s [T],
    bias: Option<&'a [T]>,
    pixels: Range<usize>,
    out: &'s mut Tile<'a, T>,
}

impl<T: Real> Work for Apply<'_, '_, T> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        let channels = self.means.len();
        for pixel in self.pixels {
            let x = &self.x[pixel * channels..][..channels];
            let terms = self.out.row(pixel).iter_mut().zip(x).zip(self.means.iter().zip(self.factors));
            match self.bias {
                Some(bias) => {
                    for (((y, x), (mean, factor)), b) in terms.zip(bias) {
                        *y = T::mul_add::<M>(*x - *mean, *factor, *b);
                    }
                }
                None => {
                    for ((y, x), (mean, factor)) in terms {
                        *y = (*x - *mean) * *factor;
                    }
                }
            }
        }
    }
}
