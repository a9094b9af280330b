//! Functions and normalisations that exporters write as sequences of simpler operators.

use super::rewrite::{Rewriter, Rule};
use super::simplify::output_shape;
use super::transposes::{channels_last, inverse};
use super::views::scaled;
use infer::cpu::Activation;
use infer::error::Result;
use infer::graph::ValueId;
use infer::ops::binary::BinaryKind;
use infer::ops::reduce::ReduceKind;
use infer::ops::unary::UnaryKind;
use infer::ops::{Norm, Op, Reduce, Unary};
use infer::tensor::{DType, Dim, normalize_axis};

/// The rules of this file.
pub const RULES: &[Rule] =
    &[leaky, hard_sigmoid, self_gated, gelu, normalized, grouped_norm, scaled_norm, shifted_norm];

/// Outputs in place of an operator's, if a rule applies.
type Replaced = Result<Option<Vec<ValueId>>>;

/// The operands of a float function of two tensors without activation.
fn operands(op: &Op, inputs: &[Option<ValueId>], kind: BinaryKind) -> Option<[ValueId; 2]> {
    match (op, inputs) {
        (Op::Binary(b), &[Some(x), Some(y)]) if b.kind == kind && b.activation == Activation::None => Some([x, y]),
        _ => None,
    }
}

/// As [`operands`], of the operator that makes a value.
fn made_by(r: &Rewriter<'_>, value: ValueId, kind: BinaryKind) -> Option<[ValueId; 2]> {
    let (op, inputs) = r.producer(value)?;
    operands(op, inputs, kind)
}

/// The function of one tensor that makes a value, and its input.
fn unary_of(r: &Rewriter<'_>, value: ValueId) -> Option<(Unary, ValueId)> {
    match r.producer(value)? {
        (Op::Unary(u), &[Some(x)]) => Some((u.clone(), x)),
        _ => None,
    }
}

/// Both orders of two operands.
fn orders([x, y]: [ValueId; 2]) -> [[ValueId; 2]; 2] {
    [[x, y], [y, x]]
}

/// The tensor and the number of a commutative function.
fn with_number(r: &Rewriter<'_>, value: ValueId, kind: BinaryKind) -> Option<(ValueId, f64)> {
    let found = orders(made_by(r, value, kind)?).into_iter().find_map(|[x, c]| Some((x, r.b.known_scalar(c)?)))?;
    (r.b.ty(found.0).shape == r.b.ty(value).shape).then_some(found)
}

/// Whether two numbers are the same but for rounding to f32.
fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * b.abs()
}

/// PRelu with the same slope everywhere is LeakyRelu.
fn leaky(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let Some([x, slope]) = operands(op, inputs, BinaryKind::PRelu) else { return Ok(None) };
    let Some(slopes) = r.b.elements::<f32>(slope) else { return Ok(None) };
    match slopes.split_first() {
        Some((&alpha, rest)) if rest.iter().all(|other| *other == alpha) => {
            r.emit(Unary { kind: UnaryKind::LeakyRelu, alpha, beta: 0.0 }, &[Some(x)]).map(Some)
        }
        _ => Ok(None),
    }
}

/// `Clip(x + 3, 0, 6) / 6` is HardSigmoid, and `x · Clip(x + 3, 0, 6) / 6` is HardSwish.
fn hard_sigmoid(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let (Op::Binary(b), &[Some(x), Some(y)]) = (op, inputs) else { return Ok(None) };
    let divided = match (b.kind, r.b.known_scalar(x), r.b.known_scalar(y)) {
        (BinaryKind::Mul, None, Some(c)) => Some((x, c)),
        (BinaryKind::Mul, Some(c), None) => Some((y, c)),
        (BinaryKind::Div, None, Some(c)) => Some((x, 1.0 / c)),
        _ => None,
    };
    let Some((value, factor)) = divided.filter(|_| b.activation == Activation::None) else { return Ok(None) };
    if let Some((x, alpha, beta)) = clipped_sum(r, value, factor) {
        return r.emit(Unary { kind: UnaryKind::HardSigmoid, alpha, beta }, &[Some(x)]).map(Some);
    }
    for [x, clip] in
        made_by(r, value, BinaryKind::Mul).filter(|_| r.only_use(value)).map_or(vec![], |o| orders(o).to_vec())
    {
        if clipped_sum(r, clip, factor).is_some_and(|(of, alpha, beta)| of == x && is_swish(alpha, beta)) {
            return r.emit(Unary::from(UnaryKind::HardSwish), &[Some(x)]).map(Some);
        }
    }
    Ok(None)
}

/// Whether a tensor times its HardSigmoid with these parameters is HardSwish.
fn is_swish(alpha: f32, beta: f32) -> bool {
    near(alpha.into(), 1.0 / 6.0) && near(beta.into(), 0.5)
}

/// Tensor, slope and offset of `factor · Clip(x + offset, 0, hi)` where that lies between 0 and 1.
fn clipped_sum(r: &Rewriter<'_>, clip: ValueId, factor: f64) -> Option<(ValueId, f32, f32)> {
    let (u, sum) = unary_of(r, clip)?;
    let (x, offset) = with_number(r, sum, BinaryKind::Add)?;
    let unit = u.kind == UnaryKind::Clip && u.alpha == 0.0 && near(f64::from(u.beta) * factor, 1.0);
    let alone = r.only_use(clip) && r.only_use(sum);
    (unit && alone && r.b.dtype(x) == DType::F32).then_some((x, factor as f32, (offset * factor) as f32))
}

/// `x · f(x)` with f the sigmoid, HardSigmoid with 1/6 and 1/2, or the tanh of the softplus.
fn self_gated(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let Some(operands) = operands(op, inputs, BinaryKind::Mul) else { return Ok(None) };
    for [x, gate] in orders(operands) {
        let Some((u, inner)) = unary_of(r, gate) else { continue };
        if !r.only_use(gate) || r.b.dtype(x) != DType::F32 {
            continue;
        }
        let softplus = |v| unary_of(r, v).is_some_and(|(u, of)| u.kind == UnaryKind::Softplus && of == x);
        let kind = match u.kind {
            UnaryKind::Sigmoid if inner == x => UnaryKind::Silu,
            UnaryKind::HardSigmoid if inner == x && is_swish(u.alpha, u.beta) => UnaryKind::HardSwish,
            UnaryKind::Tanh if softplus(inner) && r.only_use(inner) => UnaryKind::Mish,
            _ => continue,
        };
        return r.emit(Unary::from(kind), &[Some(x)]).map(Some);
    }
    Ok(None)
}

/// The factors of a product, a number among them as one number.
fn factors(r: &Rewriter<'_>, value: ValueId, into: &mut Vec<ValueId>, number: &mut f64) {
    if let Some((x, factor)) = scaled(r, value).filter(|_| r.only_use(value) || into.is_empty()) {
        *number *= factor;
        factors(r, x, into, number);
    } else if let Some([x, y]) = made_by(r, value, BinaryKind::Mul).filter(|_| r.only_use(value)) {
        factors(r, x, into, number);
        factors(r, y, into, number);
    } else {
        into.push(value);
    }
}

/// `x/2 · (1 + erf(x / √2))`, or `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 · x³)))`, in any order of the factors.
fn gelu(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let (Op::Binary(b), &[Some(x), Some(y)]) = (op, inputs) else { return Ok(None) };
    if b.activation != Activation::None || r.b.dtype(x) != DType::F32 {
        return Ok(None);
    }
    let (mut found, mut number) = (vec![], 1.0);
    match (b.kind, r.b.known_scalar(x), r.b.known_scalar(y)) {
        (BinaryKind::Mul, _, Some(c)) => (number, found) = (c, product(r, x)),
        (BinaryKind::Mul, Some(c), _) => (number, found) = (c, product(r, y)),
        (BinaryKind::Div, _, Some(c)) => (number, found) = (1.0 / c, product(r, x)),
        (BinaryKind::Mul, ..) => {
            factors(r, x, &mut found, &mut number);
            factors(r, y, &mut found, &mut number);
        }
        _ => {}
    }
    let &[x, y] = found.as_slice() else { return Ok(None) };
    if !near(number, 0.5) {
        return Ok(None);
    }
    for [x, sum] in orders([x, y]) {
        let Some((inner, one)) = with_number(r, sum, BinaryKind::Add) else { continue };
        let Some((u, of)) = unary_of(r, inner).filter(|_| r.only_use(sum) && r.only_use(inner)) else { continue };
        let kind = match u.kind {
            UnaryKind::Erf if one == 1.0 && is_scaled(r, of, x, std::f64::consts::FRAC_1_SQRT_2) => UnaryKind::Gelu,
            UnaryKind::Tanh if one == 1.0 && is_tanh_argument(r, of, x) => UnaryKind::GeluTanh,
            _ => continue,
        };
        return r.emit(Unary::from(kind), &[Some(x)]).map(Some);
    }
    Ok(None)
}

/// The two factors of a product that only the operator at hand reads.
fn product(r: &Rewriter<'_>, value: ValueId) -> Vec<ValueId> {
    made_by(r, value, BinaryKind::Mul).filter(|_| r.only_use(value)).map_or(vec![], |p| p.to_vec())
}

/// Whether `value` is `x` times a number.
fn is_scaled(r: &Rewriter<'_>, value: ValueId, x: ValueId, number: f64) -> bool {
    scaled(r, value).is_some_and(|(of, factor)| of == x && near(factor, number))
}

/// Whether `value` is √(2/π) · (x + 0.044715 · x³).
fn is_tanh_argument(r: &Rewriter<'_>, value: ValueId, x: ValueId) -> bool {
    let found = scaled(r, value).filter(|(_, factor)| near(*factor, (2.0 / std::f64::consts::PI).sqrt()));
    let sum = found.and_then(|(sum, _)| made_by(r, sum, BinaryKind::Add));
    let cubic = |v| {
        let (mut found, mut number) = (vec![], 1.0);
        factors(r, v, &mut found, &mut number);
        let cube = match found.as_slice() {
            &[one] => made_by(r, one, BinaryKind::Pow)
                .is_some_and(|[base, exponent]| base == x && r.b.known_scalar(exponent) == Some(3.0)),
            three => three == [x; 3],
        };
        cube && near(number, 0.044715)
    };
    sum.is_some_and(|sum| orders(sum).into_iter().any(|[a, b]| a == x && cubic(b)))
}

/// The mean over the last dimension, which stays with extent 1, and what it is the mean of.
fn row_mean(r: &Rewriter<'_>, value: ValueId) -> Option<ValueId> {
    let (Op::Reduce(Reduce { kind: ReduceKind::Mean, axes, keep_dims: true }), &[Some(x)]) = r.producer(value)? else {
        return None;
    };
    let last = r.b.rank(x).checked_sub(1)?;
    let only = matches!(axes[..], [axis] if normalize_axis(axis, last + 1).ok() == Some(last));
    only.then_some(x)
}

/// The tensor of which `value` is the square.
fn squared(r: &Rewriter<'_>, value: ValueId) -> Option<ValueId> {
    if let Some([x, two]) = made_by(r, value, BinaryKind::Pow) {
        return (r.b.known_scalar(two) == Some(2.0)).then_some(x);
    }
    made_by(r, value, BinaryKind::Mul).filter(|[x, y]| x == y).map(|[x, _]| x)
}

/// What `value` is the standard deviation of, the mean taken as 0, and the number added to the variance.
fn deviation(r: &Rewriter<'_>, value: ValueId, inverse: bool) -> Option<(ValueId, f64)> {
    let over = made_by(r, value, BinaryKind::Div).filter(|[one, _]| inverse && r.b.known_scalar(*one) == Some(1.0));
    let (u, sum) = match over {
        Some([_, root]) => (Unary::from(UnaryKind::Reciprocal), root),
        None => unary_of(r, value)?,
    };
    let (kind, sum) = match (u.kind, inverse) {
        (UnaryKind::Reciprocal, true) => {
            unary_of(r, sum).map(|(u, x)| (u.kind, x)).filter(|u| u.0 == UnaryKind::Sqrt)?
        }
        (kind, _) => (kind, sum),
    };
    let direct = match inverse {
        true => kind == UnaryKind::Rsqrt || u.kind == UnaryKind::Reciprocal,
        false => kind == UnaryKind::Sqrt,
    };
    let (mean, epsilon) = with_number(r, sum, BinaryKind::Add).filter(|_| direct)?;
    let x = squared(r, row_mean(r, mean)?)?;
    Some((x, epsilon))
}

/// A tensor divided by its own deviation along the last dimension: RMS normalisation, or layer normalisation if it is one
/// less its mean.
fn normalized(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let found = match operands(op, inputs, BinaryKind::Div) {
        Some([x, by]) => deviation(r, by, false).filter(|found| found.0 == x),
        None => operands(op, inputs, BinaryKind::Mul).and_then(|o| {
            orders(o).into_iter().find_map(|[x, by]| deviation(r, by, true).filter(|found| found.0 == x))
        }),
    };
    let Some((x, epsilon)) = found else { return Ok(None) };
    let epsilon = epsilon as f32;
    if r.b.dtype(x) != DType::F32 || epsilon <= 0.0 {
        return Ok(None);
    }
    let centred = made_by(r, x, BinaryKind::Sub).filter(|&[x, mean]| row_mean(r, mean) == Some(x));
    match centred {
        // The difference counts among the squares and as what is divided; more uses need it as such.
        Some([x, _]) => Ok(Some(vec![r.emit(Norm::Layer { axis: -1, epsilon }, &[Some(x)])?[0]])),
        None => r.emit(Norm::Rms { axis: -1, epsilon }, &[Some(x)]).map(Some),
    }
}

/// Whether all elements of an f32 constant are `number`.
fn all_are(r: &Rewriter<'_>, value: ValueId, number: f32) -> bool {
    r.b.elements::<f32>(value).is_some_and(|v| v.iter().all(|x| *x == number))
}

/// Channels of which those of each group are one dimension with the pixels, normalised as if they were one channel: a
/// normalisation in groups.
fn grouped_norm(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let (Op::Reshape(_), Some(last)) = (op, inputs[0]) else { return Ok(None) };
    let Some((normal, _)) = r.transposed(last).filter(|(_, perm)| *perm == [0, 2, 1]) else { return Ok(None) };
    let Some((&Op::Norm(Norm::Group { groups: 0, epsilon }), &[Some(last), Some(scale), Some(bias)])) =
        r.producer(normal)
    else {
        return Ok(None);
    };
    let Some((rows, _)) = r.transposed(last).filter(|(_, perm)| *perm == [0, 2, 1]) else { return Ok(None) };
    let Some((Op::Reshape(_), &[Some(x), _])) = r.producer(rows) else { return Ok(None) };
    let (dims, cut) = (r.b.dims(x), r.b.dims(rows));
    let [batch, Dim::Fixed(channels), _, ..] = &dims[..] else { return Ok(None) };
    let Some(groups) = cut[1].fixed().filter(|&g| g > 0 && channels % g == 0) else { return Ok(None) };
    let whole = *batch == cut[0] && output_shape(r, op, inputs)?[..] == dims[..];
    if !whole || !all_are(r, scale, 1.0) || !all_are(r, bias, 0.0) {
        return Ok(None);
    }
    let Ok(groups) = u32::try_from(groups) else { return Ok(None) };
    let rank = dims.len();
    let x = r.transpose(x, &channels_last(rank))?;
    let y = r.emit1(Norm::Group { groups, epsilon }, &[x])?;
    Ok(Some(vec![r.transpose(y, &inverse(&channels_last(rank)))?]))
}

/// A constant that has an element for each channel of a channels-first tensor, as a vector.
fn per_channel(r: &mut Rewriter<'_>, tensor: ValueId, value: ValueId) -> Result<Option<ValueId>> {
    let (dims, mut full) = (r.b.dims(tensor), r.b.dims(value));
    while full.len() < dims.len() {
        full.insert(0, Dim::Fixed(1));
    }
    let fits = full.iter().enumerate().all(|(i, d)| *d == if i == 1 { dims[1].clone() } else { Dim::Fixed(1) });
    match fits && full.len() == dims.len() && r.b.is_constant(value) {
        true => super::views::reshape(r, value, &dims[1..2]),
        false => Ok(None),
    }
}

/// A constant vector along the normalised dimension.
fn per_element(r: &mut Rewriter<'_>, norm: ValueId, value: ValueId) -> Result<Option<ValueId>> {
    let dims = r.b.dims(value);
    let last = r.b.dims(norm).last().cloned();
    let vector = dims.iter().rev().skip(1).all(|d| *d == Dim::Fixed(1)) && dims.last() == last.as_ref();
    let fits = vector && last != Some(Dim::Fixed(1)) && r.b.is_constant(value) && dims.len() <= r.b.rank(norm);
    match last {
        Some(last) if fits => super::views::reshape(r, value, &[last]),
        _ => Ok(None),
    }
}

/// A normalisation that nothing but the operator at hand reads.
struct Normal {
    norm: Norm,
    inputs: Vec<Option<ValueId>>,
    /// Its factor or offset, as a vector.
    vector: ValueId,
    /// How its result is transposed before the factor or the offset.
    perm: Option<Vec<usize>>,
}

impl Normal {
    /// The normalisation over rows or of channels that makes `value`, with a factor or an offset that it can have.
    fn of(r: &mut Rewriter<'_>, value: ValueId, factor: ValueId) -> Result<Option<Normal>> {
        if !r.only_use(value) {
            return Ok(None);
        }
        let (made, perm) = r.transposed(value).map_or((value, None), |(made, perm)| (made, Some(perm)));
        let Some((Op::Norm(norm), inputs)) = r.producer(made) else { return Ok(None) };
        let (norm, inputs, rank) = (norm.clone(), inputs.to_vec(), r.b.rank(value));
        let vector = match (&norm, &perm) {
            (Norm::Layer { axis, .. } | Norm::Rms { axis, .. }, None)
                if normalize_axis((*axis).into(), rank).is_ok_and(|axis| axis + 1 == rank) =>
            {
                per_element(r, value, factor)?
            }
            (Norm::Group { .. }, Some(perm)) if *perm == inverse(&channels_last(rank)) => {
                per_channel(r, value, factor)?
            }
            _ => None,
        };
        Ok(vector.map(|vector| Normal { norm, inputs, vector, perm }))
    }

    /// Emits it with these inputs.
    fn emit(self, r: &mut Rewriter<'_>, inputs: &[Option<ValueId>]) -> Replaced {
        let y = r.emit(self.norm, inputs)?[0];
        Ok(Some(vec![match self.perm {
            Some(perm) => r.transpose(y, &perm)?,
            None => y,
        }]))
    }
}

/// A factor per element or channel is the normalisation's scale.
fn scaled_norm(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let Some(operands) = operands(op, inputs, BinaryKind::Mul) else { return Ok(None) };
    for [x, scale] in orders(operands) {
        let Some(found) = Normal::of(r, x, scale)?.filter(|n| n.inputs.len() == 1) else { continue };
        let inputs = [found.inputs[0], Some(found.vector)];
        return found.emit(r, &inputs);
    }
    Ok(None)
}

/// An offset per element or channel is the normalisation's bias.
fn shifted_norm(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let Some(operands) = operands(op, inputs, BinaryKind::Add) else { return Ok(None) };
    for [x, bias] in orders(operands) {
        let Some(found) = Normal::of(r, x, bias)? else { continue };
        let &[input, Some(scale)] = found.inputs.as_slice() else { continue };
        let inputs = [input, Some(scale), Some(found.vector)];
        return found.emit(r, &inputs);
    }
    Ok(None)
}
