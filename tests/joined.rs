//! What is joined is the same whether the steps that make it write it where it belongs or it is copied.

use infer::exec::Control;
use infer::graph::{Constant, GraphId, Program, ValueId};
use infer::ops::pool::PoolKind;
use infer::ops::unary::UnaryKind;
use infer::ops::window::Window;
use infer::ops::{Concat, Conv, Op, Pool, Reshape, Tensor, Unary};
use infer::session::{Context, Input, Model, Output, Session, SessionOptions};
use infer::tensor::{DType, Dim, Dims, Shape, TensorType};

const CHANNELS: usize = 32;

struct Build {
    p: Program,
    g: GraphId,
}

impl Build {
    fn op(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        let inputs: Vec<_> = inputs.iter().map(|&v| Some(v)).collect();
        self.p.add_op(self.g, "node", op, &inputs).unwrap()[0]
    }

    fn constant(&mut self, tensor: Tensor) -> ValueId {
        self.p.graphs[0].add_constant("", Constant::from(tensor))
    }

    fn conv(&mut self, x: ValueId, channels: usize, taps: usize) -> ValueId {
        let dims = [channels, taps, taps, CHANNELS];
        let numbers = (0..dims.iter().product()).map(|i: usize| (i * 37 % 101) as f32 / 500.0 - 0.1);
        let weights = self.constant(Tensor::new(&dims, &numbers.collect::<Vec<_>>()).unwrap());
        let pad = taps as u32 / 2;
        let window = Window { strides: vec![1, 1], pads: vec![pad; 4], dilations: vec![1, 1] };
        self.op(Conv { window, ..Conv::default() }, &[x, weights])
    }

    fn unary(&mut self, kind: UnaryKind, x: ValueId) -> ValueId {
        self.op(Unary::from(kind), &[x])
    }
}

/// Results of several kernels, joined and negated; with `shared`, each result is an output too, which it can only be in
/// memory of its own.
fn program(axis: i64, shared: bool) -> Program {
    let mut p = Program { producer: "test".into(), ..Program::default() };
    let g = p.add_graph("main");
    let batch = Dim::sym(p.sym("batch"));
    let dims = [batch, Dim::Fixed(20), Dim::Fixed(24), Dim::from(CHANNELS)];
    let x = p.add_input(g, "x", TensorType::new(DType::F32, Shape::new(dims).unwrap()));
    let mut b = Build { p, g };
    let narrow = if axis == 3 { [7, 48] } else { [CHANNELS; 2] };
    let (one, three) = (b.conv(x, narrow[0], 1), b.conv(x, narrow[1], 3));
    let window = Window { strides: vec![1, 1], pads: vec![1; 4], dilations: vec![1, 1] };
    let pool = b.op(Pool { kind: PoolKind::Max, kernel: vec![3, 3], window, ..Pool::default() }, &[x]);
    let exp = b.unary(UnaryKind::Exp, x);
    let inner = b.op(Concat::along(axis), &[three, pool]);
    let joined = b.op(Concat::along(axis), &[one, exp, inner]);
    let negated = b.unary(UnaryKind::Neg, joined);
    let target = b.constant(Tensor::new(&[1], &[-1i64]).unwrap());
    let flat = b.op(Reshape::default(), &[joined, target]);
    b.p.add_output("negated", negated);
    b.p.add_output("flat", flat);
    if shared {
        let parts = [("one", one), ("three", three), ("pool", pool), ("exp", exp), ("inner", inner)];
        parts.into_iter().for_each(|(name, v)| b.p.add_output(name, v));
    }
    b.p.verify().unwrap();
    b.p
}

fn run(program: Program, threads: usize, batch: usize) -> Vec<Vec<u8>> {
    let model = Model::from_program(program);
    let session = Session::new(&model, &SessionOptions { threads, ..Default::default() }).unwrap();
    let mut context = Context::new(&session);
    let dims = Dims::new(&[batch, 20, 24, CHANNELS]);
    let numbers = (0..dims.iter().product()).map(|i: usize| (i * 29 % 83) as f32 / 40.0 - 1.0);
    let data: Vec<u8> = numbers.flat_map(f32::to_le_bytes).collect();
    let input = Input { dtype: DType::F32, dims, strides: None, data: &data };
    let mut outputs: Vec<Output<'_>> = model.outputs().iter().map(|_| Output::default()).collect();
    context.run(&[input], &mut outputs, Control::default()).unwrap();
    outputs.iter().take(2).map(|o| o.owned.as_ref().unwrap().to_vec()).collect()
}

#[test]
fn joined_results_are_the_same_in_place_and_copied() {
    for axis in [3, 0, 1] {
        for (threads, batch) in [(1, 1), (2, 1), (2, 3)] {
            let in_place = run(program(axis, false), threads, batch);
            assert!(in_place == run(program(axis, true), threads, batch), "axis {axis}, batch {batch}");
        }
    }
}
