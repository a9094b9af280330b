//! The devices that sessions run on.

use crate::error::Result;
use crate::exec::Prepared;
use crate::plan::Precision;
use std::fmt;

/// Where a session runs its model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceId {
    /// The processor.
    #[default]
    Cpu,
    /// The GPU with this number, as the CUDA driver counts, for all operators that it has kernels for.
    Cuda(i32),
}

/// What a device is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceFacts {
    /// Its name.
    pub name: String,
    /// Tells GPUs apart whatever their numbers; zeros for the processor.
    pub uuid: [u8; 16],
    /// Compute capability of a GPU, 1000 · major + 10 · minor; 0 for the processor.
    pub capability: u32,
    /// Multiprocessors of a GPU, or processors that the process may use.
    pub units: u32,
    /// Bytes of a GPU's memory; 0 for the processor.
    pub memory: u64,
    /// Bytes of it that the library uses.
    pub memory_used: u64,
    /// And those that it keeps for later as well.
    pub memory_reserved: u64,
}

/// What is known of a library beside a GPU's driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibraryFacts {
    /// Its name.
    pub name: &'static str,
    /// Its version, or why it cannot be used.
    pub version: Result<String, String>,
    /// What it was asked for and does not do, and why; our own kernels do that.
    pub refused: Vec<(String, String)>,
}

impl DeviceId {
    /// How many devices of this kind there are.
    ///
    /// # Errors
    /// `Device` if the kind's driver is missing or cannot be used.
    pub fn count(self) -> Result<usize> {
        match self {
            DeviceId::Cpu => Ok(1),
            DeviceId::Cuda(_) => cuda::count(),
        }
    }

    /// What the device is.
    pub fn describe(self) -> Result<DeviceFacts> {
        match self {
            DeviceId::Cpu => Ok(processor()),
            DeviceId::Cuda(ordinal) => cuda::describe(ordinal),
        }
    }

    /// Prepares for this device what is prepared for the processor.
    pub(super) fn prepare(self, prepared: Prepared, precision: Precision) -> Result<Prepared> {
        match self {
            DeviceId::Cpu => Ok(prepared),
            DeviceId::Cuda(ordinal) => cuda::prepare(prepared, ordinal, precision),
        }
    }

    /// The libraries that a device which a session is on may use, looked for if nothing has needed them yet.
    pub fn libraries(self) -> Vec<LibraryFacts> {
        match self {
            DeviceId::Cpu => vec![],
            DeviceId::Cuda(ordinal) => cuda::libraries(ordinal),
        }
    }

    /// Gives memory that is kept for later back to the device.
    pub fn trim(self) -> Result<()> {
        match self {
            DeviceId::Cpu => Ok(()),
            DeviceId::Cuda(ordinal) => cuda::trim(ordinal),
        }
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceId::Cpu => f.write_str("the processor"),
            DeviceId::Cuda(ordinal) => write!(f, "CUDA device {ordinal}"),
        }
    }
}

fn processor() -> DeviceFacts {
    let units = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
    DeviceFacts { name: std::env::consts::ARCH.into(), units, ..DeviceFacts::default() }
}

/// What was measured of several ways to compute the same on GPUs, for the whole process.
pub mod tuning {
    use super::Result;
    use super::cuda;

    /// As bytes.
    pub fn save() -> Vec<u8> {
        cuda::save_tuning()
    }

    /// Adds saved bytes.
    ///
    /// # Errors
    /// `Format` if they are damaged.
    pub fn load(bytes: &[u8]) -> Result<()> {
        cuda::load_tuning(bytes)
    }
}

#[cfg(feature = "cuda")]
mod cuda {
    use super::{DeviceFacts, LibraryFacts, Precision, Prepared, Result};
    use crate::cuda::Device;
    use crate::cuda::tune::Tuning;

    pub fn save_tuning() -> Vec<u8> {
        Tuning::process().save()
    }

    pub fn load_tuning(bytes: &[u8]) -> Result<()> {
        Tuning::process().load(bytes)
    }

    pub fn prepare(prepared: Prepared, ordinal: i32, precision: Precision) -> Result<Prepared> {
        prepared.on(&Device::open(ordinal)?, precision)
    }

    pub fn count() -> Result<usize> {
        Device::count().map_err(|reason| reason.error())
    }

    pub fn describe(ordinal: i32) -> Result<DeviceFacts> {
        let info = Device::describe(ordinal).map_err(|reason| reason.error())?;
        let pool = Device::opened(ordinal).map_or(Ok(Default::default()), |device| device.pool_statistics())?;
        Ok(DeviceFacts {
            name: info.name,
            uuid: info.uuid,
            capability: (1000 * info.capability.0 + 10 * info.capability.1) as u32,
            units: info.multiprocessors as u32,
            memory: info.memory as u64,
            memory_used: pool.used,
            memory_reserved: pool.reserved,
        })
    }

    pub fn libraries(ordinal: i32) -> Vec<LibraryFacts> {
        let Some(device) = Device::opened(ordinal) else { return vec![] };
        // As both count them: two digits for each part but the first.
        let text = |version: usize| format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100);
        let (blas, dnn) = (device.blas(), device.dnn());
        let refused = dnn.map_or_else(|_| vec![], |dnn| dnn.refusals());
        let blas = blas.map(|blas| text(blas.version())).map_err(ToString::to_string);
        let dnn = dnn.map(|dnn| text(dnn.version())).map_err(ToString::to_string);
        vec![
            LibraryFacts { name: "cuBLASLt", version: blas, refused: vec![] },
            LibraryFacts { name: "cuDNN", version: dnn, refused },
        ]
    }

    pub fn trim(ordinal: i32) -> Result<()> {
        Device::describe(ordinal).map_err(|reason| reason.error())?;
        Device::opened(ordinal).map_or(Ok(()), |device| device.trim_pool())
    }
}

#[cfg(not(feature = "cuda"))]
mod cuda {
    use super::{DeviceFacts, LibraryFacts, Precision, Prepared, Result};
    use crate::error::Error;

    pub fn save_tuning() -> Vec<u8> {
        vec![]
    }

    pub fn load_tuning(_bytes: &[u8]) -> Result<()> {
        Err(missing())
    }

    fn missing() -> Error {
        Error::device("CUDA is not part of this build of the library")
    }

    pub fn prepare(_prepared: Prepared, _ordinal: i32, _precision: Precision) -> Result<Prepared> {
        Err(missing())
    }

    pub fn count() -> Result<usize> {
        Err(missing())
    }

    pub fn describe(_ordinal: i32) -> Result<DeviceFacts> {
        Err(missing())
    }

    pub fn libraries(_ordinal: i32) -> Vec<LibraryFacts> {
        vec![]
    }

    pub fn trim(_ordinal: i32) -> Result<()> {
        Err(missing())
    }
}
