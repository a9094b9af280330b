//! cuBLASLt's functions, found at run time.
//!
//! The types are cudarc's, which are made from NVIDIA's headers; their values are the same in CUDA 12 and 13.

use super::NAME;
use crate::cuda::driver::Driver;
use crate::cuda::functions::functions;
use crate::cuda::library::{LibraryUnavailable, Source};
use crate::error::{Error, Result, Status};
use cudarc::cublaslt::sys::{
    cublasComputeType_t, cublasLtHandle_t, cublasLtMatmulAlgo_t, cublasLtMatmulAlgoCapAttributes_t,
    cublasLtMatmulAlgoConfigAttributes_t, cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t,
    cublasLtMatmulHeuristicResult_t, cublasLtMatmulPreference_t, cublasLtMatmulPreferenceAttributes_t,
    cublasLtMatrixLayout_t, cublasLtMatrixLayoutAttribute_t, cudaDataType, cudaStream_t,
};
use std::ffi::{c_int, c_void};
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
pub fn library(driver: &Driver) -> Result<&'static Library, LibraryUnavailable> {
    static LIBRARY: OnceLock<Result<Library, LibraryUnavailable>> = OnceLock::new();
    LIBRARY.get_or_init(|| open(driver)).as_ref().map_err(Clone::clone)
}

const SOURCE: Source = Source {
    name: NAME,
    files: if cfg!(windows) {
        &[(13000, "cublasLt64_13.dll"), (12000, "cublasLt64_12.dll")]
    } else {
        &[(13000, "libcublasLt.so.13"), (12000, "libcublasLt.so.12")]
    },
    version: "cublasLtGetVersion",
};

fn open(driver: &Driver) -> Result<Library, LibraryUnavailable> {
    let (library, version) = SOURCE.open(driver)?;
    Ok(Library { functions: Functions::load(library).map_err(|missing| SOURCE.lacks(missing))?, version })
}
