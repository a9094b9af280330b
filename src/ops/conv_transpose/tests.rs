use super::*;
use crate::cpu::Isa;
use crate::ops::Tensor;
use crate::ops::elementwise::Number;
use crate::ops::testing::{Random, as_f64, check_optional, infer_error};
use crate::tensor::Sym;
use ::half::{bf16, f16};

/// A transposed convolution of an input `[batch, spatial.., channels]`.
#[derive(Clone)]
struct Case {
    x: &'static [usize],
    kernel: &'static [usize],
    out_channels: usize,
    bias: bool,
    op: ConvTranspose,
}

impl Case {
    fn new(x: &'static [usize], kernel: &'static [usize], out_channels: usize) -> Self {
        Case { x, kernel, out_channels, bias: false, op: ConvTranspose::default() }
    }

    fn window(mut self, strides: &[u32], pads: &[u32], dilations: &[u32], output_padding: &[u32]) -> Self {
        self.op.window = Window { strides: strides.into(), pads: pads.into(), dilations: dilations.into() };
        self.op.output_padding = output_padding.into();
        self.bias = strides.len() != 1;
        self
    }

    fn groups(mut self, groups: u32) -> Self {
        self.op.groups = groups;
        self
    }

    fn channels(&self) -> usize {
        self.x[self.x.len() - 1]
    }

    fn tensors<T: Number>(&self) -> [Option<Tensor>; 3] {
        let mut random = Random::new(31);
        let mut tensor = |dims: &[usize]| random.tensor_of(dims, |r| T::from_f64(f64::from(r.range(-1.0, 1.0))));
        let w = [&[self.out_channels], self.kernel, &[self.channels() / self.op.groups as usize]].concat();
        [Some(tensor(self.x)), Some(tensor(&w)), self.bias.then(|| tensor(&[self.out_channels]))]
    }

    /// The definition: every input is spread over the outputs.
    fn reference(&self, inputs: &[Option<Tensor>; 3]) -> (Vec<usize>, Vec<f64>) {
        let [x, w, bias] = inputs.each_ref().map(|t| t.as_ref().map(as_f64).unwrap_or_default());
        let window = &self.op.window;
        let input = &self.x[1..self.x.len() - 1];
        let extent = |i: usize| {
            let (begin, end) = window.pad(i);
            let extra = self.op.output_padding.get(i).map_or(0, |&p| p as usize);
            (input[i] - 1) * window.stride(i) + (self.kernel[i] - 1) * window.dilation(i) + 1 + extra - begin - end
        };
        let output: Vec<usize> = (0..input.len()).map(extent).collect();
        let (groups, channels) = (self.op.groups as usize, self.channels());
        let (group_in, group_out) = (channels / groups, self.out_channels / groups);
        let dims = [&[self.x[0]], &output[..], &[self.out_channels]].concat();
        let mut y = vec![0.0; dims.iter().product()];
        for (n, (i, at)) in (0..self.x[0]).flat_map(|n| positions(input).enumerate().map(move |p| (n, p))) {
            for (tap, t) in positions(self.kernel).enumerate() {
                let reached = (0..input.len()).try_fold(n, |index, d| {
                    let o = (at[d] * window.stride(d) + t[d] * window.dilation(d)).checked_sub(window.pad(d).0)?;
                    (o < output[d]).then_some(index * output[d] + o)
                });
                let Some(o) = reached else { continue };
                for (oc, ic) in (0..self.out_channels).flat_map(|oc| (0..group_in).map(move |ic| (oc, ic))) {
                    let plane: usize = input.iter().product();
                    let x = x[(n * plane + i) * channels + oc / group_out * group_in + ic];
                    let taps: usize = self.kernel.iter().product();
                    y[o * self.out_channels + oc] += x * w[(oc * taps + tap) * group_in + ic];
                }
            }
        }
        if self.bias {
            y.iter_mut().enumerate().for_each(|(i, y)| *y += bias[i % self.out_channels]);
        }
        if self.op.activation != Activation::None {
            let mut rounded: Vec<f32> = y.iter().map(|&x| x as f32).collect();
            self.op.activation.apply_to(Isa::Scalar, &mut rounded);
            y = rounded.into_iter().map(f64::from).collect();
        }
        (dims, y)
    }

    fn check_in<T: Number>(&self, tolerance: f64) {
        let inputs = self.tensors::<T>();
        let (dims, y) = self.reference(&inputs);
        let want = Tensor::new(&dims, &y.into_iter().map(T::from_f64).collect::<Vec<T>>()).unwrap();
        check_optional(self.op.clone(), &inputs.each_ref().map(Option::as_ref), &[want], tolerance);
    }
}

fn positions(dims: &[usize]) -> impl Iterator<Item = Vec<usize>> + use<'_> {
    (0..dims.iter().product()).map(move |mut index: usize| {
        let mut at = vec![0; dims.len()];
        for (a, d) in at.iter_mut().zip(dims).rev() {
            (*a, index) = (index % d, index / d);
        }
        at
    })
}

fn cases() -> Vec<Case> {
    vec![
        Case::new(&[2, 7, 5], &[3], 6),
        Case::new(&[1, 6, 19], &[4], 33).window(&[2], &[1, 1], &[], &[]),
        Case::new(&[1, 4, 5, 16], &[2, 2], 20).window(&[2, 2], &[], &[], &[]),
        Case::new(&[2, 4, 3, 7], &[4, 4], 5).window(&[2, 2], &[1, 1, 1, 1], &[], &[]),
        Case::new(&[1, 3, 4, 6], &[3, 3], 8).window(&[2, 3], &[1, 0, 0, 1], &[], &[1, 2]),
        Case::new(&[1, 3, 4, 6], &[3, 2], 8).window(&[2, 3], &[0, 1, 2, 1], &[3, 2], &[1, 0]),
        Case::new(&[1, 3, 3, 4], &[2, 2], 8).window(&[4, 2], &[], &[2, 4], &[]),
        Case::new(&[1, 3, 2, 4, 5], &[2, 3, 2], 7).window(&[1, 2, 3], &[0, 1, 0, 1, 0, 1], &[], &[]),
        Case::new(&[1, 5, 5, 12], &[3, 3], 20).window(&[2, 2], &[1, 1, 1, 1], &[], &[1, 1]).groups(2),
        Case::new(&[1, 5, 5, 6], &[3, 3], 6).window(&[2, 2], &[1, 1, 1, 1], &[], &[]).groups(6),
        Case::new(&[1, 4, 4, 8], &[3, 3], 4).window(&[1, 1], &[1, 1, 1, 1], &[], &[]).groups(4),
        Case::new(&[2, 5, 6, 24], &[4, 4], 3).window(&[2, 2], &[1, 1, 1, 1], &[], &[]),
        Case::new(&[3, 1, 1, 30], &[4, 4], 40).window(&[1, 1], &[], &[], &[]),
        Case::new(&[2, 2, 3, 2, 17], &[3, 2, 3], 18).window(&[2, 1, 3], &[1, 0, 1, 1, 1, 0], &[1, 2, 2], &[1, 0, 2]),
        Case::new(&[1, 9, 8, 3], &[3, 3], 40).window(&[2, 2], &[1, 1, 1, 1], &[], &[1, 1]),
        Case::new(&[1, 1, 1, 1], &[1, 1], 1),
        Case::new(&[0, 3, 3, 4], &[2, 2], 8),
    ]
}

#[test]
fn every_window_and_grouping() {
    for case in cases() {
        case.check_in::<f32>(3e-6);
        for activation in [Activation::Relu, Activation::Tanh] {
            Case { op: ConvTranspose { activation, ..case.op.clone() }, ..case.clone() }.check_in::<f32>(3e-6);
        }
    }
}

#[test]
fn many_parts() {
    Case::new(&[1, 20, 24, 32], &[4, 4], 48).window(&[2, 2], &[1, 1, 1, 1], &[], &[]).check_in::<f32>(3e-6);
}

#[test]
fn other_element_types() {
    for case in cases() {
        case.check_in::<f64>(1e-14);
        case.check_in::<f16>(1e-3);
        case.check_in::<bf16>(8e-3);
    }
}

#[test]
fn symbolic_shapes() {
    let h = Dim::sym(Sym(0));
    let ty = |dims: &[Dim]| TensorType::new(DType::F32, Shape::new(dims).unwrap());
    let x = ty(&[Dim::Fixed(1), h.clone(), Dim::Fixed(3)]);
    let w = ty(&[8i64, 4, 3].map(Dim::from));
    let op = Case::new(&[], &[], 0).window(&[2], &[1, 1], &[], &[]).op;
    let out = op.infer(&Inputs::new(&[Some(&x), Some(&w)])).unwrap();
    assert_eq!(out[0].shape[1], h.mul(&Dim::Fixed(2)));
}

#[test]
fn refuses_what_does_not_fit() {
    let t = |dims: &[usize]| Random::new(1).tensor(dims);
    let x = t(&[1, 5, 5, 4]);
    let op = ConvTranspose::default;
    assert!(infer_error(op(), &[&x, &t(&[6, 3, 3, 3])]).contains("4 input channels"));
    assert!(infer_error(op(), &[&x, &t(&[6, 3, 4])]).contains("2 spatial dimensions"));
    assert!(infer_error(ConvTranspose { groups: 4, ..op() }, &[&x, &t(&[6, 3, 3, 1])]).contains("groups do not divide"));
    assert!(infer_error(op(), &[&x, &t(&[6, 3, 3, 4]), &t(&[5])]).contains("bias"));
    let padded = Case::new(&[], &[], 0).window(&[], &[9, 9, 9, 9], &[], &[]).op;
    assert!(infer_error(padded, &[&x, &t(&[6, 3, 3, 4])]).contains("leaves no output"));
    let extra = ConvTranspose { output_padding: vec![1], ..op() };
    assert!(infer_error(extra, &[&x, &t(&[6, 3, 3, 4])]).contains("1 output paddings"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    cases().into_iter().for_each(|case| crate::ops::testing::round_trip(case.op));
    let activation = Activation::Relu;
    crate::ops::testing::round_trip(ConvTranspose { activation, ..ConvTranspose::default() });
}
