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
use crate::tensor::{Args, Grid};
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Elements of a block of pixels.
const BLOCK: usize = 4096;
/// Least pixels of a block: what is done for each block and channel is small beside them.
const PIXELS: usize = 32;
/// Elements that are worth a loop: narrower pixels are taken several at a time.
const WIDE: usize = 128;
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
    /// Elements of the whole pixels that a loop takes at a time.
    row: usize,
    /// Pixels of a block, and blocks of a batch.
    block: usize,
    blocks: usize,
    phases: [Grid; 3],
    element: PhantomData<fn() -> T>,
}

/// The kernel of a normalisation of `[batch, .., channels]` in `groups` groups, or one per channel for 0.
pub fn prepare<T: Real>(cx: &Prepare<'_>, groups: usize, epsilon: f32) -> Box<dyn Kernel> {
    let dims = cx.dims(0);
    let channels = dims[dims.len() - 1];
    // Without channels there is nothing to do.
    let batch = if channels == 0 { 0 } else { dims[0] };
    let pixels: usize = dims[1..dims.len() - 1].iter().product();
    let groups = if groups == 0 { channels } else { groups };
    let width = channels.checked_div(groups).unwrap_or(0);
    let row = channels * (WIDE / channels.max(1)).max(1);
    let block = BLOCK.div_ceil(channels.max(1)).max(PIXELS).min(pixels.max(1));
    let blocks = pixels.div_ceil(block);
    let phases = [
        Grid::by_cost(batch * blocks, block * channels, GRAIN),
        Grid::by_cost(batch * groups, blocks * width, GRAIN),
        Grid::by_cost(batch * pixels, channels, GRAIN),
    ];
    let (isa, epsilon) = (cx.isa, epsilon.into());
    let element = PhantomData;
    Box::new(Groups::<T> { isa, epsilon, batch, pixels, channels, width, row, block, blocks, phases, element })
}

impl<T: Real> Kernel for Groups<T> {
    fn phases(&self) -> Vec<Grid> {
        self.phases.to_vec()
    }

    fn shared_bytes(&self) -> usize {
        2 * (self.blocks + 1) * self.batch * self.channels * size_of::<u64>()
    }

    fn scratch_bytes(&self) -> usize {
        3 * self.row * size_of::<T>()
    }

    fn run(&self, phase: usize, args: &mut Args<'_>) -> Result<()> {
        let words = args.shared_words();
        let (sums, results) = words.split_at(2 * self.blocks * self.batch * self.channels);
        let (share, _) = args.ranges();
        match phase {
            0 => {
                let x = args.input::<T>(0);
                let scratch = &mut args.scratch::<T>()[..3 * self.row];
                for unit in share {
                    let pixels = self.block_of(unit);
                    let x = &x[pixels.start * self.channels..pixels.end * self.channels];
                    self.isa.dispatch(Sums { x, channels: self.channels, scratch: &mut *scratch });
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
        let at = |part: usize, channel: usize| scratch[part * self.row + channel].to_f64();
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
        let (means, rest) = args.scratch::<T>()[..3 * self.row].split_at_mut(self.row);
        let (factors, offsets) = rest.split_at_mut(self.row);
        for (i, offset) in offsets.iter_mut().enumerate() {
            *offset = bias.map_or(T::default(), |b| b[i % self.channels]);
        }
        let out = args.output::<T>(0);
        let mut pixels = out.rows();
        let mut out = out.into_slice();
        while !pixels.is_empty() {
            let image = pixels.start / self.pixels;
            let end = pixels.end.min((image + 1) * self.pixels);
            for (i, (mean, factor)) in means.iter_mut().zip(factors.iter_mut()).enumerate() {
                let (m, f) = load(results, image * self.channels + i % self.channels);
                (*mean, *factor) = (T::from_f64(m), T::from_f64(f));
            }
            let here = std::mem::replace(&mut pixels.start, end)..end;
            let x = &x[here.start * self.channels..here.end * self.channels];
            let (image, rest) = std::mem::take(&mut out).split_at_mut(x.len());
            self.isa.dispatch(Apply { x, means, factors, offsets, out: image });
            out = rest;
        }
    }
}

/// For each channel of a few pixels: about their mean, and the sums of what differs from it and of its square. Each
/// third of the scratch is a row of several pixels.
struct Sums<'a, T> {
    x: &'a [T],
    channels: usize,
    scratch: &'a mut [T],
}

/// The sums over all pixels of a row, for each channel in each pixel's place.
#[inline(always)]
fn total<T: Real>(row: &mut [T], channels: usize) {
    let (first, others) = row.split_at_mut(channels);
    for pixel in others.chunks_exact(channels) {
        for (sum, x) in first.iter_mut().zip(pixel) {
            *sum = *sum + *x;
        }
    }
    for pixel in others.chunks_exact_mut(channels) {
        pixel.copy_from_slice(first);
    }
}

impl<T: Real> Work for Sums<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        let Sums { x, channels, scratch } = self;
        let row = scratch.len() / 3;
        let (means, rest) = scratch.split_at_mut(row);
        let (differences, squares) = rest.split_at_mut(row);
        means.fill(T::default());
        for pixels in x.chunks(row) {
            for (mean, x) in means.iter_mut().zip(pixels) {
                *mean = *mean + *x;
            }
        }
        total(means, channels);
        let share = T::from_f64(channels as f64 / x.len() as f64);
        means.iter_mut().for_each(|mean| *mean = *mean * share);
        differences.fill(T::default());
        squares.fill(T::default());
        for pixels in x.chunks(row) {
            let n = pixels.len();
            let (means, differences, squares) = (&means[..n], &mut differences[..n], &mut squares[..n]);
            for i in 0..n {
                let d = pixels[i] - means[i];
                differences[i] = differences[i] + d;
                squares[i] = T::mul_add::<M>(d, d, squares[i]);
            }
        }
        total(differences, channels);
        total(squares, channels);
    }
}

/// The result for pixels of one image; means, factors and offsets are those of a row of several pixels.
struct Apply<'a, T> {
    x: &'a [T],
    means: &'a [T],
    factors: &'a [T],
    offsets: &'a [T],
    out: &'a mut [T],
}

impl<T: Real> Work for Apply<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        let row = self.means.len();
        for (out, x) in self.out.chunks_mut(row).zip(self.x.chunks(row)) {
            let n = out.len();
            let (x, means, factors, offsets) = (&x[..n], &self.means[..n], &self.factors[..n], &self.offsets[..n]);
            for i in 0..n {
                out[i] = T::mul_add::<M>(x[i] - means[i], factors[i], offsets[i]);
            }
        }
    }
}
