//! The installed package: libraries, headers, CMake and pkg-config files, and the `infer` command.
//!
//! The library is compiled by itself and in its own target directory: a build of the whole workspace would unify features and
//! put the model writer into what an application links. What cargo leaves is then linked again, because rustc gives neither
//! a versioned soname nor symbol versions, and its static library shows every Rust symbol it contains.

mod elf;
mod link;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::shell::{self, cargo, root, target_dir};
use crate::{header, tools};

/// The C interface's major version. It changes only when programs linked before must not load the library any more.
const ABI: u32 = 1;

/// The version of the package, and the names that follow from it.
struct Names {
    version: String,
    major: u32,
    minor: u32,
    soname: String,
    shared_file: String,
}

impl Names {
    /// The soname holds the ABI version alone; the file name continues with the release, so that later ones sort later.
    fn new(version: &str) -> Result<Self> {
        let numbers: Vec<u32> = version.split('.').map(str::parse).collect::<Result<_, _>>()?;
        let [major, minor, patch] = numbers[..] else { anyhow::bail!("`{version}` is not a.b.c") };
        let soname = format!("libinfer.so.{ABI}");
        let shared_file = format!("{soname}.{}.{patch}", major * 100 + minor);
        Ok(Self { version: version.to_owned(), major, minor, soname, shared_file })
    }

    fn fill(&self, template: &str) -> String {
        template
            .replace("@VERSION@", &self.version)
            .replace("@MAJOR@", &self.major.to_string())
            .replace("@MINOR@", &self.minor.to_string())
            .replace("@SONAME@", &self.soname)
            .replace("@SHARED_FILE@", &self.shared_file)
    }
}

/// Builds everything, checks it and installs it below `prefix`.
pub fn dist(prefix: &Path) -> Result<()> {
    ensure!(cfg!(target_os = "linux"), "the library is linked for Linux only so far");
    for program in ["cc", "ld", "objcopy", "strip", "readelf"] {
        tools::need(program, "gcc binutils")?;
    }
    let names = Names::new(env!("CARGO_PKG_VERSION"))?;
    let archive = build_library()?;
    let work = target_dir().join("dist/link");
    fs::create_dir_all(&work)?;

    let linked = link::shared(&archive, &names.soname, &work)?;
    let shared = link::stripped(&linked)?;
    let exports = elf::exports(&shared)?;
    elf::check_shared(&shared, &linked, &exports)?;
    check_declared(&exports)?;
    let object = link::single_object(&archive, &exports, &work)?;
    elf::check_object(&object, &exports)?;

    install_libraries(prefix, &names, &shared, &object)?;
    install_development_files(prefix, &names)?;
    install_command(prefix)?;
    let size = fs::metadata(&shared)?.len() as f64 / 1e6;
    println!("{} installed: {} ({size:.2} MB, {} functions)", prefix.display(), names.shared_file, exports.len());
    Ok(())
}

/// The static library as cargo builds it.
fn build_library() -> Result<PathBuf> {
    let target = target_dir().join("dist");
    let mut build = cargo();
    build.args(["rustc", "--quiet", "--package", "infer", "--lib", "--release", "--crate-type", "staticlib"]);
    shell::run(build.arg("--target-dir").arg(&target))?;
    Ok(target.join("release/libinfer.a"))
}

/// The header and the library must name the same functions.
fn check_declared(exports: &[String]) -> Result<()> {
    let declared = header::functions()?;
    let missing: Vec<_> = declared.iter().filter(|name| !exports.contains(name)).collect();
    let undeclared: Vec<_> = exports.iter().filter(|name| !declared.contains(name)).collect();
    ensure!(missing.is_empty(), "declared in include/infer.h, but not exported: {missing:?}");
    ensure!(undeclared.is_empty(), "exported, but not declared in include/infer.h: {undeclared:?}");
    Ok(())
}

fn install_libraries(prefix: &Path, names: &Names, shared: &Path, object: &Path) -> Result<()> {
    let lib = prefix.join("lib");
    if lib.is_dir() {
        for entry in fs::read_dir(&lib)? {
            let path = entry?.path();
            let stale = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libinfer."));
            if stale {
                fs::remove_file(path)?;
            }
        }
    }
    copy(shared, &lib.join(&names.shared_file))?;
    symlink(&names.shared_file, lib.join(&names.soname))?;
    symlink(&names.soname, lib.join("libinfer.so"))?;
    link::archive(object, &lib.join("libinfer.a"))
}

fn install_development_files(prefix: &Path, names: &Names) -> Result<()> {
    for header in ["infer.h", "infer.hpp"] {
        copy(&root().join("include").join(header), &prefix.join("include").join(header))?;
    }
    for (template, folder) in [
        ("inferConfig.cmake", "lib/cmake/infer"),
        ("inferConfigVersion.cmake", "lib/cmake/infer"),
        ("infer.pc", "lib/pkgconfig"),
    ] {
        let text = fs::read_to_string(root().join("cmake").join(format!("{template}.in")))?;
        shell::write(&prefix.join(folder).join(template), names.fill(&text))?;
    }
    Ok(())
}

fn install_command(prefix: &Path) -> Result<()> {
    shell::run(cargo().args(["build", "--quiet", "--package", "infer-cli", "--release"]))?;
    copy(&target_dir().join("release/infer"), &prefix.join("bin/infer"))
}

/// Copies beside the destination and renames, so that a program that runs or maps the old file keeps it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().context("the destination has a folder")?;
    fs::create_dir_all(folder)?;
    let mut part = to.as_os_str().to_owned();
    part.push(".part");
    fs::copy(from, &part).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(fs::rename(&part, to)?)
}
