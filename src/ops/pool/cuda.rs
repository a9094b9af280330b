//! A thread for 4 channels of an output pixel where they divide by 4, otherwise for each.

use super::{Pool, PoolKind};
use crate::cuda::Module;
use crate::error::Result;
use crate::ops::window::spatial;
use crate::ops::{CudaKernel, PrepareCuda};
use crate::tensor::DType;

static MODULE: Module = crate::cuda_module!("pool");

/// Channels of a thread.
const WIDE: usize = 4;

/// A kernel for every type but f64.
pub fn prepare(op: &Pool, cx: &PrepareCuda<'_>) -> Result<Option<CudaKernel>> {
    let (x, out) = (cx.input(0).info, cx.outputs[0]);
    if x.dtype == DType::F64 {
        return Ok(None);
    }
    let (inner, channels) = (1..x.dims.len() - 1, x.dims[x.dims.len() - 1]);
    let window = op.window.to_cpu(&op.kernel());
    let of = |dims: [usize; 3]| dims.map(|n| n as u32);
    let extents = [
        spatial(&x.dims[inner.clone()], 1),
        spatial(&out.dims[inner], 1),
        window.kernel,
        window.stride,
        window.dilation,
        window.pad_begin,
        window.pad_end,
    ];
    let mut geometry = [0u32; 23];
    geometry[..2].copy_from_slice(&[channels as u32, op.column_major_indices.into()]);
    geometry[2..].copy_from_slice(extents.map(of).as_flattened());
    let (kind, p) = match op.kind {
        PoolKind::Max => (0u32, 0),
        PoolKind::Mean { count_padding } => (1 + u32::from(count_padding), 0),
        PoolKind::Norm { p } => (3, p),
    };
    let wide = x.dtype.is_float() && channels.is_multiple_of(WIDE);
    let (name, threads) = match wide {
        true => (format!("pool_{}_wide", x.dtype), out.numel() / WIDE),
        false => ("pool_any".into(), out.numel()),
    };
    let launch = cx.threads(&MODULE, &name, threads)?.input(0).output(0);
    let launch = if cx.outputs.len() > 1 { launch.output(1) } else { launch.value(0u64) };
    let launch = launch.value(geometry).value(out.numel() as u32).value(kind).value(p);
    if wide { launch } else { launch.value(x.dtype as u32) }.build().map(Some)
}
