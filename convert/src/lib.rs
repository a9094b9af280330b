//! Importers and graph passes: PyTorch and ONNX files become `.infer` files.
#![deny(unsafe_code)]

pub mod builder;
pub mod emit;
pub mod onnx;
pub mod passes;

use infer::error::{Error, Result};
use infer::graph::Program;
use infer::model::{WriteOptions, write_file};
use std::path::Path;

/// How a model is converted.
#[derive(Clone, Debug)]
pub struct Options {
    /// Run the optimising passes; without them, the file computes node by node what the source says.
    pub optimize: bool,
    /// Pairs to store in the model's metadata, in place of the source's of the same key.
    pub metadata: Vec<(String, String)>,
    /// How the file is laid out.
    pub write: WriteOptions,
}

impl Default for Options {
    fn default() -> Self {
        Options { optimize: true, metadata: vec![], write: WriteOptions::default() }
    }
}

/// What a conversion is doing, for progress displays: the stage's name, how many stages are done, and how many there are.
pub type Progress<'a> = &'a mut dyn FnMut(&str, usize, usize);

/// Converts the model file `src` and writes the result to `dst`, which keeps its content if anything fails.
///
/// # Errors
/// Those of [`import`], and `Io` if `dst` cannot be written.
pub fn convert(src: &Path, dst: &Path, options: &Options, progress: Progress<'_>) -> Result<Program> {
    let stages = passes::PIPELINE.len() + 2;
    progress("read", 0, stages);
    let mut program = import(src)?;
    for (key, value) in &options.metadata {
        program.metadata.retain(|(k, _)| k != key);
        program.metadata.push((key.clone(), value.clone()));
    }
    if options.optimize {
        let optimized = passes::run(program, &mut |name, i| progress(name, i + 1, stages));
        program = optimized.map_err(|e| e.context(src.display()))?;
    }
    progress("write", stages - 1, stages);
    write_file(&program, dst, &options.write)?;
    progress("done", stages, stages);
    Ok(program)
}

/// The program of a model file of any format that we read, before any optimisation.
///
/// # Errors
/// `Io`, `Format` if the file is damaged, `Unsupported` with the operators, attributes or formats that we do not have.
pub fn import(src: &Path) -> Result<Program> {
    match src.extension().and_then(|e| e.to_str()) {
        Some("onnx") => {
            let model = onnx::Model::open(src)?;
            onnx::lower::lower(&model).map_err(|e| e.context(src.display()))
        }
        extension => {
            let remedy = match extension {
                Some("pt" | "pth" | "pt2" | "ts" | "torchscript") => {
                    "PyTorch's own files are not read: write one with torch.onnx.export(model, inputs, \"model.onnx\")"
                }
                _ => "the name of a model to convert ends with .onnx",
            };
            Err(Error::unsupported(format!("{}: {remedy}", src.display())))
        }
    }
}
