//! Products of matrices by NVIDIA's cuBLASLt, where it is installed.
//!
//! The library is looked for when the first product is prepared for a device ([`Device::blas`]), and nothing but products depends
//! on it. What it offers for a product is timed beside the kernel that would run without it, and the fastest is taken
//! ([`faster`]).

mod descriptors;
mod library;
mod product;

pub use product::{Epilogue, Matrix, Product, Target};

use super::driver::Driver;
use super::library::{LibraryUnavailable, place};
use super::tune::{self, Candidate, Choice, Offers, Scratch};
use super::{Device, Kernel};
use crate::error::Error;
use cudarc::cublaslt::sys::cublasLtHandle_t;
use library::{Library, library};
use std::fmt;
use std::sync::Arc;

const NAME: &str = "cuBLASLt";

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
    pub(super) fn new(driver: &Driver, device: &Device) -> Result<Blas, LibraryUnavailable> {
        let library = library(driver)?;
        let failed = |e: Error| LibraryUnavailable::Failed { library: NAME, reason: e.to_string() };
        let _entered = device.enter().map_err(failed)?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: the device's context is current; `handle` is written if the call succeeds.
        let code = unsafe { (library.functions.cublasLtCreate)(&mut handle) };
        library.check(code, "cublasLtCreate").map_err(failed)?;
        Ok(Blas { library, handle, place: place(device, NAME, library.version) })
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

/// `own`, or cuBLASLt's kernel for the product, which is followed by `finish` if its result is [`Target::Sums`]. Where cuBLASLt is
/// not there, or does not do the product, that is `own`.
pub fn faster(
    device: &Arc<Device>,
    product: Product,
    own: Box<dyn Kernel>,
    finish: Option<Box<dyn Kernel>>,
    scratch: &Scratch,
) -> Box<dyn Kernel> {
    let Ok(blas) = device.blas() else { return own };
    let key = (blas.place.clone(), product.key());
    let offers = Algorithms { device, blas, product, finish: finish.map(Arc::from) };
    tune::faster(device, key, own, &offers, scratch)
}

/// The algorithms for a product, and what finishes it.
struct Algorithms<'a> {
    device: &'a Arc<Device>,
    blas: &'a Blas,
    product: Product,
    finish: Option<Arc<dyn Kernel>>,
}

impl Offers for Algorithms<'_> {
    fn all(&self) -> Vec<Candidate> {
        // What the library does not do, it refuses here.
        let algorithms = self.product.clone().algorithms(self.device, self.blas).unwrap_or_default();
        let kernel = |algorithm| super::finished(Box::new(algorithm), &self.finish);
        algorithms.into_iter().map(|(config, algorithm)| (Choice::Algorithm(config), kernel(algorithm))).collect()
    }
}
