//! Small models run from end to end: what exporters write that the suite of ONNX has no case for.

use super::*;
use crate::onnx::lower::lower;
use infer::exec::Control;
use infer::session::{Input, Output, Session, SessionOptions};
use infer::tensor::{DType, Dims};

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::Ints) }
}

fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: Some(value.as_bytes().to_vec().into()), ..attribute(name, AttributeType::String) }
}

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, AttributeType::Float) }
}

fn constant(name: &str, values: &[i64]) -> NodeProto {
    node("Constant", &[], &[name]).with(ints("value_ints", values))
}

fn floats(name: &str, values: &[f32]) -> NodeProto {
    let list = AttributeProto { floats: values.to_vec(), ..attribute("value_floats", AttributeType::Floats) };
    node("Constant", &[], &[name]).with(list)
}

/// A model of these nodes that maps f32 `x` to `y`; extents below 0 are open.
fn chain(dims: &[i64], nodes: Vec<NodeProto>) -> ModelProto {
    let dim = |(i, &d): (usize, &i64)| match d {
        0.. => DimensionValue::Value(d),
        _ => DimensionValue::Param(format!("d{i}")),
    };
    let input = value("x", &dims.iter().enumerate().map(dim).collect::<Vec<_>>());
    let (input, output) = (vec![input], vec![untyped("y")]);
    model(GraphProto { name: "g".into(), input, output, node: nodes, ..Default::default() })
}

/// Extents and elements of `y`.
fn run(model: &ModelProto, dims: &[usize], x: &[f32]) -> Result<(Vec<usize>, Vec<f32>)> {
    let model = infer::session::Model::from_program(lower(&load(model)?)?);
    let session = Session::new(&model, &SessionOptions::default())?;
    let data: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
    let input = Input { dtype: DType::F32, dims: Dims::new(dims), data: &data, ..Input::default() };
    let mut outputs = [Output::default()];
    session.run(&[input], &mut outputs, Control::default())?;
    let bytes = outputs[0].owned.as_ref().unwrap();
    let floats = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    Ok((outputs[0].info.unwrap().dims.to_vec(), floats))
}

fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 37 + 11) % 23) as f32 / 7.0 - 1.5).collect()
}

fn assert_close(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() < 1e-4, "{a} is not {b}");
    }
}

#[test]
fn transforms_of_a_length_that_only_the_run_knows() {
    let round_trip = |length: i64, real: bool| {
        let side = i64::from(real);
        let nodes = vec![
            constant("shape", &[1, -1, 1]),
            constant("axis", &[1]),
            node("Reshape", &["x", "shape"], &["column"]),
            node("Squeeze", &["axis"], &["one"]),
            node("Shape", &["column"], &["extents"]),
            node("Gather", &["extents", "one"], &["length"]),
            node("DFT", &["column", "", "one"], &["spectrum"]).with(int("onesided", side)),
            node("DFT", &["spectrum", "length", "one"], &["back"]).with(int("inverse", 1)).with(int("onesided", side)),
            constant("first", &[0]),
            node("Gather", &["back", "first"], &["y"]).with(int("axis", 2)),
        ];
        chain(&[length], nodes)
    };
    for n in [1, 2, 7, 10] {
        for real in [false, true] {
            let x = numbers(n);
            let (dims, open) = run(&round_trip(-1, real), &[n], &x).unwrap();
            assert_eq!(dims, [1, n, 1]);
            assert_close(&open, &x);
            assert_close(&run(&round_trip(n as i64, real), &[n], &x).unwrap().1, &x);
        }
    }
    // Cut off, and filled up with zeros.
    let spectrum = |length: i64| {
        let nodes = vec![
            constant("shape", &[1, -1, 1]),
            constant("axis", &[1]),
            node("Squeeze", &["axis"], &["one"]),
            node("Reshape", &["x", "shape"], &["column"]),
            node("Size", &["x"], &["size"]),
            constant("more", &[length]),
            node("Add", &["size", "more"], &["length"]),
            node("DFT", &["column", "length", "one"], &["y"]),
        ];
        run(&chain(&[-1], nodes), &[3], &[1.0, 2.0, 4.0]).unwrap()
    };
    assert_close(&spectrum(-1).1, &[3.0, 0.0, -1.0, 0.0]);
    assert_close(&spectrum(1).1, &[7.0, 0.0, -3.0, -2.0, 3.0, 0.0, -3.0, 2.0]);
}

#[test]
fn the_corners_of_what_pytorch_resizes_are_those_of_the_result() {
    let resize = |producer: &str| {
        let nodes = vec![
            floats("scales", &[1.7]),
            node("Resize", &["x", "", "scales"], &["y"])
                .with(text("coordinate_transformation_mode", "align_corners"))
                .with(text("mode", "linear")),
        ];
        let model = ModelProto { producer_name: producer.into(), ..chain(&[3], nodes) };
        run(&model, &[3], &[0.0, 1.0, 2.0]).unwrap().1
    };
    assert_close(&resize("pytorch"), &[0.0, 0.5, 1.0, 1.5, 2.0]);
    assert_close(&resize("test"), &[0.0, 2.0 / 4.1, 4.0 / 4.1, 6.0 / 4.1, 8.0 / 4.1]);
}

#[test]
fn filters_leave_out_what_is_outside() {
    let nodes = vec![
        constant("sizes", &[2]),
        node("Resize", &["x", "", "", "sizes"], &["y"])
            .with(text("mode", "linear"))
            .with(int("antialias", 1))
            .with(int("exclude_outside", 1)),
    ];
    // Weights 1, 3, 3, 1 by distance, the first of which lies outside.
    let y = run(&chain(&[4], nodes), &[4], &[1.0, 2.0, 4.0, 8.0]).unwrap().1;
    assert_close(&y, &[(3.0 + 3.0 * 2.0 + 4.0) / 7.0, (2.0 + 3.0 * 4.0 + 3.0 * 8.0) / 7.0]);
}

#[test]
fn slices_along_the_first_axes_as_many_as_there_are_starts() {
    let nodes = vec![
        node("NonZero", &["x"], &["places"]),
        constant("all", &[-1]),
        node("Reshape", &["places", "all"], &["starts"]),
        constant("two", &[2]),
        node("Add", &["starts", "two"], &["ends"]),
        constant("shape", &[4, 1]),
        node("Reshape", &["x", "shape"], &["column"]),
        node("Slice", &["column", "starts", "ends"], &["y"]),
    ];
    assert_eq!(run(&chain(&[4], nodes), &[4], &[0.0, 3.0, 0.0, 0.0]).unwrap(), (vec![2, 1], vec![3.0, 0.0]));
}

#[test]
fn determinants_of_small_matrices() {
    let det = |n: i64| chain(&[-1, n, n], vec![node("Det", &["x"], &["y"])]);
    let three = [&[2.0, 0.0, 1.0, 1.0, 3.0, 2.0, 1.0, 1.0, 2.0][..], &[1.0; 9]].concat();
    assert_eq!(run(&det(3), &[2, 3, 3], &three).unwrap(), (vec![2], vec![6.0, 0.0]));
    assert_eq!(run(&det(1), &[1, 1, 1], &[5.0]).unwrap().1, [5.0]);
    assert_eq!(run(&det(2), &[1, 2, 2], &[1.0, 2.0, 3.0, 5.0]).unwrap().1, [-1.0]);
    let four = [2.0, 0.0, 0.0, 1.0, 0.0, 3.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 4.0];
    assert_eq!(run(&det(4), &[1, 4, 4], &four).unwrap().1, [14.0]);
    assert!(lower(&load(&det(5)).unwrap()).unwrap_err().to_string().contains("at most 4 rows"));
}

#[test]
fn largest_elements_of_regions() {
    let pool = node("MaxRoiPool", &["image", "x"], &["y"])
        .with(ints("pooled_shape", &[1, 2]))
        .with(float("spatial_scale", 0.5));
    let nodes = vec![
        floats("numbers", &(0..24).map(|i| i as f32).collect::<Vec<_>>()),
        constant("shape", &[2, 1, 3, 4]),
        node("Reshape", &["numbers", "shape"], &["image"]),
        pool,
    ];
    let y = run(&chain(&[-1, 5], nodes), &[2, 5], &[0.0, 0.0, 0.0, 6.0, 4.0, 1.0, 2.0, 2.0, 4.0, 2.0]).unwrap();
    assert_eq!(y, (vec![2, 1, 1, 2], vec![9.0, 11.0, 17.0, 18.0]));
}

#[test]
fn random_numbers_are_spread_as_they_should_be() {
    let draw = |op: &str| {
        let nodes = vec![node(op, &["x"], &["y"]), node(op, &["x"], &["other"])];
        let mut model = chain(&[-1], nodes);
        model.graph.as_mut().unwrap().output.push(untyped("other"));
        model
    };
    let moments = |y: &[f32]| {
        let mean = y.iter().sum::<f32>() / y.len() as f32;
        (mean, y.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / y.len() as f32)
    };
    let x = numbers(20_000);
    let single = |op: &str| chain(&[-1], vec![node(op, &["x"], &["y"])]);
    let (mean, variance) = moments(&run(&single("RandomNormalLike"), &[x.len()], &x).unwrap().1);
    assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    let uniform = run(&single("RandomUniformLike"), &[x.len()], &x).unwrap().1;
    let (mean, variance) = moments(&uniform);
    assert!((mean - 0.5).abs() < 0.01 && (variance - 1.0 / 12.0).abs() < 0.003, "{mean} {variance}");
    assert!(uniform.iter().all(|v| (0.0..1.0).contains(v)));
    let neighbours = uniform.windows(2).map(|w| (w[0] - 0.5) * (w[1] - 0.5)).sum::<f32>() / x.len() as f32;
    assert!(neighbours.abs() < 0.002, "{neighbours}");
    assert_eq!(run(&single("RandomUniformLike"), &[x.len()], &x).unwrap().1, uniform);
    // Two nodes draw different numbers.
    let program = lower(&load(&draw("RandomUniformLike")).unwrap()).unwrap();
    let g = &program.graphs[0];
    assert_ne!(g.outputs[0], g.outputs[1]);
}

#[test]
fn classes_are_drawn_by_their_probabilities() {
    let nodes = vec![
        node("Log", &["x"], &["logarithms"]),
        node("Multinomial", &["logarithms"], &["classes"]).with(int("sample_size", 8000)),
        node("Cast", &["classes"], &["y"]).with(int("to", DataType::Float as i64)),
    ];
    let (dims, y) = run(&chain(&[2, 3], nodes), &[2, 3], &[0.5, 0.3, 0.2, 0.0, 1.0, 0.0]).unwrap();
    assert_eq!(dims, [2, 8000]);
    let share = |class: f32| y[..8000].iter().filter(|&&c| c == class).count() as f32 / 8000.0;
    assert!((share(0.0) - 0.5).abs() < 0.03 && (share(1.0) - 0.3).abs() < 0.03 && (share(2.0) - 0.2).abs() < 0.03);
    assert!(y[8000..].iter().all(|&c| c == 1.0));
}
