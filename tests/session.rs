//! Models built in memory, written, read back and run through the session API.

use infer::error::Status;
use infer::exec::Control;
use infer::graph::{Constant, Program};
use infer::model::{ReadOptions, WriteOptions, read, seal, write};
use infer::ops::{Reshape, Tensor};
use infer::session::{Context, Input, Model, Output, Session, SessionOptions};
use infer::tensor::{Blob, DType, Dim, Dims, Shape, TensorType};

/// y = x reshaped from [batch, 4] to [2 * batch, 2].
fn reshape_model() -> Program {
    let mut p = Program { producer: "test".into(), ..Program::default() };
    let g = p.add_graph("main");
    let batch = Dim::sym(p.sym("batch"));
    let x = p.add_input(g, "x", TensorType::new(DType::F32, Shape::new([batch, Dim::Fixed(4)]).unwrap()));
    let target = Tensor::new(&[2], &[-1i64, 2]).unwrap();
    let target = p.graphs[0].add_constant("", Constant::from(target));
    let y = p.add_op(g, "reshape", Reshape::default(), &[Some(x), Some(target)]).unwrap()[0];
    p.add_output("y", y);
    p.verify().unwrap();
    p
}

fn bytes(program: &Program) -> Vec<u8> {
    let mut out = vec![];
    write(program, &mut out, &WriteOptions::default()).unwrap();
    out
}

fn as_bytes(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[test]
fn a_file_survives_reading_and_writing() {
    let file = bytes(&reshape_model());
    let program = read(&Blob::copy_of(&file).unwrap(), &ReadOptions { verify_data: true }).unwrap();
    assert_eq!(bytes(&program), file);
}

#[test]
fn shapes_change_from_run_to_run() {
    let model = Model::open_bytes(&Blob::copy_of(&bytes(&reshape_model())).unwrap(), &Default::default()).unwrap();
    let session = Session::new(&model, &SessionOptions { threads: 2, ..Default::default() }).unwrap();
    let mut context = Context::new(&session);
    for batch in [1usize, 3, 0, 3] {
        let x: Vec<f32> = (0..batch * 4).map(|i| i as f32).collect();
        let data = as_bytes(&x);
        let input = Input { dtype: DType::F32, dims: Dims::new(&[batch, 4]), data: &data, ..Input::default() };
        let mut outputs = [Output::default()];
        context.run(&[input], &mut outputs, Control::default()).unwrap();
        assert_eq!(&outputs[0].info.unwrap().dims[..], &[2 * batch, 2]);
        assert_eq!(&outputs[0].owned.as_ref().unwrap()[..], &data[..]);
    }
}

#[test]
fn strided_and_misaligned_memory_is_copied() {
    let model = Model::from_program(reshape_model());
    let session = Session::new(&model, &SessionOptions { threads: 1, ..Default::default() }).unwrap();
    let mut context = Context::new(&session);
    // A [2, 4] tensor stored column by column, at an odd address.
    let mut data = vec![0u8];
    data.extend(as_bytes(&[0., 4., 1., 5., 2., 6., 3., 7.]));
    let mut strides = [0; 8];
    (strides[0], strides[1]) = (1, 2);
    let input = Input {
        dtype: DType::F32,
        dims: Dims::new(&[2, 4]),
        strides: Some(strides),
        data: &data[1..],
        ..Input::default()
    };
    let mut memory = [0u8; 33];
    let mut outputs = [Output { data: Some(&mut memory[1..]), ..Output::default() }];
    context.run(&[input], &mut outputs, Control::default()).unwrap();
    assert_eq!(memory[1..], as_bytes(&[0., 1., 2., 3., 4., 5., 6., 7.]));
    assert_eq!(context.copies(), 2);
}

#[test]
fn what_does_not_fit_is_refused() {
    let model = Model::from_program(reshape_model());
    let session = Session::new(&model, &SessionOptions { threads: 1, ..Default::default() }).unwrap();
    let data = [0u8; 64];
    let input = |dtype, dims: &[usize]| Input { dtype, dims: Dims::new(dims), data: &data, ..Input::default() };
    let run = |inputs: &[Input<'_>], memory: &mut [u8]| {
        let mut outputs = [Output { data: Some(memory), ..Output::default() }];
        let result = session.run(inputs, &mut outputs, Control::default());
        (result.map_err(|e| e.status()), outputs[0].info)
    };
    assert_eq!(run(&[], &mut [0; 64]).0, Err(Status::InvalidArgument));
    assert_eq!(run(&[input(DType::I32, &[1, 4])], &mut [0; 64]).0, Err(Status::Dtype));
    assert_eq!(run(&[input(DType::F32, &[4])], &mut [0; 64]).0, Err(Status::Shape));
    assert_eq!(run(&[input(DType::F32, &[1, 5])], &mut [0; 64]).0, Err(Status::Shape));
    assert_eq!(run(&[input(DType::F32, &[9, 4])], &mut [0; 256]).0, Err(Status::InvalidArgument));
    let (result, info) = run(&[input(DType::F32, &[2, 4])], &mut [0; 31]);
    assert_eq!((result, info.map(|i| i.dims)), (Err(Status::BufferTooSmall), Some(Dims::new(&[4, 2]))));
    assert_eq!(run(&[input(DType::F32, &[2, 4])], &mut [0; 32]).0, Ok(()));
}

#[test]
fn files_of_the_future_are_told_apart_from_damage() {
    for (at, words) in [(0x08, "format version 3"), (0x38, "features 0x2")] {
        let mut file = bytes(&reshape_model());
        file[at] ^= 2;
        seal(&mut file);
        let error = read(&Blob::copy_of(&file).unwrap(), &ReadOptions { verify_data: true }).unwrap_err();
        assert_eq!(error.status(), Status::Version);
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn every_truncation_and_every_flipped_byte_is_refused() {
    let file = bytes(&reshape_model());
    let open = |bytes: &[u8]| read(&Blob::copy_of(bytes).unwrap(), &ReadOptions { verify_data: true });
    for len in 0..file.len() {
        assert!(open(&file[..len]).is_err(), "truncated to {len}");
    }
    let graph_end = u64::from_le_bytes(file[0x10..0x18].try_into().unwrap())
        + u64::from_le_bytes(file[0x18..0x20].try_into().unwrap());
    for at in 0..graph_end as usize {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = file.clone();
            damaged[at] ^= flip;
            assert!(open(&damaged).is_err(), "byte {at} ^ {flip:#x}");
        }
    }
}
