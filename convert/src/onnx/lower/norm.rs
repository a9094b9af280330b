//! Normalisations.

use super::{Cx, Table};
use crate::onnx::model::Node;
use infer::error::{Error, Result};
use infer::graph::ValueId;
use infer::ops::Norm;
use infer::ops::binary::BinaryKind;
use infer::ops::reduce::ReduceKind;
use infer::ops::unary::UnaryKind;
use infer::tensor::{DType, Dim, normalize_axis};

pub const TABLE: Table = &[
    ("BatchNormalization", batch),
    ("GroupNormalization", group),
    ("InstanceNormalization", instance),
    ("LRN", response),
    ("LayerNormalization", layer),
    ("LpNormalization", lp),
    ("MeanVarianceNormalization", mean_variance),
    ("RMSNormalization", rms),
];

const EPSILON: f32 = 1e-5;

/// (x - mean) / √(var + ε) · scale + bias as one product and one sum per channel.
fn batch(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    let stats = (1..5).map(|i| cx.input(n, i)).collect::<Result<Vec<_>>>()?;
    let epsilon = n.float("epsilon", EPSILON)?;
    let momentum = n.float("momentum", 0.9)?;
    n.ints("consumed_inputs")?;
    let spatial = n.opset >= 9 || n.flag("spatial", true)?;
    let training = match n.opset {
        ..7 => !n.flag("is_test", false)? && n.outputs.len() > 1,
        7..14 => n.outputs.len() > 1,
        _ => n.flag("training_mode", false)?,
    };
    if training && n.opset < 14 {
        return Err(Error::unsupported("BatchNormalization in training mode"));
    }
    let wide = if stats.iter().chain([&x]).any(|&v| cx.b.dtype(v) == DType::F64) { DType::F64 } else { DType::F32 };
    let dtype = cx.b.dtype(x);
    let x = cx.b.cast(x, wide)?;
    let mut used = stats.iter().map(|&v| cx.b.cast(v, wide)).collect::<Result<Vec<_>>>()?;
    let mut outputs = vec![];
    if training {
        let (mean, var) = cx.moments(x)?;
        for (given, current) in [(2, mean), (3, var)] {
            let old = cx.b.binary_with(BinaryKind::Mul, used[given], momentum.into())?;
            let new = cx.b.binary_with(BinaryKind::Mul, current, 1.0 - f64::from(momentum))?;
            let running = cx.b.add(old, new)?;
            outputs.push(cx.b.cast(running, cx.b.dtype(stats[given]))?);
            used[given] = current;
        }
    }
    let y = cx.normalized(x, &used, epsilon, spatial)?;
    outputs.insert(0, cx.b.cast(y, dtype)?);
    Ok(outputs)
}

fn layer(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (x, scale, bias) = (cx.input(n, 0)?, cx.input(n, 1)?, cx.optional(n, 2)?);
    let axis = normalize_axis(n.int("axis", -1)?, cx.b.rank(x))?;
    let op = Norm::Layer { axis: axis as i32, epsilon: n.float("epsilon", EPSILON)? };
    check_stash(n)?;
    let fits = |v: &ValueId| cx.b.rank(*v) <= cx.b.rank(x) - axis;
    if fits(&scale) && bias.as_ref().is_none_or(fits) {
        return cx.b.emit(op, &[Some(x), Some(scale), bias]);
    }
    let mut outputs = cx.b.emit(op, &[Some(x)])?;
    outputs[0] = cx.b.mul(outputs[0], scale)?;
    if let Some(bias) = bias {
        outputs[0] = cx.b.add(outputs[0], bias)?;
    }
    Ok(outputs)
}

/// The result has the type of the scale, which may be another than that of x.
fn rms(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (x, scale) = (cx.input(n, 0)?, cx.input(n, 1)?);
    let axis = normalize_axis(n.int("axis", -1)?, cx.b.rank(x))?;
    let op = Norm::Rms { axis: axis as i32, epsilon: n.float("epsilon", EPSILON)? };
    check_stash(n)?;
    let same = cx.b.dtype(scale) == cx.b.dtype(x);
    if same && cx.b.rank(scale) <= cx.b.rank(x) - axis {
        return Ok(vec![cx.b.emit1(op, &[x, scale])?]);
    }
    let y = cx.b.emit1(op, &[x])?;
    let y = cx.b.cast(y, cx.b.dtype(scale))?;
    Ok(vec![cx.b.mul(y, scale)?])
}

/// Means are formed in f32 or better, which is what the default of this attribute asks for.
fn check_stash(n: &Node) -> Result<()> {
    match n.int("stash_type", 1)? {
        1 => Ok(()),
        other => Err(Error::unsupported(format!("stash_type {other}"))),
    }
}

fn instance(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    n.ints("consumed_inputs")?;
    let inputs = [cx.input(n, 0)?, cx.input(n, 1)?, cx.input(n, 2)?];
    let op = Norm::Group { groups: 0, epsilon: n.float("epsilon", EPSILON)? };
    cx.channels_last_norm(op, &inputs)
}

/// Before opset 21, scale and bias are given for each group.
fn group(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let mut inputs = [cx.input(n, 0)?, cx.input(n, 1)?, cx.input(n, 2)?];
    let groups: i64 = n.required("num_groups")?;
    let groups = u32::try_from(groups).ok().filter(|&g| g > 0);
    let groups = groups.ok_or_else(|| Error::format("num_groups is not positive"))?;
    check_stash(n)?;
    if n.opset < 21 {
        let Some(&Dim::Fixed(channels)) = cx.b.ty(inputs[0]).shape.get(1) else {
            return Err(Error::unsupported("an unknown number of channels"));
        };
        for v in &mut inputs[1..] {
            let column = cx.b.unsqueeze(*v, &[1])?;
            let shape = cx.b.ints(&[groups.into(), channels / i64::from(groups)])?;
            let wide = cx.b.expand(column, shape)?;
            *v = cx.b.reshape(wide, &[-1])?;
        }
    }
    cx.channels_last_norm(Norm::Group { groups, epsilon: n.float("epsilon", EPSILON)? }, &inputs)
}

fn response(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    let size = u32::try_from(n.required::<i64>("size")?).map_err(|_| Error::format("a negative size"))?;
    let (alpha, beta, bias) = (n.float("alpha", 1e-4)?, n.float("beta", 0.75)?, n.float("bias", 1.0)?);
    cx.channels_last_norm(Norm::Response { size, alpha, beta, bias }, &[x])
}

fn lp(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    let axis = normalize_axis(n.int("axis", -1)?, cx.b.rank(x))? as i32;
    let p = match n.int("p", 2)? {
        p @ 1..=2 => p as u32,
        p => return Err(Error::format(format!("normalisation by the {p}-norm is not defined"))),
    };
    Ok(vec![cx.b.emit1(Norm::Lp { axis, p }, &[x])?])
}

/// (x - mean) / (√var + 1e-9).
fn mean_variance(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    let axes = n.ints("axes")?.unwrap_or(&[0, 2, 3]);
    let axes = axes.iter().map(|&a| normalize_axis(a, cx.b.rank(x))).collect::<Result<Vec<_>>>()?;
    let mean = cx.b.reduce(ReduceKind::Mean, x, &axes, true)?;
    let centred = cx.b.sub(x, mean)?;
    let squares = cx.b.mul(centred, centred)?;
    let var = cx.b.reduce(ReduceKind::Mean, squares, &axes, true)?;
    let deviation = cx.b.unary(UnaryKind::Sqrt, var)?;
    let deviation = cx.b.binary_with(BinaryKind::Add, deviation, 1e-9)?;
    Ok(vec![cx.b.div(centred, deviation)?])
}

impl Cx<'_> {
    /// A norm of channels-last tensors applied to `[N, C, ..]`, the first input.
    fn channels_last_norm(&mut self, op: Norm, inputs: &[ValueId]) -> Result<Vec<ValueId>> {
        let mut inputs = inputs.to_vec();
        inputs[0] = self.b.channels_last(inputs[0])?;
        let y = self.b.emit1(op, &inputs)?;
        Ok(vec![self.b.channels_first(y)?])
    }

    /// Mean and variance of each channel of `[N, C, ..]`.
    fn moments(&mut self, x: ValueId) -> Result<(ValueId, ValueId)> {
        let axes: Vec<usize> = (0..self.b.rank(x)).filter(|&i| i != 1).collect();
        let mean = self.b.reduce(ReduceKind::Mean, x, &axes, true)?;
        let centred = self.b.sub(x, mean)?;
        let squares = self.b.mul(centred, centred)?;
        Ok((self.b.reshape(mean, &[-1])?, self.b.reduce(ReduceKind::Mean, squares, &axes, false)?))
    }

    /// x · s + t with s = scale / √(var + ε) and t = bias - mean · s. `stats` are scale, bias, mean and variance: of
    /// each channel, or without `spatial` of each element of an image.
    fn normalized(&mut self, x: ValueId, stats: &[ValueId], epsilon: f32, spatial: bool) -> Result<ValueId> {
        let var = self.b.binary_with(BinaryKind::Add, stats[3], epsilon.into())?;
        let deviation = self.b.unary(UnaryKind::Sqrt, var)?;
        let mut s = self.b.div(stats[0], deviation)?;
        let shift = self.b.mul(stats[2], s)?;
        let mut t = self.b.sub(stats[1], shift)?;
        let rank = self.b.rank(x);
        if spatial && rank > 2 {
            let behind: Vec<usize> = (1..rank - 1).collect();
            s = self.b.unsqueeze(s, &behind)?;
            t = self.b.unsqueeze(t, &behind)?;
        }
        let scaled = self.b.mul(x, s)?;
        self.b.add(scaled, t)
    }
}
