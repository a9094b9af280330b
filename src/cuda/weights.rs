//! A model's constants in a GPU's memory, each uploaded once: row-major whatever their layout in the file, and in the type that
//! kernels read.

use super::{Address, Args, Device, Function, Launch, MAX_ELEMENTS, Memory, Module, Stream, blocks};
use crate::error::{Error, Result};
use crate::tensor::{Blob, DType, Dims, Layout, PANEL};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

static MODULE: Module = crate::cuda_module!("weights");

/// Constants on a device. Their memory is freed with the last who uses them.
pub struct Weights {
    stream: Arc<Stream>,
    uploaded: Mutex<HashMap<Key, Uploaded>>,
}

/// Where the bytes are in the host's memory, how many, and what they become.
type Key = (usize, usize, DType);

struct Uploaded {
    memory: Arc<Memory>,
    /// Keeps the host's bytes, so that no others come to be at their address.
    _data: Blob,
}

/// What the bytes of a constant are: element type, dimensions, arrangement.
type Form<'a> = (DType, &'a Dims, Layout);

impl Weights {
    /// None yet.
    pub fn new(device: &Arc<Device>) -> Result<Weights> {
        Ok(Weights { stream: Arc::new(Stream::new(device)?), uploaded: Mutex::default() })
    }

    /// The device.
    pub fn device(&self) -> &Arc<Device> {
        self.stream.device()
    }

    /// Bytes in the device's memory.
    pub fn bytes(&self) -> usize {
        let uploaded = self.uploaded.lock().unwrap_or_else(PoisonError::into_inner);
        uploaded.values().map(|u| u.memory.len()).sum()
    }

    /// The constant with elements of type `stored`, which is its own or, for f32, a smaller one. If it is `kept`, later calls for
    /// the same bytes give the same memory.
    pub fn upload(&self, data: &Blob, form: Form<'_>, stored: DType, kept: bool) -> Result<Arc<Memory>> {
        if !kept {
            return self.copy(data, form, stored).map(Arc::new);
        }
        let key = (data.as_ptr().addr(), data.len(), stored);
        let mut uploaded = self.uploaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = uploaded.get(&key) {
            return Ok(found.memory.clone());
        }
        let memory = Arc::new(self.copy(data, form, stored)?);
        uploaded.insert(key, Uploaded { memory: memory.clone(), _data: data.clone() });
        Ok(memory)
    }

    fn copy(&self, data: &Blob, form: Form<'_>, stored: DType) -> Result<Memory> {
        let raw = Memory::copy_of(&self.stream, data)?;
        let Some(launch) = self.convert(form, stored)? else { return Ok(raw) };
        let memory = Memory::new(&self.stream, form.1.numel()? * stored.size())?;
        let args = Args { inputs: &[raw.address()], outputs: &[memory.address()], workspace: Address::default() };
        launch.build()?.enqueue(&self.stream, &args)?;
        self.stream.synchronize()?;
        Ok(memory)
    }

    /// What makes of the bytes in the file those that kernels read; None if they are the same.
    fn convert(&self, (dtype, dims, layout): Form<'_>, stored: DType) -> Result<Option<Launch>> {
        if layout == Layout::RowMajor && dtype == stored {
            return Ok(None);
        }
        let numel = dims.numel()?;
        if dtype != DType::F32 || numel > MAX_ELEMENTS {
            return Err(Error::unsupported(format!("{numel} elements of {dtype} in {layout:?} as {stored} on a GPU")));
        }
        let function = |name: &str| Function::new(self.device(), &MODULE, &format!("weights_{name}_{stored}"));
        let grid = [blocks(numel), 1, 1];
        let [batch, rows, depth] = match panels(layout, dims) {
            Some(panels) => panels.map(|n| n as u32),
            None => {
                let launch = Launch::new(function("narrow")?, grid).input(0).output(0);
                return Ok(Some(launch.value(numel as u32)));
            }
        };
        let turned = u32::from(layout == Layout::Panels);
        let launch = Launch::new(function("unpack")?, grid).input(0).output(0);
        Ok(Some(launch.value(batch).value(rows).value(depth).value(turned)))
    }
}

/// Batch, rows and depth of the panels of a layout; None for the row-major one.
fn panels(layout: Layout, dims: &[usize]) -> Option<[usize; 3]> {
    let product = |dims: &[usize]| dims.iter().product::<usize>();
    match (layout, dims) {
        (Layout::RowMajor, _) => None,
        (Layout::Panels, [batch @ .., k, n]) => Some([product(batch), *n, *k]),
        (Layout::ConvPanels { groups }, [rows, k @ ..]) => Some([groups as usize, rows / groups as usize, product(k)]),
        (Layout::Depthwise, [channels, taps @ ..]) => Some([1, *channels, product(taps)]),
        _ => None,
    }
}

/// The kernels unpack panels of this many rows.
const _: () = assert!(PANEL == 16);
