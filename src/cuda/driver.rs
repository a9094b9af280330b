//! The driver's functions, found at run time: one list, all of them there or a reason why not.
//!
//! The types are cudarc's; the functions are looked up here, because cudarc panics where a library or a function is missing.

use super::Unavailable;
use super::functions::functions;
use cudarc::driver::sys::{
    CUcontext, CUdevice, CUdevice_attribute, CUdeviceptr, CUevent, CUfunction, CUgraph, CUgraphExec, CUjit_option,
    CUmemPool_attribute, CUmemPoolProps, CUmemoryPool, CUmodule, CUstream, CUstreamCaptureMode, CUstreamCaptureStatus,
    CUuuid,
};
use libloading::Library;
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;

/// Oldest driver that takes the kernels' PTX (8.4): that of CUDA 12.4.
pub const OLDEST: i32 = 12040;

/// Names of the driver's library, in the order in which they are tried.
const LIBRARIES: &[&str] = if cfg!(windows) { &["nvcuda.dll"] } else { &["libcuda.so.1", "libcuda.so"] };

functions! {
    /// The functions of the driver that the library uses, with the driver's names.
    Driver {
        cuInit(c_uint);
        cuDriverGetVersion(*mut c_int);
        cuGetErrorName(u32, *mut *const c_char);
        cuGetErrorString(u32, *mut *const c_char);
        cuDeviceGetCount(*mut c_int);
        cuDeviceGet(*mut CUdevice, c_int);
        cuDeviceGetName(*mut c_char, c_int, CUdevice);
        cuDeviceGetUuid_v2(*mut CUuuid, CUdevice);
        cuDeviceGetAttribute(*mut c_int, CUdevice_attribute, CUdevice);
        cuDeviceTotalMem_v2(*mut usize, CUdevice);
        cuDeviceCanAccessPeer(*mut c_int, CUdevice, CUdevice);
        cuDevicePrimaryCtxRetain(*mut CUcontext, CUdevice);
        cuDevicePrimaryCtxRelease_v2(CUdevice);
        cuCtxPushCurrent_v2(CUcontext);
        cuCtxPopCurrent_v2(*mut CUcontext);
        cuCtxSynchronize();
        cuStreamCreateWithPriority(*mut CUstream, c_uint, c_int);
        cuStreamDestroy_v2(CUstream);
        cuStreamSynchronize(CUstream);
        cuStreamWaitEvent(CUstream, CUevent, c_uint);
        cuStreamAddCallback(CUstream, unsafe extern "C" fn(CUstream, u32, *mut c_void), *mut c_void, c_uint);
        cuThreadExchangeStreamCaptureMode(*mut CUstreamCaptureMode);
        cuStreamIsCapturing(CUstream, *mut CUstreamCaptureStatus);
        cuStreamBeginCapture_v2(CUstream, CUstreamCaptureMode);
        cuStreamEndCapture(CUstream, *mut CUgraph);
        cuGraphInstantiateWithFlags(*mut CUgraphExec, CUgraph, u64);
        cuGraphLaunch(CUgraphExec, CUstream);
        cuGraphExecDestroy(CUgraphExec);
        cuGraphDestroy(CUgraph);
        cuEventCreate(*mut CUevent, c_uint);
        cuEventDestroy_v2(CUevent);
        cuEventRecord(CUevent, CUstream);
        cuEventSynchronize(CUevent);
        cuEventElapsedTime(*mut f32, CUevent, CUevent);
        cuModuleLoadDataEx(*mut CUmodule, *const c_void, c_uint, *mut CUjit_option, *mut *mut c_void);
        cuModuleUnload(CUmodule);
        cuModuleGetFunction(*mut CUfunction, CUmodule, *const c_char);
        cuLaunchKernel(
            CUfunction, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, CUstream, *mut *mut c_void, *mut *mut c_void
        );
        cuMemGetInfo_v2(*mut usize, *mut usize);
        cuMemPoolCreate(*mut CUmemoryPool, *const CUmemPoolProps);
        cuMemPoolDestroy(CUmemoryPool);
        cuMemPoolSetAttribute(CUmemoryPool, CUmemPool_attribute, *mut c_void);
        cuMemPoolGetAttribute(CUmemoryPool, CUmemPool_attribute, *mut c_void);
        cuMemPoolTrimTo(CUmemoryPool, usize);
        cuMemAllocFromPoolAsync(*mut CUdeviceptr, usize, CUmemoryPool, CUstream);
        cuMemFreeAsync(CUdeviceptr, CUstream);
        cuMemHostAlloc(*mut *mut c_void, usize, c_uint);
        cuMemFreeHost(*mut c_void);
        cuMemcpyHtoDAsync_v2(CUdeviceptr, *const c_void, usize, CUstream);
        cuMemcpyDtoHAsync_v2(*mut c_void, CUdeviceptr, usize, CUstream);
        cuMemcpyDtoDAsync_v2(CUdeviceptr, CUdeviceptr, usize, CUstream);
    }
}

/// The driver, loaded and initialised by the first call; later calls have the same result.
pub fn driver() -> Result<&'static Driver, Unavailable> {
    static DRIVER: OnceLock<Result<Driver, Unavailable>> = OnceLock::new();
    DRIVER.get_or_init(open).as_ref().map_err(Clone::clone)
}

fn open() -> Result<Driver, Unavailable> {
    let mut reason = String::new();
    let library = LIBRARIES.iter().find_map(|name| {
        // SAFETY: the driver's library has no initialisation that could do harm.
        unsafe { Library::new(*name) }.inspect_err(|e| reason = in_full(e)).ok()
    });
    let library = library.ok_or(Unavailable::NoDriver { reason })?;
    // Never closed: the driver keeps threads and state.
    let driver = Driver::load(Box::leak(Box::new(library)))
        .map_err(|missing| Unavailable::DriverTooOld { missing: missing.into() })?;
    let mut version = 0;
    // SAFETY: no other call comes before these two; `version` is written.
    let (found, begun) = unsafe { ((driver.cuDriverGetVersion)(&mut version), (driver.cuInit)(0)) };
    if found == 0 && version < OLDEST {
        return Err(Unavailable::DriverVersion { found: version });
    }
    match begun {
        0 => Ok(driver),
        NO_DEVICE => Err(Unavailable::NoDevice),
        code => Err(Unavailable::Failed { what: "cuInit", code, name: driver.error_name(code) }),
    }
}

/// What an error says, and what its cause does.
pub(super) fn in_full(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

/// CUDA_ERROR_NO_DEVICE
const NO_DEVICE: u32 = 100;

impl Driver {
    /// The driver's name of a result, with what it says about it.
    pub fn error_name(&self, code: u32) -> String {
        let text = |function: unsafe extern "C" fn(u32, *mut *const c_char) -> u32| {
            let mut text = std::ptr::null();
            // SAFETY: `text` is written with a static string, or the call fails.
            (unsafe { function(code, &mut text) } == 0 && !text.is_null())
                .then(|| unsafe { std::ffi::CStr::from_ptr(text) }.to_string_lossy().into_owned())
        };
        match (text(self.cuGetErrorName), text(self.cuGetErrorString)) {
            (Some(name), Some(words)) => format!("{name}: {words}"),
            (Some(name), None) => name,
            _ => format!("error {code}"),
        }
    }
}
