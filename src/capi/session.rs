//! # Session
//!
//! A model prepared for a device: kernels chosen, threads started. Any number of threads may run it at once; those that find its
//! threads busy work alone, with the same results.

use std::sync::Arc;
use std::time::Instant;

use super::arguments;
use super::ffi;
use super::model::infer_model;
use super::runtime::{INFER_LOG_INFO, Shared, threads_in_range};
use super::sized::{self, Array, Versioned};
use super::status::infer_status;
use super::tensor::{INFER_DEVICE_CPU, INFER_DEVICE_CUDA, infer_device, infer_tensor};
use crate::error::{Error, Result};
use crate::session::{Session, SessionOptions};

/// A prepared model.
pub struct infer_session {
    pub(super) session: Arc<Session>,
    pub(super) shared: Shared,
}

/// Settings of a session.
pub struct infer_session_options {
    threads: usize,
}

/// Settings of one run; start with INFER_RUN_OPTIONS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct infer_run_options {
    /// sizeof(infer_run_options), as INFER_RUN_OPTIONS_INIT sets it.
    pub struct_size: u32,
    /// Zero.
    pub flags: u32,
    /// Nanoseconds after which the run ends with INFER_ERROR_CANCELLED; 0 = never.
    pub timeout_ns: u64,
}

// SAFETY: repr(C), a u32 first, no padding (`layout`), integers only.
unsafe impl Versioned for infer_run_options {
    const NAME: &'static str = "infer_run_options";
    const SIZES: &'static [usize] = &[16];
}

/// Settings: the processor, the threads of the model's runtime or, if it has none, as many as this process may use.
/// Thread-safety: any thread. Lifetime: until infer_session_options_destroy().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_session_options_create(out: *mut *mut infer_session_options) -> infer_status {
    // SAFETY: `out` is checked before it is written.
    ffi::run(|| unsafe {
        ffi::check_out(out, "out")?;
        ffi::give(out, infer_session_options { threads: 0 });
        Ok(())
    })
}

/// Destroys settings. What was created with them keeps them.
/// Thread-safety: one thread at a time. Lifetime: ends here; NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_session_options_destroy(options: *mut infer_session_options) {
    // SAFETY: the caller's last use of a live object.
    unsafe { ffi::destroy(options) }
}

/// Number of threads as in infer_runtime_options_set_threads(), for this session alone; 0 = those of the model's runtime.
/// Thread-safety: one thread at a time. Lifetime: copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_session_options_set_threads(
    options: *mut infer_session_options,
    threads: u32,
) -> infer_status {
    ffi::run(|| {
        // SAFETY: NULL or a live object of the caller's.
        let options = unsafe { ffi::borrow_mut(options, "options")? };
        options.threads = threads_in_range(threads)?;
        Ok(())
    })
}

/// Prepares a model; NULL options are the defaults.
/// Thread-safety: any thread. Lifetime: until infer_session_destroy(); it keeps what it needs of the model and runtime.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_session_create(
    model: *const infer_model,
    options: *const infer_session_options,
    out: *mut *mut infer_session,
) -> infer_status {
    // SAFETY: NULL or live objects of the caller's; `out` is checked before it is written.
    ffi::run(|| unsafe {
        let model = ffi::borrow(model, "model")?;
        ffi::check_out(out, "out")?;
        ffi::give(out, create(model, options.as_ref())?);
        Ok(())
    })
}

/// Destroys a session.
/// Thread-safety: one thread at a time. Lifetime: ends here, or with its last context; NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_session_destroy(session: *mut infer_session) {
    // SAFETY: the caller's last use of a live object.
    unsafe { ffi::destroy(session) }
}

/// Does now what the first run with inputs of these types and shapes would do first: work out shapes, allocate memory. Only
/// `dtype`, `rank` and `shape` of the `n` inputs, in the model's order, are read.
/// Thread-safety: any thread. Lifetime: nothing is kept.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_session_prepare(
    session: *const infer_session,
    inputs: *const infer_tensor,
    n: usize,
) -> infer_status {
    // SAFETY: NULL or live objects of the caller's.
    ffi::run(|| unsafe {
        let session = ffi::borrow(session, "session")?;
        let inputs = Array::new(inputs.cast_mut(), n, "inputs")?;
        session.shared.log_error(arguments::prepare(&session.session, &inputs))
    })
}

/// Runs the model: reads `n` inputs, writes `m` outputs, both in the model's order, and returns when done. Inputs and outputs
/// must not overlap. After the first run with inputs of some shapes, runs that write to the caller's memory allocate nothing.
/// Thread-safety: any thread, also at the same time. Lifetime: tensors are used during the call only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_session_run(
    session: *const infer_session,
    options: *const infer_run_options,
    inputs: *const infer_tensor,
    n: usize,
    outputs: *mut infer_tensor,
    m: usize,
) -> infer_status {
    // SAFETY: NULL or live objects of the caller's.
    ffi::run(|| unsafe {
        let session = ffi::borrow(session, "session")?;
        let _ = run_options(options)?;
        let inputs = Array::new(inputs.cast_mut(), n, "inputs")?;
        let outputs = Array::new(outputs, m, "outputs")?;
        session.shared.log_error(arguments::run(&session.session, &inputs, &outputs))
    })
}
