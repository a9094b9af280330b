//! Development tasks: `cargo xtask <task>`.
//!
//! The makefile forwards here; how the project is generated, built, linked, installed and checked is written down once, in this crate.

mod arm64;
mod bench;
mod demo;
mod dist;
mod header;
mod ptx;
mod schema;
mod shell;
mod standin;
mod test;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Development tasks of libinfer")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the release library and the `infer` command, link the libraries that ship and install all of it
    #[command(visible_alias = "build")]
    Dist {
        /// Where to install
        #[arg(long, default_value_os_t = shell::root().join("dist"))]
        prefix: PathBuf,
    },
    /// Convert the shipped model, build the C and C++ examples against the installed package and run them
    Demo,
    /// Measure models beside other runtimes; --help tells how
    #[command(disable_help_flag = true)]
    Bench {
        /// For bench/run.py
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Compare models with the outputs that they should have; --help tells how
    #[command(disable_help_flag = true)]
    CheckModels {
        /// For bench/check.py
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run everything that CI runs
    Test {
        /// Only the stages whose name contains one of these words
        only: Vec<String>,
    },
    /// Run the library's tests for AArch64 under emulation
    Arm64 {
        /// For cargo test
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run the quick stages of `test`: format, lints, documentation, drift of generated files
    Check,
    /// Generate include/infer.h from src/capi
    Header {
        /// Fail with a diff if the committed file is stale, and write nothing
        #[arg(long)]
        check: bool,
    },
    /// Compile the CUDA kernels to the PTX beside them
    Ptx {
        /// Fail with a diff if a committed file is stale, and write nothing
        #[arg(long)]
        check: bool,
    },
    /// Build the stand-in for the CUDA driver, for tests without a GPU: LD_LIBRARY_PATH=build/cuda
    Standin,
    /// Generate the Rust code of schema/model.fbs
    Schema {
        /// Fail with a diff if the committed file is stale, and write nothing
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    let result = match Args::parse().task {
        Task::Dist { prefix } => dist::dist(&prefix),
        Task::Demo => demo::demo(),
        Task::Bench { arguments } => bench::bench(&arguments),
        Task::CheckModels { arguments } => bench::check_models(&arguments),
        Task::Test { only } => test::test(&only),
        Task::Arm64 { arguments } => arm64::test(&arguments),
        Task::Check => test::check(),
        Task::Header { check } => header::header(check),
        Task::Ptx { check: true } => ptx::check().map(drop),
        Task::Ptx { check: false } => ptx::generate(),
        Task::Standin => standin::build(),
        Task::Schema { check: true } => schema::check().map(drop),
        Task::Schema { check: false } => schema::generate(),
    };
    result.map_or_else(
        |error| {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}
