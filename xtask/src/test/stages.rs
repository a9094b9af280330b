//! The stages in the order in which they run: cheap ones first, then what needs the release build.

use std::process::Command;

use anyhow::Result;

use super::count::Counts;
use super::{Stage, native};
use crate::shell::{self, cargo, command, root};
use crate::{dist, header, ptx, schema, standin, tools};

/// The stages whose input exists.
pub fn all() -> impl Iterator<Item = &'static Stage> {
    ALL.iter().filter(|stage| root().join(stage.input).exists())
}

const ALL: &[Stage] = &[
    Stage { name: "format", quick: true, input: "src", run: format },
    Stage { name: "lints", quick: true, input: "src", run: lints },
    Stage { name: "documentation", quick: true, input: "src", run: documentation },
    Stage { name: "generated header", quick: true, input: "src/capi", run: generated_header },
    Stage { name: "generated schema", quick: true, input: "schema/model.fbs", run: generated_schema },
    Stage { name: "generated ptx", quick: true, input: "src/cuda", run: generated_ptx },
    Stage { name: "rust tests", quick: false, input: "src", run: rust_tests },
    Stage { name: "cuda stand-in", quick: false, input: "tests/cuda", run: cuda_standin },
    Stage { name: "package", quick: false, input: "src/capi", run: package },
    Stage { name: "header in every standard", quick: false, input: "include/infer.hpp", run: native::header_standards },
    Stage { name: "c and c++ tests", quick: false, input: "tests/c", run: native::tests },
    Stage { name: "c and c++ tests, sanitized", quick: false, input: "tests/c", run: native::tests_sanitized },
    Stage { name: "examples", quick: false, input: "examples/c/digits.c", run: native::examples },
    Stage { name: "program of the readme", quick: false, input: "include/infer.h", run: native::readme },
    Stage { name: "valgrind", quick: false, input: "examples/c/digits.c", run: native::valgrind },
    Stage { name: "python tests", quick: false, input: "python/tests", run: python_tests },
    Stage { name: "installed package on the stand-in", quick: false, input: "tests/cuda", run: package_on_standin },
    Stage { name: "onnx suite", quick: false, input: "tests/onnx", run: onnx_suite },
    Stage { name: "onnx suite on the stand-in", quick: false, input: "tests/cuda", run: onnx_suite_on_standin },
    Stage { name: "damaged onnx models", quick: false, input: "tests/onnx", run: damaged_models },
];

fn format() -> Result<Counts> {
    shell::run(cargo().args(["fmt", "--all", "--check"])).map(|()| Counts::ONE)
}

/// The library is linted once more by itself, as it ships: the workspace's features hide what is unused without them. The tasks
/// are linted in the profile in which they were built.
fn lints() -> Result<Counts> {
    let deny = ["--", "-D", "warnings"];
    shell::run(cargo().args(["clippy", "--quiet", "--workspace", "--exclude", "xtask", "--all-targets"]).args(deny))?;
    shell::run(
        cargo().args(["clippy", "--quiet", "--profile", "xtask", "--package", "xtask", "--all-targets"]).args(deny),
    )?;
    shell::run(cargo().args(["clippy", "--quiet", "--package", "infer"]).args(deny))?;
    Ok(Counts::ONE)
}

/// The documentation is for those who work on the library; it may speak of what is private.
fn documentation() -> Result<Counts> {
    let mut doc = cargo();
    doc.args(["doc", "--quiet", "--workspace", "--exclude", "xtask", "--no-deps", "--document-private-items"])
        .env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links");
    shell::run(&mut doc).map(|()| Counts::ONE)
}

fn generated_header() -> Result<Counts> {
    header::header(true).map(|()| Counts::ONE)
}

fn generated_schema() -> Result<Counts> {
    Ok(one_or_skipped(schema::check()?))
}

fn generated_ptx() -> Result<Counts> {
    Ok(one_or_skipped(ptx::check()?))
}

fn one_or_skipped(ran: bool) -> Counts {
    if ran { Counts::ONE } else { Counts { skipped: 1, ..Counts::default() } }
}

/// The tasks are tested in the profile in which they were built; their dependencies are then there already.
fn rust_tests() -> Result<Counts> {
    let (library, mut output) =
        shell::tee(cargo().args(["test", "--workspace", "--exclude", "xtask", "--no-fail-fast"]))?;
    let (tasks, more) = shell::tee(cargo().args(["test", "--quiet", "--profile", "xtask", "--package", "xtask"]))?;
    output.push_str(&more);
    Ok(Counts::cargo(&output).of_run(library && tasks))
}

/// The stand-in for the CUDA driver against what is promised of it; then operators and sessions on it. The tests are those that
/// the stage before has built.
fn cuda_standin() -> Result<Counts> {
    let (succeeded, output) = shell::tee(&mut command(standin::selftest()?))?;
    let mut counts = Counts::plain(&output).of_run(succeeded);
    let sessions = ["--test", "cuda", "--test", "cudnn", "--test", "check", "--test", "completion"];
    counts += tests_on_standin(&[&["--lib"], &sessions[..]].concat(), &standin::folder().display().to_string())?;
    // What NVIDIA's libraries take part in, with stand-ins for them.
    for some in [&["--lib", "--", "ops::conv::", "ops::matmul::"][..], &["--test", "cuda"]] {
        counts += tests_on_standin(some, &standin::with_libraries())?;
    }
    Ok(counts)
}

/// Some of the tests, with the stand-ins in these folders.
fn tests_on_standin(some: &[&str], folders: &str) -> Result<Counts> {
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--exclude", "xtask", "--no-fail-fast"]).args(some);
    let (succeeded, output) = shell::tee(on_standin(&mut tests).env("LD_LIBRARY_PATH", folders))?;
    Ok(Counts::cargo(&output).of_run(succeeded))
}

/// The command with the stand-in as its GPU.
fn on_standin(command: &mut Command) -> &mut Command {
    command.env("LD_LIBRARY_PATH", standin::folder()).env("INFER_TEST_DEVICE", "cuda")
}

fn package() -> Result<Counts> {
    dist::dist(&root().join("dist")).map(|()| Counts::ONE)
}

/// The binding against the installed library.
fn python_tests() -> Result<Counts> {
    unit_tests(&mut python()?, "test_*.py")
}

/// What of the package uses a GPU, in C, C++ and Python.
fn package_on_standin() -> Result<Counts> {
    standin::build()?;
    let mut counts = native::on_standin(&standin::folder())?;
    counts += unit_tests(on_standin(&mut python()?), "test_cuda.py")?;
    Ok(counts)
}

fn unit_tests(python: &mut Command, files: &str) -> Result<Counts> {
    // unittest reports on its standard error.
    let output = python
        .args(["-m", "unittest", "discover", "--start-directory", "python/tests", "--pattern", files])
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    println!("{text}");
    Ok(Counts::unittest(&text).of_run(output.status.success()))
}

/// The cases of the ONNX test suite that have passed before.
fn onnx_suite() -> Result<Counts> {
    let (succeeded, output) = shell::tee(python()?.arg("tests/onnx/suite.py"))?;
    Ok(Counts::plain(&output).of_run(succeeded))
}

/// The same cases on a GPU.
fn onnx_suite_on_standin() -> Result<Counts> {
    standin::build()?;
    let (succeeded, output) = shell::tee(on_standin(python()?.arg("tests/onnx/suite.py")))?;
    Ok(Counts::plain(&output).of_run(succeeded))
}

/// Cases of that suite, damaged: each is converted and run, or refused.
fn damaged_models() -> Result<Counts> {
    let (succeeded, output) = shell::tee(python()?.arg("tests/onnx/mutate.py"))?;
    Ok(Counts::plain(&output).of_run(succeeded))
}

/// An interpreter that has what the Python tests need, and finds the binding and what is installed.
fn python() -> Result<Command> {
    tools::pip_install(&["--requirement", "tests/onnx/requirements.txt"])?;
    let mut python = command(tools::python()?);
    python.env("PYTHONPATH", root().join("python")).env("INFER_CLI", root().join("dist/bin/infer"));
    Ok(python)
}
