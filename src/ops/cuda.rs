//! Preparing kernels for a GPU.

use super::{Op, Operand, Prepare, TensorInfo};
use crate::cuda::{Device, Function, Kernel, Launch, MAX_ELEMENTS, Module};
use crate::error::Result;
use std::ops::Deref;
use std::sync::Arc;

/// A kernel for a GPU.
pub type CudaKernel = Box<dyn Kernel>;

/// What a kernel for a GPU is prepared for: as [`Prepare`], and the GPU. Operands have 1 to [`MAX_ELEMENTS`] elements, and lie
/// row-major in the GPU's memory, constants too; those that steer shapes are known as for the CPU.
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
    /// A kernel of a module.
    pub fn function(&self, module: &'static Module, name: &str) -> Result<Function> {
        Function::new(self.device, module, name)
    }
}

impl Op {
    /// The kernel for a GPU; None if the operator, or operands like these, are left to the CPU.
    pub fn prepare_cuda(&self, cx: &PrepareCuda<'_>) -> Result<Option<CudaKernel>> {
        let fits = |info: &TensorInfo| (1..=MAX_ELEMENTS).contains(&info.numel());
        let infos = |operand: &Option<Operand<'_>>| operand.is_none_or(|o| fits(&o.info));
        if cx.inputs.iter().all(infos) && cx.outputs.iter().all(fits) { self.cuda_kernel(cx) } else { Ok(None) }
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

/// Most threads of a block that has a single row; of other blocks; of a warp.
const LARGEST_TEAM: usize = 1024;
const BLOCK: usize = 256;
const WARP: usize = 32;

impl Teams {
    /// Teams for `rows` rows of `len` elements that are `stride` apart; `may_keep` where there is a kernel whose threads do.
    pub fn new(rows: usize, len: usize, stride: usize, may_keep: bool) -> Teams {
        let wide = may_keep && stride == 1 && len.is_multiple_of(KEPT) && len <= KEPT * LARGEST_TEAM;
        let enough = len.div_ceil(if wide { KEPT } else { EACH }).next_power_of_two();
        let lanes = match stride {
            1 if enough > WARP => enough.min(LARGEST_TEAM),
            1 => WARP.min(len.next_power_of_two()),
            // Beside each other lie as many teams as a warp reads neighbours.
            _ => enough.min(BLOCK / stride.next_power_of_two().min(WARP)),
        };
        let block = if stride == 1 && lanes > WARP { lanes } else { BLOCK };
        let blocks = rows.div_ceil(block / lanes) as u32;
        Teams { lanes: lanes as u32, block: block as u32, blocks, wide }
    }

    /// A launch of these teams.
    pub fn launch(&self, function: Function) -> Launch {
        Launch::new(function, [self.blocks, 1, 1]).block([self.block, 1, 1])
    }

    /// The end of the name of a kernel for these rows.
    pub fn suffix(&self) -> &'static str {
        if self.wide { "_wide" } else { "" }
    }
}
