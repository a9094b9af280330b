//! Convolutions as matrix products: 1 x 1 ones on the input as it is, others on [`Patches`].

use super::ConvArgs;
use super::patches::Patches;
use super::shape::{ConvShape, Spatial};
use crate::cpu::gemm::kernel::PANEL;
use crate::cpu::gemm::{Gemm, GemmShape, StridedRows};
use crate::cpu::{Target, scratch};
use crate::error::Result;

/// A convolution by one matrix product.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dense {
    shape: ConvShape,
    output: Spatial,
    gemm: Gemm,
    /// Elements from one pixel of the input to the next.
    stride: usize,
    whole_rows: bool,
    /// Rows of each panel of the weights before the first that is used.
    unused_rows: usize,
}

impl Dense {
    pub fn new(target: Target, shape: &ConvShape, stride: usize, output: Spatial) -> Result<Dense> {
        let panel_rows = shape.window.taps() * shape.in_channels;
        let (shape, unused_taps) = if shape.in_channels >= PANEL { trimmed(shape, output) } else { (*shape, 0) };
        let window = &shape.window;
        let padded = window.pad_begin[2] > 0 || window.pad_end[2] > 0;
        let side_by_side = window.dilation[2] == 1 && window.kernel[2] > 1;
        let whole_rows = side_by_side && !padded && stride == shape.in_channels;
        let [kd, kh, kw] = window.kernel;
        let (segments, depth) =
            if whole_rows { (kd * kh, kw * shape.in_channels) } else { (kd * kh * kw, shape.in_channels) };
        let pixels = shape.batch * output.iter().product::<usize>();
        let gemm = Gemm::new(target, GemmShape { m: pixels, n: shape.out_channels, segments, depth })?;
        let gemm = gemm.in_panels_of(panel_rows);
        let unused_rows = unused_taps * shape.in_channels;
        Ok(Dense { shape, output, gemm, stride, whole_rows, unused_rows })
    }

    pub fn phases(&self) -> usize {
        1
    }

    pub fn parts(&self, _phase: usize) -> usize {
        self.gemm.parts()
    }

    pub fn shared_bytes(&self) -> usize {
        0
    }

    pub fn scratch_bytes(&self) -> usize {
        self.gemm.scratch_bytes() + self.gemm.shape().depth * size_of::<f32>()
    }

    /// # Safety
    /// As for [`Conv::run`](super::Conv::run).
    pub unsafe fn run(&self, _phase: usize, part: usize, args: &ConvArgs, _shared: *mut u8, scratch: *mut u8) {
        let Dense { stride, .. } = *self;
        let ConvShape { input, window, .. } = self.shape;
        let depth = self.gemm.shape().depth;
        // SAFETY: the caller's promises; the zeros follow the product's scratch memory.
        unsafe {
            let weights = args.weights.add(self.unused_rows * PANEL);
            let out = &args.output;
            if window.is_identity() {
                let rows = StridedRows { data: args.input, stride };
                return self.gemm.run_part(part, &rows, weights, out, scratch);
            }
            let zeros = scratch::slice::<f32>(scratch.add(self.gemm.scratch_bytes()), depth);
            zeros.fill(0.0);
            let patches = Patches {
                data: args.input,
                zeros: zeros.as_ptr(),
                input,
                output: self.output,
                window,
                pixel: stride,
                row: input[2] * stride,
                whole_rows: self.whole_rows,
            };
            self.gemm.run_part(part, &patches, weights, out, scratch);
        }
    }
}

/// The same convolution without taps at the ends of the window that lie in the padding for all outputs, as those of a
/// window dilated beyond the input do; and how many taps come before the first that is left. The taps left are
/// neighbours in the weights.
pub(super) fn trimmed(shape: &ConvShape, output: Spatial) -> (ConvShape, usize) {
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
