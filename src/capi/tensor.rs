//! # Tensors
//!
//! Extents and strides count elements, lengths count bytes, the outermost dimension comes first. Any alignment will do.

use std::ffi::{c_char, c_void};
use std::ptr;

use super::device::infer_device;
use super::dtype::infer_dtype;
use super::ffi;
use super::sized::{self, Versioned};

/// Largest rank of a tensor.
pub const INFER_MAX_RANK: usize = 8;

/// Flag: `strides` are set. Without it the elements are contiguous, row-major.
pub const INFER_TENSOR_STRIDED: u32 = 1;

/// Description of a tensor's memory; start with INFER_TENSOR_INIT. It owns nothing unless `owner` is set.
///
/// An input is only read; `capacity` and `owner` do not matter.
/// An output with `data` has room for `capacity` bytes. `dtype` is checked unless 0. The library writes `rank`, `shape`
/// and `byte_len`; with INFER_TENSOR_STRIDED, `rank` and `shape` must be given, and be those of the result.
/// An output without `data` is allocated by the library. infer_tensor_release() frees it; the next run that is given
/// the tensor writes to the same memory again, or to a larger piece in its place.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct infer_tensor {
    /// sizeof(infer_tensor), as INFER_TENSOR_INIT sets it.
    pub struct_size: u32,
    /// Type of the elements.
    pub dtype: infer_dtype,
    /// Number of dimensions, 0 to INFER_MAX_RANK.
    pub rank: u32,
    /// INFER_TENSOR_STRIDED, or 0.
    pub flags: u32,
    /// Where `data` is.
    pub device: infer_device,
    /// Which one of those devices.
    pub device_id: i32,
    /// First element.
    pub data: *mut c_void,
    /// Bytes of the elements; with strides, at least up to the end of the last one.
    pub byte_len: u64,
    /// Outputs: bytes that may be written at `data`.
    pub capacity: u64,
    /// Extents of the first `rank` dimensions.
    pub shape: [i64; INFER_MAX_RANK],
    /// With INFER_TENSOR_STRIDED: elements from one index to the next, at least 0.
    pub strides: [i64; INFER_MAX_RANK],
    /// The library's, when it has allocated `data`. Leave it alone.
    pub owner: *mut c_void,
}

impl infer_tensor {
    pub(super) const EMPTY: infer_tensor = infer_tensor {
        struct_size: size_of::<infer_tensor>() as u32,
        dtype: 0,
        rank: 0,
        flags: 0,
        device: 0,
        device_id: 0,
        data: ptr::null_mut(),
        byte_len: 0,
        capacity: 0,
        shape: [0; INFER_MAX_RANK],
        strides: [0; INFER_MAX_RANK],
        owner: ptr::null_mut(),
    };
}

// SAFETY: repr(C), a u32 first, no padding (`layout`), integers and pointers only.
unsafe impl Versioned for infer_tensor {
    const NAME: &'static str = "infer_tensor";
    const SIZES: &'static [usize] = &[184];
}

/// What a model expects as an input or delivers as an output; start with INFER_TENSOR_INFO_INIT. Extents of the same
/// name are equal.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct infer_tensor_info {
    /// sizeof(infer_tensor_info), as INFER_TENSOR_INFO_INIT sets it.
    pub struct_size: u32,
    /// Type of the elements.
    pub dtype: infer_dtype,
    /// Number of dimensions.
    pub rank: u32,
    /// Zero.
    pub reserved: u32,
    /// Its name.
    pub name: *const c_char,
    /// Extents; -1 where they vary from run to run.
    pub shape: [i64; INFER_MAX_RANK],
    /// Of an extent that varies: its name, or a formula of names; else NULL.
    pub dim_names: [*const c_char; INFER_MAX_RANK],
    /// Least extents.
    pub dim_min: [i64; INFER_MAX_RANK],
    /// Greatest extents; INT64_MAX where there is no limit.
    pub dim_max: [i64; INFER_MAX_RANK],
}

// SAFETY: repr(C), a u32 first, no padding (`layout`), integers and pointers only.
unsafe impl Versioned for infer_tensor_info {
    const NAME: &'static str = "infer_tensor_info";
    const SIZES: &'static [usize] = &[280];
}

/// Frees what the library has allocated for a tensor, and clears the members that tell of it. A tensor that the library
/// has not allocated, and NULL, are left alone.
/// Thread-safety: one thread at a time per tensor. Lifetime: `data` is gone; the struct is the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn infer_tensor_release(tensor: *mut infer_tensor) {
    ffi::value((), || {
        if tensor.is_null() {
            return Ok(());
        }
        // SAFETY: the struct is what its size says, and its owner is one that a run has set.
        unsafe {
            let mut value = sized::read(tensor, "tensor")?;
            if let Some(owner) = value.take_owner() {
                sized::write(tensor, &value);
                drop(owner);
            }
        }
        Ok(())
    });
}
