//! Products of matrices by NVIDIA's cuBLASLt, where it is installed.
//!
//! The library is looked for when the first product is prepared for a device ([`Device::blas`]), and nothing but products depends
//! on it. What it offers for a product is timed beside the kernel that would run without it, and the fastest is taken
//! ([`faster`]); [`Tuning`] keeps what was found.

mod choose;
mod descriptors;
mod library;
mod product;
mod tuning;

pub use choose::{Scratch, faster};
pub use product::{Epilogue, Matrix, Product, Target};
pub use tuning::Tuning;

use super::Device;
use super::driver::Driver;
use crate::error::{Error, Result};
use cudarc::cublaslt::sys::cublasLtHandle_t;
use library::{Library, library};
use std::fmt;

/// Why cuBLASLt cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlasUnavailable {
    /// It is not there.
    NotFound {
        /// What the system says.
        reason: String,
    },
    /// It lacks a function.
    TooOld {
        /// Its name.
        missing: String,
    },
    /// It does not work with the device.
    Failed {
        /// What it says.
        reason: String,
    },
}

impl fmt::Display for BlasUnavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BlasUnavailable::NotFound { reason } => write!(
                f,
                "cuBLASLt is not found, and products of matrices run on the library's own kernels; put its folder into \
                 LD_LIBRARY_PATH or INFER_CUDA_LIBRARIES: {reason}"
            ),
            BlasUnavailable::TooOld { missing } => {
                write!(f, "cuBLASLt is too old, it lacks {missing}; install that of CUDA 12 or later")
            }
            BlasUnavailable::Failed { reason } => write!(f, "cuBLASLt does not work with this device: {reason}"),
        }
    }
}

/// cuBLASLt for one device.
pub struct Blas {
    library: &'static Library,
    handle: cublasLtHandle_t,
    /// What its choices depend on: the device and the version of the library.
    place: String,
}

// SAFETY: handles of cuBLASLt may be used from any thread, by several at a time.
unsafe impl Send for Blas {}
// SAFETY: as above.
unsafe impl Sync for Blas {}

impl Blas {
    /// The library with a handle in the device's context.
    pub(super) fn new(driver: &Driver, device: &Device) -> Result<Blas, BlasUnavailable> {
        let library = library(driver)?;
        let failed = |e: Error| BlasUnavailable::Failed { reason: e.to_string() };
        let _entered = device.enter().map_err(failed)?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: the device's context is current; `handle` is written if the call succeeds.
        let code = unsafe { (library.functions.cublasLtCreate)(&mut handle) };
        library.check(code, "cublasLtCreate").map_err(failed)?;
        Ok(Blas { library, handle, place: place(device, library.version) })
    }

    /// The version of the library, as it counts: 120402 is 12.4.2.
    pub fn version(&self) -> usize {
        self.library.version
    }
}

impl Drop for Blas {
    fn drop(&mut self) {
        // SAFETY: created by us, and not used again; the device has made its context current.
        unsafe { (self.library.functions.cublasLtDestroy)(self.handle) };
    }
}

impl fmt::Debug for Blas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blas({})", self.place)
    }
}

/// The name of a device with what else makes it fast or slow, and the version of the library.
fn place(device: &Device, version: usize) -> String {
    let info = device.info();
    let (major, minor) = info.capability;
    let name = info.name.replace(|c: char| c.is_control(), " ");
    format!("{name}, {major}.{minor}, {} multiprocessors, cuBLASLt {version}", info.multiprocessors)
}
