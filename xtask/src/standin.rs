//! The stand-in for the CUDA driver: a `libcuda.so.1` that runs our kernels on the CPU, for machines without a GPU.
//!
//! `LD_LIBRARY_PATH=build/cuda` puts it where a process looks for the driver. Every kernel is compiled from the source of its PTX.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::shell::{self, build_dir, command, root};
use crate::{ptx, tools};

const FLAGS: &str =
    "-std=c++17 -O2 -g1 -fPIC -fvisibility=hidden -pthread -Wall -Wextra -Werror -I. -Itests/cuda -Isrc/cuda";

/// Kernels are written for another compiler, which has other warnings. They look at memory as one type and another; an access
/// that is not aligned, or beyond the end of an array, ends the process as it would a kernel.
const KERNEL_FLAGS: &str = "-fno-strict-aliasing -fsanitize=alignment,bounds -fsanitize-undefined-trap-on-error \
    -Wno-unknown-pragmas -Wno-unused -Wno-sign-compare -Wno-maybe-uninitialized -Wno-parentheses";

const LINK: &str = "-shared -pthread -Wl,-soname,libcuda.so.1 -Wl,-z,defs -Wl,-z,nodelete";

/// The stand-ins for NVIDIA's libraries and for a profiler, each in a folder of its own, so that processes can be started with
/// them and without: folder, sources, file, what else the compiler is told. An old cuDNN lacks a function.
const LIBRARIES: [(&str, &str, &str, &str); 4] = [
    ("blas", "tests/cuda/blas", "libcublasLt.so.12", "-lcuda"),
    ("dnn", "tests/cuda/dnn", "libcudnn.so.9", "-lcuda"),
    ("dnn-old", "tests/cuda/dnn", "libcudnn.so.9", "-DSTANDIN_OLD -Wno-unused-function -lcuda"),
    ("nvtx", "tests/cuda/nvtx", "libprofiler.so", ""),
];

/// Where the library lies.
pub fn folder() -> PathBuf {
    build_dir().join("cuda")
}

/// Builds what is not there or out of date.
pub fn build() -> Result<()> {
    tools::need("c++", "g++")?;
    let mut units = files_of("tests/cuda", "cpp")?.into_iter().map(Unit::plain).collect::<Vec<_>>();
    for kernels in ptx::sources()? {
        units.push(Unit::kernels(&kernels)?);
    }
    let shared = newest_shared()?;
    let stale: Vec<_> = units.iter().filter(|unit| unit.is_stale(shared)).collect();
    compile_all(&stale)?;
    link(&units)?;
    LIBRARIES.into_iter().try_for_each(build_library)
}

/// Where the stand-ins for the driver and NVIDIA's libraries lie, as LD_LIBRARY_PATH has it.
pub fn with_libraries() -> String {
    let folders = [folder(), folder().join("blas"), folder().join("dnn")];
    folders.map(|folder| folder.display().to_string()).join(":")
}

/// Builds one of [`LIBRARIES`].
fn build_library((within, sources, file, flags): (&str, &str, &str, &str)) -> Result<()> {
    let library = folder().join(within).join(file);
    let mut newest = newest_shared()?;
    for extension in ["cpp", "hpp"] {
        newest = files_of(sources, extension)?.iter().map(|path| modified(path)).fold(newest, SystemTime::max);
    }
    if modified(&library) > newest {
        return Ok(());
    }
    let fresh = library.with_extension("new");
    fs::create_dir_all(folder().join(within))?;
    let mut compile = compiler(FLAGS);
    compile
        .args(["-shared", "-Wl,-z,defs"])
        .arg(format!("-Wl,-soname,{file}"))
        .args(files_of(sources, "cpp")?)
        .arg("-o")
        .arg(&fresh)
        .arg("-L")
        .arg(folder())
        .args(flags.split_whitespace());
    shell::read(&mut compile)?;
    Ok(fs::rename(&fresh, library)?)
}

/// Builds the program that tests the stand-in itself.
pub fn selftest() -> Result<PathBuf> {
    build()?;
    let program = folder().join("selftest");
    let mut compile = compiler(FLAGS);
    compile.args(files_of("tests/cuda/selftest", "cpp")?).arg("-o").arg(&program).arg("-L").arg(folder()).arg("-lcuda");
    shell::read(compile.arg(format!("-Wl,-rpath,{}", folder().display())))?;
    Ok(program)
}

/// A translation unit.
struct Unit {
    source: PathBuf,
    object: PathBuf,
    flags: String,
    /// What makes the object stale, besides what all have in common.
    newest: SystemTime,
}

impl Unit {
    fn plain(source: PathBuf) -> Unit {
        let object = folder().join("objects").join(source.file_name().unwrap_or_default()).with_extension("o");
        Unit { newest: modified(&source), source, object, flags: FLAGS.to_owned() }
    }

    /// The kernels of a file, in a unit that enters them into the table. Names from it collide with no others.
    fn kernels(cu: &Path) -> Result<Unit> {
        let mut text = format!("#include \"device.hpp\"\n\nnamespace {{\n\n#include \"{}\"\n\n", cu.display());
        for entry in entries(&cu.with_extension("ptx"))? {
            text += &format!("STANDIN_ENTRY({entry})\n");
        }
        text += "\n} // namespace\n";
        let name = cu.with_extension("cpp").display().to_string().replace('/', "_");
        let source = folder().join("kernels").join(&name);
        shell::write(&source, text)?;
        let object = folder().join("objects").join(name).with_extension("o");
        let newest = modified(&source).max(modified(&root().join(cu)));
        Ok(Unit { source, object, flags: format!("{FLAGS} {KERNEL_FLAGS}"), newest })
    }

    fn is_stale(&self, shared: SystemTime) -> bool {
        modified(&self.object) <= self.newest.max(shared)
    }

    fn compile(&self) -> Result<()> {
        shell::read(compiler(&self.flags).arg("-c").arg(&self.source).arg("-o").arg(&self.object)).map(drop)
    }
}

/// The names of the kernels that a PTX file has.
fn entries(path: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(root().join(path))
        .with_context(|| format!("no {}: run `cargo xtask ptx` first", path.display()))?;
    let names = text.lines().filter_map(|line| line.split(".entry ").nth(1)?.split('(').next());
    Ok(names.map(|name| name.trim().to_owned()).collect())
}

/// When something changed that all units depend on: headers, or how they are compiled.
fn newest_shared() -> Result<SystemTime> {
    let flags = folder().join("flags");
    shell::write(&flags, format!("{FLAGS}\n{KERNEL_FLAGS}\n"))?;
    let mut files = files_of("tests/cuda", "hpp")?;
    files.extend(ptx::headers()?.iter().map(|path| root().join(path)));
    files.push(flags);
    Ok(files.iter().map(|path| modified(path)).max().unwrap_or(SystemTime::UNIX_EPOCH))
}

fn files_of(folder: &str, extension: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(root().join(folder)).with_context(|| format!("cannot read {folder}"))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths.sort();
    Ok(paths)
}

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path).and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Compiles on all cores; the first error is returned when all have stopped.
fn compile_all(units: &[&Unit]) -> Result<()> {
    fs::create_dir_all(folder().join("objects"))?;
    let next = AtomicUsize::new(0);
    let errors = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
                    errors.lock().expect("no thread panics").extend(unit.compile().err());
                }
            });
        }
    });
    errors.into_inner()?.into_iter().next().map_or(Ok(()), Err)
}

/// The library appears under its name when it is complete: processes may have the old one open.
fn link(units: &[Unit]) -> Result<()> {
    let library = folder().join("libcuda.so.1");
    let fresh = folder().join("libcuda.new");
    shell::read(compiler(LINK).args(units.iter().map(|unit| &unit.object)).arg("-o").arg(&fresh))?;
    fs::rename(&fresh, library)?;
    // The name under which linkers look for it, and some programs too.
    let short = folder().join("libcuda.so");
    if fs::read_link(&short).is_err() {
        std::os::unix::fs::symlink("libcuda.so.1", &short)?;
    }
    Ok(())
}

fn compiler(flags: &str) -> Command {
    let mut compiler = command("c++");
    compiler.args(flags.split_whitespace());
    compiler
}
