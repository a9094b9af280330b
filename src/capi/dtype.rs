//! # Element types

use std::ffi::{CStr, c_char};

use crate::tensor::DType;

/// Element type, one of INFER_DTYPE_*.
pub type infer_dtype = u32;

/// IEEE 754 binary32.
pub const INFER_DTYPE_F32: infer_dtype = 1;
/// IEEE 754 binary64.
pub const INFER_DTYPE_F64: infer_dtype = 2;
/// IEEE 754 binary16.
pub const INFER_DTYPE_F16: infer_dtype = 3;
/// The upper half of a binary32.
pub const INFER_DTYPE_BF16: infer_dtype = 4;
/// int8_t
pub const INFER_DTYPE_I8: infer_dtype = 5;
/// int16_t
pub const INFER_DTYPE_I16: infer_dtype = 6;
/// int32_t
pub const INFER_DTYPE_I32: infer_dtype = 7;
/// int64_t
pub const INFER_DTYPE_I64: infer_dtype = 8;
/// uint8_t
pub const INFER_DTYPE_U8: infer_dtype = 9;
/// uint16_t
pub const INFER_DTYPE_U16: infer_dtype = 10;
/// uint32_t
pub const INFER_DTYPE_U32: infer_dtype = 11;
/// uint64_t
pub const INFER_DTYPE_U64: infer_dtype = 12;
/// One byte, 0 or 1.
pub const INFER_DTYPE_BOOL: infer_dtype = 13;

/// Size of an element in bytes; 0 for an unknown type.
/// Thread-safety: any thread. Lifetime: a number.
#[unsafe(no_mangle)]
pub extern "C" fn infer_dtype_size(dtype: infer_dtype) -> usize {
    DType::from_code(dtype).map_or(0, DType::size)
}

/// Name of an element type, "f32"; "unknown" for numbers that this library does not know.
/// Thread-safety: any thread. Lifetime: static.
#[unsafe(no_mangle)]
pub extern "C" fn infer_dtype_name(dtype: infer_dtype) -> *const c_char {
    let at = (dtype as usize).wrapping_sub(1);
    NAMES.get(at).unwrap_or(&c"unknown").as_ptr()
}

const NAMES: [&CStr; 13] =
    [c"f32", c"f64", c"f16", c"bf16", c"i8", c"i16", c"i32", c"i64", c"u8", c"u16", c"u32", c"u64", c"bool"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_those_of_the_rust_interface() {
        assert_eq!(NAMES.len(), DType::ALL.len());
        for dtype in DType::ALL {
            let code = *dtype as u32;
            assert_eq!(NAMES[code as usize - 1].to_str().unwrap(), dtype.name());
            assert_eq!(infer_dtype_size(code), dtype.size());
        }
        assert_eq!((infer_dtype_size(0), infer_dtype_size(99)), (0, 0));
    }
}
