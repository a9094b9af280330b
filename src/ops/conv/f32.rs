//! Convolutions in f32, by the plans of `cpu/conv`. Weights that are not packed, and channels-first inputs that a plan
//! does not read, are rearranged in a first phase.
#![allow(unsafe_code, reason = "calls convolution plans on raw parts of the output and of the workspace")]

use super::{Conv, Geometry, winograd};
use crate::cpu::conv::{self, ConvArgs, ConvShape, InputLayout, WeightLayout};
use crate::cpu::gemm::{Matrix, Output, pack, panels};
use crate::cpu::Activation;
use crate::error::{Error, Result};
use crate::ops::{Kernel, Prepare, rows_apart};
use crate::tensor::{Args, Blob, Grid, Layout, PANEL};
use std::ptr;

/// Elements worth a part of their own in the first phase.
const GRAIN: usize = 32 * 1024;

/// Pixels that are transposed together.
const BLOCK: usize = 64;

/// The kernel of a convolution.
struct Convolution {
    plan: conv::Conv,
    shape: ConvShape,
    activation: Activation,
    /// Pixels of the output, and elements from one to the next.
    pixels: usize,
    stride: usize,
    weights: Option<Packing>,
    /// Weights that the plan reads instead of input 1.
    transformed: Option<Blob>,
    input: Option<Transposing>,
    phases: Vec<Grid>,
    /// Start of the plan's workspace, and bytes of all of it.
    start: usize,
    bytes: usize,
}

/// Weights that are packed at run time, at the start of the workspace.
struct Packing {
    /// Matrices, and the extents of each.
    count: usize,
    n: usize,
    k: usize,
}

/// An input that is made channels-last at run time.
struct Transposing {
    /// First byte in the workspace.
    start: usize,
    pixels: usize,
}

/// The layout in which the convolution of a model file has its weights.
pub fn layout(groups: usize, group_in: usize, group_out: usize) -> Layout {
    match WeightLayout::of(groups, group_in, group_out) {
        WeightLayout::Panels => Layout::ConvPanels { groups: groups as u32 },
        WeightLayout::Grouped if group_in == 1 && group_out == 1 => Layout::Depthwise,
        WeightLayout::Grouped => Layout::ConvPanels { groups: 1 },
    }
}

/// The kernel for a convolution of known shape.
pub fn prepare(op: &Conv, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
    let Geometry { shape, channels_first, .. } = Geometry::new(op, cx);
    let weights = packing(&shape, cx.input(1).layout)?;
    let mut start = weights.as_ref().map_or(0, Packing::bytes);
    let pixels: usize = shape.input.iter().product();
    let input = (channels_first && !conv::Conv::reads_channels_first(&shape)).then_some(Transposing { start, pixels });
    if input.is_some() {
        start += (shape.batch * pixels * shape.in_channels * size_of::<f32>()).next_multiple_of(64);
    }
    let layout = match channels_first && input.is_none() {
        true => InputLayout::ChannelsFirst,
        false => InputLayout::ChannelsLast { stride: shape.in_channels },
    };
    let (plan, transformed) = match winograd::prepare(&shape, layout, cx)? {
        Some((plan, weights)) => (plan, Some(weights)),
        None => (conv::Conv::new(cx.target(), &shape, layout)?, None),
    };
    let mut phases = Vec::with_capacity(3);
    phases.extend(first_phase(&shape, &weights, &input));
    phases.extend((0..plan.phases()).map(|phase| Grid::rows(plan.parts(phase), plan.parts(phase))));
    let dims = cx.out_dims(0);
    let (pixels, stride) = (dims[..dims.len() - 1].iter().product(), shape.out_channels);
    let (bytes, activation) = (start + plan.shared_bytes(), op.activation);
    Ok(Box::new(Convolution {
        plan,
        shape,
        activation,
        pixels,
        stride,
        weights,
        transformed,
        input,
        phases,
        start,
        bytes,
    }))
}

/// How weights of the given layout are packed; None if they are.
fn packing(shape: &ConvShape, stored: Layout) -> Result<Option<Packing>> {
    let want = layout(shape.groups, shape.group_in(), shape.group_out());
    if stored == want {
        return Ok(None);
    }
    if stored != Layout::RowMajor {
        return Err(Error::format(format!("convolution weights stored as {stored:?}; {want:?} is read")));
    }
    let k = shape.window.taps() * shape.group_in();
    Ok(Some(match WeightLayout::of_shape(shape) {
        WeightLayout::Panels => Packing { count: shape.groups, n: shape.group_out(), k },
        WeightLayout::Grouped => Packing { count: 1, n: shape.out_channels, k },
    }))
}

fn first_phase(shape: &ConvShape, weights: &Option<Packing>, input: &Option<Transposing>) -> Option<Grid> {
    let (panels, panel) = weights.as_ref().map_or((0, 0), |w| (w.panels(), w.k * PANEL));
    let (blocks, block) = input.as_ref().map_or((0, 0), |i| (shape.batch * i.blocks(), BLOCK * shape.in_channels));
    let pieces = panels + blocks;
    (pieces > 0).then(|| Grid::by_cost(pieces, (panels * panel + blocks * block) / pieces, GRAIN))
}

impl Packing {
    fn panels(&self) -> usize {
        self.count * panels(self.n)
    }

    fn bytes(&self) -> usize {
        self.panels() * self.k * PANEL * size_of::<f32>()
    }

    fn run(&self, piece: usize, args: &Args<'_>) {
        let Packing { n, k, .. } = *self;
        let (matrix, panel) = (piece / panels(n), piece % panels(n));
        let from = Matrix::transposed(&args.input::<f32>(1)[matrix * n * k..][..n * k], k, n);
        // SAFETY: each panel is written by one part.
        let to = unsafe { args.shared(piece * k * PANEL * size_of::<f32>(), k * PANEL) };
        pack(&from, panel..panel + 1, to);
    }
}

impl Transposing {
    fn blocks(&self) -> usize {
        self.pixels.div_ceil(BLOCK)
    }

    fn run(&self, piece: usize, channels: usize, args: &Args<'_>) {
        let (image, block) = (piece / self.blocks(), piece % self.blocks());
        let pixels = block * BLOCK..((block + 1) * BLOCK).min(self.pixels);
        let from = &args.input::<f32>(0)[image * channels * self.pixels..][..channels * self.pixels];
        let first = (image * self.pixels + pixels.start) * channels;
        // SAFETY: each block is written by one part.
        let to = unsafe { args.shared::<f32>(self.start + first * size_of::<f32>(), pixels.len() * channels) };
        for (channel, plane) in from.chunks_exact(self.pixels).enumerate() {
            for (pixel, x) in to.chunks_exact_mut(channels).zip(&plane[pixels.clone()]) {
                pixel[channel] = *x;
            }
        }
    }
}

impl Kernel for Convolution {
    fn phases(&self) -> Vec<Grid> {
        self.phases.clone()
    }

    fn shared_bytes(&self) -> usize {
        self.bytes
    }

    fn scratch_bytes(&self) -> usize {
        self.plan.scratch_bytes()
    }

    fn set_apart(&mut self, stride: usize) -> bool {
        self.stride = stride;
        true
    }

    fn run(&self, phase: usize, args: &mut Args<'_>) -> Result<()> {
        let own = self.phases.len() - self.plan.phases();
        if phase < own {
            self.rearrange(args);
        } else {
            self.run_plan(phase - own, args);
        }
        Ok(())
    }
}

impl Convolution {
    fn rearrange(&self, args: &Args<'_>) {
        let (pieces, _) = args.ranges();
        let panels = self.weights.as_ref().map_or(0, Packing::panels);
        for piece in pieces {
            match (&self.weights, &self.input) {
                (Some(weights), _) if piece < panels => weights.run(piece, args),
                (_, Some(input)) => input.run(piece - panels, self.shape.in_channels, args),
                _ => {}
            }
        }
    }

    fn run_plan(&self, phase: usize, args: &mut Args<'_>) {
        let (parts, _) = args.ranges();
        let scratch = args.scratch::<u8>().as_mut_ptr();
        let shared = args.raw_shared().as_ptr();
        let operand = |input: usize, place: Option<usize>| match place {
            Some(start) => shared.wrapping_add(start).cast::<f32>().cast_const(),
            None => args.optional::<f32>(input).map_or(ptr::null(), |x| x.as_ptr()),
        };
        let out = args.raw_output(0);
        let out_len = rows_apart(self.pixels, self.shape.out_channels, self.stride);
        assert!(out.byte_len() == out_len * size_of::<f32>() && args.raw_shared().byte_len() >= self.bytes);
        let output = Output {
            data: out.as_ptr().cast(),
            stride: self.stride,
            bias: operand(2, None),
            residual: operand(3, None),
            residual_stride: self.shape.out_channels,
            activation: self.activation,
        };
        let operands = ConvArgs {
            input: operand(0, self.input.as_ref().map(|i| i.start)),
            weights: match &self.transformed {
                Some(weights) => weights.as_ptr().cast(),
                None => operand(1, self.weights.as_ref().map(|_| 0)),
            },
            output,
        };
        for part in parts {
            // SAFETY: the operands have the planned extents, which `infer` has checked; parts write disjoint parts of
            // the output, and the workspace was asked for.
            unsafe { self.plan.run(phase, part, &operands, shared.wrapping_add(self.start), scratch) };
        }
    }
}
