//! # Version
//!
//! What a header of one release promises, later libraries of the same `INFER_ABI` keep.

use std::ffi::c_char;

/// Release of this header: major * 1000000 + minor * 1000 + patch.
pub const INFER_VERSION: u32 = 1000;

/// Release of the library, encoded as INFER_VERSION.
/// Thread-safety: any thread. Lifetime: a number.
#[unsafe(no_mangle)]
pub extern "C" fn infer_version() -> u32 {
    INFER_VERSION
}

/// Release of the library as text, "0.1.0".
/// Thread-safety: any thread. Lifetime: static.
#[unsafe(no_mangle)]
pub extern "C" fn infer_version_string() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_the_package_version() {
        let numbers: Vec<u32> = env!("CARGO_PKG_VERSION").split('.').map(|n| n.parse().unwrap()).collect();
        assert_eq!(INFER_VERSION, numbers.iter().fold(0, |version, n| version * 1000 + n));
    }
}
