//! A thread for each word of the output.

use crate::cuda::{Module, divisor};
use crate::error::Result;
use crate::ops::strided_cuda::words;
use crate::ops::{CudaKernel, PrepareCuda};

static MODULE: Module = crate::cuda_module!("reverse_sequence");

/// The kernel.
pub fn prepare(cx: &PrepareCuda<'_>, time_first: bool) -> Result<Option<CudaKernel>> {
    let info = cx.input(0).info;
    let (word, len) = words(info.dtype.size(), info.dims[2..].iter().product(), []);
    let count = info.dims[0] * info.dims[1] * len;
    let launch = cx.threads(&MODULE, &format!("reverse_sequence_b{}", 8 * word), count)?.input(0).input(1).output(0).value(count as u32);
    let ([a, b, c], [d, e, f]) = (divisor(len), divisor(info.dims[1]));
    let steps = info.dims[usize::from(!time_first)] as u32;
    launch.value([a, b, c, d, e, f, steps, time_first.into()]).build().map(Some)
}
