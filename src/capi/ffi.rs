//! The boundary: panics and errors become statuses, pointers become references.

use std::any::Any;
use std::ffi::{CStr, CString, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::{error, status};
use crate::error::{Error, Result};

/// Runs the body of an exported function that returns a status.
pub(super) fn run(body: impl FnOnce() -> Result<()>) -> i32 {
    match catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| Err(panicked(&*payload))) {
        Ok(()) => status::INFER_OK,
        Err(error) => error::record(&error),
    }
}

/// Runs the body of an exported function that returns a plain value, `otherwise` if it fails.
pub(super) fn value<T>(otherwise: T, body: impl FnOnce() -> Result<T>) -> T {
    let mut value = otherwise;
    run(|| {
        value = body()?;
        Ok(())
    });
    value
}

fn panicked(payload: &(dyn Any + Send)) -> Error {
    let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    Error::internal(format!("the library failed: {}. Please report this", text.unwrap_or("a panic without a message")))
}

fn null(name: &str) -> Error {
    Error::invalid(format!("`{name}` is NULL"))
}

/// The object behind a handle.
///
/// # Safety
/// `pointer` is NULL or a live object that nobody writes to for `'a`.
pub(super) unsafe fn borrow<'a, T>(pointer: *const T, name: &str) -> Result<&'a T> {
    // SAFETY: as promised by the caller.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(name))
}

/// The object behind a handle that only this call uses.
///
/// # Safety
/// `pointer` is NULL or a live object that nobody else uses for `'a`.
pub(super) unsafe fn borrow_mut<'a, T>(pointer: *mut T, name: &str) -> Result<&'a mut T> {
    // SAFETY: as promised by the caller.
    unsafe { pointer.as_mut() }.ok_or_else(|| null(name))
}

/// The place for a result; it may hold anything now.
///
/// # Safety
/// `pointer` is NULL or points to memory for a `T`.
pub(super) unsafe fn check_out<T>(pointer: *mut T, name: &str) -> Result<()> {
    if pointer.is_null() { Err(null(name)) } else { Ok(()) }
}

/// Hands a new object to the caller.
///
/// # Safety
/// `out` points to memory for a pointer: [`check_out`] has seen it.
pub(super) unsafe fn give<T>(out: *mut *mut T, object: T) {
    // SAFETY: as promised by the caller.
    unsafe { out.write(Box::into_raw(Box::new(object))) }
}

/// Takes back an object that [`give`] handed out, and drops it.
///
/// # Safety
/// `pointer` is NULL or came from [`give`] and is not used any more.
pub(super) unsafe fn destroy<T>(pointer: *mut T) {
    value((), || {
        if !pointer.is_null() {
            // SAFETY: as promised by the caller.
            drop(unsafe { Box::from_raw(pointer) });
        }
        Ok(())
    });
}

/// A string of the caller, which must be UTF-8.
///
/// # Safety
/// `pointer` is NULL or a NUL-terminated string that does not change for `'a`.
pub(super) unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Result<&'a str> {
    if pointer.is_null() {
        return Err(null(name));
    }
    // SAFETY: not NULL, so NUL-terminated as promised by the caller.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map_err(|_| Error::invalid(format!("`{name}` is not UTF-8: {}", text.to_string_lossy())))
}

/// The name of a file.
///
/// # Safety
/// As for [`text`].
pub(super) unsafe fn path<'a>(pointer: *const c_char, name: &str) -> Result<&'a Path> {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        if pointer.is_null() {
            return Err(null(name));
        }
        // SAFETY: not NULL, so NUL-terminated as promised by the caller.
        let bytes = unsafe { CStr::from_ptr(pointer) }.to_bytes();
        Ok(Path::new(std::ffi::OsStr::from_bytes(bytes)))
    }
    #[cfg(not(unix))]
    // SAFETY: as promised by the caller.
    unsafe {
        text(pointer, name).map(Path::new)
    }
}

/// Memory of the caller; NULL is fine for none.
///
/// # Safety
/// `pointer` is NULL or points to `len` bytes that nobody writes to for `'a`.
pub(super) unsafe fn slice<'a>(pointer: *const u8, len: usize, name: &str) -> Result<&'a [u8]> {
    if len == 0 {
        return Ok(&[]);
    }
    check_len(pointer, len, name)?;
    // SAFETY: not NULL, and memory of a size that exists, as promised by the caller.
    Ok(unsafe { std::slice::from_raw_parts(pointer, len) })
}

/// Memory of the caller to write to; NULL is fine for none.
///
/// # Safety
/// `pointer` is NULL or points to `len` bytes that nobody else uses for `'a`.
pub(super) unsafe fn slice_mut<'a>(pointer: *mut u8, len: usize, name: &str) -> Result<&'a mut [u8]> {
    if len == 0 {
        return Ok(&mut []);
    }
    check_len(pointer, len, name)?;
    // SAFETY: not NULL, and memory of a size that exists, as promised by the caller.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer, len) })
}

fn check_len(pointer: *const u8, len: usize, name: &str) -> Result<()> {
    if pointer.is_null() {
        return Err(null(name));
    }
    if len > isize::MAX as usize || pointer.addr().checked_add(len).is_none() {
        return Err(Error::invalid(format!("`{name}` of {len} bytes reaches beyond the end of memory")));
    }
    Ok(())
}

/// A truth value of the caller.
pub(super) fn flag(value: u32, name: &str) -> Result<bool> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Error::invalid(format!("`{name}` is {value}, which is neither 0 nor 1"))),
    }
}

/// A copy for C callers; a NUL inside becomes U+FFFD.
pub(super) fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}

/// A pointer of the caller that is handed back to its callbacks, whatever the thread.
#[derive(Clone, Copy)]
pub(super) struct UserData(pub(super) *mut c_void);

impl UserData {
    /// The pointer; closures that call this have the whole of it, and not the field alone, which no other thread may
    /// have.
    pub(super) fn get(self) -> *mut c_void {
        self.0
    }
}

// SAFETY: the library never reads through the pointer; the header asks that callbacks may be called on any thread.
unsafe impl Send for UserData {}
// SAFETY: as above.
unsafe impl Sync for UserData {}
