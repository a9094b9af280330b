//! Preparing kernels for a GPU.

use super::{Op, Prepare};
use crate::cuda::tune::Scratch;
use crate::cuda::{Device, Function, Kernel, Launch, MAX_ELEMENTS, Module, THREADS, blocks};
use crate::error::Result;
use crate::tensor::DType;
use std::ops::Deref;
use std::sync::Arc;

/// A kernel for a GPU.
pub type CudaKernel = Box<dyn Kernel>;

/// Threads that read neighbours: WARP of `prelude.cuh`.
pub const WARP: usize = 32;

/// Blocks that keep a GPU busy.
pub const BUSY: usize = 512;

/// What a kernel for a GPU is prepared for: as [`Prepare`], and the GPU. Operands have up to [`MAX_ELEMENTS`] elements, and lie
/// row-major in the GPU's memory, constants too; those that steer shapes are known as for the CPU. Some output has elements.
#[derive(Clone, Copy)]
pub struct PrepareCuda<'a> {
    /// The GPU.
    pub device: &'a Arc<Device>,
    /// Whether factors of products that are f32 may be rounded to TF32.
    pub tf32: bool,
    /// The operands.
    pub operands: &'a Prepare<'a>,
}

impl<'a> Deref for PrepareCuda<'a> {
    type Target = Prepare<'a>;

    fn deref(&self) -> &Prepare<'a> {
        self.operands
    }
}

impl PrepareCuda<'_> {
    /// A launch of a module's kernel with at least so many threads.
    pub fn threads(&self, module: &'static Module, name: &str, count: usize) -> Result<Launch> {
        self.grid(module, name, [blocks(count) as usize, 1, 1])
    }

    /// A launch of a module's kernel with so many blocks.
    pub fn grid(&self, module: &'static Module, name: &str, blocks: [usize; 3]) -> Result<Launch> {
        Ok(Launch::new(Function::new(self.device, module, name)?, blocks.map(|n| n as u32)))
    }

    /// How much memory the operands take, for timing kernels on as much.
    pub fn scratch(&self) -> Result<Scratch> {
        let lengths = self.inputs.iter().map(|operand| operand.map_or(Ok(0), |o| o.info.byte_len()));
        Ok(Scratch { inputs: lengths.collect::<Result<_>>()?, output: self.outputs[0].byte_len()? })
    }

    /// Whether an input has no elements. Then outputs are not made of inputs alone, which not all kernels are ready for.
    pub fn has_empty_input(&self) -> bool {
        self.inputs.iter().flatten().any(|operand| operand.info.numel() == 0)
    }
}

/// Whether kernels compute with a type: f32 and narrower floats.
pub fn is_single(dtype: DType) -> bool {
    dtype.is_float() && dtype != DType::F64
}

impl Op {
    /// The kernel for a GPU; None if the operator, or operands like these, are left to the CPU.
    pub fn prepare_cuda(&self, cx: &PrepareCuda<'_>) -> Result<Option<CudaKernel>> {
        let inputs = cx.inputs.iter().flatten().map(|operand| &operand.info);
        if inputs.chain(cx.outputs).any(|info| info.numel() > MAX_ELEMENTS) {
            return Ok(None);
        }
        if cx.outputs.iter().all(|info| info.numel() == 0) {
            return Ok(Some(Box::new(vec![])));
        }
        self.cuda_kernel(cx)
    }
}

/// How many threads share a row: the teams of `team.cuh`, and the form of their rows.
#[derive(Clone, Copy, Debug)]
pub struct Teams {
    /// Threads of a team.
    pub lanes: u32,
    /// Threads of a block.
    pub block: u32,
    /// Blocks of all teams.
    pub blocks: u32,
    /// Whether each thread has 4 neighbours at most, which it keeps.
    pub wide: bool,
}

/// Elements that a thread keeps, and those that one reads again and again.
const KEPT: usize = 4;
const EACH: usize = 8;

/// Most threads of a block that has a single row.
const LARGEST_TEAM: usize = 1024;

impl Teams {
    /// Teams for `rows` rows of `len` elements that are `stride` apart; `may_keep` where there is a kernel whose threads do.
    pub fn new(rows: usize, len: usize, stride: usize, may_keep: bool) -> Teams {
        let wide = may_keep && stride == 1 && len.is_multiple_of(KEPT) && len <= KEPT * LARGEST_TEAM;
        let enough = len.div_ceil(if wide { KEPT } else { EACH }).next_power_of_two();
        let lanes = match stride {
            1 if enough > WARP => enough.min(LARGEST_TEAM),
            1 => WARP.min(len.next_power_of_two()),
            // Beside each other lie as many teams as a warp reads neighbours.
            _ => enough.min(THREADS / stride.next_power_of_two().min(WARP)),
        };
        let block = if stride == 1 && lanes > WARP { lanes } else { THREADS };
        let blocks = rows.div_ceil(block / lanes) as u32;
        Teams { lanes: lanes as u32, block: block as u32, blocks, wide }
    }

    /// A launch of a module's kernel with these teams.
    pub fn launch(&self, cx: &PrepareCuda<'_>, module: &'static Module, name: &str) -> Result<Launch> {
        Ok(cx.grid(module, name, [self.blocks as usize, 1, 1])?.block([self.block, 1, 1]))
    }

    /// The end of the name of a kernel for these rows.
    pub fn suffix(&self) -> &'static str {
        if self.wide { "_wide" } else { "" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Isa;
    use crate::ops::testing::{Random, difference, run};
    use crate::ops::{Attention, Cast, Concat, ScatterNd, Split, Tensor, TensorInfo, testing_cuda};

    /// What has no elements, on its way in or out, sends no work to the CPU.
    #[test]
    fn operands_may_be_empty() {
        let Some(device) = testing_cuda::device() else { return };
        let mut random = Random::new(1);
        let mut f32s = |dims: &[usize]| random.tensor(dims);
        let (x, empty) = (f32s(&[4, 6]), f32s(&[4, 0]));
        let [q, past] = [[1, 2, 1, 8], [1, 2, 0, 8]].map(|dims| f32s(&dims));
        let (indices, updates) = (Tensor::new(&[0, 1], &[0i64; 0]).unwrap(), f32s(&[0, 6]));
        let heads = Attention { heads: 2, kv_heads: 2, ..Attention::default() };
        let split = Split { axis: 1, sizes: vec![2, 0, 4], parts: 0 };
        let cases: [(Op, Vec<Option<&Tensor>>); 5] = [
            (Concat::along(1).into(), vec![Some(&empty), Some(&x), Some(&empty)]),
            (split.into(), vec![Some(&x)]),
            (heads.into(), vec![Some(&q), Some(&q), Some(&q), None, Some(&past), Some(&past)]),
            (ScatterNd::default().into(), vec![Some(&x), Some(&indices), Some(&updates)]),
            (Cast { to: DType::F16 }.into(), vec![Some(&empty)]),
        ];
        for (op, inputs) in cases {
            let want = run(&op, &inputs, Isa::Scalar).unwrap();
            let infos: Vec<TensorInfo> = want.iter().map(|t| t.info).collect();
            let got = testing_cuda::run(&op, &inputs, &[], &infos, device).unwrap().expect("a kernel");
            for (got, want) in got.iter().zip(&want) {
                assert!(difference(got, want) <= 2e-6, "{op:?}: {got:?}, not {want:?}");
            }
        }
    }
}
