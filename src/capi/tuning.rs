//! # Tuning
//!
//! Where a library for GPUs offers several ways to compute the same, the fastest is measured when a shape is first
//! prepared. Another way may round otherwise: with what was measured saved and loaded, results have the same bits in
//! every process.

use std::ffi::c_void;

use super::ffi;
use super::status::infer_status;
use crate::error::{Error, Result, Status};
use crate::session::tuning;

/// Writes what this process has measured, or was given, to `data`; NULL and `capacity` 0 ask for the size. `len` gets
/// the size also with INFER_ERROR_BUFFER_TOO_SMALL.
/// Thread-safety: any thread. Lifetime: the bytes are a copy, for a file or another process.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_tuning_save(data: *mut c_void, capacity: usize, len: *mut usize) -> infer_status {
    // SAFETY: `len` is checked before it is written; `data` has `capacity` bytes.
    ffi::run(|| unsafe {
        ffi::check_out(len, "len")?;
        let saved = tuning::save();
        len.write(saved.len());
        if data.is_null() && capacity == 0 {
            return Ok(());
        }
        let room = ffi::slice_mut(data.cast(), capacity, "data")?;
        copy(&saved, room)
    })
}

/// Adds what infer_tuning_save() has written, in the place of what is known already. It counts for shapes that are
/// prepared from now on, on GPUs of the same kind with the same versions of their libraries.
/// Thread-safety: any thread. Lifetime: copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_tuning_load(data: *const c_void, len: usize) -> infer_status {
    // SAFETY: `data` has `len` bytes.
    ffi::run(|| unsafe { tuning::load(ffi::slice(data.cast(), len, "data")?) })
}

fn copy(from: &[u8], to: &mut [u8]) -> Result<()> {
    let small =
        || Error::new(Status::BufferTooSmall, format!("{} bytes of memory; {} are needed", to.len(), from.len()));
    if to.len() < from.len() {
        return Err(small());
    }
    to[..from.len()].copy_from_slice(from);
    Ok(())
}
