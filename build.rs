//! Packs the kernels' PTX, which is text that says everything twice: the library holds it deflated.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CUDA").is_some() {
        let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
        pack(Path::new("src"), &out);
    }
}

/// Writes `name.ptx.z` for each `name.ptx` below a folder.
fn pack(folder: &Path, out: &Path) {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            pack(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "ptx") {
            println!("cargo::rerun-if-changed={}", path.display());
            let packed = miniz_oxide::deflate::compress_to_vec(&fs::read(&path).expect("PTX"), 9);
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            fs::write(out.join(name + ".z"), packed).expect("the output folder can be written");
        }
    }
}
