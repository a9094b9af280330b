//! Every algorithm against seven plain loops.

use super::*;
use crate::cpu::Activation;
use crate::cpu::gemm::panels;
use crate::cpu::gemm::tests::{PLAIN, Random, targets};
use std::ptr;

/// A convolution of `[batch, spatial.., channels]` with weights `[out_channels, taps, in_channels / groups]`, in f64.
pub(crate) fn reference(shape: &ConvShape, input: &[f32], weights: &[f32]) -> Vec<f64> {
    let ConvShape { batch, out_channels, in_channels, input: extent, window, .. } = *shape;
    let output = shape.output().unwrap();
    let (group_in, group_out) = (shape.group_in(), shape.group_out());
    let mut result = Vec::new();
    for n in 0..batch {
        for o in positions(output) {
            for oc in 0..out_channels {
                let mut sum = 0.0;
                for (tap, k) in positions(window.kernel).enumerate() {
                    let at: [isize; 3] = std::array::from_fn(|d| {
                        (o[d] * window.stride[d] + k[d] * window.dilation[d]) as isize - window.pad_begin[d] as isize
                    });
                    if (0..3).any(|d| at[d] < 0 || at[d] as usize >= extent[d]) {
                        continue;
                    }
                    let pixel = at.iter().zip(extent).fold(n, |i, (&p, e)| i * e + p as usize);
                    for ic in 0..group_in {
                        let x = input[pixel * in_channels + oc / group_out * group_in + ic];
                        sum += x as f64 * weights[(oc * window.taps() + tap) * group_in + ic] as f64;
                    }
                }
                result.push(sum);
            }
        }
    }
    result
}

fn positions(extents: Spatial) -> impl Iterator<Item = Spatial> {
    let [a, b, c] = extents;
    (0..a * b * c).map(move |i| [i / (b * c), i / c % b, i % c])
}

#[derive(Clone, Debug)]
struct Case {
    shape: ConvShape,
    channels_first: bool,
    winograd: bool,
    /// Elements between the pixels of input and output.
    gap: usize,
    bias: bool,
    residual: bool,
    activation: Activation,
}

impl Case {
    fn new(
        batch: usize,
        in_channels: usize,
        out_channels: usize,
        groups: usize,
        input: Spatial,
        window: Window,
    ) -> Case {
        let shape = ConvShape { batch, groups, in_channels, out_channels, input, window };
        let activation = Activation::None;
        Case { shape, channels_first: false, winograd: false, gap: 0, bias: false, residual: false, activation }
    }

    fn with_everything(self) -> Case {
        Case { gap: 3, bias: true, residual: true, activation: Activation::Silu, ..self }
    }

    fn winograd(self) -> Case {
        Case { winograd: true, ..self }
    }

    fn channels_first(self) -> Case {
        Case { channels_first: true, ..self }
    }

    fn check(&self) {
        for target in targets() {
            self.check_on(target);
        }
    }

    fn check_on(&self, target: Target) {
        let shape = &self.shape;
        let mut random = Random::new(shape.in_channels as u64 * 31 + shape.out_channels as u64);
        let pixels = shape.batch * shape.input.iter().product::<usize>();
        let input = random.values(pixels * shape.in_channels);
        let k = shape.window.taps() * shape.group_in();
        let weights = random.values(shape.out_channels * k);
        let bias = random.values(shape.out_channels);
        let layout = WeightLayout::of_shape(shape);
        let mut packed = vec![f32::NAN; layout.len(shape.groups, shape.out_channels, k).unwrap()];
        layout.pack(&weights, shape.groups, k, &mut packed);

        let out_pixels = shape.batch * shape.output().unwrap().iter().product::<usize>();
        let (stride, out_stride) = (shape.in_channels + self.gap, shape.out_channels + self.gap);
        let residual = random.values(out_pixels * out_stride);
        let arranged = self.arrange(&input, pixels, stride);
        let mut c = vec![7.5; out_pixels * out_stride];
        let output = Output {
            data: c.as_mut_ptr(),
            stride: out_stride,
            bias: if self.bias { bias.as_ptr() } else { ptr::null() },
            residual: if self.residual { residual.as_ptr() } else { ptr::null() },
            residual_stride: out_stride,
            activation: self.activation,
        };
        let conv = self.plan(target, stride, &mut packed);
        run(&conv, &ConvArgs { input: arranged.as_ptr(), weights: packed.as_ptr(), output }, &mut random);

        let expected = reference(shape, &input, &weights);
        for (pixel, sums) in expected.chunks(shape.out_channels).enumerate() {
            let mut row: Vec<f32> = (0..shape.out_channels)
                .map(|oc| {
                    let bias = if self.bias { bias[oc] } else { 0.0 };
                    let residual = if self.residual { residual[pixel * out_stride + oc] } else { 0.0 };
                    (sums[oc] + bias as f64 + residual as f64) as f32
                })
                .collect();
            self.activation.apply_to(Isa::Scalar, &mut row);
            let got = &c[pixel * out_stride..][..out_stride];
            for (oc, (got, expected)) in got.iter().zip(&row).enumerate() {
                let tolerance = 2e-6 * (k as f32).sqrt().max(4.0) * if self.winograd { 4.0 } else { 1.0 };
                let error = (got - expected).abs();
                assert!(error <= tolerance, "{target:?} {self:?}: pixel {pixel}, channel {oc}: {got}, not {expected}");
            }
            assert!(got[shape.out_channels..].iter().all(|&x| x == 7.5), "{target:?} {self:?}: the gap is overwritten");
        }
    }

    /// The plan, and the weights in the form that it takes.
    fn plan(&self, target: Target, stride: usize, packed: &mut Vec<f32>) -> Conv {
        let (isa, shape) = (target.isa, &self.shape);
        if !self.winograd {
            let last = InputLayout::ChannelsLast { stride };
            let layout = if self.channels_first { InputLayout::ChannelsFirst } else { last };
            return Conv::new(target, shape, layout).unwrap();
        }
        let mut transformed = vec![f32::NAN; winograd_len(shape).unwrap()];
        for panel in 0..panels(shape.out_channels) {
            // SAFETY: both have the sizes that these channels need.
            unsafe { winograd_weights(isa, shape, packed.as_ptr(), panel..panel + 1, transformed.as_mut_ptr()) };
        }
        *packed = transformed;
        let plan = Winograd::fitting(isa, shape, stride).unwrap().unwrap();
        Conv { algorithm: Algorithm::Winograd(if shape.batch == 3 { plan.in_phases() } else { plan }) }
    }

    /// The input in its layout, with gaps.
    fn arrange(&self, input: &[f32], pixels: usize, stride: usize) -> Vec<f32> {
        let channels = self.shape.in_channels;
        if self.channels_first {
            let plane = pixels / self.shape.batch;
            let at = |i: usize| (i / (plane * channels) * plane + i % plane) * channels + i / plane % channels;
            return (0..input.len()).map(|i| input[at(i)]).collect();
        }
        // The last pixel has no gap: reading past it would be reading past the buffer.
        let len = (pixels * stride).saturating_sub(self.gap);
        (0..len)
            .map(|i| if i % stride < channels { input[i / stride * channels + i % stride] } else { f32::NAN })
            .collect()
    }
}

/// Runs all phases, the parts of each in random order, with garbage in all workspace.
pub(crate) fn run(conv: &Conv, args: &ConvArgs, random: &mut Random) {
    let mut shared = vec![[f32::NAN; 16]; conv.shared_bytes().div_ceil(64) + 1];
    let mut scratch = vec![[f32::NAN; 16]; conv.scratch_bytes().div_ceil(64) + 1];
    let align = |memory: &mut Vec<[f32; 16]>| {
        let start = memory.as_mut_ptr().cast::<u8>();
        start.wrapping_add(start.align_offset(64))
    };
    for phase in 0..conv.phases() {
        for part in random.order(conv.parts(phase)) {
            // SAFETY: the tests pass operands of the right size.
            unsafe { conv.run(phase, part, args, align(&mut shared), align(&mut scratch)) };
        }
    }
}

fn window(kernel: usize, stride: usize, pad: usize) -> Window {
    Window::new([1, kernel, kernel]).padded([0, pad, pad]).strided([1, stride, stride])
}

/// One line with every kind of irregularity.
fn irregular() -> Window {
    Window { kernel: [1, 2, 3], stride: [1, 3, 2], dilation: [1, 2, 2], pad_begin: [0, 3, 4], pad_end: [0, 0, 5] }
}

#[test]
fn pointwise() {
    for (ic, oc) in [(1, 1), (16, 24), (40, 16), (33, 130)] {
        let case = Case::new(2, ic, oc, 1, [1, 7, 5], window(1, 1, 0));
        case.check();
        case.with_everything().check();
        Case::new(1, ic, oc, 1, [1, 7, 6], window(1, 2, 0)).check();
    }
}

#[test]
fn general_windows() {
    for (ic, oc) in [(16, 16), (20, 33), (64, 48)] {
        for w in [window(3, 1, 1), window(3, 2, 1), window(5, 1, 0), window(2, 3, 1), irregular()] {
            let case = Case::new(2, ic, oc, 1, [1, 9, 8], w);
            case.check();
            case.with_everything().check();
        }
    }
    Case::new(1, 300, 20, 1, [1, 6, 6], window(3, 1, 1)).with_everything().check();
    Case::new(1, 18, 20, 1, [4, 5, 6], Window::new([3, 2, 3]).padded([1, 0, 1]).strided([2, 1, 1])).check();
    Case::new(1, 18, 20, 1, [1, 1, 40], Window::new([1, 1, 7]).padded([0, 0, 3])).check();
}

#[test]
fn windows_dilated_beyond_the_input() {
    let dilated = |d: Spatial, begin: Spatial, end: Spatial| Window {
        kernel: [1, 3, 3],
        stride: [1; 3],
        dilation: d,
        pad_begin: begin,
        pad_end: end,
    };
    for groups in [1, 2] {
        for window in [
            dilated([1, 9, 9], [0, 9, 9], [0, 9, 9]),
            dilated([1, 9, 2], [0, 9, 2], [0, 9, 2]),
            dilated([1, 2, 9], [0, 2, 9], [0, 2, 9]),
            dilated([1, 7, 6], [0, 14, 12], [0, 0, 3]),
            dilated([1, 9, 9], [0, 9, 9], [0, 7, 9]),
            dilated([1, 9, 9], [0, 18, 0], [0, 0, 18]),
        ] {
            Case::new(2, 40, 36, groups, [1, 6, 5], window).check();
        }
    }
}

#[test]
fn few_channels_and_channels_first() {
    for ic in [1, 3, 4, 15, 20] {
        for w in [window(3, 1, 1), window(7, 2, 3), window(3, 2, 0), window(4, 4, 0), irregular(), window(1, 1, 0)] {
            let case = Case::new(2, ic, 20, 1, [1, 14, 13], w);
            case.clone().with_everything().check();
            if Conv::reads_channels_first(&case.shape) {
                case.channels_first().with_everything().check();
            }
        }
    }
    for (oc, width) in [(8, 300), (16, 29), (33, 12), (70, 600), (100, 9)] {
        let case = Case::new(1, 3, oc, 1, [1, 11, width], window(3, 2, 1));
        case.clone().channels_first().check();
        Case { bias: true, activation: Activation::Relu, ..case }.check();
    }
    Case::new(2, 3, 50, 1, [1, 64, 33], window(8, 8, 0)).channels_first().with_everything().check();
    Case::new(2, 3, 50, 1, [1, 64, 33], window(16, 16, 0)).check();
    Case::new(1, 3, 8, 1, [5, 6, 7], Window::new([3; 3]).padded([1; 3])).channels_first().check();
    for groups in [1, 2, 8, 32] {
        let grouped = Case::new(1, 64, 64, groups, [1, 4, 4], window(3, 1, 1));
        assert!(!Conv::reads_channels_first(&grouped.shape));
        assert!(Conv::new(PLAIN, &grouped.shape, InputLayout::ChannelsFirst).is_err());
    }
}

#[test]
fn depthwise_windows() {
    for channels in [2, 16, 17, 40, 97] {
        for w in [
            window(3, 1, 1),
            window(3, 2, 1),
            window(5, 1, 2),
            window(5, 2, 2),
            window(7, 1, 3),
            window(2, 1, 0),
            irregular(),
        ] {
            let case = Case::new(2, channels, channels, channels, [1, 9, 11], w);
            case.check();
            case.with_everything().check();
        }
    }
    for (kernel, dilation) in [(3, [1, 2, 3]), (5, [1, 1, 2]), (3, [1, 1, 12]), (7, [1, 2, 4])] {
        let dilated = Window { dilation, ..window(kernel, 1, 12) };
        Case::new(1, 20, 20, 20, [1, 12, 31], dilated).with_everything().check();
    }
    Case::new(1, 24, 24, 24, [3, 5, 6], Window::new([3; 3]).padded([1; 3])).check();
    Case::new(1, 20, 20, 20, [1, 1, 3], Window::new([1, 1, 5]).padded([0, 0, 4])).check();
    Case { activation: Activation::Relu, bias: true, ..Case::new(1, 32, 32, 32, [1, 30, 40], window(3, 1, 1)) }.check();
}

#[test]
fn winograd() {
    let none = |pad: usize| window(3, 1, pad);
    for (ic, oc) in [(16, 16), (1, 3), (20, 33), (64, 130)] {
        for input in [[1, 4, 4], [1, 7, 9], [1, 14, 14], [1, 30, 21], [1, 3, 40]] {
            for batch in [1, 3] {
                Case::new(batch, ic, oc, 1, input, none(1)).winograd().with_everything().check();
            }
        }
        Case::new(1, ic, oc, 1, [1, 12, 13], none(0)).winograd().check();
        Case::new(2, ic, oc, 1, [2, 8, 9], none(2)).winograd().check();
        let uneven = Window { pad_begin: [0, 0, 1], pad_end: [0, 3, 0], ..none(0) };
        Case::new(1, ic, oc, 1, [1, 9, 40], uneven).winograd().with_everything().check();
    }
    Case::new(1, 300, 80, 1, [1, 26, 13], none(1)).winograd().check();
    let shape = |window, groups| Case::new(1, 256, 256, groups, [1, 56, 56], window).shape;
    let plan =
        |shape: &ConvShape| Conv::winograd(Isa::Scalar, shape, InputLayout::ChannelsLast { stride: 256 }).unwrap();
    assert!(plan(&shape(none(1), 1)).is_some());
    for (window, groups) in [(none(1), 2), (window(3, 2, 1), 1), (window(5, 1, 1), 1), (irregular(), 1)] {
        assert!(plan(&shape(window, groups)).is_none());
    }
}

#[test]
fn winograd_of_dilated_and_deep_windows() {
    let dilated = |y: usize, x: usize| Window { dilation: [1, y, x], ..window(3, 1, 0).padded([0, y, x]) };
    for (batch, input, y, x) in [(1, [1, 9, 14], 2, 2), (3, [1, 13, 11], 4, 1), (1, [1, 5, 26], 1, 3)] {
        Case::new(batch, 20, 33, 1, input, dilated(y, x)).winograd().with_everything().check();
        Case::new(batch, 16, 70, 1, input, dilated(y, x)).winograd().check();
    }
    let deep = |taps: usize, pad: usize| Window::new([taps, 3, 3]).padded([pad, 1, 1]);
    for batch in [1, 3] {
        for (slices, taps, pad) in [(4, 3, 1), (3, 2, 0), (5, 5, 2), (1, 1, 1), (2, 3, 1)] {
            Case::new(batch, 20, 33, 1, [slices, 9, 6], deep(taps, pad)).winograd().with_everything().check();
        }
        let window = Window { dilation: [2, 2, 1], ..deep(3, 2) }.padded([2, 2, 1]);
        Case::new(batch, 64, 48, 1, [5, 17, 9], window).winograd().check();
    }
    let layout = InputLayout::ChannelsLast { stride: 64 };
    let plan =
        |input, window| Conv::winograd(Isa::Scalar, &Case::new(1, 64, 64, 1, input, window).shape, layout).unwrap();
    assert!(plan([1, 32, 32], dilated(4, 4)).is_some() && plan([8, 56, 56], deep(3, 1)).is_some());
    // Taps beyond the image, hardly a tile for each remainder, and distances along the depth.
    assert!(plan([1, 12, 12], dilated(12, 12)).is_none() && plan([1, 16, 16], dilated(7, 7)).is_none());
    assert!(plan([8, 56, 56], deep(3, 1).strided([2, 1, 1])).is_none());
}

#[test]
fn narrow_and_wide_groups() {
    for (groups, group_in, group_out) in [
        (8, 4, 4),
        (4, 8, 8),
        (3, 2, 6),
        (5, 12, 12),
        (5, 8, 8),
        (6, 4, 8),
        (3, 2, 8),
        (10, 1, 2),
        (4, 8, 4),
        (7, 3, 5),
        (2, 16, 16),
        (3, 20, 24),
        (2, 4, 40),
        (2, 40, 4),
    ] {
        let channels = (groups * group_in, groups * group_out);
        for w in [window(3, 1, 1), window(3, 2, 1), window(7, 2, 3), window(1, 1, 0), irregular()] {
            let case = Case::new(2, channels.0, channels.1, groups, [1, 7, 9], w);
            case.check();
            case.with_everything().check();
        }
        // Blocks in the middle of long lines.
        for w in [window(3, 1, 0), window(3, 2, 0), window(7, 2, 0)] {
            Case::new(1, channels.0, channels.1, groups, [1, 7, 60], w).check();
        }
    }
}

#[test]
fn empty_extents_and_bad_shapes() {
    for groups in [1, 8, 32] {
        let mut case = Case::new(0, 32, 32, groups, [1, 5, 5], window(3, 1, 1));
        case.check();
        assert_eq!(Conv::new(PLAIN, &case.shape, InputLayout::ChannelsLast { stride: 32 }).unwrap().parts(0), 0);
        case.shape.batch = 1;
        case.shape.input = [1, 1, 5];
        case.check();
        case.shape.window.pad_begin = [0; 3];
        assert!(Conv::new(PLAIN, &case.shape, InputLayout::ChannelsLast { stride: 32 }).is_err());
    }
    let bad = Case::new(1, 30, 32, 4, [1, 5, 5], window(3, 1, 1)).shape;
    assert!(Conv::new(PLAIN, &bad, InputLayout::ChannelsLast { stride: 32 }).is_err());
    let huge = Case::new(usize::MAX / 8, 16, 32, 1, [1, 5, 5], window(3, 1, 1)).shape;
    assert!(Conv::new(PLAIN, &huge, InputLayout::ChannelsLast { stride: 32 }).is_err());
}
