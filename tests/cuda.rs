//! Sessions on a GPU. Where there is none these tests do nothing, unless `INFER_TEST_DEVICE=cuda` says that there is; the stand-in
//! for the driver (`cargo xtask standin`) counts as one.

mod gpu;

use gpu::{Build, WIDTH, child, difference, gpu, input, is_standin, numbers, run, session};
use infer::cuda::{Device, Memory, Stream};
use infer::error::Status;
use infer::exec::{Control, Profile, RawStream};
use infer::graph::ValueId;
use infer::ops::softmax::SoftmaxKind;
use infer::ops::{Cast, Concat, MatMul, NonZero, Softmax, TensorInfo, Where};
use infer::session::{Context, DeviceData, DeviceId, Input, Model, Output, Precision, Session, SessionOptions};
use infer::tensor::{DType, Dims};
use std::sync::Arc;

fn layer(b: &mut Build, name: &str, x: ValueId) -> ValueId {
    let numbers: Vec<f32> = (0..WIDTH * WIDTH).map(|i| (i * 37 % 101) as f32 / 100.0 - 0.4).collect();
    let weights = b.constant(&[WIDTH, WIDTH], &numbers);
    let product = b.op(name, MatMul::default(), &[x, weights]);
    b.op(&format!("{name}.softmax"), Softmax { kind: SoftmaxKind::Softmax, axis: -1 }, &[product])
}

fn layers() -> Arc<Model> {
    let (mut b, x) = Build::new();
    let first = layer(&mut b, "first", x);
    let second = layer(&mut b, "second", first);
    b.model(&[second, first])
}

/// Its nodes run on the GPU, the processor, the GPU, and what follows depends on data.
fn mixed() -> Arc<Model> {
    let (mut b, x) = Build::new();
    let first = layer(&mut b, "first", x);
    let where_ = b.op("where", NonZero {}, &[first]);
    let second = layer(&mut b, "second", first);
    b.model(&[second, where_])
}

/// What a cache does: rows, of which there may be none yet, are joined with others.
fn grown() -> Arc<Model> {
    let (mut b, x) = Build::new();
    let row = b.constant(&[1, WIDTH], &[0.5; WIDTH]);
    let joined = b.op("joined", Concat::along(0), &[x, row]);
    let last = layer(&mut b, "last", joined);
    b.model(&[last])
}

/// Integers tell which elements are kept. If the host needs the mask, shapes depend on it.
fn masked(host_needs_mask: bool) -> Arc<Model> {
    let (mut b, x) = Build::new();
    let mask = b.input("mask", DType::I64);
    let mask = b.op("mask", Cast { to: DType::Bool }, &[mask]);
    let zero = b.constant(&[1], &[0.0]);
    let kept = b.op("kept", Where, &[mask, x, zero]);
    let where_ = host_needs_mask.then(|| b.op("where", NonZero {}, &[mask]));
    b.model(&[Some(kept), where_].into_iter().flatten().collect::<Vec<_>>())
}

#[test]
fn a_gpu_computes_what_the_processor_does_run_after_run() {
    let Some(_) = gpu() else { return };
    for model in [layers(), mixed(), grown()] {
        let cpu = session(&model, DeviceId::Cpu, Precision::F32);
        let cuda = session(&model, DeviceId::Cuda(0), Precision::F32);
        let (mut want, mut got) = (Context::new(&cpu), Context::new(&cuda));
        // The second run of a shape is captured, later ones are replayed, also after other shapes.
        for (seed, batch) in [3, 3, 3, 1, 3, 1, 1, 70, 3, 0, 0, 0, 70, 70].into_iter().enumerate() {
            let (want, got) = (run(&mut want, batch, seed), run(&mut got, batch, seed));
            assert!(difference(&want[0], &got[0]) < 1e-6, "batch {batch}, run {seed}");
        }
    }
}

#[test]
fn steps_and_copies_are_where_they_should_be() {
    let Some(_) = gpu() else { return };
    let places = |model: &Arc<Model>| {
        let infos = [DType::F32, DType::I64].map(|dtype| TensorInfo { dtype, dims: Dims::new(&[2, WIDTH]) });
        let infos = &infos[..model.inputs().len()];
        let steps = session(model, DeviceId::Cuda(0), Precision::F32).placement(infos).unwrap();
        steps.into_iter().map(|step| step.place).collect::<Vec<_>>()
    };
    assert_eq!(places(&layers()), ["to cuda", "cuda", "cuda", "cuda", "cuda", "from cuda", "from cuda"]);
    assert_eq!(places(&grown()), ["to cuda", "cuda", "cuda", "cuda", "from cuda"]);
    // NonZero runs by itself, on what has come back.
    assert_eq!(places(&mixed()), ["to cuda", "cuda", "cuda", "from cuda"]);
    // Integers stay with the host where it needs them.
    assert_eq!(places(&masked(false)), ["to cuda", "cuda", "to cuda", "cuda", "from cuda"]);
    assert_eq!(places(&masked(true)), ["cpu", "to cuda", "to cuda", "cuda", "from cuda"]);
}

#[test]
fn smaller_floats_are_close() {
    let Some(_) = gpu() else { return };
    for (model, batch) in [(layers(), 9), (grown(), 0)] {
        check_smaller_floats(&model, batch);
    }
}

fn check_smaller_floats(model: &Arc<Model>, batch: usize) {
    let want = run(&mut Context::new(&session(model, DeviceId::Cpu, Precision::F32)), batch, 0);
    for (precision, tolerance) in [(Precision::Tf32, 1e-3), (Precision::F16, 2e-3), (Precision::Bf16, 1e-2)] {
        let mut context = Context::new(&session(model, DeviceId::Cuda(0), precision));
        let got = run(&mut context, batch, 0);
        let error = difference(&want[0], &got[0]);
        assert!(error < tolerance, "{precision:?}: {error}");
        assert!(precision == Precision::Tf32 || error > 0.0, "{precision:?} computes in f32");
    }
}

/// A run whose input and first output are in the GPU's memory, in the caller's stream.
#[test]
fn tensors_stay_in_the_memory_of_the_gpu() {
    let Some(device) = gpu() else { return };
    let model = layers();
    let want = run(&mut Context::new(&session(&model, DeviceId::Cpu, Precision::F32)), 5, 1);
    let session = session(&model, DeviceId::Cuda(0), Precision::F32);
    let stream = Arc::new(Stream::new(&device).unwrap());
    let len = 5 * WIDTH * 4;
    let mut context = Context::new(&session);
    for asynchronous in [false, true, true, true, false] {
        let x = Memory::copy_of(&stream, &numbers(5, 1)).unwrap();
        let y = Memory::new(&stream, len).unwrap();
        let data = |memory: &Memory| Some(DeviceData { ordinal: 0, address: memory.address().0, len: memory.len() });
        let input = Input { data: &[], device: data(&x), ..input(5, &[]) };
        let mut outputs = [Output { device: data(&y), ..Output::default() }, Output::default()];
        let stream_of_ours = Some(RawStream(stream.as_raw()));
        let control = Control { stream: stream_of_ours, asynchronous, ..Control::default() };
        context.run(&[input], &mut outputs, control).unwrap();
        let mut got = vec![0; len];
        y.read(&mut got).unwrap();
        assert!(difference(&want[0], &got) < 1e-6);
        // The other output is the host's: it is waited for.
        assert!(difference(&want[1], outputs[1].owned.as_ref().unwrap()) < 1e-6);
    }
}

#[test]
fn a_first_run_may_be_captured() {
    child("all_is_prepared_within_a_capture", &[]);
}

#[test]
#[ignore = "run by a_first_run_may_be_captured"]
fn all_is_prepared_within_a_capture() {
    let (device, model) = (gpu().unwrap(), layers());
    let want = run(&mut Context::new(&session(&model, DeviceId::Cpu, Precision::F32)), 5, 1);
    let mut context = Context::new(&session(&model, DeviceId::Cuda(0), Precision::F32));
    let [stream, other] = [0; 2].map(|_| Arc::new(Stream::new(&device).unwrap()));
    let memory = |bytes: &[u8]| Memory::copy_of(&stream, bytes).unwrap();
    let (x, y) = (memory(&numbers(5, 1)), [0; 2].map(|_| memory(&[0; 5 * WIDTH * 4])));
    let data = |memory: &Memory| Some(DeviceData { ordinal: 0, address: memory.address().0, len: memory.len() });
    let mut outputs = [&y[0], &y[1]].map(|y| Output { device: data(y), ..Output::default() });
    let input = Input { device: data(&x), ..input(5, &[]) };
    let mut run_in = |stream: &Stream| {
        let stream = Some(RawStream(stream.as_raw()));
        context.run(&[input], &mut outputs, Control { stream, asynchronous: true, ..Control::default() })
    };
    for _ in 0..2 {
        let graph = stream.capture(|| run_in(&stream)).unwrap();
        graph.launch(&stream).unwrap();
        for (y, want) in y.iter().zip(&want) {
            let mut got = vec![0; y.len()];
            y.read(&mut got).unwrap();
            assert!(difference(want, &got) < 1e-6);
        }
        // The next capture begins while this run is under way.
        run_in(&other).unwrap();
    }
}

#[test]
fn memory_of_a_gpu_that_does_not_fit_is_refused() {
    let Some(device) = gpu() else { return };
    let model = layers();
    let stream = Arc::new(Stream::new(&device).unwrap());
    let x = Memory::copy_of(&stream, &numbers(2, 0)).unwrap();
    let fails = |session: &Arc<Session>, data: DeviceData, status: Status, words: &str| {
        let input = Input { device: Some(data), ..input(2, &[]) };
        let mut outputs = [Output::default(), Output::default()];
        let e = session.run(&[input], &mut outputs, Control::default()).unwrap_err();
        assert!(e.status() == status && e.message().contains(words), "{e}");
    };
    let data = DeviceData { ordinal: 0, address: x.address().0, len: x.len() };
    let (cpu, cuda) =
        (session(&model, DeviceId::Cpu, Precision::F32), session(&model, DeviceId::Cuda(0), Precision::F32));
    fails(&cpu, data, Status::Device, "the processor");
    fails(&cuda, DeviceData { ordinal: 1, ..data }, Status::Device, "CUDA device 1");
    fails(&cuda, DeviceData { len: 5, ..data }, Status::BufferTooSmall, "5 bytes");
    fails(&cuda, DeviceData { address: data.address + 4, ..data }, Status::InvalidArgument, "multiple of 16");
}

#[test]
fn threads_share_a_session() {
    let Some(_) = gpu() else { return };
    let model = layers();
    let (cpu, cuda) =
        (session(&model, DeviceId::Cpu, Precision::F32), session(&model, DeviceId::Cuda(0), Precision::F32));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (cpu, cuda) = (&cpu, &cuda);
            scope.spawn(move || {
                let (mut want, mut got) = (Context::new(cpu), Context::new(cuda));
                for seed in 0..6 {
                    let (want, got) = (run(&mut want, 1 + thread, seed), run(&mut got, 1 + thread, seed));
                    assert!(difference(&want[0], &got[0]) < 1e-6);
                }
            });
        }
    });
}

#[test]
fn a_profile_tells_what_each_step_takes() {
    let Some(_) = gpu() else { return };
    let session = session(&layers(), DeviceId::Cuda(0), Precision::F32);
    let (profile, data) = (Profile::default(), numbers(4, 0));
    let mut outputs = [Output::default(), Output::default()];
    let control = Control { profile: Some(&profile), ..Control::default() };
    session.run(&[input(4, &data)], &mut outputs, control).unwrap();
    let places = profile.steps().iter().map(|step| step.place).collect::<Vec<_>>();
    assert_eq!(places, ["to cuda", "cuda", "cuda", "cuda", "cuda", "from cuda", "from cuda"]);
}

#[test]
fn nothing_is_left_of_sessions_that_are_gone() {
    child("nothing_is_left", &[]);
}

#[test]
#[ignore = "run by nothing_is_left_of_sessions_that_are_gone"]
fn nothing_is_left() {
    let (device, model) = (gpu().unwrap(), mixed());
    let used = || {
        device.synchronize().unwrap();
        device.pool_statistics().unwrap().used
    };
    assert_eq!(used(), 0);
    for i in 0..100 {
        let session = session(&model, DeviceId::Cuda(0), Precision::F32);
        (0..3).for_each(|seed| drop(run(&mut Context::new(&session), 1 + i % 3, seed)));
        assert!(used() > 0);
    }
    assert_eq!(used(), 0);
}

#[test]
fn a_fault_of_a_kernel_is_final() {
    if is_standin() {
        child("the_first_error_stays", &[("INFER_STANDIN_FAIL", "cuLaunchKernel:6:700")]);
    }
}

#[test]
#[ignore = "run by a_fault_of_a_kernel_is_final"]
fn the_first_error_stays() {
    let session = session(&layers(), DeviceId::Cuda(0), Precision::F32);
    let mut context = Context::new(&session);
    let mut messages = vec![];
    for seed in 0..5 {
        let data = numbers(2, seed);
        let mut outputs = [Output::default(), Output::default()];
        if let Err(e) = context.run(&[input(2, &data)], &mut outputs, Control::default()) {
            assert_eq!(e.status(), Status::Device);
            messages.push(e.message().to_owned());
        }
    }
    // Whatever came before the fault has succeeded; nothing after it does.
    assert!(messages.len() >= 3 && messages.iter().all(|m| m.contains("ILLEGAL_ADDRESS")), "{messages:?}");
    let later = Session::new(session.model(), &SessionOptions { device: DeviceId::Cuda(0), ..Default::default() });
    assert!(later.is_err_and(|e| e.message().contains("ILLEGAL_ADDRESS")));
}

#[test]
fn a_profiler_sees_each_step_by_name() {
    if !is_standin() {
        return;
    }
    let ranges = |variables: &[(&str, &str)]| {
        let text = child("three_runs", variables);
        text.lines().filter_map(|line| line.strip_prefix("range 0: ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let profiler = concat!(env!("CARGO_MANIFEST_DIR"), "/build/cuda/nvtx/libprofiler.so");
    let seen = ranges(&[("NVTX_INJECTION64_PATH", profiler)]);
    let run = [
        "to cuda: first",
        "first (MatMul)",
        "first.softmax (Softmax)",
        "second (MatMul)",
        "second.softmax (Softmax)",
        "from cuda: second.softmax",
        "from cuda: second.softmax",
    ];
    assert_eq!(seen, run.repeat(3));
    assert!(ranges(&[("NVTX_INJECTION64_PATH", profiler), ("INFER_NVTX", "0")]).is_empty());
    assert!(ranges(&[("NVTX_INJECTION64_PATH", "/no/such/profiler.so")]).is_empty());
}

#[test]
#[ignore = "run by a_profiler_sees_each_step_by_name"]
fn three_runs() {
    let mut context = Context::new(&session(&layers(), DeviceId::Cuda(0), Precision::F32));
    (0..3).for_each(|seed| drop(run(&mut context, 2, seed)));
}

#[test]
fn exhausted_memory_is_an_error_that_passes() {
    if is_standin() {
        child("memory_runs_out", &[("INFER_STANDIN_MEMORY", "400000")]);
    }
}

#[test]
#[ignore = "run by exhausted_memory_is_an_error_that_passes"]
fn memory_runs_out() {
    let session = session(&layers(), DeviceId::Cuda(0), Precision::F32);
    let (small, large) = (numbers(2, 0), numbers(4000, 0));
    for (batch, data, fits) in [(2, &small, true), (4000, &large, false), (2, &small, true)] {
        let mut outputs = [Output::default(), Output::default()];
        let result = session.run(&[input(batch, data)], &mut outputs, Control::default());
        assert_eq!(result.is_ok(), fits, "{result:?}");
        assert!(result.err().is_none_or(|e| e.status() == Status::NoMemory));
    }
}

#[test]
fn reasons_why_there_is_no_gpu_are_told_apart() {
    if is_standin() {
        child("there_is_no_gpu", &[("INFER_STANDIN_DEVICES", "0"), ("EXPECTED", "finds no GPU")]);
        child("there_is_no_gpu", &[("INFER_STANDIN_DRIVER", "12020"), ("EXPECTED", "driver is for CUDA 12.2")]);
        child("there_is_no_gpu", &[("INFER_STANDIN_CAPABILITY", "6.1"), ("EXPECTED", "compute capability 6.1")]);
    }
    let e = Device::open(77).unwrap_err();
    assert!(e.status() == Status::Device && e.message().contains("CUDA"), "{e}");
}

#[test]
#[ignore = "run by reasons_why_there_is_no_gpu_are_told_apart"]
fn there_is_no_gpu() {
    let begun = std::time::Instant::now();
    let e = Device::open(0).unwrap_err();
    assert!(begun.elapsed().as_millis() < 50);
    let words = std::env::var("EXPECTED").unwrap();
    assert!(e.status() == Status::Device && e.message().contains(&words), "{e}");
}
