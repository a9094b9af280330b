//! Convolutions as matrix products: 1 x 1 ones on the input as it is, others on [`Patches`].

use super::patches::Patches;
use super::shape::{ConvShape, Spatial, Window};
use super::{ConvArgs, InputLayout, after};
use crate::cpu::gemm::kernel::PANEL;
use crate::cpu::gemm::{Gemm, GemmShape, Output, StridedRows, panels};
use crate::cpu::parts::even;
use crate::cpu::simd::{Machine, Work};
use crate::cpu::{Isa, scratch};
use crate::error::Result;

/// Input elements that a part of the copying phase handles at least.
const COPY_PART: usize = 16 << 10;

/// A convolution by matrix products, one for each group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dense {
    isa: Isa,
    shape: ConvShape,
    output: Spatial,
    gemm: Gemm,
    /// Elements from one pixel of the input to the next; None for channels first.
    stride: Option<usize>,
    /// Input rows are copied with their padding, channels last, before the product.
    copy: bool,
    whole_rows: bool,
    /// Rows of each panel of the weights, and those before the first that is used.
    panel_rows: usize,
    unused_rows: usize,
}

impl Dense {
    pub fn new(isa: Isa, shape: &ConvShape, layout: InputLayout) -> Result<Dense> {
        let output = shape.output()?;
        let stride = match layout {
            InputLayout::ChannelsLast { stride } => Some(stride),
            InputLayout::ChannelsFirst => None,
        };
        let panel_rows = shape.window.taps() * shape.group_in();
        let (shape, unused_taps) =
            if stride.is_some() && shape.in_channels >= PANEL { trimmed(shape, output) } else { (*shape, 0) };
        let window = &shape.window;
        let padded = window.pad_begin[2] > 0 || window.pad_end[2] > 0;
        let side_by_side = shape.groups == 1 && window.dilation[2] == 1 && window.kernel[2] > 1;
        // With few channels a tap is too short a segment, and copying the input costs little.
        let copy = stride.is_none() || side_by_side && padded && shape.in_channels < PANEL;
        let whole_rows = side_by_side && (copy || !padded && stride == Some(shape.in_channels));
        let [kd, kh, kw] = window.kernel;
        let (segments, depth) =
            if whole_rows { (kd * kh, kw * shape.group_in()) } else { (kd * kh * kw, shape.group_in()) };
        let pixels = shape.batch * output.iter().product::<usize>();
        let gemm = Gemm::new(isa, GemmShape { m: pixels, n: shape.group_out(), segments, depth })?;
        let gemm = gemm.in_panels_of(panel_rows);
        let unused_rows = unused_taps * shape.group_in();
        Ok(Dense { isa, shape, output, gemm, stride, copy, whole_rows, panel_rows, unused_rows })
    }

    pub fn phases(&self) -> usize {
        1 + usize::from(self.copy)
    }

    pub fn parts(&self, phase: usize) -> usize {
        if self.copy && phase == 0 { self.copy_parts() } else { self.gemm.parts() * self.shape.groups }
    }

    pub fn shared_bytes(&self) -> usize {
        if self.copy { self.copied_rows() * self.copied_row() * size_of::<f32>() } else { 0 }
    }

    pub fn scratch_bytes(&self) -> usize {
        self.gemm.scratch_bytes().next_multiple_of(64) + self.gemm.shape().depth * size_of::<f32>()
    }

    /// # Safety
    /// As for [`Conv::run`](super::Conv::run).
    pub unsafe fn run(&self, phase: usize, part: usize, args: &ConvArgs, shared: *mut u8, scratch: *mut u8) {
        // SAFETY: the caller's promises.
        unsafe {
            if self.copy && phase == 0 {
                self.run_copy(part, args, shared)
            } else {
                self.run_gemm(part, args, shared, scratch)
            }
        }
    }

    /// # Safety
    /// As for [`Dense::run`].
    unsafe fn run_gemm(&self, part: usize, args: &ConvArgs, shared: *mut u8, scratch: *mut u8) {
        let ConvShape { groups, input, window, .. } = self.shape;
        let stride = self.stride.unwrap_or(0);
        let (group, part) = (part / self.gemm.parts(), part % self.gemm.parts());
        let GemmShape { n, depth, .. } = self.gemm.shape();
        // SAFETY: the offsets are those of the group, inside the operands by the caller's promises; the zeros follow the
        // product's scratch memory.
        unsafe {
            let unused = self.unused_rows * PANEL;
            let weights =
                args.weights.add(unused + if groups == 1 { 0 } else { group * panels(n) * PANEL * self.panel_rows });
            let out = shift(&args.output, group * n);
            if window.is_identity() && !self.copy {
                let rows = StridedRows { data: args.input.add(group * depth), stride };
                return self.gemm.run_part(part, &rows, weights, &out, scratch);
            }
            let zeros = scratch::slice::<f32>(scratch.add(self.gemm.scratch_bytes().next_multiple_of(64)), depth);
            zeros.fill(0.0);
            let first = group * self.shape.group_in();
            let mut patches = Patches {
                data: args.input.add(first),
                zeros: zeros.as_ptr(),
                input,
                output: self.output,
                window,
                pixel: stride,
                row: input[2] * stride,
                whole_rows: self.whole_rows,
            };
            if self.copy {
                patches.data = shared.cast::<f32>().add(first);
                patches.input[2] = self.padded_width();
                patches.window =
                    Window { pad_begin: unpadded(window.pad_begin), pad_end: unpadded(window.pad_end), ..window };
                patches.pixel = self.shape.in_channels;
                patches.row = self.copied_row();
            }
            self.gemm.run_part(part, &patches, weights, &out, scratch);
        }
    }

    fn padded_width(&self) -> usize {
        self.shape.window.pad_begin[2] + self.shape.input[2] + self.shape.window.pad_end[2]
    }

    fn copied_rows(&self) -> usize {
        self.shape.batch * self.shape.input[0] * self.shape.input[1]
    }

    fn copied_row(&self) -> usize {
        self.padded_width() * self.shape.in_channels
    }

    fn copy_parts(&self) -> usize {
        (self.copied_rows() * self.copied_row()).div_ceil(COPY_PART).min(self.copied_rows()).min(64)
    }

    /// Copies rows of pixels, channels last and with their padding.
    ///
    /// # Safety
    /// As for [`Dense::run`].
    unsafe fn run_copy(&self, part: usize, args: &ConvArgs, shared: *mut u8) {
        let ConvShape { in_channels: channels, input: [depth, height, width], window, .. } = self.shape;
        let plane = depth * height * width;
        let (begin, end) = (window.pad_begin[2] * channels, (window.pad_begin[2] + width) * channels);
        for row in even(self.copied_rows(), self.copy_parts(), part) {
            // SAFETY: the row lies inside the shared memory, and belongs to this part.
            let to = unsafe {
                let first = shared.cast::<f32>().add(row * self.copied_row());
                std::slice::from_raw_parts_mut(first, self.copied_row())
            };
            to[..begin].fill(0.0);
            to[end..].fill(0.0);
            let (image, line) = (row / (depth * height), row % (depth * height));
            let (first, pixel, channel) = match self.stride {
                Some(stride) => (row * width * stride, stride, 1),
                None => (image * channels * plane + line * width, 1, plane),
            };
            let from = args.input.wrapping_add(first);
            self.isa.dispatch(Gather { from, pixel, channel, channels, to: &mut to[begin..end] });
        }
    }
}

/// Makes pixels of elements that are `pixel` and `channel` apart. Made by [`Dense::run_copy`] only, whose caller answers
/// for the pointer.
struct Gather<'a> {
    from: *const f32,
    pixel: usize,
    channel: usize,
    channels: usize,
    to: &'a mut [f32],
}

impl Work for Gather<'_> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        // Constant channel counts become shuffles of vectors.
        match self.channels {
            1 => self.pixels::<1>(),
            2 => self.pixels::<2>(),
            3 => self.pixels::<3>(),
            4 => self.pixels::<4>(),
            _ => {
                for (i, pixel) in self.to.chunks_exact_mut(self.channels.max(1)).enumerate() {
                    for (c, x) in pixel.iter_mut().enumerate() {
                        // SAFETY: the promise of the maker.
                        *x = unsafe { *self.from.add(i * self.pixel + c * self.channel) };
                    }
                }
            }
        }
    }
}

impl Gather<'_> {
    #[inline(always)]
    fn pixels<const N: usize>(self) {
        let pixels = self.to.as_chunks_mut::<N>().0;
        if self.pixel != 1 {
            for (i, pixel) in pixels.iter_mut().enumerate() {
                for (c, x) in pixel.iter_mut().enumerate() {
                    // SAFETY: the promise of the maker.
                    *x = unsafe { *self.from.add(i * self.pixel + c * self.channel) };
                }
            }
            return;
        }
        let len = pixels.len();
        // SAFETY: the promise of the maker: a row of each plane has an element for each pixel.
        let planes: [&[f32]; N] =
            std::array::from_fn(|c| unsafe { std::slice::from_raw_parts(self.from.add(c * self.channel), len) });
        for (i, pixel) in pixels.iter_mut().enumerate() {
            for c in 0..N {
                pixel[c] = planes[c][i];
            }
        }
    }
}

/// The same convolution without taps at the ends of the window that lie in the padding for all outputs, as those of a
/// window dilated beyond the input do; and how many taps come before the first that is left. The taps left are
/// neighbours in the weights.
fn trimmed(shape: &ConvShape, output: Spatial) -> (ConvShape, usize) {
    let (mut shape, mut before) = (*shape, 0);
    for d in 0..3 {
        let window = &mut shape.window;
        let (kernel, dilation) = (window.kernel[d], window.dilation[d]);
        let used = |tap: &usize| !window.inside(d, *tap, shape.input[d], output[d]).is_empty();
        let (Some(first), Some(last)) = ((0..kernel).find(used), (0..kernel).rfind(used)) else { break };
        let begin = window.pad_begin[d].checked_sub(first * dilation);
        let end = window.pad_end[d].checked_sub((kernel - 1 - last) * dilation);
        let (Some(begin), Some(end)) = (begin, end) else { break };
        (window.pad_begin[d], window.pad_end[d]) = (begin, end);
        window.kernel[d] = last + 1 - first;
        before += first * window.kernel[d + 1..].iter().product::<usize>();
        if window.kernel[d] > 1 {
            break;
        }
        window.dilation[d] = 1;
    }
    (shape, before)
}

fn unpadded([depth, height, _]: Spatial) -> Spatial {
    [depth, height, 0]
}

/// The output from column `columns` on.
///
/// # Safety
/// The columns exist.
unsafe fn shift(out: &Output, columns: usize) -> Output {
    // SAFETY: the caller's promise.
    let data = unsafe { out.data.add(columns) };
    Output { data, bias: after(out.bias, columns), residual: after(out.residual, columns), ..*out }
}
