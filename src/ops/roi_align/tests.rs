use super::*;
use crate::cpu::Isa;
use crate::ops::testing::{Random, at, build, check_close, infer_error, run};
use crate::ops::{Op, Tensor};
use half::f16;

/// Interpolates point by point, with the specification's special cases in its order.
fn reference(op: &RoiAlign, x: &Tensor, regions: &Tensor, batches: &Tensor) -> Tensor {
    let (h, w) = (x.info.dims[1] as i64, x.info.dims[2] as i64);
    let dims = [regions.info.dims[0], op.height, op.width, x.info.dims[3]];
    build(&dims, |c| {
        let corner = |i: usize| at::<f32>(regions, &[c[0], i]) * op.scale - if op.half_pixel { 0.5 } else { 0.0 };
        let least = if op.half_pixel { f32::MIN } else { 1.0 };
        let (cell_h, cell_w) =
            ((corner(3) - corner(1)).max(least) / op.height as f32, (corner(2) - corner(0)).max(least) / op.width as f32);
        let points = |cell: f32| if op.sampling_ratio > 0 { op.sampling_ratio } else { cell.ceil() as usize };
        let (n, m) = (points(cell_h), points(cell_w));
        let mut values = vec![];
        for (i, j) in (0..n).flat_map(|i| (0..m).map(move |j| (i, j))) {
            let y = corner(1) + c[1] as f32 * cell_h + (i as f32 + 0.5) * cell_h / n as f32;
            let x0 = corner(0) + c[2] as f32 * cell_w + (j as f32 + 0.5) * cell_w / m as f32;
            if y < -1.0 || y > h as f32 || x0 < -1.0 || x0 > w as f32 {
                values.push([0.0; 4]);
                continue;
            }
            let (y, x0) = (y.max(0.0).min((h - 1) as f32), x0.max(0.0).min((w - 1) as f32));
            let (low_y, low_x) = (y as i64, x0 as i64);
            let (fy, fx) = (y - low_y as f32, x0 - low_x as f32);
            let get = |dy: i64, dx: i64| {
                let (y, x0) = ((low_y + dy).min(h - 1) as usize, (low_x + dx).min(w - 1) as usize);
                at::<f32>(x, &[at::<i64>(batches, &[c[0]]) as usize, y, x0, c[3]])
            };
            values.push([(1. - fy) * (1. - fx) * get(0, 0), (1. - fy) * fx * get(0, 1), fy * (1. - fx) * get(1, 0), fy * fx * get(1, 1)]);
        }
        match op.mode {
            RoiMode::Average => values.iter().flatten().sum::<f32>() / values.len().max(1) as f32,
            RoiMode::Max | RoiMode::Elements => values.into_iter().flatten().reduce(f32::max).unwrap_or(0.0),
        }
    })
}

#[test]
fn regions_inside_and_outside() {
    let mut random = Random::new(1);
    let x = random.tensor(&[2, 9, 7, 5]);
    let corners = [1.3, 0.7, 6.1, 5.9, -3.0, -2.0, 4.0, 30.0, 2.5, 2.5, 2.6, 2.6, 5.0, 5.0, 3.0, 3.0, 0.0, 0.0, 13.7, 17.2];
    let regions = Tensor::new(&[5, 4], &corners.map(|c| c as f32)).unwrap();
    let batches = Tensor::new(&[5], &[0i64, 1, 1, 0, 1]).unwrap();
    for mode in [RoiMode::Average, RoiMode::Max] {
        for half_pixel in [false, true] {
            for (height, width, sampling_ratio, scale) in [(3, 2, 2, 1.0), (2, 2, 0, 0.5), (1, 4, 3, 1.7)] {
                let op = RoiAlign { mode, height, width, sampling_ratio, scale, half_pixel };
                check_close(op.clone(), &[&x, &regions, &batches], &[reference(&op, &x, &regions, &batches)], 1e-5);
            }
        }
    }
}

#[test]
fn whole_elements() {
    // Rows of 6 elements: 0 to 5, 6 to 11 and so on; the second image is 100 more.
    let x: Vec<f32> = (0..48).map(|i| (i % 24 + i / 24 * 100) as f32).collect();
    let x = Tensor::new(&[2, 4, 6, 1], &x).unwrap();
    let corners =
        [0.0, 0.0, 5.0, 3.0, 1.4, 0.6, 3.5, 2.4, 20.0, 20.0, 30.0, 30.0, -4.0, -4.0, 0.0, 1.0, 5.0, 3.0, 2.0, 1.0];
    let regions = Tensor::new(&[5, 4], &corners.map(|c| c as f32)).unwrap();
    let batches = Tensor::new(&[5], &[0i64, 1, 0, 0, 0]).unwrap();
    let op = RoiAlign { mode: RoiMode::Elements, height: 2, width: 2, scale: 1.0, ..RoiAlign::default() };
    // The second one is rounded to columns 1 to 4 and rows 1 to 2; the last one is its first corner's element.
    let want = [8, 11, 20, 23, 108, 110, 114, 116, 0, 0, 0, 0, 0, 0, 0, 6, 23, 23, 23, 23].map(|v| v as f32);
    check_close(op, &[&x, &regions, &batches], &[Tensor::new(&[5, 2, 2, 1], &want).unwrap()], 0.0);
}

#[test]
fn other_types_and_no_regions() {
    let x = Tensor::new(&[1, 2, 2, 1], &[1f32, 2., 3., 4.].map(f16::from_f32)).unwrap();
    let regions = Tensor::new(&[1, 4], &[0f32, 0., 2., 2.].map(f16::from_f32)).unwrap();
    let op = RoiAlign { height: 1, width: 1, sampling_ratio: 1, scale: 1.0, half_pixel: true, ..RoiAlign::default() };
    let want = Tensor::new(&[1, 1, 1, 1], &[f16::from_f32(2.5)]).unwrap();
    check_close(op.clone(), &[&x, &regions, &Tensor::new(&[1], &[0i64]).unwrap()], &[want], 0.0);
    let (none, zero) = (Tensor::new(&[0, 4], &[f16::ZERO; 0]).unwrap(), Tensor::new(&[0], &[0i64; 0]).unwrap());
    check_close(op, &[&x, &none, &zero], &[Tensor::new(&[0, 1, 1, 1], &[f16::ZERO; 0]).unwrap()], 0.0);
}

#[test]
fn refuses_what_does_not_fit() {
    let mut random = Random::new(2);
    let (x, regions, batches) = (random.tensor(&[1, 4, 4, 2]), random.tensor(&[2, 4]), Tensor::new(&[2], &[0i64, 1]).unwrap());
    let op = RoiAlign { height: 2, width: 2, scale: 1.0, ..RoiAlign::default() };
    assert!(infer_error(op.clone(), &[&x, &x, &batches]).contains("regions"));
    assert!(infer_error(op.clone(), &[&x, &random.tensor(&[3, 4]), &batches]).contains("regions"));
    assert!(infer_error(op.clone(), &[&x, &regions, &regions]).contains("not i64"));
    assert!(infer_error(RoiAlign { height: 0, ..op.clone() }, &[&x, &regions, &batches]).contains("0 x 2 cells"));
    let failure = |regions: &Tensor, batches: &Tensor| {
        let inputs = [Some(&x), Some(regions), Some(batches)];
        run(&Op::from(op.clone()), &inputs, Isa::Scalar).unwrap_err().message().to_string()
    };
    assert!(failure(&regions, &batches).contains("index 1"));
    let absurd = Tensor::new(&[1, 4], &[0f32, 0., 1e30, 1e30]).unwrap();
    assert!(failure(&absurd, &Tensor::new(&[1], &[0i64]).unwrap()).contains("too large"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    let op = RoiAlign { mode: RoiMode::Max, height: 7, width: 5, sampling_ratio: 2, scale: 0.25, half_pixel: true };
    crate::ops::testing::round_trip(op);
}
