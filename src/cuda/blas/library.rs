//! cuBLASLt's functions, found at run time.
//!
//! The types are cudarc's, which are made from NVIDIA's headers; their values are the same in CUDA 12 and 13.

use super::BlasUnavailable;
use crate::cuda::driver::{Driver, in_full};
use crate::cuda::functions::functions;
use crate::error::{Error, Result, Status};
use cudarc::cublaslt::sys::{
    cublasComputeType_t, cublasLtHandle_t, cublasLtMatmulAlgo_t, cublasLtMatmulAlgoCapAttributes_t,
    cublasLtMatmulAlgoConfigAttributes_t, cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t,
    cublasLtMatmulHeuristicResult_t, cublasLtMatmulPreference_t, cublasLtMatmulPreferenceAttributes_t,
    cublasLtMatrixLayout_t, cublasLtMatrixLayoutAttribute_t, cudaDataType, cudaStream_t,
};
use std::ffi::{OsString, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

functions! {
    /// The functions of cuBLASLt that the library uses, with its names.
    Functions {
        cublasLtCreate(*mut cublasLtHandle_t);
        cublasLtDestroy(cublasLtHandle_t);
        cublasLtMatmulDescCreate(*mut cublasLtMatmulDesc_t, cublasComputeType_t, cudaDataType);
        cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t);
        cublasLtMatmulDescSetAttribute(
            cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t, *const c_void, usize
        );
        cublasLtMatrixLayoutCreate(*mut cublasLtMatrixLayout_t, cudaDataType, u64, u64, i64);
        cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t);
        cublasLtMatrixLayoutSetAttribute(
            cublasLtMatrixLayout_t, cublasLtMatrixLayoutAttribute_t, *const c_void, usize
        );
        cublasLtMatmulPreferenceCreate(*mut cublasLtMatmulPreference_t);
        cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t);
        cublasLtMatmulPreferenceSetAttribute(
            cublasLtMatmulPreference_t, cublasLtMatmulPreferenceAttributes_t, *const c_void, usize
        );
        cublasLtMatmulAlgoGetHeuristic(
            cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
            cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatmulPreference_t, c_int,
            *mut Suggestion, *mut c_int
        );
        cublasLtMatmulAlgoConfigGetAttribute(
            *const cublasLtMatmulAlgo_t, cublasLtMatmulAlgoConfigAttributes_t, *mut c_void, usize, *mut usize
        );
        cublasLtMatmulAlgoCapGetAttribute(
            *const cublasLtMatmulAlgo_t, cublasLtMatmulAlgoCapAttributes_t, *mut c_void, usize, *mut usize
        );
        cublasLtMatmul(
            cublasLtHandle_t, cublasLtMatmulDesc_t, *const c_void, *const c_void, cublasLtMatrixLayout_t,
            *const c_void, cublasLtMatrixLayout_t, *const c_void, *const c_void, cublasLtMatrixLayout_t,
            *mut c_void, cublasLtMatrixLayout_t, *const cublasLtMatmulAlgo_t, *mut c_void, usize, cudaStream_t
        );
    }
}

/// `cublasLtMatmulHeuristicResult_t`, with a plain number as its state.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Suggestion {
    pub algo: cublasLtMatmulAlgo_t,
    /// Bytes of workspace that it needs.
    pub workspace: usize,
    /// Whether it works: 0.
    pub state: u32,
    waves: f32,
    reserved: [c_int; 4],
}

const _: () = assert!(size_of::<Suggestion>() == size_of::<cublasLtMatmulHeuristicResult_t>());

impl Suggestion {
    /// Nothing, with the state that says so.
    pub const EMPTY: Suggestion = Suggestion {
        algo: cublasLtMatmulAlgo_t { data: [0; 8] },
        workspace: 0,
        state: u32::MAX,
        waves: 0.0,
        reserved: [0; 4],
    };
}

/// The library.
pub struct Library {
    pub functions: Functions,
    pub version: usize,
}

impl Library {
    /// A result of the library as ours.
    pub fn check(&self, code: u32, what: &str) -> Result<()> {
        match code {
            0 => Ok(()),
            _ => Err(Error::new(Status::Device, format!("{what} failed: {}", name(code)))),
        }
    }
}

/// The name of a `cublasStatus_t`.
fn name(code: u32) -> String {
    let name = match code {
        1 => "CUBLAS_STATUS_NOT_INITIALIZED",
        3 => "CUBLAS_STATUS_ALLOC_FAILED",
        7 => "CUBLAS_STATUS_INVALID_VALUE",
        8 => "CUBLAS_STATUS_ARCH_MISMATCH",
        11 => "CUBLAS_STATUS_MAPPING_ERROR",
        13 => "CUBLAS_STATUS_EXECUTION_FAILED",
        14 => "CUBLAS_STATUS_INTERNAL_ERROR",
        15 => "CUBLAS_STATUS_NOT_SUPPORTED",
        _ => return format!("status {code}"),
    };
    name.to_owned()
}

/// The library, loaded by the first call; later calls have the same result.
pub fn library(driver: &Driver) -> Result<&'static Library, BlasUnavailable> {
    static LIBRARY: OnceLock<Result<Library, BlasUnavailable>> = OnceLock::new();
    LIBRARY.get_or_init(|| open(driver)).as_ref().map_err(Clone::clone)
}

fn open(driver: &Driver) -> Result<Library, BlasUnavailable> {
    let mut driver_version = 0;
    // SAFETY: `driver_version` is written, or stays 0.
    unsafe { (driver.cuDriverGetVersion)(&mut driver_version) };
    // Never closed: descriptors and captured work may outlive every device.
    let library: &'static libloading::Library = Box::leak(Box::new(find(driver_version)?));
    let functions =
        Functions::load(library).map_err(|missing| BlasUnavailable::TooOld { missing: missing.to_owned() })?;
    const VERSION: &str = "cublasLtGetVersion";
    // SAFETY: the type is that of the library's documentation.
    let version = unsafe { library.get::<unsafe extern "C" fn() -> usize>(VERSION.as_bytes()) };
    let version = version.map_err(|_| BlasUnavailable::TooOld { missing: VERSION.to_owned() })?;
    // SAFETY: as above; the function needs no handle.
    Ok(Library { functions, version: unsafe { version() } })
}

/// The library's file: one that the process has loaded already, then the folders that the user names, where the system looks, and
/// where CUDA is installed.
fn find(driver: i32) -> Result<libloading::Library, BlasUnavailable> {
    let names = || names(driver);
    if let Some(loaded) = names().find_map(already_loaded) {
        return Ok(loaded);
    }
    let within = |folder: PathBuf| names().map(move |name| folder.join(name));
    let named = folders("INFER_CUDA_LIBRARIES").flat_map(within);
    let anywhere = names().map(PathBuf::from);
    let installed = ["CUDA_HOME", "CUDA_PATH"].into_iter().flat_map(folders).chain([PathBuf::from("/usr/local/cuda")]);
    let installed = installed.flat_map(|root| within(root.join(if cfg!(windows) { "bin" } else { "lib64" })));
    let mut reason = String::from("the driver is too old for it");
    for path in named.chain(anywhere).chain(installed) {
        // SAFETY: the library's initialisation does no harm.
        match unsafe { libloading::Library::new(&path) } {
            Ok(library) => return Ok(library),
            Err(e) => first_of(&mut reason, &path, &in_full(&e)),
        }
    }
    Err(BlasUnavailable::NotFound { reason })
}

/// Keeps the first reason that is about a file that is there, else the last.
fn first_of(reason: &mut String, path: &Path, found: &str) {
    if !reason.starts_with(THERE) {
        *reason = if path.exists() { format!("{THERE}{found}") } else { found.to_owned() };
    }
}

/// What begins a reason that is about a file that is there.
const THERE: &str = "it does not load: ";

/// Names of the library for a driver of this version, newest first. A driver runs what was made for its CUDA or an earlier one.
fn names(driver: i32) -> impl Iterator<Item = &'static str> {
    const NAMES: [(i32, &str); 2] = if cfg!(windows) {
        [(13000, "cublasLt64_13.dll"), (12000, "cublasLt64_12.dll")]
    } else {
        [(13000, "libcublasLt.so.13"), (12000, "libcublasLt.so.12")]
    };
    NAMES.into_iter().filter(move |&(least, _)| driver >= least).map(|(_, name)| name)
}

/// The folders in a variable of the environment.
fn folders(variable: &str) -> impl Iterator<Item = PathBuf> {
    let value: OsString = std::env::var_os(variable).unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&value).filter(|path| !path.as_os_str().is_empty()).collect();
    folders.into_iter()
}

/// The library of that name, if something else in the process has loaded it.
#[cfg(unix)]
fn already_loaded(name: &str) -> Option<libloading::Library> {
    use libloading::os::unix::{Library, RTLD_NOW};
    // SAFETY: nothing is initialised that is not already.
    unsafe { Library::open(Some(name), RTLD_NOW | libc::RTLD_NOLOAD) }.ok().map(Into::into)
}

/// The library of that name, if something else in the process has loaded it.
#[cfg(windows)]
fn already_loaded(name: &str) -> Option<libloading::Library> {
    libloading::os::windows::Library::open_already_loaded(name).ok().map(Into::into)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_driver_runs_what_was_made_for_its_cuda_or_an_earlier_one() {
        let of = |driver| names(driver).collect::<Vec<_>>();
        assert_eq!(of(12040), ["libcublasLt.so.12"]);
        assert_eq!(of(13000), ["libcublasLt.so.13", "libcublasLt.so.12"]);
        assert!(of(11080).is_empty());
        assert!(matches!(find(11080), Err(BlasUnavailable::NotFound { .. })));
    }

    #[test]
    fn a_reason_about_a_file_that_is_there_is_kept() {
        let (mut reason, here) = (String::new(), Path::new("/"));
        first_of(&mut reason, Path::new("/none"), "a");
        first_of(&mut reason, here, "b");
        first_of(&mut reason, Path::new("/none"), "c");
        assert_eq!(reason, "it does not load: b");
    }
}
