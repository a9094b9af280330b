use super::*;
use crate::ops::Tensor;
use crate::ops::elementwise::Number;
use crate::ops::testing::{Random, as_f64, check_optional, infer_error};
use crate::tensor::{Element, Sym};
use ::half::{bf16, f16};
use std::ops::Range;

/// An attention with extents and optional operands.
#[derive(Clone, Default)]
struct Case {
    batch: usize,
    heads: usize,
    kv_heads: usize,
    queries: usize,
    keys: usize,
    size: usize,
    value_size: usize,
    past: Option<usize>,
    mask: Option<(&'static [usize], MaskKind)>,
    lengths: Option<&'static [i64]>,
    op: Attention,
}

#[derive(Clone, Copy, PartialEq)]
enum MaskKind {
    Bool,
    Float,
}

impl Case {
    fn new(heads: [usize; 2], lengths: [usize; 2], sizes: [usize; 2]) -> Self {
        let ([heads, kv_heads], [queries, keys], [size, value_size]) = (heads, lengths, sizes);
        Case { batch: 2, heads, kv_heads, queries, keys, size, value_size, ..Case::default() }
    }

    fn total(&self) -> usize {
        self.past.unwrap_or(0) + self.keys
    }

    fn op(&self) -> Attention {
        Attention { heads: self.heads as u32, kv_heads: self.kv_heads as u32, ..self.op.clone() }
    }

    fn dims(&self, heads: usize, rows: usize, size: usize) -> Vec<usize> {
        match self.op.arrangement {
            Arrangement::HeadsFirst => vec![self.batch, heads, rows, size],
            Arrangement::SequenceFirst => vec![self.batch, rows, heads * size],
        }
    }

    fn tensors<T: Number>(&self) -> [Option<Tensor>; 7] {
        let mut random = Random::new(17);
        let mut tensor = |dims: &[usize]| random.tensor_of(dims, |r| T::from_f64(f64::from(r.range(-1.0, 1.0))));
        let q = tensor(&self.dims(self.heads, self.queries, self.size));
        let k = tensor(&self.dims(self.kv_heads, self.keys, self.size));
        let v = tensor(&self.dims(self.kv_heads, self.keys, self.value_size));
        let mut past = |size| self.past.map(|past| tensor(&[self.batch, self.kv_heads, past, size]));
        let (past_key, past_value) = (past(self.size), past(self.value_size));
        let mask = self.mask.map(|(dims, kind)| match kind {
            MaskKind::Bool => random.tensor_of(dims, |r| u8::from(r.below(3) > 0)),
            MaskKind::Float => random.tensor_of(dims, |r| {
                T::from_f64(if r.below(4) == 0 { f64::NEG_INFINITY } else { f64::from(r.range(-2.0, 2.0)) })
            }),
        });
        let mask = mask.map(|mut mask| {
            if mask.info.dtype == DType::U8 {
                mask.info.dtype = DType::Bool;
            }
            mask
        });
        let lengths = self.lengths.map(|l| Tensor::new(&[l.len()], l).unwrap());
        [Some(q), Some(k), Some(v), mask, past_key, past_value, lengths]
    }

    /// Element `d` of a row of an operand in this case's arrangement.
    fn at(&self, [b, h, s, d]: [usize; 4], heads: usize, rows: usize, size: usize) -> usize {
        match self.op.arrangement {
            Arrangement::HeadsFirst => ((b * heads + h) * rows + s) * size + d,
            Arrangement::SequenceFirst => ((b * rows + s) * heads + h) * size + d,
        }
    }

    /// The keys that bounds leave to query `i` of image `b`.
    fn bounds(&self, b: usize, i: usize) -> Range<isize> {
        let length = self.lengths.map(|l| l[b] as isize);
        let position = i as isize + length.map_or(self.past.unwrap_or(0) as isize, |l| l - self.queries as isize);
        let mut range = 0..length.unwrap_or(self.total() as isize);
        if self.op.causal {
            range.end = range.end.min(position + 1);
        }
        if let Some(right) = self.op.right_window {
            range.end = range.end.min(position + right as isize + 1);
        }
        if let Some(left) = self.op.left_window {
            range.start = position - left as isize;
        }
        range
    }

    /// Y, present key, present value, scores, in f64.
    fn reference(&self, inputs: &[Option<Tensor>; 7]) -> [Vec<f64>; 4] {
        let values = inputs.each_ref().map(|t| t.as_ref().map(as_f64).unwrap_or_default());
        let (past, total, group) = (self.past.unwrap_or(0), self.total(), self.heads / self.kv_heads);
        // Past and new rows, heads first.
        let join = |new: usize, old: usize, size: usize| -> Vec<f64> {
            let mut all = vec![];
            for (b, h) in (0..self.batch).flat_map(|b| (0..self.kv_heads).map(move |h| (b, h))) {
                for (s, d) in (0..total).flat_map(|s| (0..size).map(move |d| (s, d))) {
                    all.push(match s.checked_sub(past) {
                        None => values[old][((b * self.kv_heads + h) * past + s) * size + d],
                        Some(s) => values[new][self.at([b, h, s, d], self.kv_heads, self.keys, size)],
                    });
                }
            }
            all
        };
        let (k, v) = (join(1, 4, self.size), join(2, 5, self.value_size));
        let scale = if self.op.scale == 0.0 { 1.0 / (self.size as f64).sqrt() } else { self.op.scale.into() };
        let cap = f64::from(self.op.softcap);
        let (mut y, mut scores) = (vec![0.0; self.batch * self.heads * self.queries * self.value_size], vec![]);
        for (b, h) in (0..self.batch).flat_map(|b| (0..self.heads).map(move |h| (b, h))) {
            for i in 0..self.queries {
                let head = b * self.kv_heads + h / group;
                let q = |d: usize| values[0][self.at([b, h, i, d], self.heads, self.queries, self.size)];
                let product =
                    |j: usize| (0..self.size).map(|d| q(d) * k[(head * total + j) * self.size + d]).sum::<f64>() * scale;
                let products: Vec<f64> = (0..total).map(product).collect();
                let capped: Vec<f64> =
                    products.iter().map(|s| if cap == 0.0 { *s } else { cap * (s / cap).tanh() }).collect();
                let bias = |j: usize| {
                    let visible = self.bounds(b, i).contains(&(j as isize));
                    if visible { mask_at(&inputs[3], &values[3], [b, h, i, j]) } else { f64::NEG_INFINITY }
                };
                let masked: Vec<f64> = capped.iter().enumerate().map(|(j, s)| s + bias(j)).collect();
                let max = masked.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let powers: Vec<f64> =
                    masked.iter().map(|s| if max.is_finite() { (s - max).exp() } else { 0.0 }).collect();
                let sum: f64 = powers.iter().sum();
                let weights: Vec<f64> = powers.iter().map(|p| if sum == 0.0 { 0.0 } else { p / sum }).collect();
                for d in 0..self.value_size {
                    let at = self.at([b, h, i, d], self.heads, self.queries, self.value_size);
                    let value = |j: usize| v[(head * total + j) * self.value_size + d];
                    y[at] = (0..total).map(|j| weights[j] * value(j)).sum();
                }
                scores.extend(match self.op.scores {
                    None => vec![],
                    Some(Scores::Products) => products,
                    Some(Scores::Capped) => capped,
                    Some(Scores::Masked) => masked,
                    Some(Scores::Weights) => weights,
                });
            }
        }
        [y, k, v, scores]
    }

    fn check_in<T: Number + Element>(&self, tolerance: f64) {
        let inputs = self.tensors::<T>();
        let [y, k, v, scores] = self.reference(&inputs);
        let tensor = |dims: &[usize], values: Vec<f64>| {
            Tensor::new(dims, &values.into_iter().map(T::from_f64).collect::<Vec<T>>()).unwrap()
        };
        let (batch, total) = (self.batch, self.total());
        let mut want = vec![
            tensor(&self.dims(self.heads, self.queries, self.value_size), y),
            tensor(&[batch, self.kv_heads, total, self.size], k),
            tensor(&[batch, self.kv_heads, total, self.value_size], v),
        ];
        if self.op.scores.is_some() {
            want.push(tensor(&[batch, self.heads, self.queries, total], scores));
        }
        let inputs = inputs.each_ref().map(Option::as_ref);
        for outputs in 1..=want.len() {
            check_optional(self.op(), &inputs, &want[..outputs], tolerance);
        }
    }

    fn check(&self) {
        self.check_in::<f32>(3e-6);
        let op = Attention { arrangement: Arrangement::SequenceFirst, ..self.op.clone() };
        Case { op, ..self.clone() }.check_in::<f32>(3e-6);
    }
}

/// What a mask adds to a score.
fn mask_at(mask: &Option<Tensor>, values: &[f64], at: [usize; 4]) -> f64 {
    let Some(mask) = mask else { return 0.0 };
    let dims = &mask.info.dims;
    if at[3] >= dims[dims.len() - 1] {
        return f64::NEG_INFINITY;
    }
    let index = dims.iter().zip(&at[4 - dims.len()..]).fold(0, |i, (&d, &a)| i * d + if d == 1 { 0 } else { a });
    match (mask.info.dtype, values[index]) {
        (DType::Bool, 0.0) => f64::NEG_INFINITY,
        (DType::Bool, _) => 0.0,
        (_, value) => value,
    }
}

/// Attentions of few and of many queries, with every attribute and optional operand.
fn cases() -> Vec<Case> {
    use MaskKind::*;
    let causal = Attention { causal: true, ..Attention::default() };
    let window = |left, right| Attention { left_window: left, right_window: right, ..Attention::default() };
    let mut cases = vec![
        Case::new([3, 3], [4, 6], [8, 8]),
        Case::new([1, 1], [20, 33], [5, 19]),
        Case::new([6, 2], [5, 17], [16, 3]),
        Case { past: Some(12), ..Case::new([4, 2], [1, 1], [8, 10]) },
        Case { past: Some(3), op: causal.clone(), ..Case::new([3, 3], [9, 9], [8, 8]) },
        Case { past: Some(0), op: causal.clone(), ..Case::new([2, 1], [11, 11], [4, 4]) },
        Case { op: causal.clone(), ..Case::new([2, 2], [40, 25], [8, 8]) },
        Case { op: causal.clone(), lengths: Some(&[2, 9]), ..Case::new([4, 2], [5, 9], [8, 8]) },
        Case { lengths: Some(&[0, 40]), ..Case::new([2, 2], [1, 7], [8, 8]) },
        Case { op: window(Some(2), None), ..Case::new([2, 2], [30, 30], [8, 8]) },
        Case { op: window(Some(1), Some(2)), ..Case::new([1, 1], [5, 5], [1, 1]) },
        Case { op: window(None, Some(0)), past: Some(4), ..Case::new([1, 1], [12, 12], [6, 7]) },
        Case { mask: Some((&[4, 6], Float)), ..Case::new([3, 3], [4, 6], [8, 8]) },
        Case { mask: Some((&[4, 6], Bool)), ..Case::new([3, 3], [4, 6], [8, 8]) },
        Case { mask: Some((&[2, 1, 1, 18], Bool)), ..Case::new([4, 4], [18, 18], [8, 8]) },
        Case { mask: Some((&[3, 1, 21], Float)), op: causal, ..Case::new([3, 1], [21, 30], [8, 8]) },
        Case { mask: Some((&[2, 3, 13, 5], Float)), past: Some(2), ..Case::new([3, 3], [13, 13], [8, 8]) },
        Case { mask: Some((&[2, 49, 49], Float)), ..Case::new([2, 2], [49, 49], [8, 8]) },
        Case { mask: Some((&[30, 30], Float)), op: window(Some(9), None), ..Case::new([2, 2], [30, 30], [8, 8]) },
        Case { mask: Some((&[6], Bool)), ..Case::new([2, 2], [12, 6], [8, 8]) },
        Case { op: Attention { softcap: 2.0, ..Attention::default() }, ..Case::new([2, 2], [4, 13], [8, 8]) },
        Case { past: Some(0), op: Attention { causal: true, ..Attention::default() }, ..Case::new([4, 2], [1, 5], [8, 8]) },
        Case::new([2, 2], [10, 0], [8, 8]),
        Case::new([2, 1], [1, 0], [8, 8]),
        Case::new([2, 2], [0, 4], [8, 8]),
    ];
    cases.iter_mut().step_by(3).for_each(|c| c.op.scale = 0.7);
    cases.iter_mut().step_by(4).for_each(|c| c.op.softcap = 0.5);
    cases
}

#[test]
fn every_attribute_and_operand() {
    cases().iter().for_each(Case::check);
}

#[test]
fn many_blocks() {
    let causal = Attention { causal: true, ..Attention::default() };
    let window = Attention { left_window: Some(600), right_window: Some(3), ..Attention::default() };
    Case::new([2, 1], [70, 1100], [16, 24]).check();
    Case { past: Some(500), op: causal, ..Case::new([1, 1], [150, 150], [8, 8]) }.check();
    Case { op: window, ..Case::new([1, 1], [900, 900], [4, 4]) }.check();
    Case { mask: Some((&[130, 700], MaskKind::Float)), ..Case::new([2, 2], [130, 700], [8, 8]) }.check();
}

/// Sizes beyond those of a tile, in every element type.
#[test]
fn long_rows() {
    let causal = Attention { causal: true, softcap: 3.0, ..Attention::default() };
    let sizes = [[72, 130], [96, 64], [33, 201]];
    for size in sizes {
        let case = Case { past: Some(21), op: causal.clone(), ..Case::new([4, 2], [37, 66], size) };
        case.check();
        case.check_in::<f16>(2e-3);
        case.check_in::<bf16>(1.6e-2);
    }
}

/// One query, or a few, and so many keys that several blocks share them.
#[test]
fn decoding() {
    let window = Attention { left_window: Some(400), causal: true, ..Attention::default() };
    let case = Case { past: Some(699), ..Case::new([8, 2], [1, 1], [64, 96]) };
    for case in [
        case.clone(),
        Case { op: window, ..case.clone() },
        Case { mask: Some((&[2, 1, 1, 700], MaskKind::Float)), ..case.clone() },
        Case { lengths: Some(&[513, 0]), ..Case::new([2, 1], [2, 1000], [30, 17]) },
    ] {
        case.check();
        case.check_in::<f16>(2e-3);
        case.check_in::<bf16>(1.6e-2);
    }
}

#[test]
fn scores_of_every_stage() {
    for case in cases() {
        for stage in [Scores::Products, Scores::Capped, Scores::Masked, Scores::Weights] {
            Case { op: Attention { scores: Some(stage), ..case.op.clone() }, ..case.clone() }.check();
        }
    }
}

#[test]
fn other_element_types() {
    for case in cases() {
        case.check_in::<f64>(1e-6);
        case.check_in::<f16>(2e-3);
        case.check_in::<bf16>(1.6e-2);
    }
}

/// What is masked out has no influence, even if it is not a number.
#[test]
fn removed_keys_do_not_count() {
    for queries in [2, 16] {
        let q = Random::new(1).tensor(&[1, 1, queries, 4]);
        let k = Tensor::new(&[1, 1, 3, 4], &[[0.5f32; 4], [f32::NAN; 4], [f32::INFINITY; 4]].concat()).unwrap();
        let v = Tensor::new(&[1, 1, 3, 2], &[1f32, 2.0, 5.0, 6.0, 7.0, 8.0]).unwrap();
        let mask = Tensor::new(&[1, 3], &[0.0, f32::NEG_INFINITY, f32::NEG_INFINITY]).unwrap();
        let want = Tensor::new(&[1, 1, queries, 2], &[1f32, 2.0].repeat(queries)).unwrap();
        check_optional(Attention::default(), &[Some(&q), Some(&k), Some(&v), Some(&mask)], &[want], 0.0);
        let nothing = Tensor::new(&[1, 3], &[f32::NEG_INFINITY; 3]).unwrap();
        let zeros = Tensor::new(&[1, 1, queries, 2], &vec![0f32; 2 * queries]).unwrap();
        check_optional(Attention::default(), &[Some(&q), Some(&k), Some(&v), Some(&nothing)], &[zeros], 0.0);
    }
}

#[test]
fn symbolic_shapes() {
    let [b, s, p] = [0, 1, 2].map(|i| Dim::sym(Sym(i)));
    let ty = |dims: &[Dim]| TensorType::new(DType::F32, Shape::new(dims).unwrap());
    let op = Attention { heads: 4, kv_heads: 2, arrangement: Arrangement::SequenceFirst, ..Attention::default() };
    let q = ty(&[b.clone(), s.clone(), Dim::Fixed(32)]);
    let kv = ty(&[b.clone(), s.clone(), Dim::Fixed(16)]);
    let past = ty(&[b.clone(), Dim::Fixed(2), p.clone(), Dim::Fixed(8)]);
    let inputs = [Some(&q), Some(&kv), Some(&kv), None, Some(&past), Some(&past)];
    let out = op.infer(&Inputs::new(&inputs)).unwrap();
    assert_eq!(out[0].shape, q.shape);
    assert_eq!(out[1].shape, ty(&[b, Dim::Fixed(2), s.add(&p), Dim::Fixed(8)]).shape);
}

#[test]
fn refuses_what_does_not_fit() {
    let t = |dims: &[usize]| Random::new(1).tensor(dims);
    let op = Attention::default;
    let (q, k) = (t(&[1, 4, 3, 8]), t(&[1, 2, 5, 8]));
    assert!(infer_error(op(), &[&q, &k, &t(&[1, 2, 6, 8])]).contains("K and V"));
    assert!(infer_error(op(), &[&q, &k, &t(&[2, 2, 5, 8])]).contains("batches"));
    assert!(infer_error(op(), &[&q, &t(&[1, 2, 5, 7]), &k]).contains("different sizes"));
    assert!(infer_error(op(), &[&q, &t(&[1, 3, 5, 8]), &t(&[1, 3, 5, 8])]).contains("do not divide those of Q"));
    assert!(infer_error(op(), &[&q, &k, &k, &t(&[4, 5])]).contains("does not broadcast"));
    assert!(infer_error(op(), &[&q, &k, &k, &t(&[3, 6])]).contains("does not broadcast"));
    assert!(infer_error(op(), &[&q, &k, &k, &t(&[3, 1])]).contains("one key for 5"));
    assert!(infer_error(op(), &[&q, &k, &t(&[1, 5, 16])]).contains("V [1, 5, 16]"));
    let sequence = Attention { arrangement: Arrangement::SequenceFirst, ..op() };
    assert!(infer_error(sequence.clone(), &[&t(&[1, 3, 8]), &t(&[1, 3, 8]), &t(&[1, 3, 8])]).contains("numbers of heads"));
    let heads = Attention { heads: 3, kv_heads: 3, ..sequence };
    assert!(infer_error(heads, &[&t(&[1, 3, 8]), &t(&[1, 3, 8]), &t(&[1, 3, 8])]).contains("do not divide the last"));
    let types = [&q, &k, &k].map(|x| x.ty());
    let past = t(&[1, 2, 4, 8]).ty();
    let alone = [Some(&types[0]), Some(&types[1]), Some(&types[2]), None, Some(&past)];
    assert!(op().infer(&Inputs::new(&alone)).unwrap_err().to_string().contains("used together"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    cases().iter().for_each(|case| crate::ops::testing::round_trip(case.op()));
    for scores in [Scores::Products, Scores::Capped, Scores::Masked, Scores::Weights] {
        crate::ops::testing::round_trip(Attention { scores: Some(scores), ..Attention::default() });
    }
}
