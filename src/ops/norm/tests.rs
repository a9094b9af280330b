use super::*;
use crate::ops::Tensor;
use crate::ops::elementwise::Number;
use crate::ops::testing::{Random, as_f64, check_optional, infer_error};
use crate::tensor::Sym;
use ::half::{bf16, f16};
use std::collections::HashMap;

/// Value of `t` at position `at` of a shape that it broadcasts to.
fn pick(t: Option<&Tensor>, at: &[usize], absent: f64) -> f64 {
    let Some(t) = t else { return absent };
    let dims = &t.info.dims;
    let at = &at[at.len() - dims.len()..];
    as_f64(t)[dims.iter().zip(at).fold(0, |i, (&d, &a)| i * d + if d == 1 { 0 } else { a })]
}

fn unravel(mut index: usize, dims: &[usize]) -> Vec<usize> {
    let mut at = vec![0; dims.len()];
    for (a, d) in at.iter_mut().zip(dims).rev() {
        (*a, index) = (index % d, index / d);
    }
    at
}

/// Y and, for the layer norm, mean and inverse standard deviation at each position.
fn reference(op: &Norm, x: &Tensor, scale: Option<&Tensor>, bias: Option<&Tensor>) -> (Vec<f64>, [Vec<f32>; 2]) {
    let (dims, values) = (x.info.dims, as_f64(x));
    let rank = dims.len();
    let channels = dims[rank - 1];
    let all: Vec<Vec<usize>> = (0..values.len()).map(|i| unravel(i, &dims)).collect();
    let axis = |axis: i32| if axis < 0 { (axis + rank as i32) as usize } else { axis as usize };
    // What elements that are normalised together have in common.
    let key = |at: &[usize]| -> Vec<usize> {
        match *op {
            Norm::Layer { axis: a, .. } | Norm::Rms { axis: a, .. } => at[..axis(a)].to_vec(),
            Norm::Lp { axis: a, .. } => [&at[..axis(a)], &at[axis(a) + 1..]].concat(),
            Norm::Group { groups, .. } => {
                vec![at[0], at[rank - 1] / (channels / if groups == 0 { channels } else { groups as usize })]
            }
            Norm::Response { .. } => at[..rank - 1].to_vec(),
        }
    };
    let mut groups = HashMap::<Vec<usize>, Vec<f64>>::new();
    all.iter().zip(&values).for_each(|(at, &x)| groups.entry(key(at)).or_default().push(x));
    let together = |at: &[usize]| -> &[f64] {
        let (group, channel) = (&groups[&key(at)][..], at[rank - 1]);
        match *op {
            Norm::Response { size, .. } => {
                let (before, after) = ((size as usize - 1) / 2, size as usize / 2);
                &group[channel.saturating_sub(before)..(channel + after + 1).min(channels)]
            }
            _ => group,
        }
    };
    let mut statistics = [vec![], vec![]];
    let y = all.iter().zip(&values).map(|(at, &x)| {
        let group = together(at);
        let n = group.len() as f64;
        let mean = group.iter().sum::<f64>() / n;
        let squares = |center: f64| group.iter().map(|x| (x - center).powi(2)).sum::<f64>();
        let (scale, bias) = match op {
            Norm::Group { .. } => (pick(scale, &at[rank - 1..], 1.0), pick(bias, &at[rank - 1..], 0.0)),
            _ => (pick(scale, at, 1.0), pick(bias, at, 0.0)),
        };
        let inverse = |epsilon: f32, center: f64| 1.0 / (squares(center) / n + f64::from(epsilon)).sqrt();
        match *op {
            Norm::Layer { axis: a, epsilon } => {
                if at[axis(a)..].iter().all(|&i| i == 0) {
                    statistics[0].push(mean as f32);
                    statistics[1].push(inverse(epsilon, mean) as f32);
                }
                (x - mean) * inverse(epsilon, mean) * scale + bias
            }
            Norm::Group { epsilon, .. } => (x - mean) * inverse(epsilon, mean) * scale + bias,
            Norm::Rms { epsilon, .. } => x * inverse(epsilon, 0.0) * scale + bias,
            Norm::Lp { p, .. } => {
                let norm = group.iter().map(|x| x.abs().powi(p as i32)).sum::<f64>().powf(1.0 / f64::from(p));
                if norm == 0.0 { 0.0 } else { x / norm }
            }
            Norm::Response { size, alpha, beta, bias } => {
                let [alpha, beta, bias] = [alpha, beta, bias].map(f64::from);
                x / (bias + alpha / f64::from(size) * squares(0.0)).powf(beta)
            }
        }
    });
    (y.collect(), statistics)
}

type Shapes<'a> = (&'a [usize], Option<&'a [usize]>, Option<&'a [usize]>);

fn check_in<T: Number>(op: &Norm, (x, scale, bias): Shapes<'_>, tolerance: f64) {
    let mut random = Random::new(11);
    let mut tensor = |dims: &[usize]| random.tensor_of(dims, |r| T::from_f64(f64::from(r.range(-1.0, 3.0))));
    let x = tensor(x);
    let (scale, bias) = (scale.map(&mut tensor), bias.map(&mut tensor));
    let (y, statistics) = reference(op, &x, scale.as_ref(), bias.as_ref());
    let y: Vec<T> = y.into_iter().map(T::from_f64).collect();
    let mut want = vec![Tensor::new(&x.info.dims, &y).unwrap()];
    if let Norm::Layer { axis, .. } = op {
        let rank = x.info.dims.len();
        let mut dims = x.info.dims;
        dims[(axis + if *axis < 0 { rank as i32 } else { 0 }) as usize..].fill(1);
        want.extend(statistics.map(|s| Tensor::new(&dims, &s).unwrap()));
    }
    let inputs = [Some(&x), scale.as_ref(), bias.as_ref()];
    check_optional(op.clone(), &inputs, &want, tolerance);
    check_optional(op.clone(), &inputs, &want[..1], tolerance);
}

fn cases() -> Vec<(Norm, Shapes<'static>)> {
    let layer = |axis| Norm::Layer { axis, epsilon: 1e-5 };
    let rms = |axis| Norm::Rms { axis, epsilon: 1e-2 };
    let group = |groups| Norm::Group { groups, epsilon: 1e-3 };
    let response = |size| Norm::Response { size, alpha: 0.5, beta: 0.75, bias: 1.5 };
    vec![
        (layer(-1), (&[5, 70], Some(&[70]), Some(&[70]))),
        (layer(1), (&[3, 4, 33], Some(&[4, 33]), None)),
        (layer(0), (&[3, 4, 5], None, Some(&[3, 4, 5]))),
        (layer(-2), (&[2, 3, 4, 5], Some(&[5]), Some(&[1, 1, 4, 1]))),
        (layer(-1), (&[2, 3, 1], Some(&[]), Some(&[1]))),
        (layer(-1), (&[0, 3], Some(&[3]), None)),
        (layer(-1), (&[3, 1028], Some(&[1028]), Some(&[1028]))),
        (layer(-1), (&[2, 4500], None, Some(&[4500]))),
        (layer(-1), (&[70, 64], Some(&[64]), Some(&[1]))),
        (rms(-1), (&[9, 130], Some(&[130]), None)),
        (rms(1), (&[2, 3, 7], Some(&[3, 1]), Some(&[7]))),
        (rms(-1), (&[2, 64], None, None)),
        (group(1), (&[2, 5, 5, 6], Some(&[6]), Some(&[6]))),
        (group(3), (&[2, 5, 7, 6], Some(&[6]), None)),
        (group(0), (&[2, 4, 5, 3, 5], None, Some(&[5]))),
        (group(2), (&[3, 8], Some(&[8]), Some(&[8]))),
        (group(8), (&[1, 20, 24, 32], Some(&[32]), Some(&[32]))),
        (group(4), (&[2, 1100, 12], Some(&[12]), Some(&[12]))),
        (group(2), (&[2, 0, 4], None, None)),
        (group(2), (&[2, 3, 0], None, None)),
        (group(0), (&[2, 3, 0], Some(&[0]), None)),
        (group(2), (&[1, 37, 130], Some(&[130]), Some(&[130]))),
        (group(10), (&[2, 3, 51, 40], None, Some(&[40]))),
        (Norm::Lp { axis: -1, p: 2 }, (&[5, 70], None, None)),
        (Norm::Lp { axis: 1, p: 2 }, (&[2, 7, 5, 3], None, None)),
        (Norm::Lp { axis: 0, p: 1 }, (&[7, 20], None, None)),
        (Norm::Lp { axis: 0, p: 2 }, (&[700, 3], None, None)),
        (Norm::Lp { axis: 1, p: 2 }, (&[2, 3000], None, None)),
        (Norm::Lp { axis: 2, p: 1 }, (&[2, 3, 9], None, None)),
        (response(5), (&[2, 3, 3, 20], None, None)),
        (response(4), (&[1, 2, 2, 3], None, None)),
        (response(1), (&[3, 40], None, None)),
    ]
}

#[test]
fn every_kind_and_shape() {
    for (op, shapes) in cases() {
        check_in::<f32>(&op, shapes, 2e-6);
        check_in::<f64>(&op, shapes, 1e-7);
    }
}

#[test]
fn half_precision() {
    for (op, shapes) in cases() {
        check_in::<f16>(&op, shapes, 2e-3);
        check_in::<bf16>(&op, shapes, 1.6e-2);
    }
}

/// A mean far from zero leaves the variance its digits.
#[test]
fn large_means_do_not_cancel() {
    let mut random = Random::new(4);
    let x = random.tensor_of(&[1, 900, 4], |r| 1000.0 + r.range(-1.0, 1.0));
    for op in [Norm::Group { groups: 2, epsilon: 0.0 }, Norm::Layer { axis: 1, epsilon: 0.0 }] {
        let (y, _) = reference(&op, &x, None, None);
        let y: Vec<f32> = y.into_iter().map(|y| y as f32).collect();
        check_optional(op, &[Some(&x)], &[Tensor::new(&[1, 900, 4], &y).unwrap()], 1e-4);
    }
}

#[test]
fn rows_of_zeros_stay_zero() {
    let x = Tensor::new(&[2, 2], &[0f32, 0.0, 3.0, 4.0]).unwrap();
    let want = Tensor::new(&[2, 2], &[0f32, 0.0, 0.6, 0.8]).unwrap();
    check_optional(Norm::Lp { axis: -1, p: 2 }, &[Some(&x)], &[want], 1e-6);
}

#[test]
fn symbolic_shapes() {
    let n = Dim::sym(Sym(0));
    let ty = |dims: &[Dim]| TensorType::new(DType::F16, Shape::new(dims).unwrap());
    let x = ty(&[n.clone(), Dim::Fixed(3), Dim::Fixed(8)]);
    let scale = ty(&[Dim::Fixed(8)]);
    let out = Norm::Layer { axis: -1, epsilon: 0.0 }.infer(&Inputs::new(&[Some(&x), Some(&scale)])).unwrap();
    assert_eq!(out[0], x);
    assert_eq!(out[1], TensorType::new(DType::F32, Shape::new([n, Dim::Fixed(3), Dim::Fixed(1)]).unwrap()));
}

#[test]
fn refuses_what_does_not_fit() {
    let t = |dims: &[usize]| Random::new(1).tensor(dims);
    let layer = |axis| Norm::Layer { axis, epsilon: 0.0 };
    let group = |groups| Norm::Group { groups, epsilon: 0.0 };
    assert!(infer_error(layer(3), &[&t(&[2, 3])]).contains("out of range"));
    assert!(infer_error(layer(1), &[&t(&[2, 3]), &t(&[2])]).contains("broadcast"));
    assert!(infer_error(layer(1), &[&t(&[2, 3]), &t(&[2, 3])]).contains("scale [2, 3]"));
    assert!(infer_error(group(2), &[&t(&[2, 5, 3])]).contains("2 groups do not divide 3"));
    assert!(infer_error(group(1), &[&t(&[2, 5, 3]), &t(&[3]), &t(&[1])]).contains("bias [1]"));
    assert!(infer_error(group(1), &[&t(&[2])]).contains("not [batch"));
    assert!(infer_error(Norm::Lp { axis: 0, p: 2 }, &[&t(&[2]), &t(&[2])]).contains("neither scale"));
    let ints = Random::new(1).tensor_of(&[2, 2], |_| 1i32);
    assert!(infer_error(layer(1), &[&ints]).contains("floating-point"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    cases().into_iter().for_each(|(op, _)| crate::ops::testing::round_trip(op));
}
