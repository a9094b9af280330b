//! Tensors of C callers as the Rust interface takes them, and results on their way back.

use std::array;
use std::ops::Range;
use std::ptr;

use super::device::{INFER_DEVICE_CPU, INFER_DEVICE_CUDA};
use super::ffi;
use super::sized::{self, Array};
use super::tensor::{INFER_TENSOR_STRIDED, infer_tensor};
use crate::error::{Error, Result, Status};
use crate::ops::TensorInfo;
use crate::session::{DeviceData, Input, Model, Output, Port};
use crate::tensor::{Buffer, DType, Dims, MAX_RANK};

/// So many inputs or outputs cost no allocation.
const FEW: usize = 8;

/// Calls `prepare` with the types and shapes of the inputs.
pub(super) fn prepare(
    model: &Model,
    inputs: &Array<infer_tensor>,
    prepare: impl FnOnce(&[TensorInfo]) -> Result<()>,
) -> Result<()> {
    check_count("input", inputs.len, model.inputs())?;
    let info = |i: usize| {
        // SAFETY: inside the caller's array.
        let tensor = unsafe { inputs.read(i, "inputs")? };
        about("input", i, model.inputs(), info(&tensor))
    };
    prepare(&(0..inputs.len).map(info).collect::<Result<Vec<_>>>()?)
}

/// Calls `run` with the caller's tensors and writes its results back.
///
/// # Safety
/// What the tensors point to is as the header demands of inputs and outputs.
pub(super) unsafe fn run(
    model: &Model,
    inputs: &Array<infer_tensor>,
    outputs: &Array<infer_tensor>,
    run: impl FnMut(&[Input<'_>], &mut [Output<'_>]) -> Result<()>,
) -> Result<()> {
    check_count("input", inputs.len, model.inputs())?;
    check_count("output", outputs.len, model.outputs())?;
    let mut few = [Input::default(); FEW];
    let mut many = vec![];
    let inputs_taken = slots(inputs.len, &mut few, &mut many);
    for (i, slot) in inputs_taken.iter_mut().enumerate() {
        // SAFETY: inside the caller's array; data as promised by the caller.
        *slot = unsafe { about("input", i, model.inputs(), input(&inputs.read(i, "inputs")?))? };
    }
    let mut few: [Output<'_>; FEW] = array::from_fn(|_| Output::default());
    let mut many = vec![];
    let outputs_taken = slots(outputs.len, &mut few, &mut many);
    for i in 0..outputs.len {
        // SAFETY: inside the caller's array; data as promised by the caller, and apart from all other data of this call.
        unsafe {
            let tensor = outputs.read(i, "outputs")?;
            check_apart(i, &tensor, inputs_taken, &outputs_taken[..i])?;
            outputs_taken[i] = about("output", i, model.outputs(), output(&tensor, &model.outputs()[i]))?;
        }
    }
    // SAFETY: both were made from the caller's array.
    unsafe { run_and_return(inputs_taken, outputs_taken, outputs, run) }
}

fn slots<'a, T: Default>(n: usize, few: &'a mut [T; FEW], many: &'a mut Vec<T>) -> &'a mut [T] {
    if n <= FEW {
        return &mut few[..n];
    }
    many.resize_with(n, T::default);
    many
}

/// # Safety
/// `taken` was made from `outputs`.
unsafe fn run_and_return(
    inputs: &[Input<'_>],
    taken: &mut [Output<'_>],
    outputs: &Array<infer_tensor>,
    mut run: impl FnMut(&[Input<'_>], &mut [Output<'_>]) -> Result<()>,
) -> Result<()> {
    let mut result = run(inputs, taken);
    // Memory that the library has allocated for an earlier, smaller result is replaced.
    while result.as_ref().is_err_and(|e| e.status() == Status::BufferTooSmall) {
        let mut replaced = false;
        for (i, output) in taken.iter_mut().enumerate() {
            // SAFETY: inside the caller's array.
            let is_ours = unsafe { !(&raw const (*outputs.at(i)).owner).read_unaligned().is_null() };
            if is_ours && output.data.is_some() && too_small(output) {
                output.data = None;
                replaced = true;
            }
        }
        if !replaced {
            break;
        }
        result = run(inputs, taken);
    }
    for (i, output) in taken.iter_mut().enumerate() {
        if result.is_ok() || too_small(output) {
            // SAFETY: inside the caller's array, whose sizes were checked.
            unsafe { give_back(outputs.at(i), output, result.is_ok())? };
        }
    }
    result
}

/// Whether the result has been worked out and has no room.
fn too_small(output: &Output<'_>) -> bool {
    let needed = output.info.and_then(|info| info.byte_len().ok());
    output.strides.is_none() && output.data.as_ref().zip(needed).is_some_and(|(data, needed)| data.len() < needed)
}

/// Describes a result in the caller's struct; `done` hands over memory that the library has allocated.
///
/// # Safety
/// `target` is the caller's struct that `output` was made from.
unsafe fn give_back(target: *mut infer_tensor, output: &mut Output<'_>, done: bool) -> Result<()> {
    // SAFETY: the struct was read when the output was made from it.
    let mut tensor = unsafe { sized::read(target, "outputs")? };
    let Some(info) = output.info else { return Ok(()) };
    tensor.dtype = info.dtype as u32;
    tensor.rank = info.dims.len() as u32;
    tensor.byte_len = info.byte_len()? as u64;
    tensor.shape = [0; MAX_RANK];
    for (to, from) in tensor.shape.iter_mut().zip(&*info.dims) {
        *to = *from as i64;
    }
    if let Some(buffer) = output.owned.take().filter(|_| done) {
        tensor.data = buffer.as_ptr().cast_mut().cast();
        tensor.capacity = buffer.len() as u64;
        if tensor.owner.is_null() {
            tensor.owner = Box::into_raw(Box::new(buffer)).cast();
        } else {
            // SAFETY: set by an earlier run; nothing refers to the memory any more.
            unsafe { *tensor.owner.cast::<Buffer>() = buffer };
        }
    }
    // SAFETY: as above.
    unsafe { sized::write(target, &tensor) };
    Ok(())
}

impl infer_tensor {
    /// Takes the memory that the library has allocated out of the struct.
    ///
    /// # Safety
    /// `owner` is NULL or was set by a run, and no copy of the struct is used any more.
    pub(super) unsafe fn take_owner(&mut self) -> Option<Box<Buffer>> {
        let owner = std::mem::replace(&mut self.owner, ptr::null_mut());
        if owner.is_null() {
            return None;
        }
        (self.data, self.byte_len, self.capacity) = (ptr::null_mut(), 0, 0);
        // SAFETY: as promised by the caller.
        Some(unsafe { Box::from_raw(owner.cast()) })
    }

    /// The bytes that `data` may have written, as addresses.
    fn room(&self) -> Range<usize> {
        let start = self.data.addr();
        start..start.saturating_add(usize::try_from(self.capacity).unwrap_or(usize::MAX))
    }
}

/// An input as the caller describes it.
///
/// # Safety
/// `data` has `byte_len` readable bytes for `'a`, or is NULL.
pub(super) unsafe fn input<'a>(tensor: &infer_tensor) -> Result<Input<'a>> {
    let TensorInfo { dtype, dims } = info(tensor)?;
    let strides = strides(tensor)?;
    let len = bytes("byte_len", tensor.byte_len)?;
    let needed = TensorInfo { dtype, dims }.byte_len()?;
    if strides.is_none() && len != needed {
        return Err(Error::invalid(format!("`byte_len` is {len}; {dtype}{dims:?} has {needed} bytes")));
    }
    if let Some(device) = device_data(tensor, len)? {
        return Ok(Input { dtype, dims, strides, device: Some(device), ..Input::default() });
    }
    // SAFETY: as promised by the caller.
    let data = unsafe { ffi::slice(tensor.data.cast_const().cast(), len, "data")? };
    Ok(Input { dtype, dims, strides, data, device: None })
}

/// An output as the caller describes it.
///
/// # Safety
/// `data` has `capacity` bytes that nobody else uses for `'a`, or is NULL; `owner` is NULL or was set by a run.
unsafe fn output<'a>(tensor: &infer_tensor, port: &Port) -> Result<Output<'a>> {
    let strides = strides(tensor)?;
    let capacity = bytes("capacity", tensor.capacity)?;
    if tensor.data.is_null() {
        if tensor.device != INFER_DEVICE_CPU {
            return Err(Error::invalid(
                "`data` is NULL: an output in the memory of a GPU needs memory of the caller's",
            ));
        }
        if capacity != 0 || strides.is_some() {
            return Err(Error::invalid("`data` is NULL: then `capacity` and `flags` must be 0 as well"));
        }
        return Ok(Output::default());
    }
    let named = if tensor.dtype == 0 { port.dtype } else { DType::from_code(tensor.dtype)? };
    if tensor.owner.is_null() && named != port.dtype {
        return Err(Error::dtype(format!("memory for {named} is given; the model delivers {}", port.dtype)));
    }
    let expected = match strides {
        Some(_) => Some(TensorInfo { dtype: port.dtype, dims: dims(tensor)? }),
        None => None,
    };
    if let Some(device) = device_data(tensor, capacity)? {
        return Ok(Output { device: Some(device), expected, strides, ..Output::default() });
    }
    // SAFETY: as promised by the caller.
    let data = unsafe { ffi::slice_mut(tensor.data.cast(), capacity, "data")? };
    Ok(Output { data: Some(data), expected, strides, ..Output::default() })
}

/// Element type and shape that the caller has set.
fn info(tensor: &infer_tensor) -> Result<TensorInfo> {
    Ok(TensorInfo { dtype: DType::from_code(tensor.dtype)?, dims: dims(tensor)? })
}

fn dims(tensor: &infer_tensor) -> Result<Dims> {
    let extents = tensor
        .shape
        .get(..tensor.rank as usize)
        .ok_or_else(|| Error::shape(format!("`rank` is {}; the largest that there is is {MAX_RANK}", tensor.rank)))?;
    let mut dims = Dims::default();
    for extent in extents {
        dims.push(usize::try_from(*extent).map_err(|_| Error::shape(format!("`shape` is {extents:?}")))?);
    }
    Ok(dims)
}

fn strides(tensor: &infer_tensor) -> Result<Option<[i64; MAX_RANK]>> {
    match tensor.flags {
        0 => Ok(None),
        INFER_TENSOR_STRIDED => Ok(Some(tensor.strides)),
        flags => Err(Error::invalid(format!("`flags` is {flags:#x}: this release knows INFER_TENSOR_STRIDED only"))),
    }
}

/// Where a tensor is in the memory of a GPU; None if it is in that of the host.
fn device_data(tensor: &infer_tensor, len: usize) -> Result<Option<DeviceData>> {
    match (tensor.device, tensor.device_id) {
        (INFER_DEVICE_CPU, 0) => Ok(None),
        (INFER_DEVICE_CUDA, ordinal @ 0..) => Ok(Some(DeviceData { ordinal, address: tensor.data.addr() as u64, len })),
        (device, id) => Err(Error::device(format!("`device` is {device}, number {id}: there is no such device"))),
    }
}

fn bytes(name: &str, len: u64) -> Result<usize> {
    usize::try_from(len).map_err(|_| Error::invalid(format!("`{name}` is {len}, more than there is memory")))
}

/// Refuses memory for an output that is also an input's, or another output's.
fn check_apart(index: usize, tensor: &infer_tensor, inputs: &[Input<'_>], outputs: &[Output<'_>]) -> Result<()> {
    let room = tensor.room();
    // Addresses of a GPU are none of the host's: both are in one address space.
    let overlaps = |data: &[u8], device: Option<DeviceData>| {
        let (start, len) = device.map_or((data.as_ptr().addr(), data.len()), |d| (d.address as usize, d.len));
        room.start.max(start) < room.end.min(start.saturating_add(len))
    };
    if let Some(i) = inputs.iter().position(|input| overlaps(input.data, input.device)) {
        return Err(Error::invalid(format!("output {index} overlaps input {i}")));
    }
    let taken = |output: &Output<'_>| overlaps(output.data.as_deref().unwrap_or(&[]), output.device);
    if let Some(i) = outputs.iter().position(taken) {
        return Err(Error::invalid(format!("output {index} overlaps output {i}")));
    }
    Ok(())
}

fn check_count(kind: &str, n: usize, ports: &[Port]) -> Result<()> {
    if n == ports.len() {
        return Ok(());
    }
    Err(Error::invalid(format!("{n} {kind}s are given; the model has {}", ports.len())))
}

fn about<T>(kind: &str, index: usize, ports: &[Port], result: Result<T>) -> Result<T> {
    result
        .map_err(|error| error.context(format!("{kind} {index} '{}'", ports.get(index).map_or("", |port| &port.name))))
}
