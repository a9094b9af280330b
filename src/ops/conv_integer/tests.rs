use super::*;
use crate::ops::Tensor;
use crate::ops::elementwise::Number;
use crate::ops::testing::{Random, as_f64, check_optional, infer_error};

/// A convolution by two-dimensional loops.
fn reference(op: &ConvInteger, inputs: [Option<&Tensor>; 4]) -> Tensor {
    let [x, w] = [inputs[0].unwrap(), inputs[1].unwrap()];
    let values = inputs.map(|t| t.map(as_f64).unwrap_or_default());
    let types = inputs.map(|t| t.map(Tensor::ty));
    let types = types.each_ref().map(Option::as_ref);
    let dims = op.infer(&Inputs::new(&types)).unwrap()[0].shape.as_fixed().unwrap();
    let ([n, oh, ow, oc], [_, h, width, c]) = (&dims[..], &x.info.dims[..]) else { unreachable!() };
    let [_, kh, kw, group_in] = w.info.dims[..] else { unreachable!() };
    let group_out = oc / op.groups as usize;
    let zero = |which: usize, i: usize| values[which].get(if values[which].len() > 1 { i } else { 0 }).copied().unwrap_or(0.0);
    let mut out = vec![];
    for (image, y, x_at, o) in (0..*n).flat_map(|n| {
        (0..*oh).flat_map(move |y| (0..*ow).flat_map(move |x| (0..*oc).map(move |o| (n, y, x, o))))
    }) {
        let mut sum = 0.0;
        for (ky, kx) in (0..kh).flat_map(|y| (0..kw).map(move |x| (y, x))) {
            let at = |d: usize, o: usize, k: usize| {
                (o * op.window.stride(d) + k * op.window.dilation(d)).wrapping_sub(op.window.pad(d).0)
            };
            let (iy, ix) = (at(0, y, ky), at(1, x_at, kx));
            if iy >= *h || ix >= *width {
                continue;
            }
            for ic in 0..group_in {
                let x = values[0][((image * h + iy) * width + ix) * c + o / group_out * group_in + ic];
                let w = values[1][((o * kh + ky) * kw + kx) * group_in + ic];
                sum += (x - zero(2, 0)) * (w - zero(3, o));
            }
        }
        out.push(sum as i32);
    }
    Tensor::new(&dims, &out).unwrap()
}

fn check<X: Number, W: Number>(op: &ConvInteger, x: &[usize], w: &[usize], zeros: [Option<&[usize]>; 2]) {
    let mut random = Random::new(43);
    let byte = |r: &mut Random, signed: bool| r.below(256) as f64 - if signed { 128.0 } else { 0.0 };
    let (xs, ws) = (X::from_f64(-1.0).to_f64() < 0.0, W::from_f64(-1.0).to_f64() < 0.0);
    let x = random.tensor_of(x, |r| X::from_f64(byte(r, xs)));
    let w = random.tensor_of(w, |r| W::from_f64(byte(r, ws)));
    let x_zero = zeros[0].map(|dims| random.tensor_of(dims, |r| X::from_f64(byte(r, xs))));
    let w_zero = zeros[1].map(|dims| random.tensor_of(dims, |r| W::from_f64(byte(r, ws))));
    let inputs = [Some(&x), Some(&w), x_zero.as_ref(), w_zero.as_ref()];
    check_optional(op.clone(), &inputs, &[reference(op, inputs)], 0.0);
}

#[test]
fn every_type_window_and_zero_point() {
    let window = Window { strides: vec![2, 1], pads: vec![1, 0, 2, 1], dilations: vec![1, 2] };
    let cases: [(ConvInteger, &[usize], &[usize]); 3] = [
        (ConvInteger::default(), &[1, 4, 5, 3], &[7, 2, 2, 3]),
        (ConvInteger { window: window.clone(), groups: 1 }, &[2, 6, 7, 5], &[4, 3, 2, 5]),
        (ConvInteger { window, groups: 3 }, &[1, 6, 7, 6], &[9, 3, 2, 2]),
    ];
    for (op, x, w) in cases {
        let channels = &w[..1];
        for zeros in [[None, None], [Some(&[][..]), Some(&[1][..])], [Some(&[1]), Some(channels)]] {
            check::<u8, u8>(&op, x, w, zeros);
            check::<i8, i8>(&op, x, w, zeros);
            check::<u8, i8>(&op, x, w, zeros);
        }
    }
}

#[test]
fn refuses_what_does_not_fit() {
    let t = |dims: &[usize]| Random::new(1).tensor_of(dims, |_| 1i8);
    let (x, w) = (t(&[1, 4, 4, 3]), t(&[5, 2, 2, 3]));
    let op = ConvInteger::default;
    assert!(infer_error(op(), &[&x, &t(&[5, 2, 2, 2])]).contains("3 input channels"));
    assert!(infer_error(op(), &[&x, &w, &t(&[3])]).contains("zero point [3] of X"));
    assert!(infer_error(op(), &[&x, &w, &t(&[]), &t(&[3])]).contains("zero points [3]"));
    assert!(infer_error(op(), &[&Random::new(1).tensor(&[1, 4, 4, 3]), &w]).contains("f32; i8 or u8"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    crate::ops::testing::round_trip(ConvInteger::default());
    let window = Window { strides: vec![1, 2], pads: vec![0, 1, 2, 3], dilations: vec![2, 1] };
    crate::ops::testing::round_trip(ConvInteger { window, groups: 3 });
}
