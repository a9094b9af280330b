//! Convolutions of sessions on a GPU with cuDNN, without it, and with one that fails. On the stand-ins for the driver and for cuDNN
//! (`cargo xtask standin`); elsewhere these tests do nothing. Each runs in a process of its own, as a process has one cuDNN.

mod gpu;

use gpu::{Build, WIDTH, child, difference, gpu, input, is_standin, numbers, run, session};
use infer::cpu::Activation;
use infer::cuda::{Memory, Stream};
use infer::exec::{Control, RawStream};
use infer::graph::ValueId;
use infer::ops::{Conv, Reshape, Tensor};
use infer::session::{Context, DeviceData, DeviceId, Input, Model, Output, Precision, tuning};
use std::sync::Arc;

/// Where a stand-in for cuDNN lies.
fn folder(within: &str) -> String {
    format!("{}/build/cuda/{within}", env!("CARGO_MANIFEST_DIR"))
}

/// Runs an ignored test where cuDNN lies in this folder, and in no other, with one more variable.
fn with_cudnn(test: &str, within: &str, variable: (&str, &str)) {
    if is_standin() {
        let (libraries, driver) = (folder(within), folder(""));
        child(test, &[("INFER_CUDA_LIBRARIES", &libraries), ("LD_LIBRARY_PATH", &driver), variable]);
    }
}

const NOTHING: (&str, &str) = ("EXPECTED", "");

fn conv(b: &mut Build, name: &str, op: Conv, x: ValueId, weights: [usize; 4], residual: Option<ValueId>) -> ValueId {
    let count: usize = weights.iter().product();
    let numbers: Vec<f32> = (0..count).map(|i| ((i * 37 % 101) as f32 / 100.0 - 0.5) / 4.0).collect();
    let (w, bias) = (b.constant(&weights, &numbers), b.constant(&weights[..1], &numbers[..weights[0]]));
    b.op(name, op, &[Some(x), Some(w), Some(bias), residual].into_iter().flatten().collect::<Vec<_>>())
}

/// Three convolutions, the last two with what is added to them and a function: one that cuDNN has in every type, one in the smaller.
fn convolutions() -> Arc<Model> {
    let (mut b, x) = Build::new();
    let padded = |activation| Conv {
        window: infer::ops::window::Window { pads: vec![1, 1, 1, 1], ..Default::default() },
        activation,
        ..Conv::default()
    };
    let dims = Tensor::new(&[4], &[-1i64, 4, 6, 1]).unwrap();
    let dims = infer::graph::Constant::new(dims.info, infer::tensor::Layout::RowMajor, dims.data).unwrap();
    let dims = b.0.graphs[0].add_constant("", dims);
    let image = b.op("image", Reshape::default(), &[x, dims]);
    let first = conv(&mut b, "first", padded(Activation::None), image, [16, 3, 3, 1], None);
    let second = conv(&mut b, "second", padded(Activation::Relu), first, [16, 3, 3, 16], Some(first));
    let grouped = Conv { groups: 4, ..padded(Activation::Silu) };
    let third = conv(&mut b, "third", grouped, second, [24, 3, 3, 4], None);
    b.model(&[third])
}

/// Some batches, again and again, on the GPU as on the processor.
fn check(precision: Precision, tolerance: f32) -> Vec<Vec<u8>> {
    let model = convolutions();
    let (cpu, cuda) = (session(&model, DeviceId::Cpu, Precision::F32), session(&model, DeviceId::Cuda(0), precision));
    let (mut want, mut got) = (Context::new(&cpu), Context::new(&cuda));
    let each = [3, 3, 3, 1, 3, 1].into_iter().enumerate().map(|(seed, batch)| {
        let (want, got) = (run(&mut want, batch, seed), run(&mut got, batch, seed));
        let error = difference(&want[0], &got[0]);
        assert!(error <= tolerance, "batch {batch}, run {seed}: {error}");
        got.concat()
    });
    each.collect()
}

/// Lines of the tuning for convolutions, as `what` and choice.
fn choices() -> Vec<(String, String)> {
    let text = String::from_utf8(tuning::save()).unwrap();
    let lines = text.lines().filter(|line| line.contains("cuDNN") && line.contains(" conv "));
    lines
        .map(|line| line.rsplit_once('\t').unwrap())
        .map(|(what, choice)| (what.to_owned(), choice.to_owned()))
        .collect()
}

/// Takes this choice for all convolutions that were seen.
fn choose(choice: impl Fn(&str) -> String) {
    let lines = choices().into_iter().map(|(what, _)| format!("{what}\t{}\n", choice(&what)));
    tuning::load(format!("infer-tuning 1\n{}", lines.collect::<String>()).as_bytes()).unwrap();
}

/// How often the stand-in's engine of this number has run.
fn executions(engine: i32) -> u64 {
    // SAFETY: the function of the stand-in, of this type; the library is loaded already and stays.
    unsafe {
        let library = libloading::Library::new("libcudnn.so.9").unwrap();
        let count = library.get::<unsafe extern "C" fn(i32) -> u64>(b"infer_standin_dnn_executions").unwrap();
        count(engine)
    }
}

#[test]
fn convolutions_run_on_what_is_chosen() {
    with_cudnn("engines_are_timed_chosen_and_kept", "dnn", NOTHING);
}

#[test]
#[ignore = "run by convolutions_run_on_what_is_chosen"]
fn engines_are_timed_chosen_and_kept() {
    check(Precision::F32, 1e-5);
    assert_eq!(gpu().unwrap().dnn().map(|dnn| dnn.version()).ok(), Some(91002));
    assert!(executions(0) > 0, "an engine is timed");
    assert_eq!(choices().len(), 6, "three convolutions of two batches");
    // What is told is taken, and stays what it was told.
    let alone = |what: &str| if what.ends_with("None") { "sums" } else { "whole" };
    choose(|what| format!("cudnn {} 0", alone(what)));
    let (told, before) = (tuning::save(), executions(0));
    let first = check(Precision::F32, 1e-5);
    assert!(executions(0) > before && tuning::save() == told);
    assert_eq!(check(Precision::F32, 1e-5), first);
    choose(|_| "own".to_owned());
    let before = executions(0);
    check(Precision::F32, 1e-5);
    assert_eq!(executions(0), before);
    // Engines with other sums are told apart.
    check(Precision::F16, 4e-3);
    let [turned, straight] = [1, 0].map(|turned| {
        choose(|what| match what.contains("\tf16 ") {
            true => format!("cudnn {} 1 2={turned} 5=3", alone(what)),
            false => "own".to_owned(),
        });
        let before = executions(1);
        let results = check(Precision::F16, 4e-3);
        assert!(executions(1) > before);
        results
    });
    assert_ne!(turned, straight);
    check(Precision::Bf16, 3e-2);
    check(Precision::Tf32, 4e-3);
}

#[test]
fn what_is_not_there_or_fails_is_done_without() {
    let prepared = "convolutions_run_without_engines";
    with_cudnn(prepared, "none", ("EXPECTED", "cuDNN is not found"));
    with_cudnn(prepared, "dnn-old", ("EXPECTED", "it lacks cudnnBackendExecute"));
    for function in
        ["cudnnCreate", "cudnnBackendCreateDescriptor", "cudnnBackendFinalize", "cudnnBackendExecute", "cudnnSetStream"]
    {
        with_cudnn(prepared, "dnn", ("INFER_STANDIN_DNN_FAIL", function));
    }
}

#[test]
#[ignore = "run by what_is_not_there_or_fails_is_done_without"]
fn convolutions_run_without_engines() {
    // What a device knows goes with it.
    let device = gpu().unwrap();
    check(Precision::F32, 1e-5);
    check(Precision::F16, 4e-3);
    let reason = match device.dnn() {
        Ok(dnn) => {
            let refusals = dnn.refusals();
            assert!(!refusals.is_empty() && refusals.iter().all(|(what, _)| what.contains(" conv ")));
            refusals[0].1.clone()
        }
        Err(reason) => reason.to_string(),
    };
    // What the stand-in says when the environment makes it fail.
    let expected = std::env::var("EXPECTED").unwrap_or_else(|_| "the environment asks for a failure".to_owned());
    assert!(reason.contains(&expected), "{reason}");
    assert!(choices().iter().all(|(_, choice)| choice == "own"));
}

#[test]
fn cudnn_may_be_looked_for_within_a_capture() {
    with_cudnn("engines_are_chosen_within_a_capture", "dnn", NOTHING);
}

#[test]
#[ignore = "run by cudnn_may_be_looked_for_within_a_capture"]
fn engines_are_chosen_within_a_capture() {
    let (device, model) = (gpu().unwrap(), convolutions());
    let want = run(&mut Context::new(&session(&model, DeviceId::Cpu, Precision::F32)), 2, 1).remove(0);
    let mut context = Context::new(&session(&model, DeviceId::Cuda(0), Precision::F32));
    let stream = Arc::new(Stream::new(&device).unwrap());
    let x = Memory::copy_of(&stream, &numbers(2, 1)).unwrap();
    let y = Memory::copy_of(&stream, &vec![0; want.len()]).unwrap();
    let data = |memory: &Memory| Some(DeviceData { ordinal: 0, address: memory.address().0, len: memory.len() });
    assert_eq!(x.len(), 2 * WIDTH * 4);
    for _ in 0..2 {
        let graph = stream.capture(|| {
            let mut outputs = [Output { device: data(&y), ..Output::default() }];
            let input = Input { device: data(&x), ..input(2, &[]) };
            let stream = Some(RawStream(stream.as_raw()));
            context.run(&[input], &mut outputs, Control { stream, asynchronous: true, ..Control::default() })
        });
        graph.unwrap().launch(&stream).unwrap();
        let mut got = vec![0; y.len()];
        y.read(&mut got).unwrap();
        assert!(difference(&want, &got) <= 1e-5);
    }
    assert!(!choices().is_empty());
}
