//! The `infer` command as a shell sees it: what it prints, what it leaves, and its exit status.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A folder of a test's own, with the digit classifier in it.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Folder {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        let folder = Folder(path);
        folder.passes(&["convert", &format!("{ROOT}/examples/digits/digits.onnx"), "m.infer", "--metadata", "k=v w"]);
        folder
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_infer")).args(arguments).current_dir(&self.0).output().unwrap()
    }

    /// What a command that succeeds prints.
    fn passes(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A command that ends with this status and says these words on standard error, and nothing elsewhere.
    fn fails(&self, status: i32, words: &str, arguments: &[&str]) {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {error}");
        assert!(error.contains(words) && output.stdout.is_empty(), "{arguments:?}: {error}");
    }
}

#[test]
fn a_model_is_described() {
    let folder = Folder::new("described");
    let text = folder.passes(&["inspect", "m.infer"]);
    for words in ["image: f32[batch, 1, 8, 8]", "logits: f32[batch, 10]", "k = v w", "3 Conv"] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    let graph = folder.passes(&["inspect", "m.infer", "--graph"]);
    for words in ["graph 0 'main", "input  %0 image: f32[batch, 1, 8, 8]", "] = Conv(%", "as ConvPanels { groups: 1 }"]
    {
        assert!(graph.contains(words), "{words} is not in\n{graph}");
    }
    let json: Value =
        serde_json::from_str(&folder.passes(&["inspect", "m.infer", "--json", "--shape", "7x1x8x8"])).unwrap();
    assert_eq!(json["inputs"][0]["shape"][0]["name"], "batch");
    assert_eq!(json["metadata"]["k"], "v w");
    assert_eq!(json["operations"]["Conv"], 3);
    assert_eq!(json["memory"]["shapes"]["image"][0], 7);
    assert!(json["memory"]["planned_bytes"].as_u64() >= json["memory"]["least_bytes"].as_u64());
    folder.fails(1, "image", &["inspect", "m.infer", "--shape", "picture=1x1x8x8"]);
    folder.fails(1, "image", &["inspect", "m.infer", "--shape", "1x1x8x9"]);
}

#[test]
fn images_and_arrays_go_in_and_come_out() {
    let folder = Folder::new("run");
    let image = format!("{ROOT}/examples/digits/images/7a.pgm");
    let shown = folder.passes(&["run", "m.infer", "--input", &image]);
    assert!(shown.contains("logits: f32 1x10") && shown.contains("largest: [7]"), "{shown}");

    folder.passes(&["run", "m.infer", "-i", &format!("image={image}"), "-o", "y.npy", "-o", "all.npz", "-o", "y.raw"]);
    let [npy, raw] = ["y.npy", "y.raw"].map(|name| fs::read(folder.0.join(name)).unwrap());
    assert_eq!(npy[npy.len() - 40..], raw[..]);

    // The pixels as they enter the network, as an array.
    let pixels: Vec<u8> = fs::read(&image).unwrap();
    let pixels: Vec<u8> =
        pixels[pixels.len() - 64..].iter().flat_map(|&p| (f32::from(p) / 255.0).to_le_bytes()).collect();
    fs::write(folder.0.join("x.raw"), pixels).unwrap();
    folder.passes(&["run", "m.infer", "-i", "x.raw", "-o", "again.raw", "--threads", "3"]);
    assert_eq!(fs::read(folder.0.join("again.raw")).unwrap(), raw);

    folder.fails(1, "picture", &["run", "m.infer", "-i", "picture=x.raw"]);
    folder.fails(1, "256", &["run", "m.infer", "-i", "x.raw", "--shape", "2x1x8x8"]);
    folder.fails(1, "no.npy", &["run", "m.infer", "-i", "no.npy"]);
    folder.fails(1, ".txt", &["run", "m.infer", "-i", "x.txt"]);
    folder.fails(2, "--input", &["run", "m.infer"]);
}

#[test]
fn numbers_that_are_not_finite_are_found() {
    let folder = Folder::new("check");
    let pixels = |value: f32| fs::write(folder.0.join("x.raw"), [value.to_le_bytes(); 64].as_flattened()).unwrap();
    let run = ["run", "m.infer", "-i", "x.raw", "--check"];
    pixels(1.0);
    folder.passes(&run);
    pixels(f32::NAN);
    folder.fails(1, "input 0 'image': 64 of 64 values", &run);
    pixels(3e38);
    folder.fails(1, "(Conv): output 0", &run);
    folder.fails(1, "no such node", &["run", "m.infer", "-i", "x.raw", "--keep-f32", "no such node"]);
}

#[test]
fn damage_is_found() {
    let folder = Folder::new("damage");
    assert!(folder.passes(&["verify", "m.infer", "m.infer"]).contains("m.infer: whole"));
    let mut bytes = fs::read(folder.0.join("m.infer")).unwrap();
    let end = bytes.len();
    // The last weights lie in front of the zeros at the end.
    let last = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    bytes[last] ^= 1;
    fs::write(folder.0.join("weights.infer"), &bytes).unwrap();
    folder.fails(1, "weights.infer: ", &["verify", "weights.infer"]);
    fs::write(folder.0.join("short.infer"), &bytes[..end / 2]).unwrap();
    folder.fails(1, "short.infer", &["verify", "short.infer"]);
    folder.fails(1, "none.infer", &["verify", "none.infer"]);
}

#[test]
fn a_failed_conversion_keeps_the_old_file() {
    let folder = Folder::new("keeps");
    let before = fs::read(folder.0.join("m.infer")).unwrap();
    fs::write(folder.0.join("broken.onnx"), b"\x08\x0a\xff\xff").unwrap();
    folder.fails(1, "broken.onnx", &["convert", "broken.onnx", "m.infer"]);
    folder.fails(1, "none.onnx", &["convert", "none.onnx", "m.infer"]);
    folder.fails(1, ".onnx", &["convert", "m.infer", "m.infer"]);
    assert_eq!(fs::read(folder.0.join("m.infer")).unwrap(), before);
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 2);
}

/// Converts over `m.infer` under a limit on the sizes of files that stands for a full disk.
#[cfg(target_os = "linux")]
fn convert_on_full_disk(folder: &Folder, before: &str) -> Output {
    let command = format!("{before} ulimit -f 16; exec \"$0\" convert {ROOT}/examples/digits/digits.onnx m.infer");
    let infer = env!("CARGO_BIN_EXE_infer");
    Command::new("sh").args(["-c", &command, infer]).current_dir(&folder.0).output().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_or_a_kill_keeps_the_old_file() {
    let folder = Folder::new("full");
    let before = fs::read(folder.0.join("m.infer")).unwrap();
    let unchanged = || assert!(fs::read(folder.0.join("m.infer")).unwrap() == before, "the old file changed");
    let output = convert_on_full_disk(&folder, "trap '' XFSZ;");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && error.contains("m.infer"), "{error}");
    unchanged();
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "a failed conversion leaves nothing behind");
    // Without the trap, the signal kills the process in the middle of a write.
    assert_eq!(convert_on_full_disk(&folder, "").status.code(), None);
    unchanged();
    for delay in 0..40 {
        let arguments = ["convert", &format!("{ROOT}/examples/digits/digits.onnx"), "m.infer"];
        let infer = Command::new(env!("CARGO_BIN_EXE_infer"))
            .args(arguments)
            .current_dir(&folder.0)
            .stdout(Stdio::null())
            .spawn();
        let mut infer = infer.unwrap();
        std::thread::sleep(std::time::Duration::from_micros(500 * delay));
        infer.kill().unwrap();
        infer.wait().unwrap();
        folder.passes(&["verify", "m.infer"]);
    }
}

#[test]
fn a_measurement_is_one_line() {
    let folder = Folder::new("bench");
    let line = folder.passes(&["bench", "m.infer", "--seconds", "0", "--threads", "2", "--json"]);
    let json: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((line.lines().count(), &json["threads"]), (1, &Value::from(2)));
    for key in ["load_ms", "first_ms", "p50_ms", "min_ms", "private_mb"] {
        assert!(json[key].as_f64().is_some_and(|figure| figure >= 0.0), "{key}: {line}");
    }
    assert!(
        json["first_ms"].as_f64() >= json["load_ms"].as_f64() && json["p50_ms"].as_f64() >= json["min_ms"].as_f64()
    );
    assert!(json.get("profile").is_none());
    assert_eq!((&json["memory"]["contexts"], &json["memory"]["plans"]), (&Value::from(1), &Value::from(1)));
    assert!(json["memory"]["host"]["weights"].as_u64() > Some(1000) && json["memory"]["gpu"]["weights"] == 0, "{line}");
    let text = folder.passes(&["bench", "m.infer", "--seconds", "0", "--threads", "1"]);
    assert!(text.lines().any(|line| line.starts_with("  memory      host: ")), "{text}");
    folder.fails(1, "1025", &["bench", "m.infer", "--threads", "1025"]);
}

#[test]
fn batches_are_measured_one_after_another() {
    let folder = Folder::new("batch");
    let text = folder.passes(&["bench", "m.infer", "--seconds", "0", "--threads", "1", "--json", "--batch", "1,3"]);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let batches: Vec<&Value> = lines.iter().map(|line| &line["batch"]).collect();
    assert_eq!(batches, [&Value::from(1), &Value::from(3)]);
    assert!(lines.iter().all(|line| line["items_per_s"].as_f64().is_some_and(|n| n > 0.0)), "{text}");
    folder.fails(2, "--batch", &["bench", "m.infer", "--batch", "0"]);
}

#[test]
fn a_device_that_is_not_there_is_an_error_that_says_why() {
    let folder = Folder::new("device");
    // The number of no machine's GPU.
    for verb in ["bench", "inspect"] {
        folder.fails(1, "CUDA", &[verb, "m.infer", "--device", "cuda:999"]);
    }
    folder.fails(2, "cuda:N", &["bench", "m.infer", "--device", "abacus"]);
    folder.fails(2, "bf16", &["bench", "m.infer", "--precision", "f8"]);
}

#[test]
fn a_profile_shows_operators_and_steps() {
    let folder = Folder::new("profile");
    let bench = ["bench", "m.infer", "--seconds", "0", "--threads", "1", "--profile"];
    let json: Value = serde_json::from_str(&folder.passes(&[&bench[..], &["--json"]].concat())).unwrap();
    let profile = &json["profile"];
    assert!(profile["peak_gflops"].as_f64().is_some_and(|peak| peak > 0.1), "{profile}");
    let [operators, steps] = ["operators", "steps"].map(|key| profile[key].as_array().unwrap());
    let sum = |rows: &[Value], key: &str| rows.iter().map(|row| row[key].as_f64().unwrap()).sum::<f64>();
    assert_eq!(sum(operators, "steps"), steps.len() as f64);
    assert!((sum(operators, "gflop") - sum(steps, "gflop")).abs() < 1e-9 && sum(steps, "gflop") > 0.0);
    assert!(steps.iter().any(|step| step["operator"] == "Conv 3x3" && step["output"] == "1x8x8x16"), "{profile}");

    let text = folder.passes(&[&bench[..], &["--slowest", "1"]].concat());
    let (_, slowest) = text.split_once("slowest steps").unwrap();
    assert_eq!(slowest.lines().count(), 2, "{text}");
    folder.fails(2, "--profile", &["bench", "m.infer", "--slowest", "1"]);
}

#[test]
fn wrong_usage_is_told_apart() {
    let folder = Folder::new("usage");
    folder.fails(2, "Usage", &[]);
    folder.fails(2, "no-such", &["bench", "m.infer", "--no-such"]);
    folder.fails(2, "4096", &["convert", "a.onnx", "b.infer", "--page", "5"]);
    folder.fails(2, "image=1x3x224x224", &["bench", "m.infer", "--shape", "axb"]);
    for verb in ["convert", "inspect", "verify", "run", "bench"] {
        let help = folder.passes(&[verb, "--help"]);
        let example = help.split_once("Example").is_some_and(|(_, rest)| rest.contains(&format!(" infer {verb} ")));
        assert!(example, "{help}");
    }
}
