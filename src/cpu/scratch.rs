//! Typed pieces of the raw scratch memory that a driver lends to a part.
#![allow(unsafe_code, reason = "gives types to raw memory")]

/// `len` elements at `memory`.
///
/// # Safety
/// The memory is exclusive, aligned for `T` and large enough; any bytes are a valid `T`.
pub(crate) unsafe fn slice<'a, T: Copy>(memory: *mut u8, len: usize) -> &'a mut [T] {
    // SAFETY: the caller's promises.
    unsafe { std::slice::from_raw_parts_mut(memory.cast(), len) }
}
