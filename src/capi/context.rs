//! # Context
//!
//! Memory for one run at a time, with inputs and outputs that stay bound from run to run. On a GPU one context's copies
//! overlap with another's work: give each a stream, and use them in turn with INFER_RUN_ASYNC.

use super::bindings::Bindings;
use super::ffi;
use super::run_options::{self, infer_run_options};
use super::runtime::Shared;
use super::session::infer_session;
use super::sized;
use super::status::infer_status;
use super::tensor::infer_tensor;

/// One thread's way to run a session.
pub struct infer_context {
    bindings: Bindings,
    shared: Shared,
}

/// Makes a context; nothing is bound.
/// Thread-safety: any thread. Lifetime: until infer_context_destroy(); it keeps the session alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_context_create(
    session: *const infer_session,
    out: *mut *mut infer_context,
) -> infer_status {
    // SAFETY: NULL or live objects of the caller's; `out` is checked before it is written.
    ffi::run(|| unsafe {
        let session = ffi::borrow(session, "session")?;
        ffi::check_out(out, "out")?;
        let bindings = Bindings::new(&session.session);
        ffi::give(out, infer_context { bindings, shared: session.shared.clone() });
        Ok(())
    })
}

/// Destroys a context.
/// Thread-safety: one thread at a time. Lifetime: ends here, with the outputs in its memory; NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_context_destroy(context: *mut infer_context) {
    // SAFETY: the caller's last use of a live object.
    unsafe { ffi::destroy(context) }
}

/// Binds input `index`; its data may change between runs. NULL unbinds it.
/// Thread-safety: one thread at a time. Lifetime: the struct is copied; runs read `data` until it is bound anew.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_context_set_input(
    context: *mut infer_context,
    index: usize,
    tensor: *const infer_tensor,
) -> infer_status {
    // SAFETY: NULL or live objects of the caller's, whose data lasts until it is bound anew.
    ffi::run(|| unsafe {
        let context = ffi::borrow_mut(context, "context")?;
        let tensor = if tensor.is_null() { None } else { Some(sized::read(tensor, "tensor")?) };
        context.bindings.set_input(index, tensor.as_ref())
    })
}

/// Binds output `index` to memory of the caller's, described as for infer_session_run(). NULL unbinds it: the context
/// then has memory of its own for it.
/// Thread-safety: one thread at a time. Lifetime: the struct is copied; runs write `data` until it is bound anew.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_context_set_output(
    context: *mut infer_context,
    index: usize,
    tensor: *const infer_tensor,
) -> infer_status {
    // SAFETY: NULL or live objects of the caller's, whose data lasts until it is bound anew.
    ffi::run(|| unsafe {
        let context = ffi::borrow_mut(context, "context")?;
        let tensor = if tensor.is_null() { None } else { Some(sized::read(tensor, "tensor")?) };
        context.bindings.set_output(index, tensor.as_ref())
    })
}

/// Runs the model with what is bound; every input must be.
/// Thread-safety: one thread at a time. Lifetime: outputs without memory of the caller's last until the next run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_context_run(
    context: *mut infer_context,
    options: *const infer_run_options,
) -> infer_status {
    // SAFETY: NULL or live objects of the caller's.
    ffi::run(|| unsafe {
        let context = ffi::borrow_mut(context, "context")?;
        let options = run_options::read(options)?;
        context.shared.log_error(context.bindings.run(options.control()))
    })
}

/// Describes output `index` of the last run: its type, shape and where it is. After INFER_ERROR_BUFFER_TOO_SMALL it
/// tells how large that output would have been. Before the first run it is INFER_ERROR_STATE.
/// Thread-safety: any thread. Lifetime: `data` lasts until the context's next run; release nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_context_get_output(
    context: *const infer_context,
    index: usize,
    out: *mut infer_tensor,
) -> infer_status {
    // SAFETY: NULL or live objects of the caller's; `out` is checked before it is written.
    ffi::run(|| unsafe {
        let context = ffi::borrow(context, "context")?;
        sized::check(out, "out")?;
        sized::write(out, &context.bindings.output(index)?);
        Ok(())
    })
}

/// How many inputs and outputs this context had to copy so far, because of their strides or alignment; 0 for NULL.
/// Thread-safety: any thread. Lifetime: a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_context_copies(context: *const infer_context) -> u64 {
    // SAFETY: NULL or a live object of the caller's.
    ffi::value(0, || Ok(unsafe { ffi::borrow(context, "context")? }.bindings.copies()))
}
