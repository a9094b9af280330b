//! Instruction sets: which ones this CPU has, and which one the process uses.

use crate::error::{Error, Result};
use std::env;
use std::fmt;
use std::str::FromStr;

/// An instruction set that kernels are written for.
///
/// Every variant exists on every target, so that lists of kernels and messages need no `cfg`; what the CPU has is asked
/// with [`Isa::is_available`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Whatever the baseline of the compilation target offers. Always available.
    Scalar,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL, besides all of [`Isa::Avx2`].
    Avx512,
    /// AArch64 with Advanced SIMD.
    Neon,
}

/// The environment variable that forces an instruction set.
pub const ISA_VARIABLE: &str = "INFER_ISA";

impl Isa {
    /// Every instruction set, best first.
    pub const ALL: [Isa; 4] = [Isa::Avx512, Isa::Avx2, Isa::Neon, Isa::Scalar];

    /// The best instruction set of this CPU.
    pub fn detect() -> Isa {
        Isa::available().next().unwrap_or(Isa::Scalar)
    }

    /// The instruction sets of this CPU, best first; the last is always [`Isa::Scalar`].
    pub fn available() -> impl Iterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// The instruction set that [`ISA_VARIABLE`] names (any letter case), or the best one where it is unset or empty.
    ///
    /// # Errors
    /// The variable names no instruction set, or one that this CPU lacks.
    pub fn from_env() -> Result<Isa> {
        match env::var_os(ISA_VARIABLE) {
            Some(value) if !value.is_empty() => value.to_string_lossy().parse(),
            _ => Ok(Isa::detect()),
        }
    }

    /// Whether this CPU, and the operating system on it, can run this instruction set.
    #[inline]
    pub fn is_available(self) -> bool {
        match self {
            Isa::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => has_avx2(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                has_avx2()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            Isa::Neon => cfg!(target_arch = "aarch64"),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => false,
        }
    }

    /// The name that [`ISA_VARIABLE`] and reports use.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Neon => "neon",
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Isa {
    type Err = Error;

    fn from_str(name: &str) -> Result<Isa> {
        match Isa::ALL.into_iter().find(|isa| isa.name().eq_ignore_ascii_case(name.trim())) {
            Some(isa) if isa.is_available() => Ok(isa),
            Some(isa) => Err(refused(format!("this CPU does not have the instruction set {isa}"))),
            None => Err(refused(format!("unknown instruction set {name:?}"))),
        }
    }
}

/// An error that lists what may be asked for.
fn refused(what: String) -> Error {
    let names: Vec<_> = Isa::available().map(Isa::name).collect();
    Error::invalid(format!("{what}; set {ISA_VARIABLE} to one of {}, or unset it", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalar_is_available_and_last() {
        assert_eq!(Isa::available().last(), Some(Isa::Scalar));
        assert!(Isa::detect().is_available());
    }

    #[test]
    fn names_parse_in_any_case_when_available() {
        for isa in Isa::available() {
            assert_eq!(isa.name().parse::<Isa>().unwrap(), isa);
            assert_eq!(format!(" {} ", isa.name().to_uppercase()).parse::<Isa>().unwrap(), isa);
        }
    }

    #[test]
    fn unknown_and_unavailable_names_say_what_to_do() {
        let error = "sse9".parse::<Isa>().unwrap_err();
        assert!(error.to_string().contains("\"sse9\"") && error.to_string().contains("scalar"), "{error}");
        for isa in Isa::ALL.into_iter().filter(|isa| !isa.is_available()) {
            let error = isa.name().parse::<Isa>().unwrap_err();
            assert!(error.to_string().contains("this CPU does not have"), "{error}");
        }
    }
}
