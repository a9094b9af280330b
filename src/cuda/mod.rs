//! NVIDIA GPUs through the driver's API: devices, streams, memory, kernels, captured runs. It knows no operator.
//!
//! Only the driver is needed, and it is looked for when the first device is opened ([`Device::open`]): the library runs on
//! machines without one. Kernels are PTX, made from the `.cu` files by `cargo xtask ptx` and compiled by the driver.
//!
//! Every call makes the device's primary context current and restores the caller's afterwards. The first error that leaves the
//! context unusable is kept and returned by every later call ([`Device::enter`]).

pub mod blas;
mod census;
mod device;
pub mod dnn;
mod driver;
mod functions;
mod graph;
mod kernel;
mod launch;
mod library;
mod memory;
mod module;
pub mod nvtx;
mod stream;
pub mod tune;
mod weights;

pub use census::Counter;
pub use device::{Device, DeviceInfo, Entered};
pub use graph::Graph;
use kernel::{APART, finished};
pub use kernel::{Address, Args, Kernel};
pub use launch::{Launch, MAX_ELEMENTS, Scalar, THREADS, blocks, dims, divisor, divisors, walk};
pub use library::LibraryUnavailable;
pub use memory::{Memory, Pinned, PoolStatistics};
pub use module::{Function, Module};
pub use stream::{Event, Stream};
pub use weights::Weights;

use crate::error::Error;
use std::fmt;

/// Why CUDA cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unavailable {
    /// The driver's library is not there.
    NoDriver {
        /// What the system says.
        reason: String,
    },
    /// The driver lacks a function.
    DriverTooOld {
        /// Its name.
        missing: String,
    },
    /// The driver is older than the kernels need.
    DriverVersion {
        /// The CUDA version that it knows, 1000 · major + 10 · minor.
        found: i32,
    },
    /// There is a driver, and no GPU that this process may see.
    NoDevice,
    /// There is no GPU with this number.
    NoSuchDevice {
        /// The number.
        ordinal: i32,
        /// How many there are.
        count: i32,
    },
    /// The GPU is older than the kernels need.
    Architecture {
        /// Its name.
        name: String,
        /// Its compute capability.
        found: (i32, i32),
    },
    /// The driver fails.
    Failed {
        /// The function.
        what: &'static str,
        /// What it returned.
        code: u32,
        /// What the driver says about that.
        name: String,
    },
}

/// Least compute capability of a GPU.
pub const LEAST_CAPABILITY: (i32, i32) = (7, 5);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = |n: i32| format!("{}.{}", n / 1000, n % 1000 / 10);
        match self {
            Unavailable::NoDriver { reason } => {
                write!(f, "CUDA is not available: the NVIDIA driver (libcuda) is not installed: {reason}")
            }
            Unavailable::DriverTooOld { missing } => write!(
                f,
                "CUDA is not available: the NVIDIA driver is too old, it lacks {missing}; install one for CUDA {} or later",
                version(driver::OLDEST)
            ),
            Unavailable::DriverVersion { found } => write!(
                f,
                "CUDA is not available: the NVIDIA driver is for CUDA {}; install one for CUDA {} or later",
                version(*found),
                version(driver::OLDEST)
            ),
            Unavailable::NoDevice => f.write_str(
                "CUDA is not available: the NVIDIA driver finds no GPU; nvidia-smi and CUDA_VISIBLE_DEVICES tell more",
            ),
            Unavailable::NoSuchDevice { ordinal, count } => {
                write!(f, "there is no CUDA device {ordinal}: the NVIDIA driver finds {count}, numbered from 0")
            }
            Unavailable::Architecture { name, found } => write!(
                f,
                "the GPU {name} has compute capability {}.{}; {}.{} or later is needed",
                found.0, found.1, LEAST_CAPABILITY.0, LEAST_CAPABILITY.1
            ),
            Unavailable::Failed { what, name, .. } => {
                write!(f, "CUDA is not available: the NVIDIA driver fails in {what}: {name}")
            }
        }
    }
}

impl Unavailable {
    /// The reason as an error.
    pub fn error(&self) -> Error {
        Error::device(self.to_string())
    }
}
