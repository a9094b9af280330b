//! Instruction sets: which ones this CPU has, and which one the process uses.
#![allow(unsafe_code, reason = "asks the kernel for tiles")]

use crate::error::{Error, Result};
use std::env;
use std::fmt;
use std::str::FromStr;
#[cfg(target_arch = "x86_64")]
use std::sync::LazyLock;

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
    /// x86-64 with AMX tiles of bfloat16, besides all of [`Isa::Avx512`], whose vectors it uses elsewhere.
    Amx,
    /// AArch64 with Advanced SIMD.
    Neon,
}

/// The environment variable that forces an instruction set.
pub const ISA_VARIABLE: &str = "INFER_ISA";

impl Isa {
    /// Every instruction set, best first.
    pub const ALL: [Isa; 5] = [Isa::Amx, Isa::Avx512, Isa::Avx2, Isa::Neon, Isa::Scalar];

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
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => *HAS_AMX,
            Isa::Neon => cfg!(target_arch = "aarch64"),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 | Isa::Amx => false,
        }
    }

    /// The name that [`ISA_VARIABLE`] and reports use.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Amx => "amx",
            Isa::Neon => "neon",
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

/// Whether the CPU has tiles of bfloat16, and Linux lets this process use them: it must be asked, since tiles make the
/// frames of signal handlers larger. It refuses where a thread has a stack for signals that is too small for them.
#[cfg(target_arch = "x86_64")]
static HAS_AMX: LazyLock<bool> = LazyLock::new(|| Isa::Avx512.is_available() && has_tiles_of_bf16() && may_use_tiles());

#[cfg(target_arch = "x86_64")]
fn has_tiles_of_bf16() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & (AMX_BF16 | AMX_TILE) == AMX_BF16 | AMX_TILE
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn may_use_tiles() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    const XFEATURE_XTILE_DATA: libc::c_ulong = 18;
    // SAFETY: the call has no pointers; kernels that do not know it return an error.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA) == 0 }
}

#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
fn may_use_tiles() -> bool {
    false
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
