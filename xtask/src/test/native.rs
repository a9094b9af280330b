//! The stages that see the installed package from outside, as a C or C++ application does.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::count::Counts;
use crate::shell::{self, build_dir, command, root};
use crate::{demo, tools};

const STRICT: [&str; 5] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"];

/// Both headers compile by themselves, and twice in a row, without a warning under every standard that they promise.
pub fn header_standards() -> Result<Counts> {
    let mut counts = Counts::default();
    for standard in ["c99", "c11", "c17"] {
        compile_alone("cc", "c", standard, "infer.h")?;
        counts += Counts::ONE;
    }
    for standard in ["c++11", "c++14", "c++17", "c++20"] {
        for (header, flags) in [("infer.h", ""), ("infer.hpp", ""), ("infer.hpp", "-fno-exceptions")] {
            compile_alone("c++", "c++", &format!("{standard} {flags}"), header)?;
            counts += Counts::ONE;
        }
    }
    Ok(counts)
}

/// `standard` may be followed by further flags.
fn compile_alone(compiler: &str, language: &str, standard: &str, header: &str) -> Result<()> {
    let source = build_dir().join("headers").join(format!("{header}.{}", if language == "c" { "c" } else { "cpp" }));
    shell::write(&source, format!("#include <{header}>\n#include <{header}>\n"))?;
    let mut compile = command(tools::need(compiler, "gcc g++")?);
    compile.args(["-x", language]).arg("-I").arg(root().join("dist/include")).args(STRICT);
    compile.args(format!("-std={standard}").split_whitespace());
    shell::read(compile.arg(source)).with_context(|| format!("{header} as {standard}")).map(drop)
}

/// `tests/c` and `tests/cpp` against the installed package.
pub fn tests() -> Result<Counts> {
    ctest("tests", &[])
}

/// The same with the address and undefined-behaviour sanitizers around the library: they watch what it does to the
/// caller's memory, and what is left at the end.
pub fn tests_sanitized() -> Result<Counts> {
    let flags = "-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g";
    ctest("tests-asan", &[format!("-DCMAKE_C_FLAGS={flags}"), format!("-DCMAKE_CXX_FLAGS={flags}")])
}

fn ctest(name: &str, options: &[String]) -> Result<Counts> {
    let prefix = root().join("dist");
    let build = build_dir().join(name);
    let model = demo::convert(&prefix, &root().join("examples/digits/digits.onnx"), "digits.infer")?;
    let mut all =
        vec![format!("-DCMAKE_PREFIX_PATH={}", prefix.display()), format!("-DDIGITS_MODEL={}", model.display())];
    all.extend_from_slice(options);
    tools::cmake_build(&root().join("tests"), &build, &all)?;
    let report = build.join("report.xml");
    let mut run = command(tools::wheel(&tools::CMAKE)?.with_file_name("ctest"));
    run.arg("--test-dir").arg(&build).arg("--output-junit").arg(&report).arg("--output-on-failure");
    let succeeded = run.status()?.success();
    Ok(Counts::junit(&fs::read_to_string(report)?).of_run(succeeded))
}

/// The programs of `examples/` read the digit of every sample image as its file name says.
pub fn examples() -> Result<Counts> {
    let mut counts = Counts::default();
    for program in digit_programs()? {
        let output = shell::read(command(&program).arg(digits_model()).args(demo::images()?))?;
        counts += check_digits(&output).with_context(|| program.display().to_string())?;
    }
    let output = shell::read(command(streams()?).arg(digits_model()))?;
    ensure!(["There is no GPU", "largest difference"].iter().any(|words| output.contains(words)), "{output}");
    counts += Counts::ONE;
    Ok(counts)
}

/// The C test of devices and the example with streams on the stand-in for the driver.
pub fn on_standin(folder: &Path) -> Result<Counts> {
    let mut counts = Counts::default();
    for program in [build_dir().join("tests/c_cuda"), streams()?] {
        let mut run = command(program);
        let output = shell::read(run.arg(digits_model()).env("LD_LIBRARY_PATH", folder))?;
        ensure!(!output.contains("no GPU"), "the stand-in is not found: {output}");
        counts += Counts::ONE;
    }
    Ok(counts)
}

/// The example that uses a GPU.
fn streams() -> Result<PathBuf> {
    Ok(demo::build("cpp/cuda", &root().join("dist"))?.join("streams"))
}

/// The C program of README.md, built as it says there, runs where the converted model lies.
pub fn readme() -> Result<Counts> {
    let readme = fs::read_to_string(root().join("README.md"))?;
    let program =
        readme.split("```c\n").nth(1).and_then(|rest| rest.split("```").next()).context("no C in README.md")?;
    let source = build_dir().join("readme/main.c");
    shell::write(&source, program)?;
    let binary = source.with_extension("");
    let dist = root().join("dist");
    let mut compile = command(tools::need("cc", "gcc")?);
    compile.args(["-Wall", "-Wextra", "-Wpedantic", "-Werror"]).arg(&source).arg("-o").arg(&binary);
    compile.arg("-I").arg(dist.join("include")).arg("-L").arg(dist.join("lib")).arg("-linfer");
    shell::read(compile.arg(format!("-Wl,-rpath,{}", dist.join("lib").display())))?;
    let model = demo::convert(&dist, &root().join("examples/digits/digits.onnx"), "digits.infer")?;
    let output = shell::read(command(binary).current_dir(model.parent().context("the model has a folder")?))?;
    ensure!(output.lines().count() == 10, "the program of README.md printed:\n{output}");
    Ok(Counts::ONE)
}

/// Every line `…/7a.pgm: 7 …` names the digit with which the name of the image begins.
fn check_digits(output: &str) -> Result<Counts> {
    let mut counts = Counts::default();
    for image in demo::images()? {
        let name = image.display().to_string();
        let label = image
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.chars().next())
            .context("no label")?;
        let line = output.lines().find(|line| line.contains(&name)).with_context(|| format!("no line for {name}"))?;
        let answer = line.rsplit_once(": ").and_then(|(_, answer)| answer.chars().next());
        ensure!(answer == Some(label), "wrong answer: {line}");
        counts += Counts::ONE;
    }
    Ok(counts)
}

/// The examples, and the C tests that do not measure time or memory, under valgrind: no error and no leak.
pub fn valgrind() -> Result<Counts> {
    let Some(valgrind) = tools::find("valgrind") else {
        println!("Skipped: valgrind is not installed. Install it with: sudo apt-get install valgrind");
        return Ok(Counts { skipped: 1, ..Counts::default() });
    };
    let images = demo::images()?;
    let check = |program: &Path, arguments: &[PathBuf]| -> Result<Counts> {
        let mut run = command(&valgrind);
        run.args(["--quiet", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite,indirect"]);
        shell::read(run.arg(program).arg(digits_model()).args(arguments)).map(|_| Counts::ONE)
    };
    let mut counts = Counts::default();
    for program in digit_programs()? {
        counts += check(&program, &images[..2])?;
    }
    for test in ["arguments", "digits", "files", "layout", "runs"] {
        counts += check(&build_dir().join(format!("tests/c_{test}")), &[root().join("tests/data")])?;
    }
    Ok(counts)
}

fn digit_programs() -> Result<Vec<PathBuf>> {
    let prefix = root().join("dist");
    ["c", "cpp"].iter().map(|language| Ok(demo::build(language, &prefix)?.join("digits"))).collect()
}

fn digits_model() -> PathBuf {
    build_dir().join("models/digits.infer")
}
