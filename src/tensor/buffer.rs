//! Owned tensor memory: aligned heap buffers, and shared immutable bytes (heap or mapped file).
#![allow(unsafe_code, reason = "aligned allocation is not offered by the standard collections")]

use super::Element;
use crate::error::{Error, Result};
use std::alloc::{Layout, alloc, dealloc};
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
        let layout = layout(len).ok_or_else(out_of_memory)?;
        // SAFETY: the layout's size is not zero.
        let ptr = NonNull::new(unsafe { alloc(layout) }).ok_or_else(out_of_memory)?;
        prefer_huge_pages(ptr, layout.size());
        // SAFETY: all of it was just allocated.
        unsafe { ptr.write_bytes(0, len) };
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

/// Bytes of a huge page, of most processors.
pub(crate) const HUGE_PAGE: usize = 2 << 20;

/// What is allocated for `len` bytes: large buffers start on a huge page, and end with one that they nearly fill.
fn layout(len: usize) -> Option<Layout> {
    let rest = len % HUGE_PAGE;
    let len = if rest >= HUGE_PAGE / 4 * 3 { len.checked_add(HUGE_PAGE - rest)? } else { len };
    Layout::from_size_align(len, if len >= HUGE_PAGE { HUGE_PAGE } else { Buffer::ALIGN }).ok()
}

/// Asks the system for the huge pages that an allocation holds, before anything is written to it: matrix products go
/// through more rows at a time than the first-level translation buffer has entries for small pages.
fn prefer_huge_pages(ptr: NonNull<u8>, len: usize) {
    #[cfg(target_os = "linux")]
    if len >= HUGE_PAGE {
        // SAFETY: the range is ours. The advice changes nothing but speed, so that a refusal does not matter.
        unsafe { libc::madvise(ptr.as_ptr().cast(), len / HUGE_PAGE * HUGE_PAGE, libc::MADV_HUGEPAGE) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (ptr, len);
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.len != 0 {
            let layout = layout(self.len).expect("as when it was allocated");
            // SAFETY: allocated in `zeroed` with this layout.
            unsafe { dealloc(self.ptr.as_ptr(), layout) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_of_any_size_are_aligned_and_zero() {
        for len in [0, 1, 63, HUGE_PAGE - 1, HUGE_PAGE, HUGE_PAGE + 1, 5 * HUGE_PAGE / 2, 15 * HUGE_PAGE / 4] {
            let mut buffer = Buffer::zeroed(len).expect("memory");
            assert!(buffer.len() == len && buffer.as_ptr().addr().is_multiple_of(Buffer::ALIGN));
            assert!(buffer.iter().all(|&byte| byte == 0));
            buffer.fill(1);
        }
        assert!(Buffer::zeroed(usize::MAX).is_err() && Buffer::zeroed(isize::MAX as usize).is_err());
    }

    #[test]
    fn huge_pages_are_filled_or_nearly() {
        let size = |len| layout(len).map(|l| (l.size(), l.align()));
        assert_eq!(size(HUGE_PAGE / 2), Some((HUGE_PAGE / 2, Buffer::ALIGN)));
        assert_eq!(size(HUGE_PAGE - 1), Some((HUGE_PAGE, HUGE_PAGE)));
        assert_eq!(size(HUGE_PAGE * 5 / 4), Some((HUGE_PAGE * 5 / 4, HUGE_PAGE)));
        assert_eq!(size(HUGE_PAGE * 7 / 4), Some((2 * HUGE_PAGE, HUGE_PAGE)));
        assert_eq!(size(usize::MAX), None);
    }
}
