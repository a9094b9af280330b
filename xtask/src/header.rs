//! `include/infer.h`: what `src/capi` exports, as C declares it.
//!
//! Each file of `src/capi` is a section: its module comment is the heading, cbindgen makes the declarations. The frame around
//! them, and what only the preprocessor can express, is `src/capi/infer.h.in`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

use crate::shell::{self, root};

/// Columns of the header.
const WIDTH: usize = 120;

/// Writes or checks the header.
pub fn header(check: bool) -> Result<()> {
    let folder = root().join("src/capi");
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).map_err(|error| anyhow!(error))?;
    let mut sections = Vec::new();
    for source in sources(&folder)? {
        sections.extend(section(&source, &config).with_context(|| source.display().to_string())?);
    }
    let frame = fs::read_to_string(folder.join("infer.h.in")).context("cannot read src/capi/infer.h.in")?;
    let fresh = frame.replace("@SECTIONS@\n", &sections.join("\n"));
    shell::generated(&root().join("include/infer.h"), &fresh, check, "header")
}

/// A file's heading and declarations; nothing if it exports nothing.
fn section(source: &Path, config: &cbindgen::Config) -> Result<Option<String>> {
    let mut bytes = Vec::new();
    let builder = cbindgen::Builder::new().with_config(config.clone()).with_src(source);
    builder.generate().context("cbindgen cannot read it")?.write(&mut bytes);
    let declarations = String::from_utf8(bytes)?;
    if declarations.trim().is_empty() {
        return Ok(None);
    }
    let text = fs::read_to_string(source)?;
    let comment: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
    let heading = comment.join("\n * ").replacen("# ", "/* ", 1).replace(" * \n", " *\n");
    Ok(Some(format!("{heading}{} */\n\n{}\n", if comment.len() > 1 { "\n" } else { "" }, tidy(&declarations))))
}

/// Makes cbindgen's text pleasant: constants, fields and handles become tables with their comments at the right, and
/// `struct infer_tensor` becomes `infer_tensor` wherever the type is used. Its definition makes both names, so that an application
/// can declare it ahead and still read signatures without the keyword.
fn tidy(declarations: &str) -> String {
    let lines: Vec<String> = declarations
        .trim()
        .lines()
        .map(|line| if line.starts_with("typedef") { line.to_owned() } else { line.replace("struct infer_", "infer_") })
        .collect();
    let mut text: Vec<String> = Vec::new();
    let mut table: Vec<(&str, &str)> = Vec::new();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        let row = lines.get(at + 1).filter(|next| is_row(next));
        if let (Some(comment), Some(row)) = (line.trim().strip_prefix("/// "), row) {
            table.push((row, comment));
            at += 2;
        } else if line.is_empty() && lines.get(at + 2).is_some_and(|next| continues(&table, next)) {
            at += 1;
        } else {
            text.extend(aligned(&mut table));
            text.extend(wrapped(line));
            at += 1;
        }
    }
    text.extend(aligned(&mut table));
    text.join("\n")
}

/// A constant, a field, or a type of which nothing more is known.
fn is_row(line: &str) -> bool {
    let handle = line.starts_with("typedef struct") && line.ends_with(';');
    line.starts_with("#define") || handle || (line.starts_with("  ") && line.ends_with(';'))
}

/// Whether a row is of the same kind as the table's last one.
fn continues(table: &[(&str, &str)], row: &str) -> bool {
    let word = |line: &str| line.split(' ').next().map(str::to_owned);
    is_row(row) && table.last().is_some_and(|(last, _)| word(last) == word(row))
}

/// A declaration on as few lines as the width allows, its parameters below each other.
fn wrapped(line: &str) -> Vec<String> {
    let Some(indent) = line.find('(').filter(|_| line.starts_with("INFER_API") && line.len() > WIDTH) else {
        return vec![line.to_owned()];
    };
    let mut lines = vec![line[..=indent].to_owned()];
    for parameter in line[indent + 1..].split_inclusive(", ") {
        if lines.last().is_some_and(|last| last.len() + parameter.trim_end().len() > WIDTH) {
            lines.push(" ".repeat(indent + 1));
        }
        if let Some(last) = lines.last_mut() {
            last.push_str(parameter);
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

/// The rows with their comments in one column.
fn aligned(table: &mut Vec<(&str, &str)>) -> Vec<String> {
    let width = table.iter().map(|(row, _)| row.len()).max().unwrap_or(0);
    table.drain(..).map(|(row, comment)| format!("{row:width$} ///< {comment}")).collect()
}

/// The names of the functions that the committed header declares, sorted.
pub fn functions() -> Result<Vec<String>> {
    let text = fs::read_to_string(root().join("include/infer.h")).context("cannot read include/infer.h")?;
    let declarations = text.split("\nINFER_API").skip(1).filter_map(|rest| rest.split('(').next());
    let names = declarations.filter_map(|before| before.rsplit([' ', '*', '\n']).next());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("infer_")).map(str::to_owned).collect();
    names.sort();
    Ok(names)
}

/// The modules of `src/capi` in the order in which `mod.rs` names them.
fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let text = fs::read_to_string(folder.join("mod.rs")).context("cannot read src/capi/mod.rs")?;
    let modules = text.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
    Ok(modules.map(|name| folder.join(name).with_extension("rs")).filter(|path| path.is_file()).collect())
}
