//! `infer verify`.

use std::path::PathBuf;

use infer::error::Result;
use infer::model::{self, Mode};

use crate::output;

/// Check that a model file is whole: its structure, and the checksums of all its data
#[derive(clap::Args)]
#[command(after_help = "Example: infer verify resnet50.infer")]
pub struct Arguments {
    /// The model files
    #[arg(required = true)]
    models: Vec<PathBuf>,
}

/// Runs the command.
pub fn verify(arguments: &Arguments) -> Result<()> {
    for path in &arguments.models {
        let file = model::open_path(path, Mode::Map)?;
        model::verify_data(&file).map_err(|e| e.context(path.display()))?;
        output::print(&format!("{}: whole, {}\n", path.display(), output::bytes(file.len() as u64)))?;
    }
    Ok(())
}
