//! # Runtime
//!
//! Optional: threads and a logger that several models share. Sessions of models opened without one start their own
//! threads.

use std::ffi::{CString, c_char, c_void};
use std::sync::Arc;

use super::ffi::{self, UserData};
use super::status::infer_status;
use crate::error::{Error, Result};
use crate::session::Runtime;

/// Threads and a logger.
pub struct infer_runtime {
    pub(super) shared: Shared,
}

/// Settings of a runtime.
pub struct infer_runtime_options {
    threads: usize,
    log: Option<Log>,
}

/// Weight of a log message, one of INFER_LOG_*.
pub type infer_log_level = u32;

/// What fails and is returned as a status as well.
pub const INFER_LOG_ERROR: infer_log_level = 1;
/// What works, but not as asked for.
pub const INFER_LOG_WARNING: infer_log_level = 2;
/// What is opened, prepared and closed.
pub const INFER_LOG_INFO: infer_log_level = 3;

/// Receives a message, which lasts until the function returns. It may be called on any thread that calls the library,
/// and must not call the library.
pub type infer_log_callback =
    Option<unsafe extern "C" fn(user_data: *mut c_void, level: infer_log_level, message: *const c_char)>;

/// Settings: automatic number of threads, no log.
/// Thread-safety: any thread. Lifetime: until infer_runtime_options_destroy().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_runtime_options_create(out: *mut *mut infer_runtime_options) -> infer_status {
    // SAFETY: `out` is checked before it is written.
    ffi::run(|| unsafe {
        ffi::check_out(out, "out")?;
        ffi::give(out, infer_runtime_options { threads: 0, log: None });
        Ok(())
    })
}

/// Destroys settings. What was created with them keeps them.
/// Thread-safety: one thread at a time. Lifetime: ends here; NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_runtime_options_destroy(options: *mut infer_runtime_options) {
    // SAFETY: the caller's last use of a live object.
    unsafe { ffi::destroy(options) }
}

/// Number of threads that work on a run, the calling one among them: at most 1024; 0 = as many as this process may use.
/// The results are the same bits for any number.
/// Thread-safety: one thread at a time. Lifetime: copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_runtime_options_set_threads(
    options: *mut infer_runtime_options,
    threads: u32,
) -> infer_status {
    ffi::run(|| {
        // SAFETY: NULL or a live object of the caller's.
        let options = unsafe { ffi::borrow_mut(options, "options")? };
        options.threads = threads_in_range(threads)?;
        Ok(())
    })
}

/// Sends messages up to `level` to `callback`; NULL sends none.
/// Thread-safety: one thread at a time. Lifetime: both must last until the runtime and what uses it are gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_runtime_options_set_log(
    options: *mut infer_runtime_options,
    level: infer_log_level,
    callback: infer_log_callback,
    user_data: *mut c_void,
) -> infer_status {
    ffi::run(|| {
        // SAFETY: NULL or a live object of the caller's.
        let options = unsafe { ffi::borrow_mut(options, "options")? };
        if !(INFER_LOG_ERROR..=INFER_LOG_INFO).contains(&level) {
            return Err(Error::invalid(format!("`level` is {level}, which is none of INFER_LOG_*")));
        }
        options.log = callback.map(|callback| Log { level, callback, user_data: UserData(user_data) });
        Ok(())
    })
}

/// Starts a runtime; NULL options are the defaults.
/// Thread-safety: any thread. Lifetime: until infer_runtime_destroy(); its threads, until nobody uses them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_runtime_create(
    options: *const infer_runtime_options,
    out: *mut *mut infer_runtime,
) -> infer_status {
    // SAFETY: NULL or live objects of the caller's; `out` is checked before it is written.
    ffi::run(|| unsafe {
        ffi::check_out(out, "out")?;
        let options = options.as_ref();
        let threads = options.map_or(0, |options| options.threads);
        let log = options.and_then(|options| options.log);
        let runtime = Runtime::new(threads)?;
        ffi::give(out, infer_runtime { shared: Shared { runtime: Some(runtime), log } });
        Ok(())
    })
}

/// Destroys a runtime.
/// Thread-safety: one thread at a time. Lifetime: ends here; NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_runtime_destroy(runtime: *mut infer_runtime) {
    // SAFETY: the caller's last use of a live object.
    unsafe { ffi::destroy(runtime) }
}

/// What models and sessions inherit of the runtime: none of both unless the caller made one.
#[derive(Clone, Default)]
pub(super) struct Shared {
    pub(super) runtime: Option<Arc<Runtime>>,
    log: Option<Log>,
}

#[derive(Clone, Copy)]
struct Log {
    level: infer_log_level,
    callback: unsafe extern "C" fn(*mut c_void, infer_log_level, *const c_char),
    user_data: UserData,
}

impl Shared {
    /// Sends a message, made only if somebody listens.
    pub(super) fn log(&self, level: infer_log_level, message: impl FnOnce() -> String) {
        let Some(log) = self.log.filter(|log| level <= log.level) else { return };
        let message: CString = ffi::c_string(&message());
        // SAFETY: the header asks that callback and user data outlive the runtime and its users.
        unsafe { (log.callback)(log.user_data.0, level, message.as_ptr()) }
    }

    /// Sends the error, if it is one, and passes it on.
    pub(super) fn log_error<T>(&self, result: Result<T>) -> Result<T> {
        result.inspect_err(|error| self.log(INFER_LOG_ERROR, || error.to_string()))
    }
}

/// A number of threads that the gang accepts.
pub(super) fn threads_in_range(threads: u32) -> Result<usize> {
    const MAX: u32 = crate::cpu::parallel::MAX_THREADS as u32;
    if threads > MAX {
        return Err(Error::invalid(format!("`threads` is {threads}; at most {MAX} are allowed, and 0 is automatic")));
    }
    Ok(threads as usize)
}
