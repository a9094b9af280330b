//! `make demo`: convert a model that ships with the project, build the examples against the installed package as a stranger
//! would, and run them on real input.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::shell::{self, build_dir, command, root};
use crate::{dist, tools};

/// The package with the model that tells the type of a file, and where the model lies in it.
const MAGIKA: &str = "magika==1.0.3";
const MAGIKA_MODEL: &str = "models/standard_v3_3/model.onnx";

/// Unpacks a wheel (argument 1) into a folder (2).
const UNPACK: &str = "import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])";

/// Runs all of it.
pub fn demo() -> Result<()> {
    let prefix = root().join("dist");
    title("Building the library and the `infer` command, installing them to dist/");
    dist::dist(&prefix)?;

    title("Converting examples/digits/digits.onnx");
    let model = convert(&prefix, &root().join("examples/digits/digits.onnx"), "digits.infer")?;

    for language in ["c", "cpp"] {
        title(&format!(
            "examples/{language}: configured with find_package(infer), built, and run on handwritten digits"
        ));
        let programs = build(language, &prefix)?;
        shell::run(command(programs.join("digits")).arg(&model).args(images()?))?;
    }

    title("examples/cpp/file_type: a content-type detector taken out of the PyPI package magika");
    let Some(package) = fetch_magika()? else { return Ok(()) };
    let model = convert(&prefix, &package.join(MAGIKA_MODEL), "magika.infer")?;
    shell::run(command(build("cpp", &prefix)?.join("file_type")).arg(model).arg(package).args(some_files(&prefix)))
}

/// Configures and builds `examples/<language>` against the package installed below `prefix`; returns the folder of its programs.
pub fn build(language: &str, prefix: &Path) -> Result<PathBuf> {
    let build = build_dir().join("examples").join(language);
    let options = [format!("-DCMAKE_PREFIX_PATH={}", prefix.display()), "-DCMAKE_BUILD_TYPE=Release".to_owned()];
    tools::cmake_build(&root().join("examples").join(language), &build, &options)?;
    Ok(build)
}

/// Converts a model with the installed command.
pub fn convert(prefix: &Path, source: &Path, name: &str) -> Result<PathBuf> {
    let model = build_dir().join("models").join(name);
    fs::create_dir_all(build_dir().join("models"))?;
    shell::run(command(prefix.join("bin/infer")).arg("convert").arg(source).arg(&model))?;
    Ok(model)
}

/// The sample images, in the order of their names. A name begins with the digit that the image shows.
pub fn images() -> Result<Vec<PathBuf>> {
    let folder = Path::new("examples/digits/images");
    let mut names = Vec::new();
    for entry in fs::read_dir(root().join(folder))? {
        names.push(folder.join(entry?.file_name()));
    }
    names.sort();
    Ok(names)
}

/// The unpacked package; `None`, and a line that says so, when it cannot be fetched.
fn fetch_magika() -> Result<Option<PathBuf>> {
    let folder = build_dir().join("magika");
    let package = folder.join("magika");
    if package.join(MAGIKA_MODEL).is_file() {
        return Ok(Some(package));
    }
    fs::create_dir_all(&folder)?;
    let python = tools::python()?;
    let mut download = command(&python);
    download
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", MAGIKA, "--dest"])
        .arg(&folder);
    if let Err(error) = shell::read(&mut download) {
        println!("Skipped: {MAGIKA} cannot be downloaded here.\n{error}");
        return Ok(None);
    }
    let wheel = fs::read_dir(&folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    let wheel = wheel.filter(|path| path.extension() == Some(OsStr::new("whl"))).max().context("pip left no wheel")?;
    shell::read(command(python).args(["-c", UNPACK]).args([&wheel, &folder]))?;
    ensure!(package.join(MAGIKA_MODEL).is_file(), "{MAGIKA} has no {MAGIKA_MODEL}");
    Ok(Some(package))
}

/// Files of many types that a checkout and its build have.
fn some_files(prefix: &Path) -> Vec<PathBuf> {
    let names = [
        "README.md",
        "Cargo.toml",
        "src/lib.rs",
        "include/infer.h",
        "include/infer.hpp",
        "examples/digits/train.py",
        "examples/digits/samples.png",
    ];
    let built = ["bin/infer", "lib/cmake/infer/inferConfig.cmake"].map(|name| prefix.join(name));
    names.iter().map(PathBuf::from).chain(built).collect()
}

fn title(text: &str) {
    println!("\n== {text}");
}
