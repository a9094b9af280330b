//! Maximum and average pooling of channels-last `f32` tensors, for up to three spatial dimensions.

use super::lines::{Lines, WindowRow};
use super::shape::{Spatial, Window};
use crate::cpu::Isa;
use crate::cpu::simd::{Machine, Vector, Work};
use crate::error::{Error, Result};
use std::ops::Range;

/// What becomes of the elements under the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolKind {
    /// The largest; NaN if there is one. Padding does not count; a window that lies in padding gives minus infinity.
    Max,
    /// The mean of those inside the input; NaN for a window that lies in padding.
    Average,
    /// The sum, padding being zeros, divided by the taps that lie inside the padded input.
    AverageWithPadding,
}

/// A pooling of known shape. As [`Conv`](super::Conv), with a single phase.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    isa: Isa,
    kind: PoolKind,
    lines: Lines,
    stride: usize,
}

/// The operands of a pooling.
#[derive(Clone, Copy, Debug)]
pub struct PoolArgs {
    /// First element of the input.
    pub input: *const f32,
    /// First element of the output.
    pub output: *mut f32,
    /// Elements from one pixel of the output to the next.
    pub output_stride: usize,
}

impl Pool {
    /// Plans pooling of `[batch, input.., channels]`, whose pixels are `stride` elements apart.
    ///
    /// `output` may exceed what the window's padding accounts for, as when a model rounds extents up: the missing
    /// elements are outside of both input and padding.
    ///
    /// # Errors
    /// The window is not valid, or a size overflows.
    pub fn new(
        isa: Isa,
        kind: PoolKind,
        window: &Window,
        (batch, input, channels): (usize, Spatial, usize),
        stride: usize,
        output: Spatial,
    ) -> Result<Pool> {
        let fewest = window.output(input)?;
        if (0..3).any(|d| output[d] < fewest[d] || output[d] > fewest[d].saturating_add(1)) {
            return Err(Error::shape(format!("pooling {input:?} by {window:?} gives {fewest:?}, not {output:?}")));
        }
        for extents in [input, output] {
            let elements = [batch, channels].iter().chain(&extents).try_fold(4usize, |n, &d| n.checked_mul(d));
            if elements.is_none_or(|n| n > isize::MAX as usize / 2) {
                return Err(Error::no_memory(format!(
                    "{channels} channels of {batch} x {extents:?} exceed the address space"
                )));
            }
        }
        Ok(Pool { isa, kind, lines: Lines::new(window, batch, input, output, channels, window.taps()), stride })
    }

    /// Number of parts; none where the output is empty.
    pub fn parts(&self) -> usize {
        self.lines.parts()
    }

    /// Bytes of scratch memory for each part that runs at the same time. It need not be initialised.
    pub fn scratch_bytes(&self) -> usize {
        self.lines.scratch_bytes()
    }

    /// Runs one part.
    ///
    /// # Safety
    /// - `part < parts()`.
    /// - The operands have the extents of the shape that was planned. Nothing else accesses this part of the output
    ///   meanwhile, and it does not overlap the input.
    /// - `scratch` is aligned to 8 bytes, has `scratch_bytes()` and belongs to this call.
    pub unsafe fn run(&self, part: usize, args: &PoolArgs, scratch: *mut u8) {
        self.isa.dispatch(Part { plan: self, part, args, scratch });
    }
}

/// One part, as [`Work`]. Made by [`Pool::run`] only, whose caller answers for the pointers.
struct Part<'a> {
    plan: &'a Pool,
    part: usize,
    args: &'a PoolArgs,
    scratch: *mut u8,
}

impl Work for Part<'_> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        // Copies, which no store to the output can change.
        let (plan, args) = (*self.plan, *self.args);
        let Lines { window, input, output, .. } = plan.lines;
        let (lines, channels) = plan.lines.part(self.part);
        let interior = plan.lines.interior();
        for line in lines {
            // SAFETY: the pixels and channels are those of this part; the scratch memory is its own.
            unsafe {
                let rows = plan.lines.rows(line, self.scratch);
                let line = Line { plan, args, rows, first: line * output[2], taps: taps_of_line(&plan.lines, line) };
                for pixel in 0..output[2] {
                    let taps = match interior.contains(&pixel) {
                        true => 0..window.kernel[2],
                        false => window.taps_inside(2, pixel, input[2]),
                    };
                    match plan.kind {
                        PoolKind::Max => line.pixel::<M::Vector, true>(pixel, &channels, taps),
                        _ => line.pixel::<M::Vector, false>(pixel, &channels, taps),
                    }
                }
            }
        }
    }
}

/// Taps of a window along depth and height that lie inside the padded input.
fn taps_of_line(lines: &Lines, line: usize) -> usize {
    let [depths, heights, _] = lines.output;
    taps_in_padding(lines, 0, line / heights % depths) * taps_in_padding(lines, 1, line % heights)
}

/// Taps along dimension `d` that lie inside the padded input for output `o`.
fn taps_in_padding(lines: &Lines, d: usize, o: usize) -> usize {
    let Lines { window, input, .. } = lines;
    let room = (window.pad_begin[d] + input[d] + window.pad_end[d]).saturating_sub(o * window.stride[d]);
    room.div_ceil(window.dilation[d]).min(window.kernel[d])
}

/// A line of the output.
struct Line<'a> {
    plan: Pool,
    args: PoolArgs,
    rows: &'a [WindowRow],
    /// Index of its first pixel.
    first: usize,
    /// Taps along depth and height inside the padded input.
    taps: usize,
}

impl Line<'_> {
    /// Pools one pixel over `taps` of each window row.
    #[inline(always)]
    unsafe fn pixel<V: Vector, const MAX: bool>(&self, pixel: usize, channels: &Range<usize>, taps: Range<usize>) {
        let count = match self.plan.kind {
            PoolKind::AverageWithPadding => self.taps * taps_in_padding(&self.plan.lines, 2, pixel),
            _ => self.rows.len() * taps.len(),
        };
        let share = 1.0 / count as f32;
        let mut channel = channels.start;
        // SAFETY: the caller's promises; the last vector is cut short.
        unsafe {
            while channel + 4 * V::LANES <= channels.end {
                self.block::<V, MAX, 4>(pixel, channel, V::LANES, &taps, share);
                channel += 4 * V::LANES;
            }
            if channel + 2 * V::LANES <= channels.end {
                self.block::<V, MAX, 2>(pixel, channel, V::LANES, &taps, share);
                channel += 2 * V::LANES;
            }
            while channel < channels.end {
                self.block::<V, MAX, 1>(pixel, channel, V::LANES.min(channels.end - channel), &taps, share);
                channel += V::LANES;
            }
        }
    }

    /// Pools `N` vectors of channels, of which each has `n`.
    #[inline(always)]
    unsafe fn block<V: Vector, const MAX: bool, const N: usize>(
        &self,
        pixel: usize,
        channel: usize,
        n: usize,
        taps: &Range<usize>,
        share: f32,
    ) {
        let Pool { lines: Lines { window, .. }, stride: step, .. } = self.plan;
        let first = pixel * window.stride[2] + taps.start * window.dilation[2];
        let next = window.dilation[2] * step;
        // SAFETY: the caller's promises. Padding may lie in front of the first tap, but not of those that are read.
        unsafe {
            let mut values = [V::splat(if MAX { f32::NEG_INFINITY } else { 0.0 }); N];
            // What is not a number is kept apart, so that neither waits for the other.
            let mut invalid = [V::splat(0.0); N];
            for row in self.rows {
                let mut from = self.args.input.add((row.pixel + first - window.pad_begin[2]) * step + channel);
                for _ in taps.clone() {
                    for i in 0..N {
                        let x = V::load_up_to(from.add(i * V::LANES), n);
                        values[i] = if MAX { values[i].or_larger(x) } else { values[i].add(x) };
                        invalid[i] = if MAX { invalid[i].or_nan(x) } else { invalid[i] };
                    }
                    from = from.wrapping_add(next);
                }
            }
            let to = self.args.output.add((self.first + pixel) * self.args.output_stride + channel);
            for i in 0..N {
                let value = if MAX { values[i].or_nan(invalid[i]) } else { values[i].mul(V::splat(share)) };
                value.store_up_to(to.add(i * V::LANES), n);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::gemm::tests::{Random, isas};

    fn reference(
        kind: PoolKind,
        w: &Window,
        (batch, input, channels): (usize, Spatial, usize),
        output: Spatial,
        x: &[f32],
    ) -> Vec<f32> {
        let mut result = Vec::new();
        let positions =
            |e: Spatial| (0..e[0] * e[1] * e[2]).map(move |i| [i / (e[1] * e[2]), i / e[2] % e[1], i % e[2]]);
        for n in 0..batch {
            for o in positions(output) {
                for c in 0..channels {
                    let (mut inside, mut padded) = (Vec::new(), 0);
                    for k in positions(w.kernel) {
                        let at: [usize; 3] = std::array::from_fn(|d| o[d] * w.stride[d] + k[d] * w.dilation[d]);
                        padded += usize::from((0..3).all(|d| at[d] < w.pad_begin[d] + input[d] + w.pad_end[d]));
                        if (0..3).all(|d| at[d] >= w.pad_begin[d] && at[d] < w.pad_begin[d] + input[d]) {
                            let pixel = (0..3).fold(n, |i, d| i * input[d] + at[d] - w.pad_begin[d]);
                            inside.push(x[pixel * channels + c]);
                        }
                    }
                    let sum: f32 = inside.iter().sum();
                    result.push(match kind {
                        PoolKind::Max => {
                            inside.iter().fold(f32::NEG_INFINITY, |m, &x| if x > m || x.is_nan() { x } else { m })
                        }
                        PoolKind::Average => sum / inside.len() as f32,
                        PoolKind::AverageWithPadding => sum / padded as f32,
                    });
                }
            }
        }
        result
    }

    fn check(isa: Isa, kind: PoolKind, window: &Window, shape: (usize, Spatial, usize), extra: Spatial) {
        let (batch, input, channels) = shape;
        let mut random = Random::new(channels as u64);
        let x = random.values(batch * input.iter().product::<usize>() * channels);
        let output: Spatial = std::array::from_fn(|d| window.output(input).unwrap()[d] + extra[d]);
        let pool = Pool::new(isa, kind, window, shape, channels, output).unwrap();
        let expected = reference(kind, window, shape, output, &x);
        let mut y = vec![9.0; expected.len()];
        let args = PoolArgs { input: x.as_ptr(), output: y.as_mut_ptr(), output_stride: channels };
        let mut scratch = vec![u64::MAX; pool.scratch_bytes() / 8 + 1];
        for part in random.order(pool.parts()) {
            // SAFETY: the operands have the extents of the shape.
            unsafe { pool.run(part, &args, scratch.as_mut_ptr().cast()) };
        }
        for (i, (got, expected)) in y.iter().zip(&expected).enumerate() {
            let close = got == expected || (got - expected).abs() <= 1e-5 || got.is_nan() && expected.is_nan();
            assert!(close, "{isa} {kind:?} {window:?} {shape:?}: element {i} is {got}, not {expected}");
        }
    }

    #[test]
    fn windows_of_all_kinds() {
        let pool = |kernel: Spatial, stride: Spatial, pad: Spatial| Window::new(kernel).strided(stride).padded(pad);
        let dilated = Window { dilation: [1, 2, 3], ..pool([1, 3, 2], [1, 2, 1], [0, 2, 1]) };
        for isa in isas() {
            for kind in [PoolKind::Max, PoolKind::Average, PoolKind::AverageWithPadding] {
                for channels in [1, 16, 21, 70] {
                    check(isa, kind, &pool([1, 3, 3], [1, 2, 2], [0, 1, 1]), (2, [1, 9, 12], channels), [0; 3]);
                    check(isa, kind, &pool([1, 2, 2], [1, 2, 2], [0; 3]), (1, [1, 7, 9], channels), [0, 1, 1]);
                    check(isa, kind, &pool([2, 3, 2], [1, 1, 2], [1, 0, 0]), (1, [4, 5, 6], channels), [0; 3]);
                    check(isa, kind, &pool([1, 1, 5], [1, 1, 3], [0, 0, 2]), (1, [1, 1, 20], channels), [0, 0, 1]);
                    check(isa, kind, &dilated, (1, [1, 9, 8], channels), [0; 3]);
                    check(isa, kind, &pool([1, 7, 7], [1; 3], [0; 3]), (1, [1, 7, 7], channels), [0; 3]);
                }
            }
        }
    }

    #[test]
    fn not_a_number_is_kept() {
        const C: usize = 84;
        for isa in isas() {
            for at in 0..4 {
                // Opposite infinities, whose sum is NaN, are no NaN.
                let mut x = vec![f32::INFINITY; 4 * C];
                x[(at ^ 1) * C..][..C].fill(f32::NEG_INFINITY);
                x[at * C..][..C].iter_mut().step_by(3).for_each(|x| *x = f32::NAN);
                let window = Window::new([1, 1, 4]);
                let pool = Pool::new(isa, PoolKind::Max, &window, (1, [1, 1, 4], C), C, [1; 3]).unwrap();
                let (mut y, mut scratch) = (vec![0.0f32; C], vec![0u64; pool.scratch_bytes() / 8 + 1]);
                let args = PoolArgs { input: x.as_ptr(), output: y.as_mut_ptr(), output_stride: C };
                for part in 0..pool.parts() {
                    // SAFETY: the operands have the extents of the shape.
                    unsafe { pool.run(part, &args, scratch.as_mut_ptr().cast()) };
                }
                for (c, y) in y.iter().enumerate() {
                    assert!(if c % 3 == 0 { y.is_nan() } else { *y == f32::INFINITY }, "{isa} {at} {c}: {y}");
                }
            }
        }
    }

    #[test]
    fn outputs_that_do_not_fit_are_refused() {
        let window = Window::new([1, 2, 2]).strided([1, 2, 2]);
        for output in [[1, 2, 4], [1, 5, 4], [2, 3, 4], [0, 3, 4]] {
            let shape = (1, [1, 7, 8], 3);
            assert_eq!(Pool::new(Isa::Scalar, PoolKind::Max, &window, shape, 3, output).is_err(), output != [2, 3, 4]);
        }
    }
}
