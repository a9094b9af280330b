//! # Status
//!
//! Every function that can fail returns a status. What it says in numbers, infer_last_error() says in words.

use std::ffi::{CStr, c_char};

/// Outcome of a call: INFER_OK or one of INFER_ERROR_*. Later releases may add numbers, and never reuse one.
pub type infer_status = i32;

/// Done.
pub const INFER_OK: infer_status = 0;
/// An argument is NULL, out of range, or names something that does not exist.
pub const INFER_ERROR_INVALID_ARGUMENT: infer_status = 1;
/// A file cannot be opened or read; infer_error.os_error is errno.
pub const INFER_ERROR_IO: infer_status = 2;
/// The file is damaged, or not a model.
pub const INFER_ERROR_FORMAT: infer_status = 3;
/// The model needs a newer library.
pub const INFER_ERROR_VERSION: infer_status = 4;
/// The model uses something that this build or device does not have.
pub const INFER_ERROR_UNSUPPORTED: infer_status = 5;
/// A tensor's rank or extents are not what the model accepts.
pub const INFER_ERROR_SHAPE: infer_status = 6;
/// A tensor's element type is not what the model accepts.
pub const INFER_ERROR_DTYPE: infer_status = 7;
/// An output buffer is too small; its infer_tensor now says what is needed.
pub const INFER_ERROR_BUFFER_TOO_SMALL: infer_status = 8;
/// Memory is exhausted, or a limit set by the caller would be exceeded.
pub const INFER_ERROR_NO_MEMORY: infer_status = 9;
/// The device is missing or has failed.
pub const INFER_ERROR_DEVICE: infer_status = 10;
/// The run was cancelled, or its deadline has passed.
pub const INFER_ERROR_CANCELLED: infer_status = 11;
/// The object cannot be used now, for example in a forked child.
pub const INFER_ERROR_STATE: infer_status = 12;
/// A bug in this library. What took no part in the call is unharmed.
pub const INFER_ERROR_INTERNAL: infer_status = 13;
/// A number is NaN or infinite; see infer_session_options_set_check().
pub const INFER_ERROR_NOT_FINITE: infer_status = 14;

/// Name of a status, "INFER_ERROR_IO"; "unknown" for numbers that this library does not know.
/// Thread-safety: any thread. Lifetime: static.
#[unsafe(no_mangle)]
pub extern "C" fn infer_status_name(status: infer_status) -> *const c_char {
    usize::try_from(status).ok().and_then(|at| NAMES.get(at)).unwrap_or(&c"unknown").as_ptr()
}

const NAMES: [&CStr; 15] = [
    c"INFER_OK",
    c"INFER_ERROR_INVALID_ARGUMENT",
    c"INFER_ERROR_IO",
    c"INFER_ERROR_FORMAT",
    c"INFER_ERROR_VERSION",
    c"INFER_ERROR_UNSUPPORTED",
    c"INFER_ERROR_SHAPE",
    c"INFER_ERROR_DTYPE",
    c"INFER_ERROR_BUFFER_TOO_SMALL",
    c"INFER_ERROR_NO_MEMORY",
    c"INFER_ERROR_DEVICE",
    c"INFER_ERROR_CANCELLED",
    c"INFER_ERROR_STATE",
    c"INFER_ERROR_INTERNAL",
    c"INFER_ERROR_NOT_FINITE",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Status;

    #[test]
    fn numbers_are_those_of_the_rust_interface() {
        let pairs = [
            (INFER_ERROR_INVALID_ARGUMENT, Status::InvalidArgument),
            (INFER_ERROR_IO, Status::Io),
            (INFER_ERROR_FORMAT, Status::Format),
            (INFER_ERROR_VERSION, Status::Version),
            (INFER_ERROR_UNSUPPORTED, Status::Unsupported),
            (INFER_ERROR_SHAPE, Status::Shape),
            (INFER_ERROR_DTYPE, Status::Dtype),
            (INFER_ERROR_BUFFER_TOO_SMALL, Status::BufferTooSmall),
            (INFER_ERROR_NO_MEMORY, Status::NoMemory),
            (INFER_ERROR_DEVICE, Status::Device),
            (INFER_ERROR_CANCELLED, Status::Cancelled),
            (INFER_ERROR_STATE, Status::State),
            (INFER_ERROR_INTERNAL, Status::Internal),
            (INFER_ERROR_NOT_FINITE, Status::NotFinite),
        ];
        assert_eq!(pairs.len() + 1, NAMES.len());
        for (number, status) in pairs {
            assert_eq!(number, status as i32);
            let name = NAMES[number as usize].to_str().unwrap().replace(['_'], "").to_lowercase();
            assert_eq!(name, format!("infererror{status:?}").to_lowercase());
        }
    }
}
