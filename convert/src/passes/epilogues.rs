//! Folds what follows a product or a convolution into it: factors and offsets per output channel into weights and bias,
//! then a residual and an activation, which the kernel applies while the result is in registers.

use super::rewrite::{Rewriter, Rule};
use infer::cpu::Activation;
use infer::error::Result;
use infer::graph::ValueId;
use infer::ops::binary::BinaryKind;
use infer::ops::pad::PadMode;
use infer::ops::pool::PoolKind;
use infer::ops::window::Window;
use infer::ops::{Binary, Conv, Op};
use infer::tensor::{DType, Dim, normalize_axis};

/// Factors, offsets and padding, while convolutions still are surrounded by nothing else.
pub const FOLD: &[Rule] = &[factor, bias, upright, padding];

/// Residuals and activations, once factors and offsets are gone.
pub const FUSE: &[Rule] = &[residual, activation, affine];

/// Outputs in place of an operator's, if a rule applies.
type Replaced = Result<Option<Vec<ValueId>>>;

/// A product or convolution whose result only one operator reads.
#[derive(Clone)]
pub struct Linear {
    /// A Conv, ConvTranspose or MatMul.
    pub op: Op,
    /// Operand, weights, bias, residual.
    pub inputs: [Option<ValueId>; 4],
}

impl Linear {
    /// The linear operator that makes `value`, if nothing but the operator at hand reads it.
    pub fn of(r: &Rewriter<'_>, value: ValueId) -> Option<Linear> {
        let (op, inputs) = r.producer(value)?;
        let none = match op {
            Op::Conv(c) => c.activation == Activation::None,
            Op::ConvTranspose(c) => c.activation == Activation::None,
            Op::MatMul(m) => m.activation == Activation::None,
            _ => false,
        };
        let inputs = std::array::from_fn(|i| inputs.get(i).copied().flatten());
        (none && r.only_use(value)).then(|| Linear { op: op.clone(), inputs })
    }

    /// Number of output channels, and the axis of the weights that counts them; None if the weights are no matrix.
    fn channels(&self, r: &Rewriter<'_>) -> Option<(usize, usize)> {
        let dims = r.b.dims(self.inputs[1]?);
        let axis = match &self.op {
            Op::Conv(_) | Op::ConvTranspose(_) => 0,
            Op::MatMul(m) if dims.len() >= 2 => dims.len() - if m.transpose_b { 2 } else { 1 },
            _ => return None,
        };
        Some((dims[axis].fixed()? as usize, axis))
    }

    /// Emits the operator in place of another.
    pub fn emit(self, r: &mut Rewriter<'_>) -> Replaced {
        let len = self.inputs.iter().rposition(Option::is_some).map_or(0, |i| i + 1);
        r.emit(self.op, &self.inputs[..len]).map(Some)
    }

    /// The operator with its activation replaced.
    pub fn with_activation(mut self, activation: Activation) -> Self {
        match &mut self.op {
            Op::Conv(c) => c.activation = activation,
            Op::ConvTranspose(c) => c.activation = activation,
            Op::MatMul(m) => m.activation = activation,
            _ => {}
        }
        self
    }
}

/// A constant that has one element per output channel (or one for all), as a vector of `channels`.
fn per_channel(r: &mut Rewriter<'_>, value: ValueId, channels: usize) -> Result<Option<ValueId>> {
    if !r.b.is_constant(value) {
        return Ok(None);
    }
    let dims = r.b.dims(value);
    let last = dims.last().cloned().unwrap_or(Dim::Fixed(1));
    let count = dims.iter().fold(Dim::Fixed(1), |n, d| n.mul(d));
    if count == Dim::Fixed(1) {
        let flat = r.b.reshape(value, &[1])?;
        let shape = r.b.ints(&[channels as i64])?;
        return Ok(Some(r.emit1(infer::ops::Expand, &[flat, shape])?));
    }
    let fits = last == Dim::from(channels) && count == last;
    if fits { r.b.reshape(value, &[channels as i64]).map(Some) } else { Ok(None) }
}

/// The operands of a float function of two tensors with a linear operator on one side and a constant per output channel
/// on the other; whether the linear one is the left one.
fn linear_and_constant(
    r: &mut Rewriter<'_>,
    op: &Op,
    inputs: &[Option<ValueId>],
    kinds: &[BinaryKind],
) -> Result<Option<(Linear, ValueId, Binary, bool)>> {
    let (Op::Binary(b), [Some(x), Some(y)]) = (op, inputs) else { return Ok(None) };
    if !kinds.contains(&b.kind) || r.b.dtype(*x) != DType::F32 {
        return Ok(None);
    }
    for (value, other, left) in [(*x, *y, true), (*y, *x, false)] {
        let Some(linear) = Linear::of(r, value) else { continue };
        let Some((channels, _)) = linear.channels(r) else { continue };
        // A constant of higher rank would broadcast the result.
        if r.b.rank(other) > r.b.rank(value) {
            continue;
        }
        if let Some(constant) = per_channel(r, other, channels)? {
            return Ok(Some((linear, constant, b.clone(), left)));
        }
    }
    Ok(None)
}

/// A factor per output channel scales weights and bias.
fn factor(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let kinds = [BinaryKind::Mul, BinaryKind::Div];
    let Some((mut linear, constant, b, left)) = linear_and_constant(r, op, inputs, &kinds)? else { return Ok(None) };
    let (Some((channels, axis)), Some(w)) = (linear.channels(r), linear.inputs[1]) else { return Ok(None) };
    let foldable = r.b.is_constant(w) && linear.inputs[2].is_none_or(|b| r.b.is_constant(b) && r.b.rank(b) <= 1);
    if !foldable || linear.inputs[3].is_some() || b.kind == BinaryKind::Div && !left {
        return Ok(None);
    }
    let mut shape = vec![1i64; r.b.rank(w)];
    shape[axis] = channels as i64;
    let factors = r.b.reshape(constant, &shape)?;
    linear.inputs[1] = Some(r.emit1(Binary::from(b.kind), &[w, factors])?);
    if let Some(bias) = linear.inputs[2] {
        linear.inputs[2] = Some(r.emit1(Binary::from(b.kind), &[bias, constant])?);
    }
    linear.with_activation(b.activation).emit(r)
}

/// An offset per output channel is the bias, or is added to it.
fn bias(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let kinds = [BinaryKind::Add, BinaryKind::Sub];
    let Some((mut linear, constant, b, left)) = linear_and_constant(r, op, inputs, &kinds)? else { return Ok(None) };
    if linear.inputs[3].is_some() || b.kind == BinaryKind::Sub && !left {
        return Ok(None);
    }
    linear.inputs[2] = Some(match linear.inputs[2] {
        Some(bias) if !r.b.is_constant(bias) => return Ok(None),
        Some(bias) => r.emit1(Binary::from(b.kind), &[bias, constant])?,
        None if b.kind == BinaryKind::Sub => {
            let zero = r.b.scalar(DType::F32, 0.0)?;
            r.emit1(Binary::from(b.kind), &[zero, constant])?
        }
        None => constant,
    });
    linear.with_activation(b.activation).emit(r)
}

/// A tensor of the result's shape that is added to it.
fn residual(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let (Op::Binary(b), [Some(x), Some(y)]) = (op, inputs) else { return Ok(None) };
    if b.kind != BinaryKind::Add || r.b.dtype(*x) != DType::F32 || r.b.ty(*x).shape != r.b.ty(*y).shape {
        return Ok(None);
    }
    // The later one of two linear operators takes the other's result, which is in memory by then.
    for (value, other) in [(*x.max(y), *x.min(y)), (*x.min(y), *x.max(y))] {
        let Some(mut linear) = Linear::of(r, value) else { continue };
        let takes = !matches!(linear.op, Op::ConvTranspose(_));
        if takes && value != other && linear.inputs[3].is_none() {
            linear.inputs[3] = Some(other);
            return linear.with_activation(b.activation).emit(r);
        }
    }
    Ok(None)
}

/// An activation of a linear operator's result, or of a sum.
fn activation(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let (Op::Unary(u), [Some(x)]) = (op, inputs) else { return Ok(None) };
    let Some(activation) = u.activation() else { return Ok(None) };
    if r.b.dtype(*x) != DType::F32 {
        return Ok(None);
    }
    if let Some(linear) = Linear::of(r, *x) {
        return linear.with_activation(activation).emit(r);
    }
    let binary = match r.producer(*x) {
        Some((Op::Binary(b), inputs)) if b.activation == Activation::None && r.only_use(*x) => {
            Some((Binary { activation, ..b.clone() }, inputs.to_vec()))
        }
        _ => None,
    };
    match binary {
        Some((b, inputs)) if !b.kind.is_relation() => r.emit(b, &inputs).map(Some),
        _ => Ok(None),
    }
}

/// A factor and an offset per channel of a channels-last tensor are a convolution of each channel with one tap.
fn affine(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let (Op::Binary(sum), &[Some(x), Some(y)]) = (op, inputs) else { return Ok(None) };
    if sum.kind != BinaryKind::Add || r.b.dtype(x) != DType::F32 {
        return Ok(None);
    }
    for (product, offset) in [(x, y), (y, x)] {
        let Some((Op::Binary(b), &[Some(x), Some(y)])) = r.producer(product) else { continue };
        let scales = b.kind == BinaryKind::Mul && b.activation == Activation::None && r.only_use(product);
        let (x, factor) = if r.b.is_constant(y) { (x, y) } else { (y, x) };
        let dims = r.b.dims(x);
        let Some(channels) = dims.last().and_then(Dim::fixed).filter(|_| scales && (3..=5).contains(&dims.len()))
        else {
            continue;
        };
        if r.b.dims(product) != dims || r.b.rank(offset) > dims.len() {
            continue;
        }
        let (Some(factor), Some(offset)) =
            (per_channel(r, factor, channels as usize)?, per_channel(r, offset, channels as usize)?)
        else {
            continue;
        };
        let taps = [&[channels][..], &vec![1; dims.len() - 1]].concat();
        let weights = r.b.reshape(factor, &taps)?;
        let groups = u32::try_from(channels).unwrap_or(0);
        let window = Window {
            strides: vec![1; dims.len() - 2],
            pads: vec![0; 2 * (dims.len() - 2)],
            dilations: vec![1; dims.len() - 2],
        };
        let conv = Conv { window, groups, activation: sum.activation, ..Conv::default() };
        return r.emit(conv, &[Some(x), Some(weights), Some(offset)]).map(Some);
    }
    Ok(None)
}

/// Constant weights are stored as `[K, N]`, the form that is packed.
fn upright(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let (Op::MatMul(m), Some(Some(w))) = (op, inputs.get(1)) else { return Ok(None) };
    if !m.transpose_b || !r.b.is_constant(*w) || r.b.rank(*w) != 2 || r.b.dtype(*w) != DType::F32 {
        return Ok(None);
    }
    let mut inputs = inputs.to_vec();
    inputs[1] = Some(r.transpose(*w, &[1, 0])?);
    r.emit(infer::ops::MatMul { transpose_b: false, ..m.clone() }, &inputs).map(Some)
}

/// Zeros around a convolution's input are its padding; so are those that a mean counts.
fn padding(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let Some(x) = inputs[0] else { return Ok(None) };
    let window = match op {
        Op::Conv(c) if !c.channels_first_input => &c.window,
        Op::Pool(p) if p.kind == (PoolKind::Mean { count_padding: true }) && !p.ceil => &p.window,
        _ => return Ok(None),
    };
    let rank = r.b.rank(x);
    let (padded, perm) = r.transposed(x).unwrap_or((x, (0..rank).collect()));
    let Some((bare, pads)) = zero_padded(r, padded) else { return Ok(None) };
    // Padding in front of and after each dimension of `x`, from which batch and channels are free.
    let pads: Vec<(i64, i64)> = perm.iter().map(|&p| pads[p]).collect();
    if pads[0] != (0, 0) || pads[rank - 1] != (0, 0) {
        return Ok(None);
    }
    let spatial = rank - 2;
    let had = |i: usize| i64::from(window.pads.get(i).copied().unwrap_or(0));
    let front = (0..spatial).map(|i| had(i) + pads[i + 1].0);
    let back = (0..spatial).map(|i| had(i + spatial) + pads[i + 1].1);
    let Ok(pads) = front.chain(back).map(u32::try_from).collect::<std::result::Result<Vec<u32>, _>>() else {
        return Ok(None);
    };
    let mut op = op.clone();
    match &mut op {
        Op::Conv(c) => c.window.pads = pads,
        Op::Pool(p) => {
            // A window must not lie in padding entirely.
            if p.kernel.iter().enumerate().any(|(i, &k)| pads[i].max(pads[i + spatial]) >= k) {
                return Ok(None);
            }
            p.window.pads = pads;
        }
        _ => {}
    }
    let mut inputs = inputs.to_vec();
    inputs[0] = Some(r.transpose(bare, &perm)?);
    r.emit(op, &inputs).map(Some)
}

/// What a Pad with zeros makes `value` from, and the zeros in front of and after each dimension.
fn zero_padded(r: &Rewriter<'_>, value: ValueId) -> Option<(ValueId, Vec<(i64, i64)>)> {
    let (Op::Pad(pad), inputs) = r.producer(value)? else { return None };
    let (x, amounts) = (inputs[0]?, r.b.known_ints(inputs[1]?)?);
    let zeros = inputs.get(2).copied().flatten().is_none_or(|v| r.b.known_scalar(v) == Some(0.0));
    let rank = r.b.rank(x);
    let axes: Vec<usize> = match &pad.axes[..] {
        [] => (0..rank).collect(),
        axes => axes.iter().map(|&a| normalize_axis(a, rank).ok()).collect::<Option<_>>()?,
    };
    let fits = pad.mode == PadMode::Constant && zeros && amounts.len() == 2 * axes.len();
    let mut pads = vec![(0, 0); rank];
    for (i, &axis) in axes.iter().enumerate().filter(|_| fits) {
        pads[axis] = (amounts[i], amounts[i + axes.len()]);
    }
    (fits && amounts.iter().all(|&n| n >= 0)).then_some((x, pads))
}
