//! From cargo's static library to the two products: `libinfer.so.1` with versioned symbols, and one static object.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::shell::{self, command, root};

/// Links the shared library, still with its symbol table, so that what it contains can be checked.
///
/// Segments begin on pages of every size that kernels have, up to 64 KiB on AArch64. The library is never unloaded: its
/// threads and thread-local destructors may still be running when an application calls `dlclose`.
pub fn shared(archive: &Path, soname: &str, work: &Path) -> Result<PathBuf> {
    let output = work.join(soname);
    let version_script = root().join("cmake/libinfer.map");
    let mut link = command("cc");
    link.arg("-shared").arg("-o").arg(&output);
    link.arg("-Wl,--whole-archive").arg(archive).arg("-Wl,--no-whole-archive");
    link.arg(format!("-Wl,--version-script={}", version_script.display())).arg(format!("-Wl,-soname,{soname}"));
    let page = if cfg!(target_arch = "aarch64") { 64 << 10 } else { 16 << 10 };
    link.arg(format!("-Wl,-z,max-page-size={page}"));
    link.args(["-Wl,-z,nodelete", "-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack"]);
    link.args(["-Wl,-z,defs", "-Wl,--gc-sections", "-Wl,-O1", "-Wl,-Bsymbolic-functions", "-Wl,--build-id"]);
    link.args(["-Wl,--as-needed", "-lgcc_s", "-lm", "-lpthread", "-ldl"]);
    shell::read(&mut link)?;
    Ok(output)
}

/// A copy without the symbol table and debugging sections.
pub fn stripped(library: &Path) -> Result<PathBuf> {
    let output = library.with_file_name("stripped.so");
    shell::read(command("strip").args(["--strip-unneeded", "-R", ".comment", "-o"]).arg(&output).arg(library))?;
    Ok(output)
}

/// Everything that the exported functions reach, in one relocatable object in which only they are global. Two Rust libraries
/// in one program then cannot clash.
pub fn single_object(archive: &Path, exports: &[String], work: &Path) -> Result<PathBuf> {
    let whole = work.join("whole.o");
    let mut link = command("ld");
    link.args(["-r", "--gc-sections", "--whole-archive"]).arg(archive).arg("-o").arg(&whole);
    for name in exports {
        link.args(["-u", name]);
    }
    shell::read(&mut link)?;

    let keep = work.join("exports.txt");
    fs::write(&keep, exports.join("\n"))?;
    let output = work.join("infer.o");
    let mut localise = command("objcopy");
    localise.arg(format!("--keep-global-symbols={}", keep.display())).args([
        "--strip-debug",
        "-R",
        ".comment",
        "-R",
        ".llvmbc",
    ]);
    shell::read(localise.arg(&whole).arg(&output))?;
    Ok(output)
}

/// The archive with that one object in it.
pub fn archive(object: &Path, output: &Path) -> Result<()> {
    shell::read(command("ar").arg("rcsD").arg(output).arg(object)).map(drop)
}
