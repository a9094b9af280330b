use super::*;
use crate::ops::Tensor;
use crate::ops::testing::{Random, at, build, check, infer_error};
use crate::tensor::{Element, Sym};

fn reference<T: Element>(indices: &Tensor, depth: usize, values: &Tensor, axis: usize) -> Tensor {
    let mut dims = indices.info.dims.to_vec();
    dims.insert(axis, depth);
    let (off, on) = (values.elements::<T>()[0], values.elements::<T>()[1]);
    build(&dims, |c| {
        let mut source = c.to_vec();
        let d = source.remove(axis) as i64;
        let index: i64 = at(indices, &source);
        if index == d || index == d - depth as i64 { on } else { off }
    })
}

fn scalar<T: Element>(x: T) -> Tensor {
    Tensor::new(&[], &[x]).unwrap()
}

#[test]
fn every_axis() {
    let mut random = Random::new(1);
    for shape in [&[][..], &[4], &[3, 5], &[2, 0, 3], &[2, 3, 4], &[200, 50]] {
        let indices = random.tensor_of(shape, |r| r.below(30) as i64 - 15);
        let values = Tensor::new(&[2], &[2.5f32, -1.]).unwrap();
        let bytes = Tensor::new(&[2], &[3u8, 9]).unwrap();
        for axis in 0..=shape.len() {
            for depth in [0usize, 1, 10] {
                let op = OneHot { axis: axis as i64 };
                let want = reference::<f32>(&indices, depth, &values, axis);
                check(op, &[&indices, &scalar(depth as i64), &values], std::slice::from_ref(&want));
                let op = OneHot { axis: axis as i64 - shape.len() as i64 - 1 };
                check(op.clone(), &[&indices, &scalar(depth as f32), &values], &[want]);
                let want = reference::<u8>(&indices, depth, &bytes, axis);
                check(op, &[&indices, &scalar(depth as u16), &bytes], &[want]);
            }
        }
    }
}

#[test]
fn indices_of_any_type() {
    let values = Tensor::new(&[2], &[0i32, 1]).unwrap();
    let want = [Tensor::new(&[3, 4], &[0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]).unwrap()];
    let depth = Tensor::new(&[1], &[4i64]).unwrap();
    check(OneHot::default(), &[&Tensor::new(&[3], &[1f32, -1.7, 4.]).unwrap(), &depth, &values], &want);
    check(OneHot::default(), &[&Tensor::new(&[3], &[1u8, 3, 4]).unwrap(), &depth, &values], &want);
    check(OneHot::default(), &[&Tensor::new(&[3], &[1i64, -1, i64::MIN]).unwrap(), &depth, &values], &want);
    check(OneHot::default(), &[&Tensor::new(&[3], &[1f64, 3.9, f64::INFINITY]).unwrap(), &depth, &values], &want);
}

#[test]
fn symbols_follow() {
    let n = Dim::sym(Sym(0));
    let indices = TensorType::new(DType::I64, Shape::new([n.clone()]).unwrap());
    let values = Tensor::new(&[2], &[0f32, 1.]).unwrap().ty();
    let infer = |depth: &TensorType| {
        OneHot::default().infer(&Inputs::new(&[Some(&indices), Some(depth), Some(&values)])).unwrap().remove(0)
    };
    assert_eq!(infer(&scalar(5i64).ty()).shape[..], [n.clone(), Dim::Fixed(5)]);
    assert_eq!(infer(&TensorType::new(DType::F32, Shape::scalar())).shape[..], [n, Dim::Unknown]);
}

#[test]
fn refuses_what_does_not_fit() {
    let (i, v) = (scalar(0i64), Tensor::new(&[2], &[0f32, 1.]).unwrap());
    assert!(infer_error(OneHot::default(), &[&i, &scalar(-1i64), &v]).contains("depth is -1"));
    assert!(infer_error(OneHot::default(), &[&i, &v, &v]).contains("scalar"));
    assert!(infer_error(OneHot::default(), &[&i, &i, &i]).contains("off-value"));
    assert!(infer_error(OneHot { axis: 1 }, &[&i, &i, &v]).contains("axis 1"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    crate::ops::testing::round_trip(OneHot { axis: -2 });
}
