//! `make bench`: libinfer beside other runtimes, see bench/README.md.

use anyhow::Result;

use crate::shell::{self, command, root};
use crate::{dist, tools};

/// Builds what is measured, unless `--no-build` is among the arguments, and passes them on.
pub fn bench(arguments: &[String]) -> Result<()> {
    run("bench/run.py", arguments)
}

/// Builds the library and compares models with what they should give.
pub fn check_models(arguments: &[String]) -> Result<()> {
    tools::pip_install(&["--requirement", "tests/onnx/requirements.txt"])?;
    run("bench/check.py", arguments)
}

fn run(script: &str, arguments: &[String]) -> Result<()> {
    let given = |flags: &[&str]| arguments.iter().any(|argument| flags.contains(&argument.as_str()));
    let prefix = root().join("dist");
    if !given(&["--no-build", "--help", "-h"]) {
        dist::dist(&prefix)?;
    }
    let mut python = command(tools::python()?);
    python.arg(script).args(arguments).env("PYTHONPATH", root().join("python"));
    if std::env::var_os("INFER_CLI").is_none() {
        python.env("INFER_CLI", prefix.join("bin/infer"));
    }
    shell::run(&mut python)
}
