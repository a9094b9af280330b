//! Maxima and means in f32, by the plans of `cpu/conv`.
#![allow(unsafe_code, reason = "calls pooling plans on raw parts of the output")]

use super::{Pool, PoolKind};
use crate::cpu::conv;
use crate::error::Result;
use crate::ops::window::spatial;
use crate::ops::{Kernel, Prepare, rows_apart};
use crate::tensor::{Args, Grid};

struct Pooling {
    plan: conv::Pool,
    channels: usize,
    /// Elements from a pixel of the output to the next one.
    stride: usize,
    in_len: usize,
    pixels: usize,
}

/// The kernel for a pooling of known shape.
pub fn prepare(op: &Pool, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
    let (x, out) = (cx.dims(0), cx.out_dims(0));
    let (inner, channels) = (1..x.len() - 1, x[x.len() - 1]);
    let kind = match op.kind {
        PoolKind::Mean { count_padding: false } => conv::PoolKind::Average,
        PoolKind::Mean { count_padding: true } => conv::PoolKind::AverageWithPadding,
        _ => conv::PoolKind::Max,
    };
    let shape = (x[0], spatial(&x[inner.clone()], 1), channels);
    let output = spatial(&out[inner], 1);
    let plan = conv::Pool::new(cx.isa, kind, &op.window.to_cpu(&op.kernel()), shape, channels, output)?;
    let (in_len, pixels) = (cx.input(0).info.numel(), out[..out.len() - 1].iter().product());
    Ok(Box::new(Pooling { plan, channels, stride: channels, in_len, pixels }))
}

impl Kernel for Pooling {
    fn phases(&self) -> Vec<Grid> {
        vec![Grid::rows(self.plan.parts(), self.plan.parts())]
    }

    fn scratch_bytes(&self) -> usize {
        self.plan.scratch_bytes()
    }

    fn set_apart(&mut self, stride: usize) -> bool {
        self.stride = stride;
        true
    }

    fn run(&self, _phase: usize, args: &mut Args<'_>) -> Result<()> {
        let (parts, _) = args.ranges();
        let (x, out) = (args.input::<f32>(0), args.raw_output(0));
        let out_len = rows_apart(self.pixels, self.channels, self.stride);
        assert!(x.len() == self.in_len && out.byte_len() == out_len * size_of::<f32>());
        let operands = conv::PoolArgs { input: x.as_ptr(), output: out.as_ptr().cast(), output_stride: self.stride };
        let scratch = args.scratch::<u8>().as_mut_ptr();
        for part in parts {
            // SAFETY: the operands have the planned extents; parts write disjoint parts of the output.
            unsafe { self.plan.run(part, &operands, scratch) };
        }
        Ok(())
    }
}
