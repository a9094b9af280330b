//! Runs one operator by itself, on the calling thread: for folding constants, and for tests.

use super::{Derived, Inputs, Kernel, Op, Operand, Prepare, Tensor, TensorInfo};
use crate::cpu::isa::Isa;
use crate::error::Result;
use crate::tensor::{Blob, Buffer, DType, Layout, TensorType, View, run_parts};

/// Circumstances of an evaluation that must not change its results.
#[derive(Clone, Copy)]
pub struct How<'a> {
    /// Layouts of the inputs' bytes, row-major where none is given.
    pub layouts: &'a [Layout],
    /// Whether kernels may keep copies of weights.
    pub derive: bool,
    /// Threads that kernels are planned for.
    pub threads: usize,
    /// Outputs that are wanted, at most.
    pub outputs: usize,
    /// What memory is filled with before a kernel runs.
    pub fill: u8,
    /// The order of a phase's parts, given their number.
    pub order: &'a dyn Fn(usize) -> Vec<usize>,
}

impl Default for How<'_> {
    fn default() -> Self {
        How {
            layouts: &[],
            derive: false,
            threads: 1,
            outputs: usize::MAX,
            fill: 0,
            order: &|parts| (0..parts).collect(),
        }
    }
}

/// Runs `op` on row-major tensors and returns all its outputs.
pub fn evaluate(op: &Op, inputs: &[Option<&Tensor>], isa: Isa) -> Result<Vec<Tensor>> {
    evaluate_as(op, inputs, isa, How::default())
}

/// As [`evaluate`], under the given circumstances.
pub fn evaluate_as(op: &Op, inputs: &[Option<&Tensor>], isa: Isa, how: How<'_>) -> Result<Vec<Tensor>> {
    let types: Vec<Option<TensorType>> = inputs.iter().map(|t| t.map(Tensor::ty)).collect();
    let refs: Vec<Option<&TensorType>> = types.iter().map(Option::as_ref).collect();
    let views: Vec<Option<View<'_>>> = inputs.iter().map(|t| t.map(Tensor::view)).collect();
    let mut outputs = op.infer(&Inputs::with_data(&refs, &views))?;
    outputs.truncate(how.outputs);
    let Some(infos) = outputs.iter().map(TensorInfo::of).collect::<Option<Vec<_>>>() else {
        return op.run_dynamic(&inputs.iter().map(|t| t.cloned()).collect::<Vec<_>>());
    };
    let operands: Vec<Option<Operand<'_>>> = inputs
        .iter()
        .zip(how.layouts.iter().copied().chain(std::iter::repeat(Layout::RowMajor)))
        .map(|(t, layout)| t.map(|t| Operand { info: t.info, data: Some(t.view()), layout }))
        .collect();
    let wanted = op.derives(&Inputs::new(&refs)).filter(|_| how.derive);
    let derived = Derived::new(wanted.and_then(|(i, bytes)| Some((&inputs[i]?.data, bytes))), usize::MAX);
    let kernel =
        op.prepare_cpu(&Prepare { isa, threads: how.threads, inputs: &operands, outputs: &infos, derived: &derived })?;
    execute_as(&*kernel, &views, &infos, how)
}

/// Runs all phases of a kernel on the calling thread.
pub fn execute(kernel: &dyn Kernel, inputs: &[Option<View<'_>>], outputs: &[TensorInfo]) -> Result<Vec<Tensor>> {
    execute_as(kernel, inputs, outputs, How::default())
}

/// As [`execute`], under the given circumstances.
pub(super) fn execute_as(
    kernel: &dyn Kernel,
    inputs: &[Option<View<'_>>],
    outputs: &[TensorInfo],
    How { fill, order, .. }: How<'_>,
) -> Result<Vec<Tensor>> {
    let mut buffers = outputs.iter().map(|o| Buffer::zeroed(o.byte_len()?)).collect::<Result<Vec<_>>>()?;
    let (mut shared, mut scratch) = (Buffer::zeroed(kernel.shared_bytes())?, Buffer::zeroed(kernel.scratch_bytes())?);
    buffers.iter_mut().chain([&mut shared]).for_each(|b| b.fill(fill));
    for (phase, grid) in kernel.phases().into_iter().enumerate() {
        let mut views: Vec<(&mut [u8], DType)> =
            buffers.iter_mut().zip(outputs).map(|(b, o)| (&mut b[..], o.dtype)).collect();
        scratch.fill(fill);
        let parts = (grid, order(grid.parts()));
        run_parts(inputs, &mut views, &mut shared, &mut scratch, parts, |args| kernel.run(phase, args))?;
    }
    Ok(buffers.into_iter().zip(outputs).map(|(b, info)| Tensor { info: *info, data: Blob::new(b) }).collect())
}
