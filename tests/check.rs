//! Sessions that check what each step computes: the first NaN or infinity ends the run, and is told by name.

mod build;

use build::{Build, WIDTH, bytes, devices, floats, input, row, squares};
use infer::error::{Error, Result, Status};
use infer::exec::Control;
use infer::ops::binary::BinaryKind;
use infer::ops::softmax::SoftmaxKind;
use infer::ops::unary::UnaryKind;
use infer::ops::{Binary, Concat, Softmax, Tensor, Unary, Where};
use infer::session::{DeviceId, Model, Output, Precision, Session, SessionOptions};
use infer::tensor::{DType, Shape, TensorType};
use std::sync::Arc;

fn unary(kind: UnaryKind) -> Unary {
    Unary::from(kind)
}

fn binary(kind: BinaryKind) -> Binary {
    Binary::from(kind)
}

fn session(model: &Arc<Model>, options: SessionOptions) -> Arc<Session> {
    Session::new(model, &SessionOptions { threads: 2, check: true, ..options }).unwrap()
}

fn run(session: &Session, x: &[f32]) -> Result<Vec<f32>> {
    let (data, mut outputs) = (bytes(x), [Output::default()]);
    session.run(&[input(&data)], &mut outputs, Control::default())?;
    let [Output { owned: Some(result), .. }] = outputs else { panic!("no result") };
    Ok(floats(&result))
}

/// The error of a run, which names this node and has these words.
fn fails(session: &Session, x: &[f32], (node, op): (&str, &str), words: &[&str]) -> Error {
    let e = run(session, x).unwrap_err();
    assert_eq!((e.status(), e.node(), e.op()), (Status::NotFinite, node, op), "{e}");
    words.iter().for_each(|words| assert!(e.message().contains(words), "'{words}' is not in: {e}"));
    e
}

#[test]
fn the_first_step_that_overflows_is_named() {
    for device in devices() {
        let model = squares();
        let session = session(&model, SessionOptions { device, ..Default::default() });
        let want = [300.0, 600.0, 0.0, 900.0];
        assert_eq!(run(&session, &[1.0, 2.0, 0.0, 3.0]).unwrap(), want);
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 1e30, 6.0, -1e30];
        let words =
            ["output 0 'the square': 2 of 8 values of f32[2, 4] are not finite (0 NaN, 2 infinite)", "at [1, 1]"];
        let e = fails(&session, &x, ("squared", "Binary"), &words);
        // What it has read is finite, and the same operand twice.
        assert!(e.message().ends_with("it has read f32[2, 4] up to 3.0000e32, f32[2, 4] up to 3.0000e32"), "{e}");
        // The next run knows nothing of it.
        assert_eq!(run(&session, &[1.0, 2.0, 0.0, 3.0]).unwrap(), want);
    }
}

#[test]
fn a_nan_is_named_where_it_arises() {
    for device in devices() {
        let (mut b, x) = Build::new();
        let root = b.op("root", unary(UnaryKind::Sqrt), &[x]);
        let sum = b.op("sum", binary(BinaryKind::Add), &[root, x]);
        let session = session(&b.model(sum), SessionOptions { device, ..Default::default() });
        fails(
            &session,
            &[4.0, 1.0, 0.0, -1.0],
            ("root", "Unary"),
            &["(1 NaN, 0 infinite)", "at [0, 3]", "up to 4.0000e0"],
        );
    }
}

#[test]
fn inputs_are_named() {
    for device in devices() {
        let model = squares();
        let session = session(&model, SessionOptions { device, ..Default::default() });
        for (x, counts) in [(f32::NAN, "(1 NaN, 0 infinite)"), (f32::INFINITY, "(0 NaN, 1 infinite)")] {
            fails(&session, &[1.0, 2.0, x, 3.0], ("", ""), &["input 0 'x': 1 of 4 values", counts, "at [0, 2]"]);
        }
    }
}

#[test]
fn infinities_of_the_model_are_passed_on() {
    for device in devices() {
        let (mut b, x) = Build::new();
        let mut keep = Tensor::new(&[WIDTH], &[1u8, 1, 0, 1]).unwrap();
        keep.info.dtype = DType::Bool;
        let (keep, lowest) = (b.constant(keep), b.number(f32::NEG_INFINITY));
        let masked = b.op("masked", Where, &[keep, x, lowest]);
        let y = b.op("softmax", Softmax { kind: SoftmaxKind::Softmax, axis: -1 }, &[masked]);
        let session = session(&b.model(y), SessionOptions { device, ..Default::default() });
        let y = run(&session, &[1.0, 1.0, 7.0, 1.0]).unwrap();
        assert!(y[2] == 0.0 && (y[0] - 1.0 / 3.0).abs() < 1e-6, "{y:?}");
    }
}

/// What is written between the rows of another result.
#[test]
fn joined_results_are_checked() {
    for device in devices() {
        let (mut b, x) = Build::new();
        let parts = [b.op("exp", unary(UnaryKind::Exp), &[x]), b.op("neg", unary(UnaryKind::Neg), &[x])];
        let joined = b.op("joined", Concat::along(1), &parts);
        let session = session(&b.model(joined), SessionOptions { device, ..Default::default() });
        assert_eq!(run(&session, &[0.0; 8]).unwrap().len(), 16);
        fails(&session, &[0.0, 1.0, 2.0, 3.0, 4.0, 200.0, 5.0, 6.0], ("exp", "Unary"), &["1 of 8", "at [1, 1]"]);
    }
}

#[test]
fn bodies_of_loops_are_checked() {
    for device in devices() {
        let (mut b, x) = Build::new();
        let (main, body) = (b.1, b.0.add_graph("body"));
        let trips = b.constant(Tensor::new(&[], &[3i64]).unwrap());
        b.1 = body;
        b.0.add_input(body, "trip", TensorType::new(DType::I64, Shape::scalar()));
        let condition = b.0.add_input(body, "condition", TensorType::new(DType::Bool, Shape::scalar()));
        let ty = row(&mut b.0);
        let carried = b.0.add_input(body, "x", ty);
        let factor = b.number(1e20);
        let next = b.op("grow", binary(BinaryKind::Mul), &[carried, factor]);
        b.0.graphs[body.0 as usize].outputs = vec![condition, next];
        let y = b.0.add_loop(main, "loop", (body, 1), &[Some(trips), None, Some(x)]).unwrap()[0];
        let session = session(&b.model(y), SessionOptions { device, ..Default::default() });
        assert_eq!(run(&session, &[0.0; 4]).unwrap(), [0.0; 4]);
        fails(
            &session,
            &[0.0, 1.0, 0.0, 0.0],
            ("grow", "Binary"),
            &["1 of 4", "up to 1.0000e20", "the constant f32[1]"],
        );
    }
}

/// A session that does not check gives the numbers as they are.
#[test]
fn nothing_is_checked_unless_asked_for() {
    for device in devices() {
        let options = SessionOptions { device, threads: 1, ..Default::default() };
        let session = Session::new(&squares(), &options).unwrap();
        assert_eq!(
            run(&session, &[f32::INFINITY, 1e30, 1.0, 0.0]).unwrap(),
            [f32::INFINITY, f32::INFINITY, 300.0, 0.0]
        );
    }
}

/// (300)^2 does not fit an f16. Nodes can be kept in f32, one after another as the check names them.
#[test]
fn nodes_that_overflow_in_f16_are_kept_in_f32() {
    let model = squares();
    let unknown = SessionOptions { keep_f32: vec!["square".into()], ..Default::default() };
    assert!(Session::new(&model, &unknown).is_err_and(|e| e.message().contains("'square'")));
    for device in devices().into_iter().filter(|&device| device != DeviceId::Cpu) {
        let kept = |names: &[&str]| {
            let keep_f32 = names.iter().map(|&name| name.to_owned()).collect();
            session(&model, SessionOptions { device, precision: Precision::F16, keep_f32, ..Default::default() })
        };
        let x = [1.0, 0.5, 0.0, 0.25];
        fails(&kept(&[]), &x, ("squared", "Binary"), &["of f16[1, 4]", "up to 3.0000e2", "keep the node in f32"]);
        fails(&kept(&["squared"]), &x, ("root", "Unary"), &["converted", "up to 9.0000e4", "keep the node in f32"]);
        assert_eq!(run(&kept(&["squared", "root"]), &x).unwrap(), [300.0, 150.0, 0.0, 75.0]);
        let bf16 = session(&model, SessionOptions { device, precision: Precision::Bf16, ..Default::default() });
        assert!((run(&bf16, &x).unwrap()[0] - 300.0).abs() < 4.0);
    }
}

#[cfg(feature = "cuda")]
#[test]
fn inputs_on_a_gpu_are_checked() {
    use infer::cuda::{Device, Memory, Stream};
    use infer::session::{DeviceData, Input};
    if devices().len() < 2 {
        return;
    }
    let stream = Arc::new(Stream::new(&Device::open(0).unwrap()).unwrap());
    let session = session(&squares(), SessionOptions { device: DeviceId::Cuda(0), ..Default::default() });
    for (x, status) in [(2.0, None), (f32::NAN, Some(Status::NotFinite)), (2.0, None)] {
        let data = bytes(&[1.0, 1.0, 1.0, x]);
        let memory = Memory::copy_of(&stream, &data).unwrap();
        let device = Some(DeviceData { ordinal: 0, address: memory.address().0, len: memory.len() });
        let input = Input { device, data: &[], ..input(&data) };
        let result = session.run(&[input], &mut [Output::default()], Control::default());
        assert_eq!(result.err().map(|e| e.status()), status);
    }
}
