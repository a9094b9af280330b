//! `include/infer.h`: what `src/capi` exports, as C declares it.
//!
//! cbindgen reads the files of `src/capi` by themselves, in the order in which `mod.rs` names them: the header then reads in
//! the order of the sources, and no constant of the rest of the library can end up in it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

use crate::shell::{self, root};

/// Writes or checks the header.
pub fn header(check: bool) -> Result<()> {
    let mut bytes = Vec::new();
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).map_err(|error| anyhow!(error))?;
    let builder =
        sources()?.into_iter().fold(cbindgen::Builder::new().with_config(config), cbindgen::Builder::with_src);
    builder.generate().context("cbindgen cannot read src/capi")?.write(&mut bytes);
    let fresh = plain_type_names(&String::from_utf8(bytes)?);
    shell::generated(&root().join("include/infer.h"), &fresh, check, "header")
}

/// `struct infer_tensor` becomes `infer_tensor` wherever the type is used: its definition makes both names, so that an
/// application can declare it ahead and still read signatures without the keyword.
fn plain_type_names(text: &str) -> String {
    let lines = text.split_inclusive('\n');
    lines
        .map(|line| if line.starts_with("typedef") { line.to_owned() } else { line.replace("struct infer_", "infer_") })
        .collect()
}

/// The names of the functions that the committed header declares, sorted.
pub fn functions() -> Result<Vec<String>> {
    let text = fs::read_to_string(root().join("include/infer.h")).context("cannot read include/infer.h")?;
    let declarations = text.split("INFER_API").skip(1).filter_map(|rest| rest.split('(').next());
    let names = declarations.filter_map(|before| before.rsplit([' ', '*', '\n']).next());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("infer_")).map(str::to_owned).collect();
    names.sort();
    Ok(names)
}

/// `mod.rs`, then its modules as it names them.
fn sources() -> Result<Vec<PathBuf>> {
    let folder = root().join("src/capi");
    let first = folder.join("mod.rs");
    let text = fs::read_to_string(&first).with_context(|| format!("cannot read {}", first.display()))?;
    let modules = text.lines().filter_map(|line| {
        let name = line.trim_start_matches("pub ").trim_start_matches("pub(crate) ").strip_prefix("mod ")?;
        Some(folder.join(name.strip_suffix(';')?).with_extension("rs"))
    });
    Ok(std::iter::once(first.clone()).chain(modules).filter(|path| Path::is_file(path)).collect())
}
