//! Models in memory and files of the caller.

use std::ffi::{c_int, c_void};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};

use super::ffi::UserData;
use crate::error::{Error, Result};
use crate::tensor::Blob;

/// Called when the library does not need the bytes any more.
pub(super) type Free = unsafe extern "C" fn(user_data: *mut c_void);

/// Bytes that the caller lends until they are released.
pub(super) struct External {
    bytes: &'static [u8],
    free: Option<Free>,
    user_data: UserData,
    /// Whether the library has the bytes: until it accepts them, they are the caller's.
    accepted: AtomicBool,
}

impl External {
    /// # Safety
    /// `bytes` stay readable and unchanged until `free` is called.
    pub(super) unsafe fn new(bytes: &[u8], free: Option<Free>, user_data: *mut c_void) -> Arc<Self> {
        // SAFETY: as promised by the caller.
        let bytes = unsafe { std::slice::from_raw_parts(bytes.as_ptr(), bytes.len()) };
        Arc::new(External { bytes, free, user_data: UserData(user_data), accepted: AtomicBool::new(false) })
    }

    /// The bytes, kept as long as the blob.
    pub(super) fn blob(self: &Arc<Self>) -> Blob {
        Blob::new(Keep(self.clone()))
    }

    /// From here on the bytes will be released.
    pub(super) fn accept(&self) {
        self.accepted.store(true, Release);
    }
}

impl Drop for External {
    fn drop(&mut self) {
        if let Some(free) = self.free.filter(|_| self.accepted.load(Acquire)) {
            // SAFETY: the header asks for a function that may be called with this pointer, on any thread, once.
            unsafe { free(self.user_data.0) }
        }
    }
}

struct Keep(Arc<External>);

impl AsRef<[u8]> for Keep {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes
    }
}

/// A descriptor of our own for an open file; the caller may close its own.
#[cfg(unix)]
pub(super) fn duplicate(fd: c_int) -> Result<File> {
    use std::os::fd::{FromRawFd, OwnedFd};
    // SAFETY: a system call that takes any number.
    let own = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
    if own < 0 {
        return Err(Error::io(format!("file descriptor {fd}"), &std::io::Error::last_os_error()));
    }
    // SAFETY: a new descriptor that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(own) }.into())
}

#[cfg(not(unix))]
pub(super) fn duplicate(_: c_int) -> Result<File> {
    Err(Error::unsupported("file descriptors exist on Unix only"))
}
