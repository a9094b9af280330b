//! What the design promises of the sources, read from the sources: which module may use which, where `unsafe` may stand, and how
//! long files and functions may be.

use std::fs;
use std::path::{Path, PathBuf};

/// The modules of the library. Each uses only those in rows above its own.
const LAYERS: [&[&str]; 10] = [
    &["error"],
    &["tensor", "schema"],
    &["cpu", "cuda"],
    &["ops"],
    &["graph"],
    &["model"],
    &["plan"],
    &["exec"],
    &["session"],
    &["capi"],
];

/// Where `unsafe` may stand: memory of the C caller, of a mapped file, of the allocator, or shared by the threads of a run;
/// vector instructions; devices; kernels that lend raw parts of outputs and workspace to the drivers of `src/cpu/`.
const UNSAFE: &[&str] = &[
    "src/cpu/",
    "src/cuda/",
    "src/capi/",
    "src/schema/",
    "src/model/mmap.rs",
    "src/tensor/view.rs",
    "src/tensor/buffer.rs",
    "src/exec/cuda.rs",
    "src/exec/segment.rs",
    "src/ops/centered.rs",
    "src/ops/widen.rs",
    "src/ops/matmul/f32.rs",
    "src/ops/matmul/operands.rs",
    "src/ops/conv/expanded.rs",
    "src/ops/conv/f32.rs",
    "src/ops/conv/scaled.rs",
    "src/ops/conv_transpose/f32.rs",
    "src/ops/conv_transpose/gather.rs",
    "src/ops/conv/winograd.rs",
    "src/ops/pool/f32.rs",
    "src/ops/attention/blocks.rs",
    "src/ops/attention/cache.rs",
    "src/ops/attention/rows.rs",
    "src/ops/recurrent/f32.rs",
    "src/ops/recurrent/step.rs",
];

const GENERATED: [&str; 1] = ["src/schema/model_generated.rs"];
const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 60;

/// A source file without its tests.
struct Source {
    name: String,
    lines: Vec<String>,
}

#[test]
fn modules_use_only_what_lies_below_them() {
    let layer = |module: &str| LAYERS.iter().position(|row| row.contains(&module));
    let mut wrong = Vec::new();
    for source in sources(&["src"]) {
        let module = source.name["src/".len()..].split(['/', '.']).next().unwrap_or_default();
        let Some(own) = layer(module) else { continue };
        for (at, line) in code(&source) {
            for path in line.split("crate::").skip(1) {
                let used: String = path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if path.starts_with('{') {
                    wrong.push(format!(
                        "{}:{at}: write one `use` for each module, as this test reads them",
                        source.name
                    ));
                }
                if used != module && layer(&used).is_some_and(|layer| layer >= own) {
                    wrong.push(format!("{}:{at}: {module} uses {used}", source.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_of_the_library_has_a_layer() {
    let library = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let modules =
        library.lines().filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'));
    let unknown: Vec<_> = modules.filter(|module| !LAYERS.iter().any(|row| row.contains(module))).collect();
    assert!(unknown.is_empty(), "in no layer: {unknown:?}");
}

#[test]
fn unsafe_stands_only_where_it_may() {
    let mut wrong = Vec::new();
    for source in sources(&["src", "convert/src", "cli/src", "xtask/src"]) {
        if UNSAFE.iter().any(|allowed| source.name.starts_with(allowed)) {
            continue;
        }
        let words = |line: &str| line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
        wrong.extend(code(&source).filter(|(_, line)| words(line)).map(|(at, _)| format!("{}:{at}", source.name)));
    }
    assert!(wrong.is_empty(), "unsafe in:\n{}", wrong.join("\n"));
}

#[test]
fn files_and_functions_stay_short() {
    let mut wrong = Vec::new();
    for source in sources(&["src", "convert/src", "cli/src", "xtask/src"]) {
        if source.lines.len() > MAX_FILE_LINES {
            wrong.push(format!("{} has {} lines without its tests", source.name, source.lines.len()));
        }
        for (start, line) in code(&source).filter(|(_, line)| is_function(line)) {
            // rustfmt puts the closing brace under the first letter of the function.
            let close = format!("{}}}", &line[..line.len() - line.trim_start().len()]);
            let length = source.lines[start - 1..].iter().position(|line| *line == close).map_or(1, |at| at + 1);
            if length > MAX_FUNCTION_LINES && !line.ends_with(';') {
                wrong.push(format!("{}:{start}: a function of {length} lines", source.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn is_function(line: &str) -> bool {
    let qualifiers = ["pub", "pub(crate)", "pub(super)", "const", "unsafe", "async", "extern", "\"C\""];
    line.split_whitespace().find(|word| !qualifiers.contains(word)) == Some("fn")
}

/// The numbered lines without comments.
fn code(source: &Source) -> impl Iterator<Item = (usize, &String)> {
    source
        .lines
        .iter()
        .enumerate()
        .map(|(at, line)| (at + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Every hand-written file below the folders, without test files and without what follows `#[cfg(test)] mod`.
fn sources(folders: &[&str]) -> Vec<Source> {
    let mut files: Vec<PathBuf> = Vec::new();
    folders.iter().for_each(|folder| collect(&root().join(folder), &mut files));
    let sources = files.iter().filter_map(|path| {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let test = name.contains("/tests") || name.ends_with("/testing.rs") || GENERATED.contains(&name.as_str());
        let text = fs::read_to_string(path).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        (!test).then(|| Source { name, lines: text.lines().map(str::to_owned).collect() })
    });
    sources.collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
