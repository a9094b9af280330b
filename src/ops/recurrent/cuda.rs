//! The products of all steps with W in one launch, then one for each step, or two where a GRU resets before its product.

use super::{CellKind, Direction, Function, Recurrent};
use crate::cpu::Activation;
use crate::cuda::{Launch, Module};
use crate::error::Result;
use crate::ops::matmul::cuda::gemm::{Axis, Gemm};
use crate::ops::{CudaKernel, PrepareCuda, activation};
use crate::tensor::DType;

static MODULE: Module = crate::cuda_module!("recurrent");

/// Sequences and units of a block: SEQUENCES and UNITS of `recurrent.cu`.
const SEQUENCES: usize = 4;
const UNITS: usize = 32;

/// Most launches of a layer.
const MOST_LAUNCHES: usize = 1 << 14;

/// A layer of known shape.
struct Layer<'a> {
    op: &'a Recurrent,
    cx: &'a PrepareCuda<'a>,
    steps: usize,
    batch: usize,
    width: usize,
    /// Slices whose sum the products with W are, and their bytes.
    slices: usize,
    projected: usize,
}

/// A vector for each unit of each sequence, in the workspace behind the products with W.
#[derive(Clone, Copy)]
enum Region {
    Hidden(usize),
    State,
    Reset,
}

/// The kernel for f32, f16 and bf16.
pub fn prepare(op: &Recurrent, cx: &PrepareCuda<'_>) -> Result<Option<CudaKernel>> {
    let x = cx.dims(0);
    let (steps, batch) = if op.batch_first { (x[1], x[0]) } else { (x[0], x[1]) };
    let mut layer = Layer { op, cx, steps, batch, width: x[2], slices: 1, projected: 0 };
    if steps * layer.stages() > MOST_LAUNCHES || cx.has_empty_input() {
        return Ok(None);
    }
    let mut kernels = vec![layer.project()?];
    kernels.push(layer.begin(5, Region::Hidden(0))?);
    if op.kind == CellKind::Lstm {
        kernels.push(layer.begin(6, Region::State)?);
    }
    for step in 0..steps {
        for stage in 0..layer.stages() {
            kernels.push(layer.step(step, stage)?);
        }
    }
    for (output, region) in [(1, Region::Hidden(steps % 2)), (2, Region::State)] {
        if output < cx.outputs.len() {
            kernels.push(layer.end(region, output)?);
        }
    }
    Ok(Some(Box::new(kernels)))
}

impl Layer<'_> {
    /// Launches of a step.
    fn stages(&self) -> usize {
        if self.op.kind == CellKind::Gru && !self.op.linear_before_reset { 2 } else { 1 }
    }

    fn directions(&self) -> usize {
        self.op.direction.count()
    }

    fn hidden(&self) -> usize {
        self.op.hidden as usize
    }

    /// Elements of a state.
    fn states(&self) -> usize {
        self.directions() * self.batch * self.hidden()
    }

    /// The products of all steps with W, without biases.
    fn project(&mut self) -> Result<CudaKernel> {
        let (m, n, k) = (self.steps * self.batch, self.op.kind.gates() * self.hidden(), self.width);
        let gemm = Gemm {
            operands: [0, 1],
            m,
            n,
            k,
            a: [k, 1],
            b: [n, 1],
            y: [n, 1, m * n],
            bias: [0, 0],
            batch: vec![Axis { extent: self.directions(), a: 0, b: k * n, bias: 0 }],
            alpha: 1.0,
            activation: Activation::None,
        };
        let (kernel, slices) = gemm.sums(self.cx)?;
        self.slices = slices;
        self.projected = (slices * self.directions() * m * n * size_of::<f32>()).next_multiple_of(256);
        Ok(kernel)
    }

    fn region(&self, launch: Launch, region: Region) -> Launch {
        let index = match region {
            Region::Hidden(which) => which,
            Region::State => 2,
            Region::Reset => 3,
        };
        let bytes = (self.states() * size_of::<f32>()).next_multiple_of(256);
        launch.workspace(self.projected + index * bytes, bytes)
    }

    /// Sets a state to what an input holds.
    fn begin(&self, input: usize, region: Region) -> Result<CudaKernel> {
        let launch = self.cx.threads(&MODULE, "recurrent_begin", self.states())?.input(input);
        self.region(launch, region).value(self.states_words()).build()
    }

    /// Gives a state out.
    fn end(&self, region: Region, output: usize) -> Result<CudaKernel> {
        let launch = self.region(self.cx.threads(&MODULE, "recurrent_end", self.states())?, region);
        launch.output(output).value(self.states_words()).build()
    }

    fn step(&self, step: usize, stage: usize) -> Result<CudaKernel> {
        let suffix = if self.cx.outputs[0].dtype == DType::F32 { "f32" } else { "half" };
        let grid = [self.hidden().div_ceil(UNITS), self.batch.div_ceil(SEQUENCES), self.directions()];
        let launch = self.cx.grid(&MODULE, &format!("recurrent_step_{suffix}"), grid)?.input(2).input(3).input(4).input(7);
        let launch = self.region(launch.workspace(0, self.projected), Region::Hidden(step % 2));
        let launch = self.region(launch, Region::Hidden((step + 1) % 2));
        let launch = self.region(self.region(launch, Region::State), Region::Reset).output(0);
        launch.structure(&self.words()).value(step as u32).value(stage as u32).build()
    }

    /// Layer of `recurrent.cu`.
    fn words(&self) -> Vec<u32> {
        let (op, kind) = (self.op, self.op.kind as u32);
        let clip = if op.clip > 0.0 { op.clip } else { f32::INFINITY };
        let extents = [self.hidden(), self.batch, self.steps, self.directions(), op.kind.gates()].map(|n| n as u32);
        let flags = [op.batch_first, op.direction == Direction::Reverse, op.linear_before_reset, op.input_forget];
        let mut words = vec![kind];
        words.extend(extents);
        words.push(self.cx.outputs[0].dtype as u32);
        words.extend(flags.map(u32::from));
        words.extend([self.slices as u32, clip.to_bits()]);
        for direction in 0..2 {
            let functions = op.functions(direction.min(self.directions() - 1));
            words.extend((0..3).flat_map(|f| functions.get(f).map_or([0; 3], |f| function(*f))));
        }
        words
    }

    /// States of `recurrent.cu`.
    fn states_words(&self) -> [u32; 5] {
        let extents = [self.hidden(), self.batch, self.directions()].map(|n| n as u32);
        [extents[0], extents[1], extents[2], self.cx.outputs[0].dtype as u32, self.op.batch_first.into()]
    }
}

/// Activation of `activation.cuh`, with the numbers of functions that only cells use.
fn function(function: Function) -> [u32; 3] {
    match function {
        Function::Common(common) => activation::words(common),
        Function::Affine { alpha, beta } => [64, alpha.to_bits(), beta.to_bits()],
        Function::ThresholdedRelu { alpha } => [65, alpha.to_bits(), 0],
        Function::ScaledTanh { alpha, beta } => [66, alpha.to_bits(), beta.to_bits()],
        Function::Softsign => [67, 0, 0],
    }
}
