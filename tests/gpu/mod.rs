//! What tests of sessions on a GPU share: programs, runs, processes of their own.
#![allow(dead_code, reason = "each file of tests uses some of it")]

use infer::cuda::Device;
use infer::exec::Control;
use infer::graph::{Constant, Program, ValueId};
use infer::ops::{Op, Tensor};
use infer::session::{Context, DeviceId, Input, Model, Output, Precision, Session, SessionOptions};
use infer::tensor::{DType, Dim, Dims, Shape, TensorType};
use std::process::Command;
use std::sync::Arc;

/// Columns of the input.
pub const WIDTH: usize = 24;

/// The first GPU, which is there until the process ends: tests that count what it holds run in processes of their own.
pub fn gpu() -> Option<Arc<Device>> {
    match Device::open(0) {
        Ok(device) => Some(device),
        Err(e) if std::env::var_os("INFER_TEST_DEVICE").is_some_and(|v| v == "cuda") => panic!("{e}"),
        Err(_) => None,
    }
}

/// A program that grows.
pub struct Build(pub Program);

impl Build {
    /// A program with an input `x[batch, WIDTH]`.
    pub fn new() -> (Build, ValueId) {
        let mut p = Program { producer: "test".into(), ..Program::default() };
        p.add_graph("main");
        let mut b = Build(p);
        let x = b.input("x", DType::F32);
        (b, x)
    }

    pub fn input(&mut self, name: &str, dtype: DType) -> ValueId {
        let dims = [Dim::sym(self.0.sym("batch")), Dim::from(WIDTH)];
        self.0.add_input(infer::graph::GraphId(0), name, TensorType::new(dtype, Shape::new(dims).unwrap()))
    }

    pub fn op(&mut self, name: &str, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        let inputs: Vec<Option<ValueId>> = inputs.iter().map(|&v| Some(v)).collect();
        self.0.add_op(infer::graph::GraphId(0), name, op, &inputs).unwrap()[0]
    }

    pub fn constant(&mut self, dims: &[usize], numbers: &[f32]) -> ValueId {
        let tensor = Tensor::new(dims, numbers).unwrap();
        let constant = Constant::new(tensor.info, infer::tensor::Layout::RowMajor, tensor.data).unwrap();
        self.0.graphs[0].add_constant("", constant)
    }

    pub fn model(mut self, outputs: &[ValueId]) -> Arc<Model> {
        for (i, &id) in outputs.iter().enumerate() {
            self.0.add_output(&format!("y{i}"), id);
        }
        self.0.verify().unwrap();
        Model::from_program(self.0)
    }
}

pub fn session(model: &Arc<Model>, device: DeviceId, precision: Precision) -> Arc<Session> {
    let options = SessionOptions { device, precision, threads: 2, ..Default::default() };
    Session::new(model, &options).unwrap()
}

pub fn numbers(batch: usize, seed: usize) -> Vec<u8> {
    let number = |i: usize| ((i + seed) * 29 % 83) as f32 / 40.0 - 1.0;
    (0..batch * WIDTH).flat_map(|i| number(i).to_le_bytes()).collect()
}

pub fn input(batch: usize, data: &[u8]) -> Input<'_> {
    Input { dtype: DType::F32, dims: Dims::new(&[batch, WIDTH]), data, ..Input::default() }
}

pub fn run(context: &mut Context, batch: usize, seed: usize) -> Vec<Vec<u8>> {
    let data = numbers(batch, seed);
    let mut outputs: Vec<Output<'_>> = context.session().model().outputs().iter().map(|_| Output::default()).collect();
    context.run(&[input(batch, &data)], &mut outputs, Control::default()).unwrap();
    outputs.into_iter().map(|o| o.owned.unwrap().to_vec()).collect()
}

/// Largest difference of floats.
pub fn difference(a: &[u8], b: &[u8]) -> f32 {
    assert_eq!(a.len(), b.len());
    let floats = |bytes: &[u8]| bytes.as_chunks().0.iter().map(|&x| f32::from_le_bytes(x)).collect::<Vec<_>>();
    floats(a).iter().zip(floats(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Runs an ignored test of the same file in a process of its own, with these variables; what it prints.
pub fn child(test: &str, variables: &[(&str, &str)]) -> String {
    if gpu().is_none() {
        return String::new();
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]).envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).join("\n");
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    text
}

/// Only the stand-in fails when it is told to.
pub fn is_standin() -> bool {
    gpu().is_some_and(|device| device.info().name == "Stand-in")
}
