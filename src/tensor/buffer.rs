//! Owned tensor memory: aligned heap buffers, and shared immutable bytes (heap or mapped file).
#![allow(unsafe_code, reason = "aligned allocation is not offered by the standard collections")]

use super::Element;
use crate::error::{Error, Result};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::fmt;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::sync::Arc;

/// Heap memory that starts on a cache line; its size is fixed and its bytes are initialised.
pub struct Buffer {
    ptr: NonNull<u8>,
    len: usize,
}

// SAFETY: a Buffer owns its memory exclusively, like a Box<[u8]>.
unsafe impl Send for Buffer {}
// SAFETY: shared access to a Buffer only reads.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// Alignment of the first byte.
    pub const ALIGN: usize = 64;

    /// `len` zero bytes; a [`NoMemory`](crate::error::Status::NoMemory) error if there is not enough memory.
    pub fn zeroed(len: usize) -> Result<Self> {
        let out_of_memory = || Error::no_memory(format!("cannot allocate {len} bytes"));
        if len == 0 {
            // A cache-line aligned dangling pointer, as empty slices want.
            let ptr = NonNull::<Aligned>::dangling().cast();
            return Ok(Buffer { ptr, len });
        }
        let layout = Layout::from_size_align(len, Self::ALIGN).map_err(|_| out_of_memory())?;
        // SAFETY: the layout's size is not zero.
        let ptr = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or_else(out_of_memory)?;
        Ok(Buffer { ptr, len })
    }

    /// A copy of `elements`.
    pub fn from_elements<T: Element>(elements: &[T]) -> Result<Self> {
        // SAFETY: an Element is plain data without padding.
        let bytes = unsafe { std::slice::from_raw_parts(elements.as_ptr().cast::<u8>(), size_of_val(elements)) };
        Buffer::copy_of(bytes)
    }

    /// A copy of `bytes`.
    pub fn copy_of(bytes: &[u8]) -> Result<Self> {
        let mut buffer = Buffer::zeroed(bytes.len())?;
        buffer.copy_from_slice(bytes);
        Ok(buffer)
    }
}

#[repr(align(64))]
struct Aligned;

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.len != 0 {
            // SAFETY: allocated in `zeroed` with this size and alignment, which are valid as they were then.
            unsafe { dealloc(self.ptr.as_ptr(), Layout::from_size_align_unchecked(self.len, Self::ALIGN)) }
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `ptr` points to `len` initialised bytes that this Buffer owns.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len)
    }
}

/// A range of immutable bytes shared by reference counting: heap memory or part of a mapped file.
#[derive(Clone)]
pub struct Blob {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Blob {
    /// All bytes of `owner`.
    pub fn new(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        let range = 0..owner.as_ref().len();
        Blob { owner: Arc::new(owner), range }
    }

    /// A copy of `bytes` on the heap, aligned for every element type.
    pub fn copy_of(bytes: &[u8]) -> Result<Self> {
        Ok(Blob::new(Buffer::copy_of(bytes)?))
    }

    /// The given part of these bytes; None if it reaches beyond them.
    pub fn slice(&self, range: Range<usize>) -> Option<Blob> {
        let (start, end) = (self.range.start.checked_add(range.start)?, self.range.start.checked_add(range.end)?);
        (start <= end && end <= self.range.end).then(|| Blob { owner: self.owner.clone(), range: start..end })
    }

    /// Whether both are the same bytes of the same owner.
    pub fn same(&self, other: &Blob) -> bool {
        self.as_ptr() == other.as_ptr() && self.len() == other.len()
    }
}

impl Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.range.clone()]
    }
}

impl PartialEq for Blob {
    fn eq(&self, other: &Self) -> bool {
        self.same(other) || **self == **other
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.range.len())
    }
}
