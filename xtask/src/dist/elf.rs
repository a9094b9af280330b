//! What must hold for the linked products, as `readelf` sees them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::shell::{self, command};

/// A stripped shared library of more bytes than this has gained something that does not belong into it.
const MAX_SHARED_BYTES: u64 = 5_250_000;

/// What a machine has that runs anything at all.
const ALLOWED_LIBRARIES: [&str; 6] =
    ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "libpthread.so.0", "libdl.so.2", "ld-linux-"];

/// Parts of mangled names that only the converter, the model writer and the command contain.
const FOREIGN_SYMBOLS: [&str; 5] = ["infer_convert", "5model5write", "FlatBufferBuilder", "5prost", "4clap"];

/// One row of a symbol table.
struct Symbol {
    name: String,
    bind: String,
    section: String,
}

/// The names of the functions that a shared library exports, sorted.
pub fn exports(library: &Path) -> Result<Vec<String>> {
    let symbols = symbols(library, "--dyn-syms")?;
    let mut names: Vec<String> = symbols
        .iter()
        .filter(|symbol| symbol.section != "UND" && symbol.section != "ABS" && symbol.bind != "LOCAL")
        .map(|symbol| symbol.name.clone())
        .collect();
    names.sort();
    for name in &mut names {
        let at = name.find("@@INFER_").with_context(|| format!("{name} is exported without a version"))?;
        name.truncate(at);
    }
    ensure!(!names.is_empty(), "{} exports nothing", library.display());
    Ok(names)
}

/// Checks exported names, dependencies, size and contents. `linked` is the same library with its symbol table.
pub fn check_shared(stripped: &Path, linked: &Path, exports: &[String]) -> Result<()> {
    let foreign: Vec<_> = exports.iter().filter(|name| !name.starts_with("infer_")).collect();
    ensure!(foreign.is_empty(), "exported under names that are not ours: {foreign:?}");

    let dynamic = shell::read(command("readelf").args(["-d", "-W"]).arg(stripped))?;
    for line in dynamic.lines().filter(|line| line.contains("(NEEDED)")) {
        let allowed = ALLOWED_LIBRARIES.iter().any(|name| line.contains(&format!("[{name}")));
        ensure!(allowed, "the library needs another one: {}", line.trim());
    }

    let size = fs::metadata(stripped)?.len();
    ensure!(size < MAX_SHARED_BYTES, "the stripped library has {size} bytes, more than {MAX_SHARED_BYTES}");

    let inside = symbols(linked, "--syms")?;
    let unwanted = inside.iter().find(|symbol| FOREIGN_SYMBOLS.iter().any(|part| symbol.name.contains(part)));
    ensure!(unwanted.is_none(), "{} does not belong into the runtime", unwanted.map_or("", |symbol| &symbol.name));
    Ok(())
}

/// Checks that the static object defines the same names as the shared library, and no others, for the linker to see.
pub fn check_object(object: &Path, exports: &[String]) -> Result<()> {
    let symbols = symbols(object, "--syms")?;
    let global = symbols.iter().filter(|symbol| symbol.bind != "LOCAL" && symbol.section != "UND");
    let mut names: Vec<_> = global.map(|symbol| symbol.name.clone()).collect();
    names.sort();
    ensure!(names == exports, "the static library defines {names:?}, the shared one {exports:?}");
    Ok(())
}

fn symbols(file: &Path, table: &str) -> Result<Vec<Symbol>> {
    let text = shell::read(command("readelf").args(["-W", table]).arg(file))?;
    let rows = text.lines().filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [index, _value, _size, _kind, bind, _visibility, section, name, ..] = columns[..] else { return None };
        index.strip_suffix(':')?.parse::<u32>().ok()?;
        Some(Symbol { name: name.to_owned(), bind: bind.to_owned(), section: section.to_owned() })
    });
    Ok(rows.collect())
}
