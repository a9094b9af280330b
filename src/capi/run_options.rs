//! # Settings of a run

use std::ffi::c_void;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::ffi;
use super::sized::{self, Versioned};
use super::status::infer_status;
use crate::error::{Error, Result};
use crate::exec::{Control, RawStream};

/// Stops runs that are under way.
pub struct infer_cancel {
    requested: AtomicBool,
}

/// Settings of one run; start with INFER_RUN_OPTIONS_INIT.
///
/// `stream` is one of the device's primary context, and there until the run's work is done. With INFER_RUN_ASYNC, which
/// needs a stream, the run returns when its work is in there; inputs and outputs in the GPU's memory must stay until
/// the stream has come past it. Outputs in the host's memory are waited for nevertheless.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct infer_run_options {
    /// sizeof(infer_run_options), as INFER_RUN_OPTIONS_INIT sets it.
    pub struct_size: u32,
    /// INFER_RUN_ASYNC, or 0.
    pub flags: u32,
    /// Nanoseconds after which the run ends with INFER_ERROR_CANCELLED; 0 = never.
    pub timeout_ns: u64,
    /// Ends the run with INFER_ERROR_CANCELLED when it is set; NULL = none.
    pub cancel: *const infer_cancel,
    /// cudaStream_t or CUstream for the work of a session on a GPU; NULL = its own.
    pub stream: *mut c_void,
}

/// Flag: return when the GPU's work is in the caller's stream.
pub const INFER_RUN_ASYNC: u32 = 1;

// SAFETY: repr(C), a u32 first, no padding (`layout`), integers and a pointer only.
unsafe impl Versioned for infer_run_options {
    const NAME: &'static str = "infer_run_options";
    const SIZES: &'static [usize] = &[24, 32];
}

/// Makes a token that is not set. Any number of runs may watch it.
/// Thread-safety: any thread. Lifetime: until infer_cancel_destroy(), which must wait for the runs that watch it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_cancel_create(out: *mut *mut infer_cancel) -> infer_status {
    // SAFETY: `out` is checked before it is written.
    ffi::run(|| unsafe {
        ffi::check_out(out, "out")?;
        ffi::give(out, infer_cancel { requested: AtomicBool::new(false) });
        Ok(())
    })
}

/// Sets the token (1), so that the runs that watch it end soon, or clears it (0) for the next ones.
/// Thread-safety: any thread, also while runs watch it. Lifetime: nothing is kept.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_cancel_set(cancel: *const infer_cancel, requested: u32) -> infer_status {
    ffi::run(|| {
        // SAFETY: NULL or a live object of the caller's.
        let cancel = unsafe { ffi::borrow(cancel, "cancel")? };
        cancel.requested.store(ffi::flag(requested, "requested")?, Relaxed);
        Ok(())
    })
}

/// Destroys a token.
/// Thread-safety: one thread at a time. Lifetime: ends here; NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_cancel_destroy(cancel: *mut infer_cancel) {
    // SAFETY: the caller's last use of a live object.
    unsafe { ffi::destroy(cancel) }
}

/// What watches the run.
///
/// # Safety
/// `options` is NULL or as large as its first field says, and its token lives for `'a`.
pub(super) unsafe fn control<'a>(options: *const infer_run_options) -> Result<Control<'a>> {
    if options.is_null() {
        return Ok(Control::default());
    }
    // SAFETY: as promised by the caller.
    let (options, cancel) = unsafe {
        let options = sized::read(options, "options")?;
        (options, options.cancel.as_ref())
    };
    if options.flags & !INFER_RUN_ASYNC != 0 {
        let flags = options.flags;
        return Err(Error::invalid(format!("`options.flags` is {flags:#x}: this release knows INFER_RUN_ASYNC only")));
    }
    let asynchronous = options.flags & INFER_RUN_ASYNC != 0;
    let stream = (!options.stream.is_null()).then(|| RawStream(options.stream.expose_provenance()));
    if asynchronous && stream.is_none() {
        return Err(Error::invalid("INFER_RUN_ASYNC needs `options.stream`: nobody else could wait for the work"));
    }
    let timeout = Some(Duration::from_nanos(options.timeout_ns)).filter(|timeout| !timeout.is_zero());
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let cancel = cancel.map(|cancel| &cancel.requested);
    Ok(Control { cancel, deadline, profile: None, stream, asynchronous })
}
