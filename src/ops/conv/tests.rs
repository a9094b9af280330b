use super::*;
use crate::cpu::Isa;
use crate::cpu::conv::WeightLayout;
use crate::ops::Tensor;
use crate::ops::testing::{Random, as_f64, check_optional, check_stored, infer_error};
use crate::tensor::{Element, Layout, Sym};
use ::half::{bf16, f16};

#[cfg(feature = "cuda")]
mod dnn;
#[cfg(feature = "write")]
mod fused;

/// One convolution: extents of input and kernel, and everything else that it may have.
#[derive(Clone, Default)]
struct Case {
    batch: usize,
    input: &'static [usize],
    kernel: &'static [usize],
    channels: usize,
    out_channels: usize,
    bias: bool,
    residual: bool,
    op: Conv,
}

impl Case {
    fn new(input: &'static [usize], kernel: &'static [usize], channels: usize, out_channels: usize) -> Self {
        Case { batch: 1, input, kernel, channels, out_channels, ..Case::default() }
    }

    fn window(mut self, strides: &[u32], pads: &[u32], dilations: &[u32]) -> Self {
        self.op.window = Window { strides: strides.into(), pads: pads.into(), dilations: dilations.into() };
        self
    }

    fn groups(mut self, groups: u32) -> Self {
        self.op.groups = groups;
        self
    }

    fn output(&self) -> Vec<usize> {
        let w = &self.op.window;
        let one = |(i, (&x, &k)): (usize, (&usize, &usize))| {
            (x + w.pad(i).0 + w.pad(i).1 - ((k - 1) * w.dilation(i) + 1)) / w.stride(i) + 1
        };
        self.input.iter().zip(self.kernel).enumerate().map(one).collect()
    }

    /// X, W, bias, residual.
    fn tensors<T: Element>(&self, element: fn(&mut Random) -> T) -> [Option<Tensor>; 4] {
        let mut random = Random::new(5);
        let x = match self.op.channels_first_input {
            true => [&[self.batch, self.channels], self.input].concat(),
            false => [&[self.batch], self.input, &[self.channels]].concat(),
        };
        let w = [&[self.out_channels], self.kernel, &[self.channels / self.op.groups as usize]].concat();
        let out = [&[self.batch], &self.output()[..], &[self.out_channels]].concat();
        let mut tensor = |dims: &[usize]| Some(random.tensor_of(dims, element));
        let (x, w) = (tensor(&x), tensor(&w));
        let bias = if self.bias { tensor(&[self.out_channels]) } else { None };
        [x, w, bias, if self.residual { tensor(&out) } else { None }]
    }

    /// The definition, one output at a time, in f64.
    fn reference(&self, inputs: &[Option<Tensor>; 4]) -> (Vec<usize>, Vec<f64>) {
        let [x, w, bias, residual] = inputs.each_ref().map(|t| t.as_ref().map(as_f64));
        let (x, w) = (x.unwrap(), w.unwrap());
        let (spatial, groups) = (self.output(), self.op.groups as usize);
        let dims = [&[self.batch], &spatial[..], &[self.out_channels]].concat();
        let (group_in, group_out) = (self.channels / groups, self.out_channels / groups);
        let mut out = vec![];
        for n in 0..self.batch {
            for o in positions(&spatial) {
                for oc in 0..self.out_channels {
                    let mut sum = bias.as_ref().map_or(0.0, |b| b[oc]);
                    for (tap, t) in positions(self.kernel).enumerate() {
                        let Some(i) = self.source(&o, &t) else { continue };
                        for ic in 0..group_in {
                            let c = oc / group_out * group_in + ic;
                            let plane: usize = self.input.iter().product();
                            let at = match self.op.channels_first_input {
                                true => (n * self.channels + c) * plane + i,
                                false => (n * plane + i) * self.channels + c,
                            };
                            let taps: usize = self.kernel.iter().product();
                            sum += x[at] * w[(oc * taps + tap) * group_in + ic];
                        }
                    }
                    out.push(sum + residual.as_ref().map_or(0.0, |r| r[out.len()]));
                }
            }
        }
        (dims, activated(self.op.activation, out))
    }

    /// Index of the input pixel that an output pixel sees under a tap.
    fn source(&self, output: &[usize], tap: &[usize]) -> Option<usize> {
        let w = &self.op.window;
        let mut index = 0;
        for d in 0..output.len() {
            let at = (output[d] * w.stride(d) + tap[d] * w.dilation(d)).checked_sub(w.pad(d).0)?;
            if at >= self.input[d] {
                return None;
            }
            index = index * self.input[d] + at;
        }
        Some(index)
    }

    fn check_in<T: Element>(&self, tolerance: f64, of: fn(f64) -> T, element: fn(&mut Random) -> T) {
        let tensors = self.tensors(element);
        let (dims, out) = self.reference(&tensors);
        let want = Tensor::new(&dims, &out.into_iter().map(of).collect::<Vec<T>>()).unwrap();
        check_optional(self.op.clone(), &tensors.each_ref().map(Option::as_ref), &[want], tolerance);
    }

    /// With weights as model files have them.
    fn check_packed(&self, tolerance: f64) {
        let [x, w, bias, residual] = self.tensors(|r| r.range(-1.0, 1.0));
        let groups = self.op.groups as usize;
        let (group_in, group_out) = (self.channels / groups, self.out_channels / groups);
        let (stored_as, weights) = (layout(groups, group_in, group_out), w.as_ref().unwrap());
        let k = self.kernel.iter().product::<usize>() * group_in;
        let arrangement = WeightLayout::of(groups, group_in, group_out);
        let mut packed = vec![0.0; arrangement.len(groups, self.out_channels, k).unwrap()];
        arrangement.pack(weights.elements(), groups, k, &mut packed);
        assert_eq!(stored_as.byte_len(DType::F32, &weights.info.dims), Some(packed.len() * 4));
        let data = Tensor::new(&[packed.len()], &packed).unwrap().data;
        let stored = Tensor { info: weights.info, data };
        let (dims, out) = self.reference(&[x.clone(), w.clone(), bias.clone(), residual.clone()]);
        let want = Tensor::new(&dims, &out.iter().map(|&x| x as f32).collect::<Vec<_>>()).unwrap();
        let inputs = [x.as_ref(), Some(&stored), bias.as_ref(), residual.as_ref()];
        check_stored(self.op.clone(), &inputs, &[Layout::RowMajor, stored_as], &[want], tolerance);
    }

    fn check(&self) {
        self.check_in(3e-6, |x| x as f32, |r| r.range(-1.0, 1.0));
    }
}

/// Every index of a shape, the last one fastest.
fn positions(dims: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    (0..dims.iter().product()).map(move |mut index: usize| {
        let mut at = vec![0; dims.len()];
        for (a, d) in at.iter_mut().zip(dims).rev() {
            (*a, index) = (index % d, index / d);
        }
        at
    })
}

fn activated(activation: Activation, values: Vec<f64>) -> Vec<f64> {
    if activation == Activation::None {
        return values;
    }
    let mut rounded: Vec<f32> = values.iter().map(|&x| x as f32).collect();
    activation.apply_to(Isa::Scalar, &mut rounded);
    rounded.into_iter().map(f64::from).collect()
}

/// Convolutions that differ in every attribute.
fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new(&[7], &[3], 5, 6),
        Case::new(&[9], &[4], 3, 20).window(&[2], &[1, 2], &[1]),
        Case::new(&[6, 7], &[1, 1], 19, 33),
        Case::new(&[6, 7], &[1, 1], 19, 33).window(&[2, 2], &[], &[]),
        Case::new(&[8, 9], &[3, 3], 3, 17).window(&[2, 1], &[1, 1, 1, 1], &[]),
        Case::new(&[8, 9], &[3, 2], 18, 35).window(&[1, 2], &[0, 1, 2, 0], &[2, 3]),
        Case::new(&[5, 4, 6], &[2, 3, 2], 4, 9).window(&[1, 2, 1], &[1, 0, 1, 0, 1, 0], &[1, 1, 2]),
        Case::new(&[8, 9], &[3, 3], 24, 24).window(&[], &[1, 1, 1, 1], &[]).groups(24),
        Case::new(&[11, 6], &[5, 5], 20, 20).window(&[2, 2], &[2, 2, 2, 2], &[]).groups(20),
        Case::new(&[6, 6], &[3, 3], 10, 30).window(&[], &[1, 1, 1, 1], &[]).groups(10),
        Case::new(&[6, 6], &[3, 3], 32, 24).window(&[], &[1, 1, 1, 1], &[]).groups(8),
        Case::new(&[6, 6], &[3, 3], 36, 54).window(&[2, 1], &[1, 1, 1, 1], &[]).groups(2),
        Case::new(&[4, 4], &[3, 3], 2, 3).window(&[], &[5, 5, 5, 5], &[]),
        Case::new(&[1, 1], &[1, 1], 1, 1),
    ];
    cases.iter_mut().step_by(2).for_each(|c| c.bias = true);
    cases.iter_mut().step_by(3).for_each(|c| (c.residual, c.batch) = (true, 2));
    cases
}

#[test]
fn every_window_and_grouping() {
    for case in cases() {
        case.check();
        let op = Conv { channels_first_input: true, ..case.op.clone() };
        Case { op, ..case }.check();
    }
}

#[test]
fn activations() {
    for activation in [Activation::Relu, Activation::Clip { lo: 0.0, hi: 0.5 }, Activation::HardSwish] {
        for mut case in cases().into_iter().step_by(2) {
            case.op.activation = activation;
            case.check();
        }
    }
}

#[test]
fn many_parts() {
    let pads = &[1, 1, 1, 1];
    Case { bias: true, ..Case::new(&[40, 37], &[3, 3], 32, 48).window(&[], pads, &[]) }.check();
    Case::new(&[60, 64], &[3, 3], 40, 40).window(&[], pads, &[]).groups(40).check();
    Case::new(&[50, 50], &[7, 7], 3, 32).window(&[2, 2], &[3, 3, 3, 3], &[]).check();
}

#[test]
fn tiles_and_slices_of_a_gpu() {
    let pads = &[1, 1, 1, 1];
    let mut cases = [
        // Deep windows over few pixels; many pixels of few channels; odd channels; groups; all of the input in one window.
        Case::new(&[5, 7], &[3, 3], 132, 70).window(&[1, 1], pads, &[]),
        Case::new(&[21, 19], &[3, 3], 12, 24).window(&[2, 1], pads, &[1, 2]),
        Case::new(&[9, 9], &[3, 3], 67, 65).window(&[], pads, &[]),
        Case::new(&[9, 8], &[3, 3], 96, 64).window(&[], pads, &[]).groups(2),
        Case::new(&[4, 4], &[4, 4], 64, 40),
        Case::new(&[9, 9], &[9, 9], 70, 70).window(&[], &[4, 4, 4, 4], &[]).groups(70),
        Case::new(&[75, 61], &[3, 3], 36, 36).window(&[], pads, &[]).groups(36),
    ];
    for case in &mut cases {
        (case.bias, case.residual, case.batch) = (true, true, 2);
        case.op.activation = Activation::Mish;
        case.check();
        case.check_in(1e-3, f16::from_f64, |r| f16::from_f32(r.range(-1.0, 1.0)));
        case.check_in(8e-3, bf16::from_f64, |r| bf16::from_f32(r.range(-1.0, 1.0)));
    }
    // Enough tiles of the largest kind.
    let large = Case { batch: 140, ..Case::new(&[11, 12], &[1, 2], 8, 132).groups(2) };
    large.check();
    large.check_in(8e-3, bf16::from_f64, |r| bf16::from_f32(r.range(-1.0, 1.0)));
}

#[test]
fn empty_extents() {
    Case { batch: 0, ..Case::new(&[5, 5], &[3, 3], 4, 4) }.check();
    Case::new(&[5, 5], &[3, 3], 0, 4).check();
    Case::new(&[5, 5], &[3, 3], 4, 0).check();
    Case::new(&[0, 2], &[2, 1], 3, 4).window(&[], &[1, 0, 1, 0], &[]).check();
}

#[test]
fn packed_weights() {
    cases().iter().for_each(|case| case.check_packed(3e-6));
}

#[test]
fn winograds_algorithm() {
    let pads = &[1, 1, 1, 1];
    let mut cases = [
        Case::new(&[28, 30], &[3, 3], 32, 48).window(&[], pads, &[]),
        Case::new(&[29, 31], &[3, 3], 48, 40).window(&[], &[0, 1, 2, 0], &[]),
        Case { batch: 3, residual: true, ..Case::new(&[17, 14], &[3, 3], 50, 33).window(&[], pads, &[]) },
        Case { bias: true, residual: true, ..Case::new(&[56, 20], &[3, 3], 64, 64).window(&[], pads, &[]) },
    ];
    cases[0].op.activation = Activation::Relu;
    cases[3].op.activation = Activation::HardSwish;
    for case in cases {
        let [x, w, ..] = case.tensors::<f32>(|r| r.range(-1.0, 1.0)).map(|t| t.map(|t| t.ty()));
        let wanted = case.op.derives(&Inputs::new(&[x.as_ref(), w.as_ref()]));
        assert!(wanted.is_some() || Isa::detect() == Isa::Scalar, "a case that is done directly");
        case.check_packed(1e-5);
    }
}

#[test]
fn other_element_types() {
    for case in cases() {
        case.check_in::<f64>(1e-14, |x| x, |r| r.range(-1.0, 1.0).into());
        case.check_in::<f16>(1e-3, f16::from_f64, |r| f16::from_f32(r.range(-1.0, 1.0)));
        case.check_in::<bf16>(8e-3, bf16::from_f64, |r| bf16::from_f32(r.range(-1.0, 1.0)));
    }
}

#[test]
fn symbolic_shapes() {
    let [n, h] = [0, 1].map(|i| Dim::sym(Sym(i)));
    let ty = |dims: &[Dim]| TensorType::new(DType::F32, Shape::new(dims).unwrap());
    let x = ty(&[n.clone(), h.clone(), h.clone(), Dim::Fixed(3)]);
    let w = ty(&[8i64, 3, 3, 3].map(Dim::from));
    let case = Case::new(&[1, 1], &[3, 3], 3, 8).window(&[1, 2], &[1, 1, 1, 1], &[]);
    let out = case.op.infer(&Inputs::new(&[Some(&x), Some(&w)])).unwrap();
    let half = h.sub(&Dim::Fixed(1)).floor_div(&Dim::Fixed(2)).add(&Dim::Fixed(1));
    assert_eq!(out[0].shape, ty(&[n, h, half, Dim::Fixed(8)]).shape);
}

#[test]
fn refuses_what_does_not_fit() {
    let t = |dims: &[usize]| Random::new(1).tensor(dims);
    let x = t(&[1, 5, 5, 4]);
    let op = Conv::default;
    let with = |window: Window| Conv { window, ..op() };
    assert!(infer_error(op(), &[&x, &t(&[6, 3, 3, 3])]).contains("4 input channels"));
    assert!(infer_error(op(), &[&x, &t(&[6, 7, 3, 4])]).contains("does not fit an extent"));
    assert!(infer_error(op(), &[&x, &t(&[6, 3, 4])]).contains("2 spatial dimensions"));
    assert!(infer_error(op(), &[&x, &t(&[6, 0, 3, 4])]).contains("a window of 0"));
    assert!(infer_error(op(), &[&t(&[1, 4]), &t(&[6, 4])]).contains("spatial"));
    assert!(infer_error(Conv { groups: 4, ..op() }, &[&x, &t(&[6, 3, 3, 1])]).contains("groups do not divide"));
    assert!(infer_error(Conv { groups: 0, ..op() }, &[&x, &t(&[6, 3, 3, 1])]).contains("0 groups"));
    assert!(infer_error(op(), &[&x, &t(&[6, 3, 3, 4]), &t(&[5])]).contains("bias"));
    let w = t(&[6, 3, 3, 4]);
    assert!(infer_error(op(), &[&x, &w, &t(&[6]), &t(&[1, 3, 3, 1])]).contains("residual"));
    let uneven = with(Window { strides: vec![1], ..Window::default() });
    assert!(infer_error(uneven, &[&x, &w]).contains("do not fit 2 spatial"));
    let ints = Random::new(1).tensor_of(&[1, 5, 5, 4], |_| 1i32);
    assert!(infer_error(op(), &[&ints, &ints]).contains("floating-point"));
    let double = |dims: &[usize]| Random::new(1).tensor_of(dims, |_| 1f64);
    let relu = Conv { activation: Activation::Relu, ..op() };
    assert!(infer_error(relu, &[&double(&[1, 5, 5, 4]), &double(&[6, 3, 3, 4])]).contains("f64"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    crate::ops::testing::round_trip(Conv::default());
    let window = Window { strides: vec![1, 2], pads: vec![0, 1, 2, 3], dilations: vec![2, 1] };
    let activation = Activation::Silu;
    crate::ops::testing::round_trip(Conv { window, groups: 3, channels_first_input: true, activation });
}
