//! The library's tests on AArch64, without such a machine: compiled by a cross compiler, run by an emulator of its processor.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::shell::{self, cargo, command};
use crate::tools;

const TARGET: &str = "aarch64-unknown-linux-gnu";

/// Where the cross compiler has the C library, which the tests load.
const C_LIBRARY: &str = "/usr/aarch64-linux-gnu";

/// Runs the tests; `arguments` are for `cargo test`.
pub fn test(arguments: &[String]) -> Result<()> {
    ensure!(!cfg!(target_arch = "aarch64"), "this machine is one: `cargo xtask test` is what tests it");
    let linker = tools::need("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")?;
    let emulator = tools::need("qemu-aarch64-static", "qemu-user-static")?;
    if !arguments.iter().any(|argument| argument.contains("build-std")) {
        check_standard_library()?;
    }
    let mut tests = cargo();
    tests
        .args(["test", "--package", "infer", "--features", "write", "--target", TARGET, "--no-fail-fast"])
        .args(arguments)
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", linker)
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", format!("{} -L {C_LIBRARY}", emulator.display()));
    shell::run(&mut tests)
}

fn check_standard_library() -> Result<()> {
    let folder = shell::read(command("rustc").args(["--print", "target-libdir", "--target", TARGET]))?;
    ensure!(
        Path::new(folder.trim()).is_dir(),
        "Rust's standard library for {TARGET} is not installed. Install it with: rustup target add {TARGET}\n\
         A nightly toolchain with its sources builds it, too: cargo +nightly xtask arm64 -Zbuild-std"
    );
    Ok(())
}
