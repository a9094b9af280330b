//! Teams of threads for rows; three launches for groups: moments of each channel in slices of pixels, statistics of the groups,
//! results.

use super::Norm;
use crate::cuda::{Module, THREADS};
use crate::error::Result;
use crate::ops::cuda::{BUSY, Teams, WARP, is_single};
use crate::ops::{CudaKernel, PrepareCuda, Walk};
use crate::tensor::{Dims, normalize_axis};

static MODULE: Module = crate::cuda_module!("norm");

/// Least pixels of a thread in a slice.
const EACH: usize = 8;

/// Channels of a thread where they divide by so many.
const WIDE: usize = 4;

/// A kernel for f32, f16 and bf16.
pub fn prepare(op: &Norm, cx: &PrepareCuda<'_>) -> Result<Option<CudaKernel>> {
    if !is_single(cx.input(0).info.dtype) || cx.has_empty_input() {
        return Ok(None);
    }
    match *op {
        Norm::Layer { axis, epsilon } => rows(cx, axis, 0, epsilon),
        Norm::Rms { axis, epsilon } => rows(cx, axis, 1, epsilon),
        Norm::Group { groups, epsilon } => group(cx, groups as usize, epsilon),
        Norm::Lp { axis, p } => lp(cx, axis, p),
        Norm::Response { size, alpha, beta, bias } => response(cx, size, alpha / size as f32, beta, bias),
    }
    .map(Some)
}

/// The dimensions of the input as `[outer, extent of the axis, inner]`.
fn around(dims: &Dims, axis: usize) -> [usize; 3] {
    [dims[..axis].iter().product(), dims[axis], dims[axis + 1..].iter().product()]
}

fn rows(cx: &PrepareCuda<'_>, axis: i32, kind: u32, epsilon: f32) -> Result<CudaKernel> {
    let x = cx.input(0).info;
    let axis = normalize_axis(axis.into(), x.dims.len())?;
    let inner = Dims::new(&x.dims[axis..]);
    let len: usize = inner.iter().product();
    // An absent vector is as one of a single element.
    let vector = |i: usize| {
        let dims = cx.optional(i).map_or(Dims::default(), |v| v.info.dims);
        Dims::new(&dims[dims.len().saturating_sub(inner.len())..])
    };
    let walk = Walk::broadcast(&inner, [&vector(1), &vector(2)])?;
    let rows = x.numel() / len;
    let teams = Teams::new(rows, len, 1, walk.rank() == 1);
    let name = format!("norm_rows_{}{}", x.dtype, teams.suffix());
    let mut launch = teams.launch(cx, &MODULE, &name)?.input(0).input(1).input(2).output(0);
    for statistic in [1, 2] {
        launch = if statistic < cx.outputs.len() { launch.output(statistic) } else { launch.value(0u64) };
    }
    let launch = launch.value(rows as u32).value(len as u32).value(teams.lanes);
    launch.structure(&walk.words()).value(kind).value(epsilon).build()
}

fn lp(cx: &PrepareCuda<'_>, axis: i32, p: u32) -> Result<CudaKernel> {
    let x = cx.input(0).info;
    let [outer, len, stride] = around(&x.dims, normalize_axis(axis.into(), x.dims.len())?);
    let rows = outer * stride;
    let teams = Teams::new(rows, len, stride, false);
    let launch = teams.launch(cx, &MODULE, &format!("norm_lp_{}", x.dtype))?.input(0).output(0);
    let launch = launch.value(rows as u32).value(len as u32).value(stride as u32);
    launch.value(teams.lanes).value(p).build()
}

fn response(cx: &PrepareCuda<'_>, size: u32, factor: f32, beta: f32, bias: f32) -> Result<CudaKernel> {
    let x = cx.input(0).info;
    let (n, channels) = (x.numel(), x.dims[x.dims.len() - 1] as u32);
    let launch = cx.threads(&MODULE, "norm_response", n)?;
    let launch = launch.input(0).output(0).value(n as u32).value(x.dtype as u32).value(channels);
    let (before, after) = ((size - 1) / 2, size / 2);
    launch.value(before.min(channels)).value(after.min(channels)).value(factor).value(beta).value(bias).build()
}

fn group(cx: &PrepareCuda<'_>, groups: usize, epsilon: f32) -> Result<CudaKernel> {
    let x = cx.input(0).info;
    let (batch, channels) = (x.dims[0], x.dims[x.dims.len() - 1]);
    let pixels = x.numel() / batch / channels;
    let groups = if groups == 0 { channels } else { groups };
    let columns = batch * channels;
    let lanes = (THREADS / columns.next_power_of_two().min(WARP)).min(pixels.next_power_of_two());
    let teams = columns.div_ceil(THREADS / lanes);
    let slices = (BUSY / teams).clamp(1, pixels.div_ceil(lanes * EACH));
    let slice = pixels.div_ceil(slices);
    let slices = pixels.div_ceil(slice);
    let shape = [batch, pixels, channels, channels / groups, slice, slices].map(|n| n as u32);
    let moments = (slices * columns * size_of::<[f32; 3]>()).next_multiple_of(256);
    let statistics = batch * groups * size_of::<[f32; 2]>();

    let first = cx.grid(&MODULE, "norm_moments", [teams, slices, 1])?;
    let first = first.input(0).workspace(0, moments).value(shape).value(lanes as u32).value(x.dtype as u32);
    let threads = (slices * channels / groups).next_power_of_two().clamp(WARP, THREADS) as u32;
    let second = cx.grid(&MODULE, "norm_group_statistics", [batch * groups, 1, 1])?.block([threads, 1, 1]);
    let second = second.workspace(0, moments).workspace(moments, statistics).value(shape).value(epsilon);
    let (n, wide) = (x.numel(), channels.is_multiple_of(WIDE));
    let (name, threads) =
        if wide { (format!("norm_group_{}_wide", x.dtype), n / WIDE) } else { ("norm_group".into(), n) };
    let third = cx.threads(&MODULE, &name, threads)?;
    let third = third.input(0).input(1).input(2).workspace(moments, statistics).output(0);
    let third = third.value(shape).value(n as u32);
    let third = if wide { third } else { third.value(x.dtype as u32) };
    Ok(Box::new(vec![first.build()?, second.build()?, third.build()?]))
}
