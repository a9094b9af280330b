//! # Model
//!
//! A model file, opened: checked, mapped, and never changed. Any number of sessions share its weights.

use std::ffi::{CString, c_char, c_int, c_void};
use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;

use super::ffi;
use super::memory::{self, External};
use super::ports::{self, PortInfo};
use super::runtime::{INFER_LOG_INFO, Shared, infer_runtime};
use super::status::infer_status;
use super::tensor::infer_tensor_info;
use crate::error::{Error, Result};
use crate::model::Mode;
use crate::session::{Model, OpenOptions};
use crate::tensor::Blob;

/// A model.
pub struct infer_model {
    pub(super) model: Arc<Model>,
    pub(super) shared: Shared,
    inputs: Vec<PortInfo>,
    outputs: Vec<PortInfo>,
    metadata: Vec<(CString, CString)>,
}

/// Settings of opening a model.
pub struct infer_model_options {
    shared: Shared,
    open: OpenOptions,
}

/// How a model's bytes are held, one of INFER_OPEN_*.
pub type infer_open_mode = u32;

/// Mapped, and shared with other processes. Truncating the file crashes them all.
pub const INFER_OPEN_MAP: infer_open_mode = 0;
/// Read into memory. The file may change afterwards.
pub const INFER_OPEN_COPY: infer_open_mode = 1;

/// Settings: no runtime, INFER_OPEN_MAP, weights not verified, the library's own limits.
/// Thread-safety: any thread. Lifetime: until infer_model_options_destroy().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_model_options_create(out: *mut *mut infer_model_options) -> infer_status {
    // SAFETY: `out` is checked before it is written.
    ffi::run(|| unsafe {
        ffi::check_out(out, "out")?;
        ffi::give(out, infer_model_options { shared: Shared::default(), open: OpenOptions::default() });
        Ok(())
    })
}

/// Destroys settings. What was opened with them keeps them.
/// Thread-safety: one thread at a time. Lifetime: ends here; NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_model_options_destroy(options: *mut infer_model_options) {
    // SAFETY: the caller's last use of a live object.
    unsafe { ffi::destroy(options) }
}

/// Runtime that the model's sessions use; NULL is none.
/// Thread-safety: one thread at a time. Lifetime: the runtime is kept alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_model_options_set_runtime(
    options: *mut infer_model_options,
    runtime: *const infer_runtime,
) -> infer_status {
    // SAFETY: NULL or live objects of the caller's.
    ffi::run(|| unsafe {
        let options = ffi::borrow_mut(options, "options")?;
        options.shared = runtime.as_ref().map_or_else(Shared::default, |runtime| runtime.shared.clone());
        Ok(())
    })
}

/// How the file is held.
/// Thread-safety: one thread at a time. Lifetime: copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_model_options_set_mode(
    options: *mut infer_model_options,
    mode: infer_open_mode,
) -> infer_status {
    ffi::run(|| {
        // SAFETY: NULL or a live object of the caller's.
        let options = unsafe { ffi::borrow_mut(options, "options")? };
        options.open.mode = match mode {
            INFER_OPEN_MAP => Mode::Map,
            INFER_OPEN_COPY => Mode::Copy,
            _ => return Err(Error::invalid(format!("`mode` is {mode}, which is none of INFER_OPEN_*"))),
        };
        Ok(())
    })
}

/// Whether opening also compares the weights with their checksums (1), which reads the whole file, or not (0). All else
/// in the file is always checked.
/// Thread-safety: one thread at a time. Lifetime: copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_model_options_set_verify(
    options: *mut infer_model_options,
    verify: u32,
) -> infer_status {
    ffi::run(|| {
        // SAFETY: NULL or a live object of the caller's.
        let options = unsafe { ffi::borrow_mut(options, "options")? };
        options.open.verify_data = ffi::flag(verify, "verify")?;
        Ok(())
    })
}

/// Most bytes of weights that the library may keep in another order, which makes runs faster; 0 for none. The default
/// is the size of the model's weights and 16 MiB. They are made when a run first needs them, for all sessions.
/// Thread-safety: one thread at a time. Lifetime: copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_model_options_set_weight_memory(
    options: *mut infer_model_options,
    bytes: u64,
) -> infer_status {
    ffi::run(|| {
        // SAFETY: NULL or a live object of the caller's.
        let options = unsafe { ffi::borrow_mut(options, "options")? };
        options.open.weight_memory = Some(usize::try_from(bytes).unwrap_or(usize::MAX));
        Ok(())
    })
}

/// Opens a model file; NULL options are the defaults. `path` is UTF-8 (on Unix, any bytes that name a file).
/// Thread-safety: any thread. Lifetime: until infer_model_destroy(); sessions keep what they need of it alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_model_open(
    path: *const c_char,
    options: *const infer_model_options,
    out: *mut *mut infer_model,
) -> infer_status {
    // SAFETY: NULL or live objects of the caller's; `out` is checked before it is written.
    ffi::run(|| unsafe {
        ffi::check_out(out, "out")?;
        let path = ffi::path(path, "path")?;
        ffi::give(out, open(options.as_ref(), &path.display(), |options| Model::open(path, options))?);
        Ok(())
    })
}

/// Opens the model in `len` bytes at `offset` of an open file, for example an asset inside a package. If `offset` is no
/// multiple of 64, the bytes are held as with INFER_OPEN_COPY.
/// Thread-safety: any thread. Lifetime: as infer_model_open(); `fd` is the caller's and may be closed on return.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_model_open_fd(
    fd: c_int,
    offset: u64,
    len: u64,
    options: *const infer_model_options,
    out: *mut *mut infer_model,
) -> infer_status {
    // SAFETY: NULL or live objects of the caller's; `out` is checked before it is written.
    ffi::run(|| unsafe {
        ffi::check_out(out, "out")?;
        let file = memory::duplicate(fd)?;
        let what = format!("file descriptor {fd}");
        ffi::give(out, open(options.as_ref(), &what, |options| Model::open_fd(file, offset, len, options))?);
        Ok(())
    })
}

/// Opens the model in `len` bytes of the caller's memory. `release` (NULL: none) is called with `user_data` once the
/// bytes are not needed any more, on whatever thread destroys their last user; if opening fails, it is not called.
/// Weights are used in place if `data` is 64-byte aligned, unless INFER_OPEN_COPY is set.
/// Thread-safety: any thread. Lifetime: as infer_model_open(); `data` must stay unchanged until `release`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_model_open_memory(
    data: *const c_void,
    len: usize,
    release: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
    user_data: *mut c_void,
    options: *const infer_model_options,
    out: *mut *mut infer_model,
) -> infer_status {
    // SAFETY: NULL or live objects of the caller's; `out` is checked before it is written.
    ffi::run(|| unsafe {
        ffi::check_out(out, "out")?;
        let memory = External::new(ffi::slice(data.cast(), len, "data")?, release, user_data);
        let model = open(options.as_ref(), &"memory", |options| match options.mode {
            Mode::Map => Model::open_bytes(&memory.blob(), options),
            Mode::Copy => Model::open_bytes(&Blob::copy_of(&memory.blob())?, options),
        })?;
        memory.accept();
        ffi::give(out, model);
        Ok(())
    })
}

/// Destroys a model; its names and metadata are gone.
/// Thread-safety: one thread at a time. Lifetime: ends here; NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_model_destroy(model: *mut infer_model) {
    // SAFETY: the caller's last use of a live object.
    unsafe { ffi::destroy(model) }
}

/// Number of inputs; 0 for NULL.
/// Thread-safety: any thread. Lifetime: a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_model_input_count(model: *const infer_model) -> usize {
    // SAFETY: NULL or a live object of the caller's.
    ffi::value(0, || Ok(unsafe { ffi::borrow(model, "model")? }.inputs.len()))
}

/// Number of outputs; 0 for NULL.
/// Thread-safety: any thread. Lifetime: a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_model_output_count(model: *const infer_model) -> usize {
    // SAFETY: NULL or a live object of the caller's.
    ffi::value(0, || Ok(unsafe { ffi::borrow(model, "model")? }.outputs.len()))
}

/// Describes input `index`.
/// Thread-safety: any thread. Lifetime: names belong to the model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_model_input_info(
    model: *const infer_model,
    index: usize,
    out: *mut infer_tensor_info,
) -> infer_status {
    // SAFETY: NULL or live objects of the caller's.
    ffi::run(|| unsafe {
        let model = ffi::borrow(model, "model")?;
        ports::describe(&model.inputs, "input", index, out)
    })
}

/// Describes output `index`.
/// Thread-safety: any thread. Lifetime: names belong to the model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_model_output_info(
    model: *const infer_model,
    index: usize,
    out: *mut infer_tensor_info,
) -> infer_status {
    // SAFETY: NULL or live objects of the caller's.
    ffi::run(|| unsafe {
        let model = ffi::borrow(model, "model")?;
        ports::describe(&model.outputs, "output", index, out)
    })
}

/// Position of the input called `name`.
/// Thread-safety: any thread. Lifetime: a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_model_input_index(
    model: *const infer_model,
    name: *const c_char,
    out: *mut usize,
) -> infer_status {
    // SAFETY: NULL or live objects of the caller's.
    ffi::run(|| unsafe { ports::find(&ffi::borrow(model, "model")?.inputs, "input", name, out) })
}

/// Position of the output called `name`.
/// Thread-safety: any thread. Lifetime: a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_model_output_index(
    model: *const infer_model,
    name: *const c_char,
    out: *mut usize,
) -> infer_status {
    // SAFETY: NULL or live objects of the caller's.
    ffi::run(|| unsafe { ports::find(&ffi::borrow(model, "model")?.outputs, "output", name, out) })
}

/// Number of metadata entries; 0 for NULL.
/// Thread-safety: any thread. Lifetime: a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_model_metadata_count(model: *const infer_model) -> usize {
    // SAFETY: NULL or a live object of the caller's.
    ffi::value(0, || Ok(unsafe { ffi::borrow(model, "model")? }.metadata.len()))
}

/// Metadata entry `index`.
/// Thread-safety: any thread. Lifetime: both strings belong to the model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_model_metadata_at(
    model: *const infer_model,
    index: usize,
    key: *mut *const c_char,
    value: *mut *const c_char,
) -> infer_status {
    // SAFETY: NULL or live objects of the caller's; results are checked before they are written.
    ffi::run(|| unsafe {
        let metadata = &ffi::borrow(model, "model")?.metadata;
        ffi::check_out(key, "key")?;
        ffi::check_out(value, "value")?;
        let entry = metadata.get(index).ok_or_else(|| ports::out_of_range("metadata entry", index, metadata.len()))?;
        key.write(entry.0.as_ptr());
        value.write(entry.1.as_ptr());
        Ok(())
    })
}

/// Value of the metadata entry called `key`.
/// Thread-safety: any thread. Lifetime: the string belongs to the model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_model_metadata_get(
    model: *const infer_model,
    key: *const c_char,
    value: *mut *const c_char,
) -> infer_status {
    // SAFETY: NULL or live objects of the caller's; the result is checked before it is written.
    ffi::run(|| unsafe {
        let metadata = &ffi::borrow(model, "model")?.metadata;
        let key = ffi::text(key, "key")?;
        ffi::check_out(value, "value")?;
        let entry = metadata.iter().find(|entry| entry.0.as_bytes() == key.as_bytes());
        let entry = entry.ok_or_else(|| Error::invalid(format!("the model has no metadata called '{key}'")))?;
        value.write(entry.1.as_ptr());
        Ok(())
    })
}

/// Opens a model with `how` and makes what C callers see of it; `what` is it in messages.
fn open(
    options: Option<&infer_model_options>,
    what: &dyn Display,
    how: impl FnOnce(&OpenOptions) -> Result<Arc<Model>>,
) -> Result<infer_model> {
    let start = Instant::now();
    let defaults = OpenOptions::default();
    let (shared, options) = options.map_or((Shared::default(), &defaults), |own| (own.shared.clone(), &own.open));
    let model = shared.log_error(how(options))?;
    shared.log(INFER_LOG_INFO, || format!("{what}: opened in {:.1} ms", start.elapsed().as_secs_f64() * 1e3));
    let metadata = model.metadata().iter().map(|(key, value)| (ffi::c_string(key), ffi::c_string(value))).collect();
    Ok(infer_model {
        inputs: model.inputs().iter().map(PortInfo::new).collect(),
        outputs: model.outputs().iter().map(PortInfo::new).collect(),
        metadata,
        shared,
        model,
    })
}
