//! The devices that sessions run on.

use super::Uuid;
use crate::error::{Error, Result};
use crate::exec::Prepared;
use crate::plan::Precision;
use std::fmt;
use std::str::FromStr;

/// Where a session runs its model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceId {
    /// The processor.
    #[default]
    Cpu,
    /// The GPU with this number, as the CUDA driver counts, for all operators that it has kernels for.
    Cuda(i32),
    /// The GPU with this UUID, likewise.
    CudaUuid(Uuid),
}

/// What a device is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceFacts {
    /// Its name.
    pub name: String,
    /// Tells GPUs apart whatever their numbers; zeros for the processor.
    pub uuid: Uuid,
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
            DeviceId::Cuda(_) | DeviceId::CudaUuid(_) => cuda::count(),
        }
    }

    /// What the device is.
    pub fn describe(self) -> Result<DeviceFacts> {
        match self.ordinal()? {
            None => Ok(processor()),
            Some(ordinal) => cuda::describe(ordinal),
        }
    }

    /// The device by its number.
    ///
    /// # Errors
    /// `Device` if there is none with the UUID; the message tells which there are.
    pub(super) fn numbered(self) -> Result<DeviceId> {
        Ok(self.ordinal()?.map_or(DeviceId::Cpu, DeviceId::Cuda))
    }

    /// The number of a GPU; None for the processor.
    fn ordinal(self) -> Result<Option<i32>> {
        let wanted = match self {
            DeviceId::Cpu => return Ok(None),
            DeviceId::Cuda(ordinal) => return Ok(Some(ordinal)),
            DeviceId::CudaUuid(uuid) => uuid,
        };
        let mut present = vec![];
        for ordinal in 0..cuda::count()? as i32 {
            let facts = cuda::describe(ordinal)?;
            if facts.uuid == wanted {
                return Ok(Some(ordinal));
            }
            present.push(format!("{ordinal} is {}, {}", facts.uuid, facts.name));
        }
        Err(Error::device(format!("there is no {self}; there are: {}", present.join("; "))))
    }

    /// Prepares for this device what is prepared for the processor.
    pub(super) fn prepare(self, prepared: Prepared, precision: Precision, keep_f32: &[String]) -> Result<Prepared> {
        match self.ordinal()? {
            None => Ok(prepared),
            Some(ordinal) => cuda::prepare(prepared, ordinal, precision, keep_f32),
        }
    }

    /// The libraries that a device which a session is on may use, looked for if nothing has needed them yet.
    pub fn libraries(self) -> Vec<LibraryFacts> {
        self.ordinal().ok().flatten().map_or_else(Vec::new, cuda::libraries)
    }

    /// Gives memory that is kept for later back to the device.
    pub fn trim(self) -> Result<()> {
        self.ordinal()?.map_or(Ok(()), cuda::trim)
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceId::Cpu => f.write_str("the processor"),
            DeviceId::Cuda(ordinal) => write!(f, "CUDA device {ordinal}"),
            DeviceId::CudaUuid(uuid) => write!(f, "CUDA device {uuid}"),
        }
    }
}

impl FromStr for DeviceId {
    type Err = Error;

    /// Reads `cpu`, `cuda`, `cuda:1`, `cuda:GPU-…` or `GPU-…`, of which the last two are a UUID.
    fn from_str(text: &str) -> Result<DeviceId> {
        let unknown = || Error::invalid(format!("device '{text}' is none of cpu, cuda, cuda:N, cuda:GPU-UUID"));
        let name = match text {
            "cpu" => return Ok(DeviceId::Cpu),
            "cuda" => return Ok(DeviceId::Cuda(0)),
            _ => text.strip_prefix("cuda:").unwrap_or(text),
        };
        if let Ok(uuid) = name.parse() {
            return Ok(DeviceId::CudaUuid(uuid));
        }
        let number = name.parse::<u16>().ok().filter(|_| name != text);
        number.map(|number| DeviceId::Cuda(number.into())).ok_or_else(unknown)
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
    use super::{DeviceFacts, LibraryFacts, Precision, Prepared, Result, Uuid};
    use crate::cuda::Device;
    use crate::cuda::tune::Tuning;

    pub fn save_tuning() -> Vec<u8> {
        Tuning::process().save()
    }

    pub fn load_tuning(bytes: &[u8]) -> Result<()> {
        Tuning::process().load(bytes)
    }

    pub fn prepare(prepared: Prepared, ordinal: i32, precision: Precision, keep_f32: &[String]) -> Result<Prepared> {
        prepared.on(&Device::open(ordinal)?, precision, keep_f32)
    }

    pub fn count() -> Result<usize> {
        Device::count().map_err(|reason| reason.error())
    }

    pub fn describe(ordinal: i32) -> Result<DeviceFacts> {
        let info = Device::describe(ordinal).map_err(|reason| reason.error())?;
        let pool = Device::opened(ordinal).map_or(Ok(Default::default()), |device| device.pool_statistics())?;
        Ok(DeviceFacts {
            name: info.name,
            uuid: Uuid(info.uuid),
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
    use super::{DeviceFacts, Error, LibraryFacts, Precision, Prepared, Result};

    pub fn save_tuning() -> Vec<u8> {
        vec![]
    }

    pub fn load_tuning(_bytes: &[u8]) -> Result<()> {
        Err(missing())
    }

    fn missing() -> Error {
        Error::device("CUDA is not part of this build of the library")
    }

    pub fn prepare(_: Prepared, _: i32, _: Precision, _: &[String]) -> Result<Prepared> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_names() {
        let uuid = Uuid([0xab; 16]);
        let named = |text: &str| text.parse::<DeviceId>();
        assert_eq!(named("cpu").unwrap(), DeviceId::Cpu);
        assert_eq!(named("cuda").unwrap(), DeviceId::Cuda(0));
        assert_eq!(named("cuda:3").unwrap(), DeviceId::Cuda(3));
        assert_eq!(named(&uuid.to_string()).unwrap(), DeviceId::CudaUuid(uuid));
        assert_eq!(named(&format!("cuda:{uuid}")).unwrap(), DeviceId::CudaUuid(uuid));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cpu:0", "cuda:70000", "3", "cuda:GPU-12"] {
            assert!(named(wrong).is_err_and(|e| e.message().contains("cuda:GPU-UUID")), "{wrong}");
        }
    }

    #[test]
    fn a_uuid_is_found_or_all_are_told() {
        let Ok(first) = DeviceId::Cuda(0).describe() else { return };
        assert_eq!(DeviceId::CudaUuid(first.uuid).numbered().unwrap(), DeviceId::Cuda(0));
        let e = DeviceId::CudaUuid(Uuid([0; 16])).numbered().unwrap_err();
        assert_eq!(e.status(), crate::error::Status::Device);
        let words = format!("0 is {}, {}", first.uuid, first.name);
        assert!(e.message().contains(&words) && e.message().contains(&Uuid([0; 16]).to_string()), "{e}");
    }
}
