//! A model in the caller's memory.

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};

use super::ffi::UserData;
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
