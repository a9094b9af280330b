use super::*;
use crate::ops::testing::{Random, check, check_optional, infer_error};

fn scalar_of<T: Element>(x: T) -> Tensor {
    Tensor::new(&[1], &[x]).unwrap()
}

/// Repeatedly takes the best box that is left and drops all that overlap it.
fn reference(boxes: &Tensor, scores: &Tensor, count: usize, overlap: f32, least: f32, center: bool) -> Tensor {
    let [batches, classes, n] = scores.info.dims[..] else { panic!("scores have rank 3") };
    let corners = |i: usize| {
        let b = &boxes.elements::<f32>()[i * 4..i * 4 + 4];
        match center {
            true => (b[1] - b[3] / 2., b[0] - b[2] / 2., b[1] + b[3] / 2., b[0] + b[2] / 2.),
            false => (b[0].min(b[2]), b[1].min(b[3]), b[0].max(b[2]), b[1].max(b[3])),
        }
    };
    let iou = |i: usize, j: usize| {
        let (a, b) = (corners(i), corners(j));
        let area = |c: (f32, f32, f32, f32)| (c.2 - c.0).max(0.) * (c.3 - c.1).max(0.);
        let common = area((a.0.max(b.0), a.1.max(b.1), a.2.min(b.2), a.3.min(b.3)));
        common / (area(a) + area(b) - common)
    };
    let mut out = vec![];
    for batch in 0..batches {
        for class in 0..classes {
            let score = |i: usize| scores.elements::<f32>()[(batch * classes + class) * n + i];
            let mut left: Vec<usize> = (0..n).filter(|&i| score(i) > least).collect();
            for _ in 0..count {
                let Some(&best) = left.iter().reduce(|a, b| if score(*b) > score(*a) { b } else { a }) else { break };
                out.extend([batch as i64, class as i64, best as i64]);
                left.retain(|&i| i != best && iou(batch * n + i, batch * n + best) <= overlap);
            }
        }
    }
    Tensor::new(&[out.len() / 3, 3], &out).unwrap()
}

#[test]
fn random_boxes() {
    let mut random = Random::new(1);
    for (batches, classes, n) in [(1, 1, 1), (1, 1, 40), (1, 1, 300), (2, 3, 25), (1, 2, 0)] {
        for center in [false, true] {
            let boxes = random.tensor_of(&[batches, n, 4], |r| r.range(0.0, 1.0));
            // Few different scores, so that there are ties.
            let scores = random.tensor_of(&[batches, classes, n], |r| r.below(10) as f32 / 10.0);
            for (count, overlap, least) in [(5, 0.3, 0.15), (100, 0.5, 0.45), (0, 0.5, 0.0), (3, 0.0, -1.0)] {
                let op = NonMaxSuppression { center_point_box: center };
                let limits = (scalar_of(count as i64), scalar_of(overlap), scalar_of(least));
                let want = reference(&boxes, &scores, count, overlap, least, center);
                check(op, &[&boxes, &scores, &limits.0, &limits.1, &limits.2], &[want]);
            }
        }
    }
}

#[test]
fn absent_limits() {
    let boxes = Tensor::new(&[1, 2, 4], &[0f32, 0., 1., 1., 0., 0.5, 1., 1.5]).unwrap();
    let scores = Tensor::new(&[1, 1, 2], &[f32::NAN, -3.]).unwrap();
    let op = NonMaxSuppression::default();
    check(op.clone(), &[&boxes, &scores], &[Tensor::new(&[0, 3], &[0i64; 0]).unwrap()]);
    let want = [Tensor::new(&[1, 3], &[0i64, 0, 1]).unwrap()];
    check_optional(op, &[Some(&boxes), Some(&scores), Some(&scalar_of(7i64)), None, None], &want, 0.0);
}

#[test]
fn refuses_what_does_not_fit() {
    let mut random = Random::new(2);
    let (boxes, scores) = (random.tensor(&[1, 3, 4]), random.tensor(&[1, 2, 3]));
    let op = NonMaxSuppression::default();
    assert!(infer_error(op.clone(), &[&boxes, &boxes]).contains("with scores"));
    assert!(infer_error(op.clone(), &[&scores, &scores]).contains("with scores"));
    assert!(infer_error(op.clone(), &[&boxes, &random.tensor(&[2, 2, 3])]).contains("with scores"));
    assert!(infer_error(op.clone(), &[&boxes, &scores, &scalar_of(1i32)]).contains("i32"));
    let two = Tensor::new(&[2], &[1i64, 2]).unwrap();
    assert!(infer_error(op, &[&boxes, &scores, &two]).contains("scalar"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    crate::ops::testing::round_trip(NonMaxSuppression { center_point_box: true });
}
