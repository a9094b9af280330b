//! Inputs and outputs of runs: the caller's memory where it can be used in place, copies where it cannot.

use super::Session;
use crate::error::{Error, Result, Status};
use crate::exec::{Sink, Source};
use crate::ops::TensorInfo;
use crate::tensor::{Buffer, DType, Dims, MAX_RANK, OutView, View};

/// Contiguous memory of a GPU, of the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceData {
    /// Number of the GPU.
    pub ordinal: i32,
    /// First byte.
    pub address: u64,
    /// Length in bytes.
    pub len: usize,
}

/// An input of a run.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// Element type.
    pub dtype: DType,
    /// Dimensions.
    pub dims: Dims,
    /// Distances in elements between neighbours along each dimension; None if the data is contiguous.
    pub strides: Option<[i64; MAX_RANK]>,
    /// The bytes. With strides, the first element of the tensor is the first byte, and the last one lies inside.
    pub data: &'a [u8],
    /// Where the bytes are instead, if they are in the memory of the session's GPU.
    pub device: Option<DeviceData>,
}

/// An output of a run.
#[derive(Default)]
pub struct Output<'a> {
    /// Memory for the result; None lets the library allocate it ([`Output::owned`]).
    pub data: Option<&'a mut [u8]>,
    /// Memory of the session's GPU for the result, instead.
    pub device: Option<DeviceData>,
    /// Element type and dimensions that the caller expects; the run fails if the result differs.
    pub expected: Option<TensorInfo>,
    /// Distances in elements between neighbours along each dimension of `data`; None writes a contiguous result.
    pub strides: Option<[i64; MAX_RANK]>,
    /// After a run: what the result is. Also set when `data` is too small.
    pub info: Option<TensorInfo>,
    /// After a run: the result, if `data` was None.
    pub owned: Option<Buffer>,
}

impl Default for Input<'_> {
    /// A scalar without data; fills tables.
    fn default() -> Self {
        Input { dtype: DType::U8, dims: Dims::SCALAR, strides: None, data: &[], device: None }
    }
}

/// Makes a contiguous, aligned copy of an input that is neither; returns whether it did.
pub(super) fn copy_if_needed(input: &Input<'_>, copy: &mut Option<Buffer>) -> Result<bool> {
    let info = TensorInfo { dtype: input.dtype, dims: input.dims };
    let (len, size) = (info.byte_len()?, input.dtype.size());
    if let Some(device) = input.device {
        *copy = None;
        return check_device_data(device, len, input.strides.is_some()).map(|()| false);
    }
    let strides = input.strides.filter(|s| !is_contiguous(&input.dims, s));
    if strides.is_none() {
        if input.data.len() < len {
            let got = input.data.len();
            return Err(Error::invalid(format!(
                "{got} bytes of data; {:?} of {} needs {len}",
                input.dims, input.dtype
            )));
        }
        if input.data.as_ptr().align_offset(size) == 0 {
            *copy = None;
            return Ok(false);
        }
    }
    if copy.as_ref().is_none_or(|c| c.len() != len) {
        *copy = Some(Buffer::zeroed(len)?);
    }
    let target = copy.as_mut().expect("just filled");
    match strides {
        None => target.copy_from_slice(&input.data[..len]),
        Some(strides) => {
            check_strides(&input.dims, &strides, input.data.len(), size)?;
            each_element(&input.dims, &strides, |i, at| {
                target[i * size..][..size].copy_from_slice(&input.data[at * size..][..size]);
            });
        }
    }
    Ok(true)
}

/// The input as the executor takes it: the caller's memory, or its copy.
pub(super) fn source<'a>(input: &'a Input<'_>, copy: &'a Option<Buffer>) -> Source<'a> {
    let info = TensorInfo { dtype: input.dtype, dims: input.dims };
    if let Some(device) = input.device {
        return Source { info, view: View::EMPTY, device: Some(device.address) };
    }
    let len = info.numel() * input.dtype.size();
    let bytes = copy.as_ref().map_or_else(|| &input.data[..len], |c| &c[..len]);
    Source { info, view: View::new(bytes, input.dtype), device: None }
}

/// Checks that a tensor of so many bytes fits the caller's memory on a GPU.
fn check_device_data(device: DeviceData, len: usize, strided: bool) -> Result<()> {
    if strided {
        return Err(Error::unsupported("strides in the memory of a GPU; make the tensor contiguous"));
    }
    if device.len < len {
        let message = format!("{} bytes of the GPU's memory; {len} are needed", device.len);
        return Err(Error::new(Status::BufferTooSmall, message));
    }
    if !device.address.is_multiple_of(16) {
        return Err(Error::invalid(format!("address {:#x} in the GPU's memory is no multiple of 16", device.address)));
    }
    Ok(())
}

fn is_contiguous(dims: &Dims, strides: &[i64; MAX_RANK]) -> bool {
    let want = dims.strides();
    dims.contains(&0) || (0..dims.len()).all(|i| dims[i] == 1 || strides[i] == want[i] as i64)
}

/// Checks that all elements of a strided tensor lie inside `len` bytes.
fn check_strides(dims: &Dims, strides: &[i64; MAX_RANK], len: usize, size: usize) -> Result<()> {
    let wrong =
        || Error::invalid(format!("strides {:?} of {dims:?} reach outside {len} bytes", &strides[..dims.len()]));
    let mut last = 0usize;
    for (&dim, &stride) in dims.iter().zip(strides) {
        let stride = usize::try_from(stride).map_err(|_| wrong())?;
        let reach = dim.saturating_sub(1).checked_mul(stride);
        last = reach.and_then(|r| last.checked_add(r)).ok_or_else(wrong)?;
    }
    let end = last.checked_add(1).and_then(|n| n.checked_mul(size)).ok_or_else(wrong)?;
    if end <= len || dims.contains(&0) { Ok(()) } else { Err(wrong()) }
}

/// Calls `visit` with the row-major index and the strided position of each element.
fn each_element(dims: &Dims, strides: &[i64; MAX_RANK], mut visit: impl FnMut(usize, usize)) {
    let total: usize = dims.iter().product();
    let mut index = [0usize; MAX_RANK];
    let mut at = 0usize;
    for i in 0..total {
        visit(i, at);
        for axis in (0..dims.len()).rev() {
            index[axis] += 1;
            at += strides[axis] as usize;
            if index[axis] < dims[axis] {
                break;
            }
            at -= dims[axis] * strides[axis] as usize;
            index[axis] = 0;
        }
    }
}

/// The caller's outputs as the executor's sink.
pub(super) struct CallerOutputs<'s, 'o, 'd> {
    pub(super) session: &'s Session,
    pub(super) outputs: &'o mut [Output<'d>],
    /// Results that go to memory where they cannot be written in place.
    pub(super) staged: &'s mut [Option<Buffer>],
    /// Counts inputs and outputs that were copied.
    pub(super) copies: &'s mut u64,
}

impl CallerOutputs<'_, '_, '_> {
    /// Notes what a result is; an error if the caller expects something else.
    fn describe(&mut self, index: usize, info: &TensorInfo) -> Result<()> {
        let output = &mut self.outputs[index];
        output.info = Some(*info);
        match output.expected.filter(|e| e != info) {
            None => Ok(()),
            Some(expected) => {
                let (want, got) = (expected, info);
                let message =
                    format!("{}{:?} is expected; the result is {}{:?}", want.dtype, want.dims, got.dtype, got.dims);
                Err(self.session.about("output", index, Error::shape(message)))
            }
        }
    }
}

impl Sink for CallerOutputs<'_, '_, '_> {
    fn device_memory(&mut self, index: usize, info: &TensorInfo, len: usize) -> Result<u64> {
        self.describe(index, info)?;
        let output = &self.outputs[index];
        let device = output.device.ok_or_else(|| Error::internal("no memory of the GPU for an output"))?;
        let checked = check_device_data(device, len, output.strides.is_some());
        checked.map(|()| device.address).map_err(|e| self.session.about("output", index, e))
    }

    fn memory(&mut self, index: usize, info: &TensorInfo, len: usize) -> Result<OutView<'_>> {
        self.describe(index, info)?;
        let output = &mut self.outputs[index];
        let strides = output.strides.filter(|s| !is_contiguous(&info.dims, s));
        if let (Some(strides), Some(data)) = (&strides, &output.data) {
            let (dims, size) = (&info.dims, info.dtype.size());
            check_strides(dims, strides, data.len(), size).map_err(|e| self.session.about("output", index, e))?;
        }
        match &mut output.data {
            Some(data) if strides.is_none() && data.len() < len => {
                let message = format!("{} bytes of memory; the result needs {len}", data.len());
                Err(self.session.about("output", index, Error::new(Status::BufferTooSmall, message)))
            }
            Some(data) if strides.is_none() && data.as_ptr().align_offset(info.dtype.size()) == 0 => {
                self.staged[index] = None;
                Ok(OutView::new(&mut data[..len], info.dtype))
            }
            Some(_) => {
                *self.copies += 1;
                let staged = self.staged[index].take().filter(|s| s.len() == len);
                let staged = staged.map_or_else(|| Buffer::zeroed(len), Ok)?;
                Ok(OutView::new(self.staged[index].insert(staged), info.dtype))
            }
            None => Ok(OutView::new(output.owned.insert(Buffer::zeroed(len)?), info.dtype)),
        }
    }
}

impl CallerOutputs<'_, '_, '_> {
    /// Copies staged results to the caller's memory.
    pub(super) fn deliver(self) {
        for (output, staged) in self.outputs.iter_mut().zip(&*self.staged) {
            let (Some(data), Some(staged), Some(info)) = (&mut output.data, staged, output.info) else { continue };
            let size = info.dtype.size();
            match output.strides.filter(|s| !is_contiguous(&info.dims, s)) {
                None => data[..staged.len()].copy_from_slice(staged),
                Some(strides) => each_element(&info.dims, &strides, |i, at| {
                    data[at * size..][..size].copy_from_slice(&staged[i * size..][..size]);
                }),
            }
        }
    }
}
