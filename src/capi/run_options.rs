//! # Settings of a run

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::ffi::{self, UserData};
use super::sized::{self, Versioned};
use super::status::{INFER_OK, infer_status};
use crate::error::{Error, Result};
use crate::exec::{Control, Done, RawEvent, RawStream};

/// Stops runs that are under way.
pub struct infer_cancel {
    requested: AtomicBool,
}

/// Settings of one run; start with INFER_RUN_OPTIONS_INIT.
///
/// `stream` is one of the device's primary context, and there until the run's work is done. With INFER_RUN_ASYNC the
/// run returns when its work is in there; inputs and outputs in the GPU's memory must stay until the stream has come
/// past it. Outputs in the host's memory are waited for nevertheless. Somebody must be able to wait for the rest: by
/// `stream`, `event` or `done`.
///
/// On the processor all is done when the run returns, also with INFER_RUN_ASYNC; `stream` and `event` are left alone.
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
    /// cudaEvent_t or CUevent to record behind the work of a session on a GPU; NULL = none.
    pub event: *mut c_void,
    /// Called when the work is done; NULL = nobody.
    pub done: infer_done_callback,
    /// For `done`.
    pub user_data: *mut c_void,
}

/// Called once if the run returns INFER_OK, and never otherwise: with INFER_OK, or INFER_ERROR_DEVICE if the GPU has
/// failed since. With INFER_RUN_ASYNC on a GPU that is on a thread of the driver, when the stream has come past the
/// run's work, and what comes later into the stream waits for it; else before the run returns, on its thread. It must
/// not call the library or CUDA. A run with it cannot be captured: put a host function into the graph behind the run
/// instead.
pub type infer_done_callback = Option<unsafe extern "C" fn(user_data: *mut c_void, status: infer_status)>;

/// Flag: return when the GPU's work is in the stream.
pub const INFER_RUN_ASYNC: u32 = 1;

// SAFETY: repr(C), a u32 first, no padding (`layout`), integers and pointers only.
unsafe impl Versioned for infer_run_options {
    const NAME: &'static str = "infer_run_options";
    const SIZES: &'static [usize] = &[24, 32, 56];
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

/// What the caller has set for a run.
pub(super) struct RunOptions<'a> {
    control: Control<'a>,
    done: Option<Done>,
}

impl RunOptions<'_> {
    /// What watches the run.
    pub(super) fn control(&self) -> Control<'_> {
        Control { done: self.done.as_ref(), ..self.control }
    }
}

/// Reads the settings of a run.
///
/// # Safety
/// `options` is NULL or as large as its first field says; its token lives for `'a`; what else it points to is as the
/// header demands.
pub(super) unsafe fn read<'a>(options: *const infer_run_options) -> Result<RunOptions<'a>> {
    if options.is_null() {
        return Ok(RunOptions { control: Control::default(), done: None });
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
    let address = |pointer: *mut c_void| (!pointer.is_null()).then(|| pointer.expose_provenance());
    let (stream, event) = (address(options.stream).map(RawStream), address(options.event).map(RawEvent));
    if asynchronous && stream.is_none() && event.is_none() && options.done.is_none() {
        let message = "INFER_RUN_ASYNC needs `options.stream`, `event` or `done`: nobody else could wait for the work";
        return Err(Error::invalid(message));
    }
    let timeout = Some(Duration::from_nanos(options.timeout_ns)).filter(|timeout| !timeout.is_zero());
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let cancel = cancel.map(|cancel| &cancel.requested);
    let control = Control { cancel, deadline, stream, asynchronous, event, ..Control::default() };
    Ok(RunOptions { control, done: done(&options) })
}

/// The caller's callback.
fn done(options: &infer_run_options) -> Option<Done> {
    let (call, user_data) = (options.done?, UserData(options.user_data));
    Some(Arc::new(move |result: Result<()>| {
        let status = result.map_or_else(|e| e.status() as infer_status, |()| INFER_OK);
        // SAFETY: the header asks for a function that may be called with this pointer, on any thread, once.
        unsafe { call(user_data.get(), status) }
    }))
}
