//! Runs one operator by itself on a GPU, where there is one.
//!
//! `INFER_TEST_DEVICE=cuda` says that there is: tests then fail if it cannot be opened.

use super::{Derived, Op, Operand, Prepare, PrepareCuda, Tensor, TensorInfo};
use crate::cpu::isa::Isa;
use crate::cuda::{Address, Args, Device, Memory, Stream, Weights};
use crate::error::Result;
use crate::tensor::{Blob, Buffer, Layout};
use std::sync::{Arc, OnceLock};

/// The first GPU.
pub fn device() -> Option<&'static Arc<Device>> {
    static DEVICE: OnceLock<Option<Arc<Device>>> = OnceLock::new();
    let open = || match Device::open(0) {
        Ok(device) => Some(device),
        Err(e) if std::env::var_os("INFER_TEST_DEVICE").is_some_and(|v| v == "cuda") => panic!("{e}"),
        Err(_) => None,
    };
    DEVICE.get_or_init(open).as_ref()
}

/// Runs `op` on a GPU and returns its outputs; None if it has no kernel for these operands.
pub fn run(
    op: &Op,
    inputs: &[Option<&Tensor>],
    layouts: &[Layout],
    outputs: &[TensorInfo],
    device: &Arc<Device>,
) -> Result<Option<Vec<Tensor>>> {
    run_with(op, inputs, layouts, outputs, (device, false))
}

/// As [`run`]; `tf32` as in [`PrepareCuda`].
pub fn run_with<'a>(
    op: &Op,
    inputs: &[Option<&'a Tensor>],
    layouts: &[Layout],
    outputs: &[TensorInfo],
    (device, tf32): (&Arc<Device>, bool),
) -> Result<Option<Vec<Tensor>>> {
    // Data in panels is not what a kernel that looks at it expects.
    let layout = |i: usize| layouts.get(i).copied().unwrap_or_default();
    let operand = |(i, t): (usize, &Option<&'a Tensor>)| {
        t.map(|t| {
            let data = (layout(i) == Layout::RowMajor).then(|| t.view());
            Operand { info: t.info, data, layout: Layout::RowMajor }
        })
    };
    let operands: Vec<Option<Operand<'a>>> = inputs.iter().enumerate().map(operand).collect();
    let derived = Derived::new([], 0);
    let operands = Prepare { isa: Isa::Scalar, threads: 1, inputs: &operands, outputs, derived: &derived };
    let Some(kernel) = op.prepare_cuda(&PrepareCuda { device, tf32, operands: &operands })? else {
        return Ok(None);
    };

    let stream = Arc::new(Stream::new(device)?);
    let weights = Weights::new(device)?;
    let upload = |(i, t): (usize, &Option<&Tensor>)| {
        let Some(t) = t else { return Ok(None) };
        weights.upload(&t.data, (t.info.dtype, &t.info.dims, layout(i)), t.info.dtype, false).map(Some)
    };
    let sources = inputs.iter().enumerate().map(upload).collect::<Result<Vec<_>>>()?;
    let memory = |bytes: usize| Memory::new(&stream, bytes);
    let results = outputs.iter().map(|o| memory(o.byte_len()?)).collect::<Result<Vec<_>>>()?;
    let workspace = memory(kernel.workspace_bytes())?;
    let sources: Vec<Address> =
        sources.iter().map(|m| m.as_ref().map_or(Address::default(), |m| m.address())).collect();
    let targets: Vec<Address> = results.iter().map(Memory::address).collect();
    let args = Args { inputs: &sources, outputs: &targets, workspace: workspace.address() };
    kernel.enqueue(&stream, &args)?;
    let read = |(memory, info): (&Memory, &TensorInfo)| {
        let mut buffer = Buffer::zeroed(info.byte_len()?)?;
        memory.read(&mut buffer)?;
        Ok(Tensor { info: *info, data: Blob::new(buffer) })
    };
    results.iter().zip(outputs).map(read).collect::<Result<Vec<_>>>().map(Some)
}
