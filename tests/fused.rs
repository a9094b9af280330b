//! Nodes that run as one step compute what they compute in steps of their own.

use infer::cpu::Activation;
use infer::exec::{Control, Profile, ProfiledStep};
use infer::graph::{Constant, GraphId, Program, ValueId};
use infer::ops::conv::Conv;
use infer::ops::pack::pack;
use infer::ops::window::Window;
use infer::ops::{Op, Tensor};
use infer::session::{Context, Input, Model, Output, Session, SessionOptions};
use infer::tensor::{DType, Dim, Dims, Shape, TensorType};

const CHANNELS: usize = 40;
/// Height of an image that no second-level cache keeps.
const LARGE: usize = 1900;

/// Two convolutions that may be one step.
#[derive(Clone, Copy)]
enum Pair {
    /// A scale per channel and a product.
    Scaled,
    /// A product and a depthwise convolution.
    Expanded,
}

/// What becomes of the value between the two convolutions.
#[derive(Clone, Copy, PartialEq)]
enum Between {
    OnlyRead,
    Output,
    ReadTwice,
}

struct Build {
    p: Program,
    g: GraphId,
}

impl Build {
    fn constant(&mut self, dims: &[usize], op: &Op, slot: usize) -> ValueId {
        let numbers = (0..dims.iter().product()).map(|i: usize| (i * 37 % 101) as f32 / 100.0 - 0.4);
        let tensor = Tensor::new(dims, &numbers.collect::<Vec<_>>()).unwrap();
        let layout = op.constant_layout(slot, &tensor.info);
        let data = if slot == 1 { pack(&tensor, layout).unwrap() } else { tensor.data };
        self.p.graphs[0].add_constant("", Constant::new(tensor.info, layout, data).unwrap())
    }

    /// A convolution that keeps the image's extents.
    fn conv(&mut self, name: &str, x: ValueId, (channels, groups): (usize, usize), kernel: usize) -> ValueId {
        let pads = vec![kernel as u32 / 2; 4];
        let window = Window { strides: vec![1; 2], pads, dilations: vec![1; 2] };
        let op = Op::from(Conv { window, groups: groups as u32, activation: Activation::Relu, ..Conv::default() });
        let weights = self.constant(&[channels, kernel, kernel, CHANNELS / groups], &op, 1);
        let bias = self.constant(&[channels], &op, 2);
        self.p.add_op(self.g, name, op, &[Some(x), Some(weights), Some(bias)]).unwrap()[0]
    }
}

fn program(pair: Pair, between: Between) -> Program {
    let mut p = Program { producer: "test".into(), ..Program::default() };
    let g = p.add_graph("main");
    let batch = Dim::sym(p.sym("batch"));
    let height = Dim::sym(p.sym("height"));
    let dims = [batch, height, Dim::Fixed(7), Dim::from(CHANNELS)];
    let x = p.add_input(g, "x", TensorType::new(DType::F32, Shape::new(dims).unwrap()));
    let mut b = Build { p, g };
    let (first, second) = match pair {
        Pair::Scaled => (((CHANNELS, CHANNELS), 1), ((24, 1), 1)),
        Pair::Expanded => (((CHANNELS, 1), 1), ((CHANNELS, CHANNELS), 3)),
    };
    let made = b.conv("first", x, first.0, first.1);
    let result = b.conv("second", made, second.0, second.1);
    b.p.add_output("result", result);
    match between {
        Between::OnlyRead => {}
        Between::Output => b.p.add_output("made", made),
        Between::ReadTwice => {
            let other = b.conv("other", made, (8, 1), 1);
            b.p.add_output("other", other);
        }
    }
    b.p.verify().unwrap();
    b.p
}

fn run(pair: Pair, between: Between, threads: usize, (batch, height): (usize, usize)) -> (Vec<f32>, Vec<ProfiledStep>) {
    let model = Model::from_program(program(pair, between));
    let session = Session::new(&model, &SessionOptions { threads, ..Default::default() }).unwrap();
    let mut context = Context::new(&session);
    let dims = Dims::new(&[batch, height, 7, CHANNELS]);
    let numbers = (0..dims.iter().product()).map(|i: usize| (i * 29 % 83) as f32 / 40.0 - 1.0);
    let data: Vec<u8> = numbers.flat_map(f32::to_le_bytes).collect();
    let input = Input { dtype: DType::F32, dims, data: &data, ..Input::default() };
    let mut outputs: Vec<Output<'_>> = model.outputs().iter().map(|_| Output::default()).collect();
    let profile = Profile::default();
    context.run(&[input], &mut outputs, Control { profile: Some(&profile), ..Control::default() }).unwrap();
    let bytes = outputs[0].owned.as_ref().unwrap();
    (bytes.as_chunks().0.iter().map(|&x| f32::from_le_bytes(x)).collect(), profile.steps())
}

#[test]
fn a_fused_step_computes_what_two_steps_do() {
    for (pair, threads, size) in [
        (Pair::Scaled, 1, (1, 9)),
        (Pair::Scaled, 2, (1, 9)),
        (Pair::Scaled, 3, (4, 9)),
        (Pair::Expanded, 1, (1, LARGE)),
        (Pair::Expanded, 2, (1, LARGE)),
        (Pair::Expanded, 3, (2, LARGE + 3)),
    ] {
        let (fused, steps) = run(pair, Between::OnlyRead, threads, size);
        assert_eq!(steps.iter().map(|s| &*s.name).collect::<Vec<_>>(), ["first + second"]);
        assert!(fused == run(pair, Between::OnlyRead, 1, size).0, "the bits depend on the number of threads");
        let (plain, steps) = run(pair, Between::Output, threads, size);
        assert_eq!(steps.len(), 2);
        let largest = plain.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        assert!(largest > 0.1 && fused.len() == plain.len());
        assert!(fused.iter().zip(&plain).all(|(x, y)| (x - y).abs() <= 1e-6 * largest));
    }
}

#[test]
fn what_a_cache_keeps_is_not_expanded_in_strips() {
    assert_eq!(run(Pair::Expanded, Between::OnlyRead, 1, (300, 9)).1.len(), 2);
}

#[test]
fn a_value_that_is_read_elsewhere_is_made() {
    for (pair, size) in [(Pair::Scaled, (1, 9)), (Pair::Expanded, (1, LARGE))] {
        assert_eq!(run(pair, Between::Output, 1, size).1.len(), 2);
        assert_eq!(run(pair, Between::ReadTwice, 1, size).1.len(), 3);
    }
}

#[test]
fn a_fused_step_tells_of_both_nodes() {
    let steps = run(Pair::Scaled, Between::OnlyRead, 1, (2, 9)).1;
    let parts = run(Pair::Scaled, Between::Output, 1, (2, 9)).1;
    assert_eq!((steps[0].fused, steps[0].node, steps[0].operator), (Some(0), 1, "Conv"));
    assert_eq!(steps[0].flops, parts.iter().map(|s| s.flops).sum::<u64>());
    assert_eq!(steps[0].inputs.iter().flatten().count(), 5);
    assert!(parts.iter().all(|s| s.fused.is_none()));
}
