//! The `infer` command: what one does with models outside an application.
#![deny(unsafe_code)]

mod bench;
mod convert;
mod device;
mod image;
mod inspect;
mod npy;
mod output;
mod profile;
mod run;
mod shapes;
mod tensor;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use infer::error::{Result, Status};

/// Converts, inspects, runs and measures models for libinfer.
#[derive(Parser)]
#[command(name = "infer", version, arg_required_else_help = true, after_help = EXAMPLE)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLE: &str = "Example:
  infer convert resnet50.onnx resnet50.infer
  infer run resnet50.infer --input cat.jpg
  infer bench resnet50.infer --threads 4

Exit status: 0 done, 1 failed, 2 wrong usage, 3 a bug in infer.";

#[derive(Subcommand)]
enum Command {
    Convert(convert::Arguments),
    Inspect(inspect::Arguments),
    Verify(verify::Arguments),
    Run(run::Arguments),
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    let done: Result<()> = match Arguments::parse().command {
        Command::Convert(arguments) => convert::convert(&arguments),
        Command::Inspect(arguments) => inspect::inspect(&arguments),
        Command::Verify(arguments) => verify::verify(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Bench(arguments) => bench::bench(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("infer: {error}");
            ExitCode::from(if error.status() == Status::Internal { 3 } else { 1 })
        }
    }
}
