//! # Session
//!
//! A model prepared for a device: kernels chosen, threads started. Any number of threads may run it at once; one that
//! finds the session's threads busy works alone, with the same results.

use std::ffi::c_char;
use std::sync::Arc;
use std::time::Instant;

use super::arguments;
use super::device::{device_id, infer_device};
use super::ffi;
use super::model::infer_model;
use super::run_options::{self, infer_run_options};
use super::runtime::{INFER_LOG_INFO, INFER_LOG_WARNING, Shared, threads_in_range};
use super::sized::Array;
use super::status::infer_status;
use super::tensor::infer_tensor;
use crate::error::{Error, Result, Status};
use crate::session::{DeviceId, Precision, Session, SessionOptions};

/// How a GPU computes what the model has in f32, one of INFER_PRECISION_*.
pub type infer_precision = u32;

/// In f32.
pub const INFER_PRECISION_F32: infer_precision = 0;
/// As F32, but factors of products may be rounded to 11 bits.
pub const INFER_PRECISION_TF32: infer_precision = 1;
/// In f16, with sums in f32, where that is safe.
pub const INFER_PRECISION_F16: infer_precision = 2;
/// In bf16, likewise.
pub const INFER_PRECISION_BF16: infer_precision = 3;

/// A prepared model.
pub struct infer_session {
    pub(super) session: Arc<Session>,
    pub(super) shared: Shared,
}

/// Settings of a session.
pub struct infer_session_options {
    settings: SessionOptions,
    fallback: bool,
}

/// Settings: the processor, the threads of the model's runtime or, if it has none, as many as this process may use.
/// Thread-safety: any thread. Lifetime: until infer_session_options_destroy().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_session_options_create(out: *mut *mut infer_session_options) -> infer_status {
    // SAFETY: `out` is checked before it is written.
    ffi::run(|| unsafe {
        ffi::check_out(out, "out")?;
        let settings = SessionOptions::default();
        ffi::give(out, infer_session_options { settings, fallback: false });
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

/// Number of threads, as infer_runtime_options_set_threads(), of this session alone; 0 = those of the model's runtime.
/// Thread-safety: one thread at a time. Lifetime: copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_session_options_set_threads(
    options: *mut infer_session_options,
    threads: u32,
) -> infer_status {
    ffi::run(|| {
        // SAFETY: NULL or a live object of the caller's.
        let options = unsafe { ffi::borrow_mut(options, "options")? };
        options.settings.threads = threads_in_range(threads)?;
        Ok(())
    })
}

/// Where the model runs; `id` tells one of several such devices. If that device cannot be had, infer_session_create()
/// fails (`fallback` 0), or logs why and takes the processor (1).
/// Thread-safety: one thread at a time. Lifetime: copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_session_options_set_device(
    options: *mut infer_session_options,
    device: infer_device,
    id: i32,
    fallback: u32,
) -> infer_status {
    ffi::run(|| {
        // SAFETY: NULL or a live object of the caller's.
        let options = unsafe { ffi::borrow_mut(options, "options")? };
        let device = device_id(device, id)?;
        options.fallback = ffi::flag(fallback, "fallback")?;
        options.settings.device = device;
        Ok(())
    })
}

/// As infer_session_options_set_device(), for the device called `name`: "cpu", "cuda", "cuda:1", or as
/// "cuda:GPU-8f6d3c1e-..." the GPU with a UUID, as NVIDIA's tools write it, also without "cuda:".
/// Thread-safety: one thread at a time. Lifetime: copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_session_options_set_device_name(
    options: *mut infer_session_options,
    name: *const c_char,
    fallback: u32,
) -> infer_status {
    // SAFETY: NULL or a live object and a string of the caller's.
    ffi::run(|| unsafe {
        let options = ffi::borrow_mut(options, "options")?;
        let device = ffi::text(name, "name")?.parse()?;
        options.fallback = ffi::flag(fallback, "fallback")?;
        options.settings.device = device;
        Ok(())
    })
}

/// How a GPU computes; a session on the processor computes in f32 whatever is set. Inputs and outputs keep their types.
/// Thread-safety: one thread at a time. Lifetime: copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_session_options_set_precision(
    options: *mut infer_session_options,
    precision: infer_precision,
) -> infer_status {
    ffi::run(|| {
        // SAFETY: NULL or a live object of the caller's.
        let options = unsafe { ffi::borrow_mut(options, "options")? };
        options.settings.precision = match precision {
            INFER_PRECISION_F32 => Precision::F32,
            INFER_PRECISION_TF32 => Precision::Tf32,
            INFER_PRECISION_F16 => Precision::F16,
            INFER_PRECISION_BF16 => Precision::Bf16,
            _ => {
                let message = format!("`precision` is {precision}, which is none of INFER_PRECISION_*");
                return Err(Error::invalid(message));
            }
        };
        Ok(())
    })
}

/// Computes the nodes called `node` in f32 whatever the precision is; infer_session_create() refuses a name that the
/// model does not have. Each call adds one.
/// Thread-safety: one thread at a time. Lifetime: copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_session_options_keep_f32(
    options: *mut infer_session_options,
    node: *const c_char,
) -> infer_status {
    // SAFETY: NULL or a live object and a string of the caller's.
    ffi::run(|| unsafe {
        let options = ffi::borrow_mut(options, "options")?;
        options.settings.keep_f32.push(ffi::text(node, "node")?.to_owned());
        Ok(())
    })
}

/// Whether each run checks its inputs and what each step computes (1), which is slow, or not (0). The first number
/// that is NaN or infinite then ends it with INFER_ERROR_NOT_FINITE: infer_error names the node, or the message the
/// input, and tells how many there are, where, and how large what the step has read is. Infinities that the model
/// itself has, as masks do, may be passed on. Such a run waits for each step, and cannot be captured.
/// Thread-safety: one thread at a time. Lifetime: copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_session_options_set_check(
    options: *mut infer_session_options,
    check: u32,
) -> infer_status {
    ffi::run(|| {
        // SAFETY: NULL or a live object of the caller's.
        let options = unsafe { ffi::borrow_mut(options, "options")? };
        options.settings.check = ffi::flag(check, "check")?;
        Ok(())
    })
}

/// Most bytes of activations and workspace for one run; a run that needs more ends with INFER_ERROR_NO_MEMORY.
/// Thread-safety: one thread at a time. Lifetime: copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_session_options_set_max_memory(
    options: *mut infer_session_options,
    bytes: u64,
) -> infer_status {
    ffi::run(|| {
        // SAFETY: NULL or a live object of the caller's.
        let options = unsafe { ffi::borrow_mut(options, "options")? };
        options.settings.max_memory = usize::try_from(bytes).unwrap_or(usize::MAX);
        Ok(())
    })
}

/// How many runs at a time infer_session_run() keeps memory for; what further ones need is freed after them.
/// Thread-safety: one thread at a time. Lifetime: copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_session_options_set_max_contexts(
    options: *mut infer_session_options,
    count: u32,
) -> infer_status {
    ffi::run(|| {
        // SAFETY: NULL or a live object of the caller's.
        unsafe { ffi::borrow_mut(options, "options")? }.settings.max_contexts = count as usize;
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

/// Works out now what the first run with inputs of these types and shapes would have to. Only `dtype`, `rank` and
/// `shape` of the `n` inputs, in the model's order, are read.
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
        let prepare = |infos: &[_]| session.session.prepare(infos);
        session.shared.log_error(arguments::prepare(session.session.model(), &inputs, prepare))
    })
}

/// Runs the model: reads `n` inputs, writes `m` outputs, both in the model's order. The memory of an output must not
/// overlap any other. After the first run with inputs of some shapes, runs into the caller's memory allocate nothing.
/// INFER_ERROR_BUFFER_TOO_SMALL also writes `rank`, `shape` and `byte_len` of the outputs that have too little room.
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
        let options = run_options::read(options)?;
        let inputs = Array::new(inputs.cast_mut(), n, "inputs")?;
        let outputs = Array::new(outputs, m, "outputs")?;
        session.shared.log_error(arguments::run(session.session.model(), &inputs, &outputs, |inputs, outputs| {
            session.session.run(inputs, outputs, options.control())
        }))
    })
}

fn create(model: &infer_model, options: Option<&infer_session_options>) -> Result<infer_session> {
    let start = Instant::now();
    let shared = model.shared.clone();
    let mut settings = options.map_or_else(SessionOptions::default, |options| options.settings.clone());
    if settings.threads == 0 {
        settings.runtime = shared.runtime.clone();
    }
    let fallback = options.is_some_and(|options| options.fallback);
    let session = match Session::new(&model.model, &settings) {
        Err(e) if fallback && e.status() == Status::Device => {
            shared.log(INFER_LOG_WARNING, || format!("{e}: the session runs on the processor"));
            Session::new(&model.model, &SessionOptions { device: DeviceId::Cpu, ..settings })
        }
        result => result,
    };
    let session = shared.log_error(session)?;
    shared.log(INFER_LOG_INFO, || {
        let elapsed = start.elapsed().as_secs_f64() * 1e3;
        format!("session of {} threads prepared in {elapsed:.1} ms", session.threads())
    });
    Ok(infer_session { session, shared })
}
