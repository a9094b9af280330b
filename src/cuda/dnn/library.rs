//! cuDNN's functions, found at run time.
//!
//! The types are cudarc's, which are made from NVIDIA's headers; their values are the same in all versions 9.

use super::NAME;
use crate::cuda::driver::Driver;
use crate::cuda::functions::functions;
use crate::cuda::library::{LibraryUnavailable, Source};
use crate::error::{Error, Result, Status};
use cudarc::cudnn::sys::{
    cudaStream_t, cudnnBackendAttributeName_t, cudnnBackendAttributeType_t, cudnnBackendDescriptor_t,
    cudnnBackendDescriptorType_t, cudnnHandle_t,
};
use std::ffi::{CStr, c_char, c_void};
use std::sync::OnceLock;

functions! {
    /// The functions of cuDNN that the library uses, with its names.
    Functions {
        cudnnCreate(*mut cudnnHandle_t);
        cudnnDestroy(cudnnHandle_t);
        cudnnSetStream(cudnnHandle_t, cudaStream_t);
        cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t, *mut cudnnBackendDescriptor_t);
        cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t);
        cudnnBackendSetAttribute(
            cudnnBackendDescriptor_t, cudnnBackendAttributeName_t, cudnnBackendAttributeType_t, i64, *const c_void
        );
        cudnnBackendGetAttribute(
            cudnnBackendDescriptor_t, cudnnBackendAttributeName_t, cudnnBackendAttributeType_t, i64, *mut i64,
            *mut c_void
        );
        cudnnBackendFinalize(cudnnBackendDescriptor_t);
        cudnnBackendExecute(cudnnHandle_t, cudnnBackendDescriptor_t, cudnnBackendDescriptor_t);
    }
}

/// Writes what went wrong last on this thread.
type LastError = unsafe extern "C" fn(*mut c_char, usize);

/// The library.
pub struct Library {
    pub functions: Functions,
    pub version: usize,
    last_error: Option<LastError>,
}

impl Library {
    /// A result of the library as ours.
    pub fn check(&self, code: u32, what: &str) -> Result<()> {
        match code {
            0 => Ok(()),
            _ => Err(Error::new(Status::Device, format!("{what} failed: {}{}", name(code), self.last_error()))),
        }
    }

    /// What the library says about the last error, if it does.
    fn last_error(&self) -> String {
        let Some(last_error) = self.last_error else { return String::new() };
        let mut text = [0u8; 512];
        // SAFETY: at most so many bytes are written, and the last one stays 0.
        unsafe { last_error(text.as_mut_ptr().cast(), text.len() - 1) };
        let text = CStr::from_bytes_until_nul(&text).map(CStr::to_string_lossy).unwrap_or_default();
        let text = text.trim();
        if text.is_empty() { String::new() } else { format!(": {text}") }
    }
}

/// The name of a `cudnnStatus_t`: that of its kind, of which there are variants with numbers of their own.
fn name(code: u32) -> String {
    let name = match code {
        1001 => "CUDNN_STATUS_NOT_INITIALIZED",
        1002 => "CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH",
        1008 => "CUDNN_STATUS_SUBLIBRARY_LOADING_FAILED",
        2000..3000 => "CUDNN_STATUS_BAD_PARAM",
        3000..4000 => "CUDNN_STATUS_NOT_SUPPORTED",
        4000..5000 => "CUDNN_STATUS_INTERNAL_ERROR",
        5000..6000 => "CUDNN_STATUS_EXECUTION_FAILED",
        _ => return format!("status {code}"),
    };
    if code.is_multiple_of(1000) || code < 2000 { name.to_owned() } else { format!("{name} ({code})") }
}

/// The library, loaded by the first call; later calls have the same result.
pub fn library(driver: &Driver) -> Result<&'static Library, LibraryUnavailable> {
    static LIBRARY: OnceLock<Result<Library, LibraryUnavailable>> = OnceLock::new();
    LIBRARY.get_or_init(|| open(driver)).as_ref().map_err(Clone::clone)
}

/// The parts of cuDNN are beside this file, which loads them itself.
const SOURCE: Source = Source {
    name: NAME,
    files: if cfg!(windows) { &[(12000, "cudnn64_9.dll")] } else { &[(12000, "libcudnn.so.9")] },
    version: "cudnnGetVersion",
};

/// cuDNN compiles kernels with these, which it looks for by name where the system does.
const COMPILERS: [Source; 2] = [
    Source {
        name: "NVRTC",
        files: if cfg!(windows) { &[(12000, "nvrtc64_120_0.dll")] } else { &[(12000, "libnvrtc.so.12")] },
        version: "nvrtcVersion",
    },
    Source {
        name: "NVRTC",
        files: if cfg!(windows) { &[(13000, "nvrtc64_130_0.dll")] } else { &[(13000, "libnvrtc.so.13")] },
        version: "nvrtcVersion",
    },
];

fn open(driver: &Driver) -> Result<Library, LibraryUnavailable> {
    COMPILERS.iter().for_each(|compiler| compiler.preload(driver));
    let (library, version) = SOURCE.open(driver)?;
    let functions = Functions::load(library).map_err(|missing| SOURCE.lacks(missing))?;
    // SAFETY: the type is that of the library's documentation.
    let last_error = unsafe { library.get::<LastError>(b"cudnnGetLastErrorString") }.ok().map(|function| *function);
    Ok(Library { functions, version, last_error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_have_names() {
        assert_eq!(name(3000), "CUDNN_STATUS_NOT_SUPPORTED");
        assert_eq!(name(3004), "CUDNN_STATUS_NOT_SUPPORTED (3004)");
        assert_eq!(name(1001), "CUDNN_STATUS_NOT_INITIALIZED");
        assert_eq!(name(9), "status 9");
    }
}
