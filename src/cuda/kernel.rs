//! What a step of a plan runs on a GPU.

use super::Stream;
use crate::error::Result;
use std::sync::Arc;

/// An address in a GPU's memory; null where an optional operand is absent.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Address(pub u64);

impl Address {
    /// The address so many bytes further.
    pub fn offset(self, bytes: usize) -> Address {
        Address(self.0 + bytes as u64)
    }
}

/// Where the operands of a kernel are.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    /// Inputs; null where an optional one is absent.
    pub inputs: &'a [Address],
    /// Outputs.
    pub outputs: &'a [Address],
    /// Memory for intermediate results, [`Kernel::workspace_bytes`] long.
    pub workspace: Address,
}

/// A kernel bound to shapes: it only puts launches into a stream.
///
/// It allocates nothing, copies nothing to or from the host and waits for nothing, so that its work can be captured. It computes
/// the same bits every time.
pub trait Kernel: Send + Sync {
    /// Bytes of workspace.
    fn workspace_bytes(&self) -> usize {
        0
    }

    /// Puts the work into the stream.
    fn enqueue(&self, stream: &Stream, args: &Args<'_>) -> Result<()>;
}

/// A kernel that several share.
impl Kernel for Arc<dyn Kernel> {
    fn workspace_bytes(&self) -> usize {
        (**self).workspace_bytes()
    }

    fn enqueue(&self, stream: &Stream, args: &Args<'_>) -> Result<()> {
        (**self).enqueue(stream, args)
    }
}

/// Where a library's workspace begins behind other intermediate results: at a multiple of this.
pub(super) const APART: usize = 256;

/// A kernel and, if there is one, that which finishes what it leaves in the workspace.
pub(super) fn finished(kernel: Box<dyn Kernel>, finish: &Option<Arc<dyn Kernel>>) -> Box<dyn Kernel> {
    match finish {
        Some(finish) => Box::new(vec![kernel, Box::new(finish.clone())]),
        None => kernel,
    }
}

/// Several kernels, one after another, with the same operands.
impl Kernel for Vec<Box<dyn Kernel>> {
    fn workspace_bytes(&self) -> usize {
        self.iter().map(|kernel| kernel.workspace_bytes()).max().unwrap_or(0)
    }

    fn enqueue(&self, stream: &Stream, args: &Args<'_>) -> Result<()> {
        self.iter().try_for_each(|kernel| kernel.enqueue(stream, args))
    }
}
