use super::*;
use crate::ops::Tensor;
use crate::ops::testing::{Random, as_f64, check, infer_error, tensor};
use crate::tensor::{Shape, Sym};

/// The element of a tensor of these dimensions that broadcasts to `coordinate`.
fn at(dims: &[usize], coordinate: &[usize]) -> usize {
    let last = &coordinate[coordinate.len() - dims.len()..];
    dims.iter().zip(last).fold(0, |offset, (&d, &c)| offset * d + if d == 1 { 0 } else { c })
}

fn reference(c: &Tensor, x: &Tensor, y: &Tensor, out: &[usize]) -> Tensor {
    let (conditions, xs, ys) = (as_f64(c), as_f64(x), as_f64(y));
    let mut coordinate = vec![0; out.len()];
    let element = |i: usize| {
        let mut rest = i;
        for d in (0..out.len()).rev() {
            coordinate[d] = rest % out[d];
            rest /= out[d];
        }
        let holds = conditions[at(&c.info.dims, &coordinate)] != 0.0;
        if holds { xs[at(&x.info.dims, &coordinate)] } else { ys[at(&y.info.dims, &coordinate)] }
    };
    let values: Vec<f64> = (0..out.iter().product()).map(element).collect();
    tensor(x.info.dtype, out, &values)
}

type Shapes = (&'static [usize], &'static [usize], &'static [usize], &'static [usize]);

const SHAPES: [Shapes; 14] = [
    (&[2, 3, 5], &[2, 3, 5], &[2, 3, 5], &[2, 3, 5]),
    (&[2, 3, 5], &[], &[2, 3, 5], &[2, 3, 5]),
    (&[2, 3, 5], &[2, 3, 5], &[1], &[2, 3, 5]),
    (&[70, 3], &[], &[], &[70, 3]),
    (&[], &[4], &[3, 1], &[3, 4]),
    (&[4, 1], &[4, 66], &[66], &[4, 66]),
    (&[1, 66], &[4, 1], &[4, 66], &[4, 66]),
    (&[2, 1, 4, 1], &[3, 1, 5], &[2, 1, 1, 1], &[2, 3, 4, 5]),
    (&[], &[], &[], &[]),
    (&[2, 0], &[1], &[2, 1], &[2, 0]),
    (&[1], &[2, 3], &[1, 1], &[2, 3]),
    (&[1, 64, 1000], &[1, 64, 1000], &[], &[1, 64, 1000]),
    (&[5, 1], &[5, 48], &[48], &[5, 48]),
    (&[1, 6, 32], &[3, 1, 1], &[3, 6, 32], &[3, 6, 32]),
];

#[test]
fn every_type_broadcasts() {
    let mut random = Random::new(1);
    for &dtype in DType::ALL {
        for (dc, dx, dy, out) in SHAPES {
            let mut make = |dtype, dims: &[usize], high| {
                let values: Vec<f64> = (0..dims.iter().product()).map(|_| random.below(high) as f64).collect();
                tensor(dtype, dims, &values)
            };
            let high = if dtype == DType::Bool { 2 } else { 100 };
            let (c, x, y) = (make(DType::Bool, dc, 2), make(dtype, dx, high), make(dtype, dy, high));
            check(Where, &[&c, &x, &y], &[reference(&c, &x, &y, out)]);
        }
    }
}

#[test]
fn values_propagate() {
    let n = Dim::sym(Sym(0));
    let ty = |dtype, v: &[Dim]| TensorType::new(dtype, Shape::fixed(&[v.len()]).unwrap()).with_value(v.to_vec());
    let fixed = |v: &[i64]| v.iter().map(|&x| Dim::Fixed(x)).collect::<Vec<_>>();
    let infer = |c: &TensorType, x: &TensorType, y: &TensorType| {
        Where.infer(&Inputs::new(&[Some(c), Some(x), Some(y)])).unwrap().remove(0)
    };
    let (x, y) = (ty(DType::I64, &[n.clone(), Dim::Fixed(7)]), ty(DType::I64, &fixed(&[1])));
    let known = infer(&ty(DType::Bool, &fixed(&[1, 0])), &x, &y);
    assert_eq!(known, ty(DType::I64, &[n.clone(), Dim::Fixed(1)]));
    let unknown = TensorType::new(DType::Bool, Shape::fixed(&[2]).unwrap());
    assert_eq!(infer(&unknown, &x, &y).value, None);
    assert_eq!(infer(&unknown, &y, &y), ty(DType::I64, &fixed(&[1, 1])));
}

#[test]
fn refuses_what_does_not_fit() {
    let of = |dtype, n: usize| tensor(dtype, &[n], &vec![1.0; n]);
    let c = of(DType::Bool, 2);
    assert!(infer_error(Where, &[&of(DType::U8, 2), &c, &c]).contains("not bool"));
    assert!(infer_error(Where, &[&c, &of(DType::F32, 2), &of(DType::F64, 2)]).contains("same type"));
    assert!(infer_error(Where, &[&c, &of(DType::F32, 3), &of(DType::F32, 1)]).contains("do not broadcast"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    crate::ops::testing::round_trip(Where);
}
