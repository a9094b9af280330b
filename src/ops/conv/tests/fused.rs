//! Two convolutions in one step, against their definitions one after the other.

use super::*;
use crate::ops::pack::pack;
use crate::ops::testing::{THREADS, apart, difference, run_kernel};
use crate::ops::{Derived, Kernel, Op, Operand};

/// Elements between rows that are apart.
const GAP: usize = 5;

/// Two convolutions, of which the second reads what the first computes.
struct Pair(Case, Case);

impl Pair {
    /// Inputs of both, as model files have them; the second's first is the first's result.
    fn stored(&self) -> [Vec<(Option<Tensor>, Layout)>; 2] {
        let made = self.0.tensors::<f32>(|r| r.range(-1.0, 1.0));
        let between = self.0.reference(&made);
        let mut then = self.1.tensors::<f32>(|r| r.range(-1.0, 1.0));
        let elements: Vec<f32> = between.1.iter().map(|&x| x as f32).collect();
        then[0] = Some(Tensor::new(&between.0, &elements).unwrap());
        let store = |case: &Case, inputs: [Option<Tensor>; 4]| {
            let op = Op::from(case.op.clone());
            let one = |(i, t): (usize, Option<Tensor>)| {
                let layout = t.as_ref().map_or(Layout::RowMajor, |t| op.constant_layout(i, &t.info));
                let pack = |t: Tensor| match layout {
                    Layout::RowMajor => t,
                    _ => Tensor { info: t.info, data: pack(&t, layout).unwrap() },
                };
                (t.map(pack), layout)
            };
            inputs.into_iter().enumerate().map(one).collect()
        };
        [store(&self.0, made), store(&self.1, then)]
    }

    fn fuse(&self, isa: Isa, threads: usize) -> Option<Box<dyn Kernel>> {
        let [left, right] = self.stored();
        let operands = |stored: &[(Option<Tensor>, Layout)]| -> Vec<Option<Operand<'static>>> {
            stored.iter().map(|(t, layout)| t.as_ref().map(|t| Operand { info: t.info, data: None, layout: *layout })).collect()
        };
        let (derived, infos) = (Derived::new(None, 0), [self.0.info(), self.1.info()]);
        let (left, right) = (operands(&left), operands(&right));
        let prepare =
            |inputs, output| Prepare { isa, threads, inputs, outputs: std::slice::from_ref(output), derived: &derived };
        let (left, right) = (prepare(&left, &infos[0]), prepare(&right, &infos[1]));
        let (first, second) = ((&self.0.op, &left), (&self.1.op, &right));
        // Small pairs are tested too, for which it would not pay.
        let expanded = expanded::plan(first, second).unwrap().map(|kernel| Box::new(kernel) as Box<dyn Kernel>);
        fuse(first, second).unwrap().or(expanded)
    }

    fn check(&self) {
        let [left, right] = self.stored();
        let mut inputs: Vec<Option<&Tensor>> = right.iter().map(|(t, _)| t.as_ref()).collect();
        inputs[0] = left[0].0.as_ref();
        inputs.extend(left[1..].iter().map(|(t, _)| t.as_ref()));
        let mut plain = self.1.tensors::<f32>(|r| r.range(-1.0, 1.0));
        plain[0] = right[0].0.clone();
        let (dims, out) = self.1.reference(&plain);
        let want = Tensor::new(&dims, &out.iter().map(|&x| x as f32).collect::<Vec<_>>()).unwrap();
        for (isa, threads) in Isa::available().flat_map(|isa| [1, THREADS].map(|threads| (isa, threads))) {
            let mut kernel = self.fuse(isa, threads).expect("a kernel for both");
            let got = run_kernel(&*kernel, &inputs, &[want.info]).unwrap();
            let error = difference(&got[0], &want);
            assert!(error <= 3e-6, "{:?} and {:?} on {isa}: {error:.2e}", self.0.op, self.1.op);
            let x = inputs[0].unwrap();
            assert!(kernel.read_apart(0, self.0.channels + GAP) && !kernel.read_apart(1, GAP));
            let apart = apart(x, GAP);
            let inputs = [&[Some(&apart)], &inputs[1..]].concat();
            assert!(run_kernel(&*kernel, &inputs, &[want.info]).unwrap() == got, "rows apart on {isa}");
        }
    }
}

impl Case {
    fn info(&self) -> TensorInfo {
        let dims = [&[self.batch], &self.output()[..], &[self.out_channels]].concat();
        TensorInfo { dtype: DType::F32, dims: crate::tensor::Dims::new(&dims) }
    }
}

/// A scale per channel in front of a product.
fn scaled(batch: usize, input: &'static [usize], channels: usize, out_channels: usize) -> Pair {
    let kernel = &[1, 1, 1][..input.len()];
    let mut first = Case { bias: true, batch, ..Case::new(input, kernel, channels, channels).groups(channels as u32) };
    first.op.activation = Activation::Relu;
    Pair(first, Case { batch, ..Case::new(input, kernel, channels, out_channels) })
}

/// An expansion of channels in front of a depthwise convolution with half a window of padding.
fn expanded(
    batch: usize,
    input: &'static [usize],
    kernel: &'static [usize],
    stride: u32,
    (in_channels, channels): (usize, usize),
) -> Pair {
    let half: Vec<u32> = kernel.iter().map(|&k| k as u32 / 2).collect();
    let first = Case { bias: true, batch, ..Case::new(input, &[1, 1], in_channels, channels) };
    let second = Case { batch, ..Case::new(input, kernel, channels, channels).groups(channels as u32) };
    Pair(first, second.window(&[stride, stride], &[&half[..], &half].concat(), &[1, 1]))
}

#[test]
fn scales_in_front_of_a_product() {
    scaled(1, &[7, 7], 40, 24).check();
    scaled(3, &[5], 19, 33).check();
    scaled(2, &[3, 4, 5], 64, 100).check();
    scaled(1, &[1, 1], 400, 50).check();
    scaled(1, &[14, 13], 700, 128).check();
    scaled(1, &[61, 53], 300, 20).check();
    scaled(0, &[2, 2], 8, 8).check();
    scaled(1, &[2, 2], 8, 0).check();
}

#[test]
fn expansions_in_front_of_a_depthwise_convolution() {
    expanded(1, &[7, 7], &[3, 3], 1, (16, 96)).check();
    expanded(1, &[13, 12], &[3, 3], 2, (24, 40)).check();
    expanded(3, &[9, 10], &[5, 5], 1, (7, 50)).check();
    expanded(2, &[11, 6], &[5, 5], 2, (40, 64)).check();
    expanded(1, &[9, 9], &[7, 7], 1, (20, 24)).check();
    // More lines than a strip keeps, and images whose windows lie mostly in the padding.
    expanded(2, &[70, 57], &[3, 3], 1, (5, 49)).check();
    expanded(1, &[66, 60], &[3, 3], 2, (3, 100)).check();
    expanded(2, &[1, 2], &[5, 5], 1, (8, 16)).check();
    expanded(1, &[5, 400], &[1, 3], 1, (6, 20)).check();
    let mut dilated = expanded(1, &[12, 14], &[3, 3], 1, (9, 33));
    (dilated.1.op.window.dilations, dilated.1.op.window.pads) = (vec![3, 2], vec![3, 2, 3, 2]);
    dilated.check();
    dilated.1.op.window.pads = vec![5, 0, 0, 4];
    dilated.check();
}

#[test]
fn every_operand_and_activation_of_both() {
    for activation in [Activation::None, Activation::Clip { lo: 0.0, hi: 0.5 }, Activation::HardSwish] {
        for mut pair in [scaled(2, &[6, 5], 37, 41), expanded(2, &[6, 5], &[3, 3], 1, (37, 41))] {
            (pair.0.bias, pair.1.bias, pair.1.residual) = (false, true, true);
            (pair.0.op.activation, pair.1.op.activation) = (activation, Activation::Silu);
            pair.check();
            pair.1.op.activation = Activation::Relu;
            pair.check();
        }
    }
}

#[test]
fn others_stay_apart() {
    let refused = |change: fn(&mut Pair)| {
        let mut pair = scaled(1, &[6, 6], 32, 32);
        change(&mut pair);
        assert!(pair.fuse(Isa::Scalar, 1).is_none(), "{:?} and {:?}", pair.0.op, pair.1.op);
    };
    refused(|pair| pair.0.residual = true);
    refused(|pair| pair.0.op.groups = 16);
    refused(|pair| pair.1.op.groups = 2);
    refused(|pair| pair.1.op.window.pads = vec![1, 1, 1, 1]);
    refused(|pair| pair.1.op.window.strides = vec![2, 2]);
    refused(|pair| (pair.0.kernel, pair.0.op.window.pads) = (&[3, 3], vec![1, 1, 1, 1]));
}
