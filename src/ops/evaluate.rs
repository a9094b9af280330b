//! Runs one operator by itself, on the calling thread: for folding constants, and for tests.

use super::{Inputs, Kernel, Op, Operand, Prepare, Tensor, TensorInfo};
use crate::cpu::isa::Isa;
use crate::error::Result;
use crate::tensor::{Blob, Buffer, DType, Layout, TensorType, View, run_parts};

/// What memory is filled with before a kernel runs, and the order of a phase's parts, given their number.
pub type Order<'a> = (u8, &'a dyn Fn(usize) -> Vec<usize>);

const IN_ORDER: Order<'static> = (0, &|parts| (0..parts).collect());

/// Runs `op` on row-major tensors and returns all its outputs.
pub fn evaluate(op: &Op, inputs: &[Option<&Tensor>], isa: Isa) -> Result<Vec<Tensor>> {
    evaluate_stored(op, inputs, &[], isa, IN_ORDER)
}

/// As [`evaluate`], with the bytes of inputs in the given layouts (row-major where none is given), and parts in the given
/// order.
pub fn evaluate_stored(
    op: &Op,
    inputs: &[Option<&Tensor>],
    layouts: &[Layout],
    isa: Isa,
    order: Order<'_>,
) -> Result<Vec<Tensor>> {
    let types: Vec<Option<TensorType>> = inputs.iter().map(|t| t.map(Tensor::ty)).collect();
    let refs: Vec<Option<&TensorType>> = types.iter().map(Option::as_ref).collect();
    let views: Vec<Option<View<'_>>> = inputs.iter().map(|t| t.map(Tensor::view)).collect();
    let outputs = op.infer(&Inputs::with_data(&refs, &views))?;
    let Some(infos) = outputs.iter().map(TensorInfo::of).collect::<Option<Vec<_>>>() else {
        return op.run_dynamic(&inputs.iter().map(|t| t.cloned()).collect::<Vec<_>>());
    };
    let operands: Vec<Option<Operand<'_>>> = inputs
        .iter()
        .zip(layouts.iter().copied().chain(std::iter::repeat(Layout::RowMajor)))
        .map(|(t, layout)| t.map(|t| Operand { info: t.info, data: Some(t.view()), layout }))
        .collect();
    let kernel = op.prepare_cpu(&Prepare { isa, inputs: &operands, outputs: &infos })?;
    execute_in_order(&*kernel, &views, &infos, order)
}

/// Runs all phases of a kernel on the calling thread.
pub fn execute(kernel: &dyn Kernel, inputs: &[Option<View<'_>>], outputs: &[TensorInfo]) -> Result<Vec<Tensor>> {
    execute_in_order(kernel, inputs, outputs, IN_ORDER)
}

fn execute_in_order(
    kernel: &dyn Kernel,
    inputs: &[Option<View<'_>>],
    outputs: &[TensorInfo],
    (fill, order): Order<'_>,
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
