//! Convolutions on a GPU, by cuDNN where it is there.

use super::*;
use crate::cuda::tune::Tuning;
use crate::ops::testing::difference;
use crate::ops::{Op, TensorInfo, testing_cuda};
use crate::tensor::Dims;

impl Case {
    /// The result on the GPU, if there is one.
    fn on_gpu(&self, inputs: &[Option<Tensor>; 4], tf32: bool) -> Option<Tensor> {
        let device = testing_cuda::device()?;
        let dims = [&[self.batch], &self.output()[..], &[self.out_channels]].concat();
        let info = TensorInfo { dtype: inputs[0].as_ref()?.info.dtype, dims: Dims::new(&dims) };
        let op = Op::from(self.op.clone());
        let results =
            testing_cuda::run_with(&op, &inputs.each_ref().map(Option::as_ref), &[], &[info], (device, tf32)).unwrap();
        Some(results.unwrap().remove(0))
    }
}

/// How keys of convolutions have the extents of an input.
fn extents(input: &[usize], channels: usize) -> String {
    input.iter().chain([&channels]).map(usize::to_string).collect::<Vec<_>>().join("x") + " w:"
}

/// The line of the tuning that has come since `before` for an input of these extents.
fn added(before: &str, extents: &str) -> Option<String> {
    let (after, known) = (tuning(), before.lines().collect::<Vec<_>>());
    let of_input = |line: &str| line.contains(" conv ") && line.contains(extents);
    after.lines().find(|line| !known.contains(line) && of_input(line)).map(str::to_owned)
}

fn tuning() -> String {
    String::from_utf8(Tuning::process().save()).unwrap()
}

/// Makes a choice.
fn choose(what: &str, choice: &str) {
    Tuning::process().load(format!("infer-tuning 1\n{what}\t{choice}\n").as_bytes()).unwrap();
}

/// What the stand-in can be told to take for any convolution: an engine, one whose order of sums is turned around, and the sums.
fn engines(dtype: DType) -> &'static [&'static str] {
    match (testing_cuda::device().map(|device| device.info().name == "Stand-in"), dtype) {
        (Some(true), DType::F32) => &["cudnn whole 0", "cudnn sums 0"],
        (Some(true), _) => &["cudnn whole 0", "cudnn whole 1 2=0 5=3", "cudnn whole 1 2=1 5=3", "cudnn sums 0"],
        _ => &[],
    }
}

/// Runs it as the library chooses, with the kernel of our own, and with each engine of the stand-in. No other test prepares
/// convolutions of these shapes.
fn check<T: Element>(case: &Case, tolerance: f64, of: fn(f64) -> T, element: fn(&mut Random) -> T) {
    let inputs = case.tensors(element);
    let (dims, out) = case.reference(&inputs);
    let want = Tensor::new(&dims, &out.into_iter().map(of).collect::<Vec<T>>()).unwrap();
    let before = tuning();
    let Some(first) = case.on_gpu(&inputs, false) else { return };
    assert!(difference(&first, &want) <= tolerance);
    let found = added(&before, &extents(case.input, case.channels));
    let Some(found) = found else {
        let Ok(dnn) = testing_cuda::device().unwrap().dnn() else { return };
        assert!(dnn.refusals().iter().any(|(what, _)| what.contains(&extents(case.input, case.channels))));
        return;
    };
    let (what, chosen) = found.rsplit_once('\t').unwrap();
    // Functions that the library, or the stand-in, does not have.
    let alone = what.ends_with(" None") || what.ends_with("(Softplus)");
    for choice in ["own"].iter().chain(engines(T::DTYPE)).filter(|choice| !(alone && choice.contains("whole"))) {
        choose(what, choice);
        let got = case.on_gpu(&inputs, false).unwrap();
        assert!(difference(&got, &want) <= tolerance, "{what}: {choice}");
        assert!(tuning().contains(&format!("{what}\t{choice}\n")), "{what}: {choice} is not taken");
    }
    choose(what, chosen);
    assert_eq!(case.on_gpu(&inputs, false).unwrap().data[..], first.data[..], "a choice has its bits");
}

/// One for each way in which a graph can differ, with extents that no other test has.
fn shapes() -> Vec<Case> {
    let pads = &[1, 1, 1, 1];
    let mut cases = vec![
        Case::new(&[13], &[3], 5, 6).window(&[2], &[1, 2], &[1]),
        Case::new(&[13, 6], &[3, 3], 16, 12).window(&[1, 2], &[0, 1, 2, 0], &[2, 1]),
        Case::new(&[13, 5], &[3, 3], 12, 18).window(&[], pads, &[]).groups(3),
        Case::new(&[13, 4], &[5, 5], 20, 20).window(&[2, 2], &[2, 2, 2, 2], &[]).groups(20),
        Case::new(&[13, 3], &[1, 1], 24, 16),
        Case::new(&[5, 4, 13], &[2, 3, 2], 4, 9).window(&[1, 2, 1], &[1, 0, 1, 0, 1, 0], &[1, 1, 2]),
    ];
    cases.iter_mut().step_by(2).for_each(|c| c.bias = true);
    cases.iter_mut().step_by(3).for_each(|c| (c.residual, c.batch) = (true, 2));
    (cases[1].bias, cases[1].residual, cases[2].residual) = (true, true, true);
    cases
}

#[test]
fn own_kernels_and_those_of_cudnn_agree() {
    let functions = [
        Activation::None,
        Activation::Relu,
        Activation::Clip { lo: -0.25, hi: 0.5 },
        Activation::LeakyRelu { alpha: 0.1 },
        Activation::Silu,
        Activation::HardSwish,
    ];
    for (case, activation) in shapes().into_iter().zip(functions.into_iter().cycle()) {
        let mut case = case;
        case.op.activation = activation;
        check(&case, 3e-6, |x| x as f32, |r| r.range(-1.0, 1.0));
        check(&case, 1e-3, f16::from_f64, |r| f16::from_f32(r.range(-1.0, 1.0)));
        check(&case, 8e-3, bf16::from_f64, |r| bf16::from_f32(r.range(-1.0, 1.0)));
        let op = Conv { channels_first_input: true, ..case.op.clone() };
        check(&Case { op, ..case }, 3e-6, |x| x as f32, |r| r.range(-1.0, 1.0));
    }
}

#[test]
fn every_function_of_cudnn() {
    let functions = [
        Activation::Elu { alpha: 0.5 },
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Silu,
        Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Softplus,
        Activation::Mish,
    ];
    for (i, activation) in functions.into_iter().enumerate() {
        let mut case = Case { bias: true, ..Case::new(&[13, 7], &[3, 3], 8, 8 + i).window(&[], &[1, 1, 1, 1], &[]) };
        case.op.activation = activation;
        check(&case, 1e-3, f16::from_f64, |r| f16::from_f32(r.range(-1.0, 1.0)));
        check(&case, 3e-6, |x| x as f32, |r| r.range(-1.0, 1.0));
    }
}

#[test]
fn factors_keep_their_bits_unless_tf32_is_allowed() {
    // TF32 takes the last bit of these away.
    let x = 1.0 + (-12f32).exp2();
    let case = Case::new(&[13, 9], &[3, 3], 4, 8);
    let [mut input, mut weights, ..] = case.tensors(|r| r.range(-1.0, 1.0));
    let filled = |t: &Tensor, value: f32| Tensor::new(&t.info.dims, &vec![value; t.info.numel()]).unwrap();
    input = input.map(|t| filled(&t, x));
    weights = weights.map(|t| filled(&t, 1.0));
    let inputs = [input, weights, None, None];
    let Some(exact) = case.on_gpu(&inputs, false) else { return };
    assert!(exact.elements::<f32>().iter().all(|y| *y == 36.0 * x));
    let rounded = case.on_gpu(&inputs, true).unwrap();
    assert!(rounded.elements::<f32>().iter().all(|y| (y - 36.0).abs() <= 1e-2));
}
