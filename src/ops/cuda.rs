//! Preparing kernels for a GPU.

use super::{Op, Operand, Prepare, TensorInfo};
use crate::cuda::{Device, Function, Kernel, MAX_ELEMENTS, Module};
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
