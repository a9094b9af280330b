//! A thread for each word of the output.

use super::Pad;
use crate::cuda::{MAX_ELEMENTS, Module, divisor};
use crate::error::Result;
use crate::ops::strided_cuda::words;
use crate::ops::{CudaKernel, PrepareCuda};

static MODULE: Module = crate::cuda_module!("pad");

/// One axis, or several neighbours without padding taken as one.
struct Axis {
    /// Extents in the output and in the input.
    to: usize,
    from: usize,
    before: i64,
    after: i64,
}

/// The kernel for these pads before and after each axis.
pub fn prepare(op: &Pad, cx: &PrepareCuda<'_>, before: &[i64], after: &[i64]) -> Result<Option<CudaKernel>> {
    let (from, to, size) = (cx.dims(0), cx.out_dims(0), cx.outputs[0].dtype.size());
    let far = |n: &i64| n.unsigned_abs() as usize >= MAX_ELEMENTS / 4;
    if before.iter().chain(after).any(far) || from.iter().chain(&*to).any(|&n| n >= MAX_ELEMENTS / 4) {
        return Ok(None);
    }
    let mut axes: Vec<Axis> = vec![];
    for i in 0..from.len() {
        let axis = Axis { to: to[i], from: from[i], before: before[i], after: after[i] };
        let plain = |a: &Axis| a.before == 0 && a.after == 0;
        match axes.last_mut() {
            Some(outer) if plain(outer) && plain(&axis) => {
                outer.from *= axis.from;
                outer.to *= axis.to;
            }
            _ => axes.push(axis),
        }
    }
    // The words of a run that is not padded hold several elements.
    let run = axes.last().filter(|a| a.before == 0 && a.after == 0).map_or(1, |a| a.to);
    let (word, len) = words(size, run, []);
    if let Some(last) = axes.last_mut().filter(|_| len < run) {
        (last.from, last.to) = (len, len);
    }
    let count = axes.iter().map(|a| a.to).product();
    let launch = cx.threads(&MODULE, &format!("pad_b{}", 8 * word), count)?.input(0).input(2).output(0).value(count as u32);
    let launch = launch.value(size as u32).value(op.mode as u32).value(axes.len() as u32);
    launch.value(parameters(&axes)).build().map(Some)
}

/// What the kernel is told of each axis.
fn parameters(axes: &[Axis]) -> [[u32; 7]; 8] {
    let mut out = [[0; 7]; 8];
    let mut stride = 1;
    for (out, axis) in out[..axes.len()].iter_mut().zip(axes).rev() {
        let extent = axis.from as i64;
        let first = (-axis.before).clamp(0, extent);
        let kept = (extent + axis.after.min(0) - first).max(0);
        let [value, factor, shift] = divisor(axis.to);
        let place = (axis.before + first) as i32;
        *out = [value, factor, shift, place as u32, kept as u32, first as u32, stride as u32];
        stride *= axis.from;
    }
    out
}
