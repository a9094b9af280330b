//! Public structs that start with their size, so that a later release can append fields.
//!
//! A caller compiled against another release's header passes another size. A shorter struct than ours lacks the fields appended
//! since: they read as zero, which means default. A longer one has fields that we do not know: they must be zero.

use crate::error::{Error, Result};

/// A public struct whose first field is `uint32_t struct_size`.
///
/// # Safety
/// The type is `repr(C)`, starts with a `u32` and has no padding; every bit pattern of it is a value.
pub(super) unsafe trait Versioned: Copy {
    /// Its name in C.
    const NAME: &'static str;
    /// Its size in the first release that had it, and in each release since that appended fields; ascending.
    const SIZES: &'static [usize];
}

/// No public struct will ever be larger: what claims to be is not initialised.
const LIMIT: usize = 4096;

/// Reads and checks the size that the caller wrote.
///
/// # Safety
/// `pointer` is NULL or points to a readable `uint32_t`.
unsafe fn size_of_callers<T: Versioned>(pointer: *const T, name: &str) -> Result<usize> {
    if pointer.is_null() {
        return Err(Error::invalid(format!("`{name}` is NULL")));
    }
    // SAFETY: not NULL, so readable as promised by the caller.
    let size = unsafe { pointer.cast::<u32>().read_unaligned() } as usize;
    if T::SIZES.contains(&size) || (size_of::<T>() < size && size <= LIMIT && size.is_multiple_of(align_of::<T>())) {
        return Ok(size);
    }
    Err(Error::invalid(format!(
        "`{name}.struct_size` is {size}; it must be sizeof({}), {} in this release: initialise the struct with its _INIT macro",
        T::NAME,
        size_of::<T>()
    )))
}

/// A copy of the caller's struct, with what its release lacks as zero.
///
/// # Safety
/// `pointer` is NULL or points to a struct as large as its first field says.
pub(super) unsafe fn read<T: Versioned>(pointer: *const T, name: &str) -> Result<T> {
    // SAFETY: as promised by the caller.
    let size = unsafe { size_of_callers(pointer, name)? };
    let known = size.min(size_of::<T>());
    let bytes = pointer.cast::<u8>();
    // SAFETY: the caller's struct has `size` bytes; zeros are a value of T, and so is what the copy makes of them.
    let value = unsafe {
        let mut value = std::mem::zeroed::<T>();
        bytes.copy_to_nonoverlapping((&raw mut value).cast(), known);
        value
    };
    // SAFETY: as above; `known <= size`.
    let tail = unsafe { std::slice::from_raw_parts(bytes.add(known), size - known) };
    if tail.iter().any(|&byte| byte != 0) {
        return Err(Error::invalid(format!(
            "`{name}` uses a field of {} that a newer release has added: this library does not know it",
            T::NAME
        )));
    }
    Ok(value)
}

/// Writes a result into the caller's struct: its first field stays, and fields that we do not know become zero.
///
/// # Safety
/// `pointer` points to a struct as large as its first field says, and that field was checked.
pub(super) unsafe fn write<T: Versioned>(pointer: *mut T, value: &T) {
    const HEAD: usize = size_of::<u32>();
    let bytes = pointer.cast::<u8>();
    // SAFETY: the caller's struct has `size` bytes.
    unsafe {
        let size = pointer.cast::<u32>().read_unaligned() as usize;
        let known = size.min(size_of::<T>());
        (&raw const *value).cast::<u8>().add(HEAD).copy_to_nonoverlapping(bytes.add(HEAD), known - HEAD);
        bytes.add(known).write_bytes(0, size - known);
    }
}

/// Checks a struct that the caller wants filled in, whatever it holds now.
///
/// # Safety
/// As for [`read`].
pub(super) unsafe fn check<T: Versioned>(pointer: *const T, name: &str) -> Result<()> {
    // SAFETY: as promised by the caller.
    unsafe { size_of_callers(pointer, name).map(drop) }
}

/// An array of the caller's structs. They are as far apart as the caller's release has them long.
pub(super) struct Array<T> {
    base: *mut T,
    stride: usize,
    /// How many there are.
    pub(super) len: usize,
}

impl<T: Versioned> Array<T> {
    /// `len` structs at `base`; NULL is fine for none.
    ///
    /// # Safety
    /// `base` is NULL or points to `len` structs, each as large as the first field of the first one says.
    pub(super) unsafe fn new(base: *mut T, len: usize, name: &str) -> Result<Self> {
        // SAFETY: as promised by the caller; a struct is there if there is one to look at.
        let stride = if len == 0 { size_of::<T>() } else { unsafe { size_of_callers(base, name)? } };
        Ok(Array { base, stride, len })
    }

    /// The address of one of them.
    ///
    /// # Safety
    /// `index < len`.
    pub(super) unsafe fn at(&self, index: usize) -> *mut T {
        // SAFETY: inside the caller's array.
        unsafe { self.base.byte_add(index * self.stride) }
    }

    /// A copy of one of them.
    ///
    /// # Safety
    /// As for [`Array::new`], still; `index < len`.
    pub(super) unsafe fn read(&self, index: usize, name: &str) -> Result<T> {
        // SAFETY: inside the caller's array, whose structs all have the first one's size.
        let value = unsafe {
            let pointer = self.at(index);
            if pointer.cast::<u32>().read_unaligned() as usize != self.stride {
                return Err(Error::invalid(format!("`{name}[{index}].struct_size` differs from that of `{name}[0]`")));
            }
            read(pointer.cast_const(), name)?
        };
        Ok(value)
    }
}
