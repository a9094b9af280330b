//! # Version
//!
//! A program built with this header runs with every later library of the same soname. What a newer header adds, an older
//! library lacks: compare the two numbers before you use it.

/// Release of this header: major * 1000000 + minor * 1000 + patch.
pub const INFER_VERSION: u32 = 1000;

/// Release of the library, encoded as INFER_VERSION.
/// Thread-safety: any thread. Lifetime: a number.
#[unsafe(no_mangle)]
pub extern "C" fn infer_version() -> u32 {
    INFER_VERSION
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
