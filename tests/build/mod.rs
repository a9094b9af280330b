//! Small models for the tests, and the devices that there are.

use infer::graph::{Constant, GraphId, Program, ValueId};
use infer::ops::binary::BinaryKind;
use infer::ops::unary::UnaryKind;
use infer::ops::{Binary, Op, Tensor, Unary};
use infer::session::{DeviceId, Input, Model};
use infer::tensor::{DType, Dim, Dims, Shape, TensorType};
use std::sync::Arc;

/// Extent of the rows of all models.
pub const WIDTH: usize = 4;

/// The devices that are there: the processor, and a GPU or the stand-in for its driver. `INFER_TEST_DEVICE=cuda` says that there is
/// one.
pub fn devices() -> Vec<DeviceId> {
    let gpu = DeviceId::Cuda(0);
    match gpu.describe() {
        Ok(_) => vec![DeviceId::Cpu, gpu],
        Err(e) if std::env::var_os("INFER_TEST_DEVICE").is_some_and(|v| v == "cuda") => panic!("{e}"),
        Err(_) => vec![DeviceId::Cpu],
    }
}

/// A program in the making, and the graph to which nodes are added.
pub struct Build(pub Program, pub GraphId);

impl Build {
    /// A program with an input `x[batch, WIDTH]`.
    pub fn new() -> (Build, ValueId) {
        let mut p = Program { producer: "test".into(), ..Program::default() };
        let main = p.add_graph("main");
        let ty = row(&mut p);
        let x = p.add_input(main, "x", ty);
        (Build(p, main), x)
    }

    /// Adds a node; its output.
    pub fn op(&mut self, name: &str, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        let inputs: Vec<Option<ValueId>> = inputs.iter().map(|&v| Some(v)).collect();
        self.0.add_op(self.1, name, op, &inputs).unwrap()[0]
    }

    /// Adds a constant.
    pub fn constant(&mut self, tensor: Tensor) -> ValueId {
        self.0.graphs[self.1.0 as usize].add_constant("", Constant::from(tensor))
    }

    /// Adds a constant of one element.
    pub fn number(&mut self, number: f32) -> ValueId {
        self.constant(Tensor::new(&[1], &[number]).unwrap())
    }

    /// The model with this output.
    pub fn model(mut self, output: ValueId) -> Arc<Model> {
        self.0.add_output("y", output);
        self.0.verify().unwrap();
        Model::from_program(self.0)
    }
}

/// `[batch, WIDTH]`
pub fn row(p: &mut Program) -> TensorType {
    TensorType::new(DType::F32, Shape::new([Dim::sym(p.sym("batch")), Dim::from(WIDTH)]).unwrap())
}

/// The root of (300 x)^2.
pub fn squares() -> Arc<Model> {
    let (mut b, x) = Build::new();
    let factor = b.number(300.0);
    let scaled = b.op("scaled", Binary::from(BinaryKind::Mul), &[x, factor]);
    let squared = b.op("squared", Binary::from(BinaryKind::Mul), &[scaled, scaled]);
    b.0.graphs[0].values[squared.0 as usize].name = "the square".into();
    let root = b.op("root", Unary::from(UnaryKind::Sqrt), &[squared]);
    b.model(root)
}

/// Numbers as bytes.
pub fn bytes(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Bytes as numbers.
pub fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&x| f32::from_le_bytes(x)).collect()
}

/// Rows as an input.
pub fn input(data: &[u8]) -> Input<'_> {
    let dims = Dims::new(&[data.len() / 4 / WIDTH, WIDTH]);
    Input { dtype: DType::F32, dims, data, ..Input::default() }
}
