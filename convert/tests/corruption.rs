//! Damaged model files: refused, or run within limits; never a crash or a hang. Each byte of header and graph is changed in
//! three ways, once as damage that the checksum finds, and once with the checksum made right again.

use infer::error::{Result, Status};
use infer::exec::Control;
use infer::graph::{Constant, GraphId, Program, ValueId};
use infer::model::{ReadOptions, WriteOptions, read, seal, write};
use infer::ops::binary::BinaryKind;
use infer::ops::{Binary, Reshape, Tensor};
use infer::session::{Input, Model, OpenOptions, Output, Port, PortDim, Runtime, Session, SessionOptions};
use infer::tensor::{Blob, DType, Dim, Dims, Shape, TensorType};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What each byte is changed by.
const FLIPS: [u8; 3] = [0x01, 0x80, 0xff];

/// Most bytes of an input, and of memory of a run.
const MOST_BYTES: usize = 1 << 20;

/// What a run may take; a damaged loop runs until then.
const PATIENCE: Duration = Duration::from_millis(20);

/// The classifier that ships with the examples, as `infer convert` writes it.
fn digits() -> Vec<u8> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits/digits.onnx");
    let program = infer_convert::import(&source).expect("the example's model");
    file(&infer_convert::passes::run(program, &mut |_, _| {}).expect("the passes"))
}

fn file(program: &Program) -> Vec<u8> {
    let mut bytes = vec![];
    write(program, &mut bytes, &WriteOptions::default()).expect("a legal program");
    bytes
}

/// A branch, a loop, and a shape that is read while running.
fn control() -> Vec<u8> {
    let mut p = Program { producer: "test".into(), ..Program::default() };
    let ty = |dtype, dims: &[Dim]| TensorType::new(dtype, Shape::new(dims.to_vec()).expect("a small rank"));
    let main = p.add_graph("main");
    let n = Dim::sym(p.sym("n"));
    let row = ty(DType::F32, std::slice::from_ref(&n));
    let condition = p.add_input(main, "condition", ty(DType::Bool, &[]));
    let x = p.add_input(main, "x", row.clone());
    let target = p.add_input(main, "target", ty(DType::I64, &[Dim::Fixed(2)]));
    let mut branch = |kind, factor: f32| {
        let g = p.add_graph("branch");
        let x = p.add_input(g, "x", row.clone());
        let factor = p.graphs[g.0 as usize].add_constant("", Constant::from(Tensor::new(&[], &[factor]).unwrap()));
        let y = op(&mut p, g, Binary::from(kind), &[x, factor]);
        p.graphs[g.0 as usize].outputs.push(y);
        g
    };
    let branches = (branch(BinaryKind::Add, 1.0), branch(BinaryKind::Mul, 2.0));
    let y = p.add_if(main, "if", branches, condition, &[x]).unwrap()[0];
    let body = p.add_graph("body");
    p.add_input(body, "trip", ty(DType::I64, &[]));
    let again = p.add_input(body, "condition", ty(DType::Bool, &[]));
    let carried = p.add_input(body, "y", row);
    let next = op(&mut p, body, Binary::from(BinaryKind::Add), &[carried, carried]);
    p.graphs[body.0 as usize].outputs = vec![again, next, carried];
    let trips = Constant::from(Tensor::new(&[], &[3i64]).unwrap());
    let trips = p.graphs[main.0 as usize].add_constant("trips", trips);
    let outputs = p.add_loop(main, "loop", (body, 1), &[Some(trips), None, Some(y)]).unwrap();
    let reshaped = op(&mut p, main, Reshape::default(), &[outputs[0], target]);
    p.add_output("last", reshaped);
    p.add_output("all", outputs[1]);
    p.verify().expect("a legal program");
    file(&p)
}

fn op(p: &mut Program, g: GraphId, op: impl Into<infer::ops::Op>, inputs: &[ValueId]) -> ValueId {
    let inputs: Vec<Option<ValueId>> = inputs.iter().copied().map(Some).collect();
    p.add_op(g, "", op, &inputs).expect("a legal node")[0]
}

/// Where header and graph end.
fn graph_end(file: &[u8]) -> usize {
    let number = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap()) as usize;
    number(0x10) + number(0x18)
}

/// Every file that differs from this one in one byte of header or graph.
fn damaged(file: &[u8]) -> impl Iterator<Item = (String, Vec<u8>)> {
    (0..graph_end(file)).flat_map(move |at| {
        FLIPS.map(|flip| {
            let mut bytes = file.to_vec();
            bytes[at] ^= flip;
            (format!("byte {at:#x} ^ {flip:#x}"), bytes)
        })
    })
}

/// Opens a file and, if that is not refused, runs it.
fn open_and_run(bytes: &[u8], runtime: &Arc<Runtime>) -> Result<()> {
    let model = Model::open_bytes(&Blob::copy_of(bytes)?, &OpenOptions::default())?;
    let options = SessionOptions { runtime: Some(runtime.clone()), max_memory: MOST_BYTES, ..Default::default() };
    let session = Session::new(&model, &options)?;
    let Some(inputs) = model.inputs().iter().map(input).collect::<Option<Vec<_>>>() else { return Ok(()) };
    let views: Vec<Input<'_>> = inputs
        .iter()
        .map(|(dtype, dims, data)| Input { dtype: *dtype, dims: *dims, data, ..Input::default() })
        .collect();
    let mut outputs: Vec<Output<'_>> = model.outputs().iter().map(|_| Output::default()).collect();
    let control = Control { deadline: Some(Instant::now() + PATIENCE), ..Control::default() };
    session.run(&views, &mut outputs, control)
}

/// An input for a port; None if its tensors are large.
fn input(port: &Port) -> Option<(DType, Dims, Vec<u8>)> {
    let extent = |dim: &PortDim| match dim {
        PortDim::Fixed(n) => usize::try_from(*n).ok(),
        PortDim::Named { min, .. } => usize::try_from((*min).max(1)).ok(),
        PortDim::Expr(_) => Some(1),
    };
    let dims: Vec<usize> = port.dims.iter().map(extent).collect::<Option<_>>()?;
    let numel = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
    let len = numel.checked_mul(port.dtype.size()).filter(|len| *len <= MOST_BYTES)?;
    Some((port.dtype, Dims::new(&dims), (0..len).map(|i| (i % 8 == 0).into()).collect()))
}

#[test]
fn a_whole_file_opens_and_runs() {
    let runtime = Runtime::new(1).unwrap();
    for file in [digits(), control()] {
        open_and_run(&file, &runtime).unwrap();
    }
}

#[test]
fn truncated_files_are_refused() {
    for file in [digits(), control()] {
        for len in (0..file.len()).filter(|len| *len <= graph_end(&file) || len % 97 == 0) {
            let options = ReadOptions { verify_data: true };
            assert!(read(&Blob::copy_of(&file[..len]).unwrap(), &options).is_err(), "cut to {len} bytes");
        }
    }
}

#[test]
fn damage_is_found_by_the_checksum() {
    let runtime = Runtime::new(1).unwrap();
    for file in [digits(), control()] {
        for (what, bytes) in damaged(&file) {
            assert!(open_and_run(&bytes, &runtime).is_err(), "{what}");
        }
    }
}

#[test]
fn damage_under_a_right_checksum_is_refused_or_runs_within_limits() {
    let runtime = Runtime::new(1).unwrap();
    for file in [digits(), control()] {
        let (mut refused, mut ran, mut wrong) = (0, 0, vec![]);
        for (what, mut bytes) in damaged(&file) {
            seal(&mut bytes);
            let start = Instant::now();
            match open_and_run(&bytes, &runtime) {
                Ok(()) => ran += 1,
                // An internal error would be one that the verifier should have found.
                Err(error) if error.status() == Status::Internal => wrong.push(format!("{what}: {error}")),
                Err(_) => refused += 1,
            }
            if start.elapsed() > Duration::from_secs(5) {
                wrong.push(format!("{what} took {:?}", start.elapsed()));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(refused > 100 && ran > 100, "{refused} refused, {ran} ran");
    }
}
