//! What is joined is the same whether the steps that make it write it where it belongs or it is copied.

use infer::exec::{Control, Profile, ProfiledStep};
use infer::graph::{Constant, GraphId, Program, ValueId};
use infer::ops::pack::pack;
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
    x: ValueId,
}

/// A program with an input.
fn begin() -> Build {
    let mut p = Program { producer: "test".into(), ..Program::default() };
    let g = p.add_graph("main");
    let batch = Dim::sym(p.sym("batch"));
    let dims = [batch, Dim::Fixed(20), Dim::Fixed(24), Dim::from(CHANNELS)];
    let x = p.add_input(g, "x", TensorType::new(DType::F32, Shape::new(dims).unwrap()));
    Build { p, g, x }
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

    /// A scale per channel and a product with weights as model files have them, which run as one step.
    fn layer(&mut self, x: ValueId, from: usize, to: usize) -> ValueId {
        let scale = Conv { groups: from as u32, ..Conv::default() };
        let scales = (0..from).map(|i| (i * 31 % 17) as f32 / 10.0 - 0.7).collect::<Vec<_>>();
        let scales = self.constant(Tensor::new(&[from, 1, 1, 1], &scales).unwrap());
        let scaled = self.op(scale, &[x, scales]);
        let product = Op::from(Conv::default());
        let numbers = (0..to * from).map(|i| (i * 37 % 101) as f32 / 500.0 - 0.1).collect::<Vec<_>>();
        let weights = Tensor::new(&[to, 1, 1, from], &numbers).unwrap();
        let layout = product.constant_layout(1, &weights.info);
        let weights = Constant::new(weights.info, layout, pack(&weights, layout).unwrap()).unwrap();
        let weights = self.p.graphs[0].add_constant("", weights);
        self.op(product, &[scaled, weights])
    }

    /// The program, with more outputs.
    fn finish(mut self, more: Vec<ValueId>) -> Program {
        more.into_iter().for_each(|v| self.p.add_output(&format!("{v:?}"), v));
        self.p.verify().unwrap();
        self.p
    }

    fn unary(&mut self, kind: UnaryKind, x: ValueId) -> ValueId {
        self.op(Unary::from(kind), &[x])
    }
}

/// Results of several kernels, joined and negated; with `shared`, each result is an output too, which it can only be in
/// memory of its own.
fn program(axis: i64, shared: bool) -> Program {
    let mut b = begin();
    let x = b.x;
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
    b.finish(if shared { vec![one, three, pool, exp, inner] } else { vec![] })
}

/// Layers that read all that those before have made. One of the joined values is negated too, which needs it
/// without gaps. With `shared`, all are outputs too.
fn dense_block(shared: bool) -> Program {
    let mut b = begin();
    let window = Window { strides: vec![1, 1], pads: vec![1; 4], dilations: vec![1, 1] };
    let mut made = vec![b.op(
        Pool { kind: PoolKind::Mean { count_padding: true }, kernel: vec![3, 3], window, ..Pool::default() },
        &[b.x],
    )];
    let (mut joined, mut outputs) = (made[0], vec![]);
    for i in 0..5 {
        let between = b.layer(joined, CHANNELS + 7 * i, CHANNELS);
        made.push(b.conv(between, 7, 3));
        joined = b.op(Concat::along(3), &made);
        outputs.push(joined);
        if i == 2 {
            let negated = b.unary(UnaryKind::Neg, joined);
            b.p.add_output("negated", negated);
        }
    }
    let last = b.layer(joined, CHANNELS + 35, 9);
    b.p.add_output("last", last);
    outputs.extend(made);
    b.finish(if shared { outputs } else { vec![] })
}

/// Values that are parts of several others, one of them twice.
fn overlapping(axis: i64, shared: bool) -> Program {
    let mut b = begin();
    let one = b.unary(UnaryKind::Neg, b.x);
    let two = b.unary(UnaryKind::Exp, one);
    let three = b.conv(two, CHANNELS, 3);
    let (pair, twice) = (b.op(Concat::along(axis), &[one, two]), b.op(Concat::along(axis), &[one, three, one]));
    let (nested, all) = (b.op(Concat::along(axis), &[pair, three]), b.op(Concat::along(axis), &[one, two, three]));
    let outputs = vec![one, two, three, pair, twice, nested, all];
    for &value in &outputs[3..] {
        let negated = b.unary(UnaryKind::Neg, value);
        b.p.add_output(&format!("negated {value:?}"), negated);
    }
    b.finish(if shared { outputs } else { vec![] })
}

/// The first outputs, and the steps.
fn run(program: Program, threads: usize, batch: usize, outputs: usize) -> (Vec<Vec<u8>>, Vec<ProfiledStep>) {
    let model = Model::from_program(program);
    let session = Session::new(&model, &SessionOptions { threads, ..Default::default() }).unwrap();
    let mut context = Context::new(&session);
    let dims = Dims::new(&[batch, 20, 24, CHANNELS]);
    let numbers = (0..dims.iter().product()).map(|i: usize| (i * 29 % 83) as f32 / 40.0 - 1.0);
    let data: Vec<u8> = numbers.flat_map(f32::to_le_bytes).collect();
    let input = Input { dtype: DType::F32, dims, data: &data, ..Input::default() };
    let mut made: Vec<Output<'_>> = model.outputs().iter().map(|_| Output::default()).collect();
    let profile = Profile::default();
    context.run(&[input], &mut made, Control { profile: Some(&profile), ..Control::default() }).unwrap();
    (made.iter().take(outputs).map(|o| o.owned.as_ref().unwrap().to_vec()).collect(), profile.steps())
}

fn concats(steps: &[ProfiledStep]) -> usize {
    steps.iter().filter(|step| step.operator == "Concat").count()
}

#[test]
fn joined_results_are_the_same_in_place_and_copied() {
    for axis in [3, 0, 1] {
        for (threads, batch) in [(1, 1), (2, 1), (2, 3)] {
            let in_place = run(program(axis, false), threads, batch, 2).0;
            assert!(in_place == run(program(axis, true), threads, batch, 2).0, "axis {axis}, batch {batch}");
            let in_place = run(overlapping(axis, false), threads, batch, 4).0;
            assert!(in_place == run(overlapping(axis, true), threads, batch, 4).0, "axis {axis}, batch {batch}");
        }
    }
}

#[test]
fn what_grows_by_being_joined_lies_in_one_place() {
    for (threads, batch) in [(1, 1), (2, 1), (3, 2)] {
        let (in_place, steps) = run(dense_block(false), threads, batch, 2);
        let (copied, all) = run(dense_block(true), threads, batch, 2);
        assert!(in_place == copied, "batch {batch}");
        // The one that is negated too is copied.
        assert_eq!((concats(&steps), concats(&all)), (1, 5));
        let read = steps.iter().filter(|step| step.fused.is_some()).map(|step| step.bytes);
        assert!(read.eq(all.iter().filter(|step| step.fused.is_some()).map(|step| step.bytes)));
    }
}
