//! The PTX of the CUDA kernels: each `.cu` file has its own beside it, compiled by NVRTC.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::shell::{self, build_dir, command, root};
use crate::tools;

/// Drivers refuse PTX of a later CUDA than their own; the version is that of the oldest driver that the library supports.
const NVRTC: &str = "nvidia-cuda-nvrtc-cu12==12.4.127";

/// What is committed: drivers compile it for every device from this one on.
const ARCHITECTURE: &str = "compute_75";

/// Kernels may tell architectures apart, so they must compile for these as well.
const ALSO: [&str; 2] = ["compute_80", "compute_90"];

/// Writes the PTX of all kernels.
pub fn generate() -> Result<()> {
    install()?;
    run(false)
}

/// Compares the PTX of all kernels with what is committed; false, and a line that says so, where NVRTC is not to be had.
pub fn check() -> Result<bool> {
    if let Err(error) = install() {
        println!("Skipped: {error:#}");
        return Ok(false);
    }
    run(true).map(|()| true)
}

/// Where kernels are: those of the library, and those that test the stand-in for the driver.
const FOLDERS: [&str; 2] = ["src", "tests/cuda"];

/// Every CUDA source, in order, relative to the root.
pub fn sources() -> Result<Vec<PathBuf>> {
    files("cu")
}

/// What the sources include.
pub fn headers() -> Result<Vec<PathBuf>> {
    files("cuh")
}

fn files(extension: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        collect(Path::new(folder), extension, &mut files)?;
    }
    files.sort();
    Ok(files)
}

fn install() -> Result<()> {
    tools::pip_install(&[NVRTC]).context("NVRTC cannot be installed into .venv")
}

fn run(check: bool) -> Result<()> {
    let sources = sources()?;
    ensure!(!sources.is_empty(), "no *.cu");
    let folder = build_dir().join("ptx");
    compile(&sources, &folder)?;
    let stale = sources.iter().filter_map(|source| {
        let fresh = fs::read_to_string(folder.join(format!("{}.{ARCHITECTURE}.ptx", source.display())));
        let path = root().join(source).with_extension("ptx");
        fresh.map_err(Into::into).and_then(|ptx| shell::generated(&path, &tidy(&ptx), check, "ptx")).err()
    });
    // All differences are shown, not only the first.
    stale.collect::<Vec<_>>().into_iter().next().map_or(Ok(()), Err)
}

/// Compiles all files by one process: to start the compiler takes longer than to compile a file. Paths are relative, so that
/// messages and results are the same wherever the repository lies.
fn compile(sources: &[PathBuf], folder: &Path) -> Result<()> {
    let mut nvrtc = command(tools::python()?);
    nvrtc.args(["xtask/nvrtc.py", "--include", "src/cuda", "--out"]).arg(folder);
    for architecture in [ARCHITECTURE].iter().chain(&ALSO) {
        nvrtc.args(["--architecture", architecture]);
    }
    let warnings = shell::read(nvrtc.args(sources)).context("kernels do not compile")?;
    print!("{warnings}");
    Ok(())
}

/// Without comments, blank lines and tabs: the PTX is part of the library.
fn tidy(ptx: &str) -> String {
    let code = ptx.lines().map(|line| line.split("//").next().unwrap_or_default());
    let words = code.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    words.filter(|line| !line.is_empty()).map(|line| line + "\n").collect()
}

fn collect(folder: &Path, extension: &str, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(root().join(folder)).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(&path, extension, files)?;
        } else if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_has_ptx_that_the_oldest_driver_loads() {
        let committed = files("ptx").unwrap();
        let expected: Vec<_> = sources().unwrap().iter().map(|source| source.with_extension("ptx")).collect();
        assert_eq!(committed, expected);
        for path in committed {
            let ptx = fs::read_to_string(root().join(&path)).unwrap();
            let value = |name: &str| ptx.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
            let (major, minor) = value(".version").split_once('.').expect("a version");
            let version: (u32, u32) = (major.parse().unwrap(), minor.parse().unwrap());
            assert!(version <= (8, 4), "{} is PTX {version:?}", path.display());
            assert_eq!(value(".target"), "sm_75", "{}", path.display());
        }
    }

    #[test]
    fn tidy_keeps_the_lines_that_say_something() {
        let ptx = "//\n// By NVVM\n\n.version 8.4\n\n\t// .globl\tf\n{\n\tmov.u32 \t%r1, %r2; // x\n\n}\n";
        assert_eq!(tidy(ptx), ".version 8.4\n{\nmov.u32 %r1, %r2;\n}\n");
    }
}
