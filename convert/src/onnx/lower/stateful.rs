//! Operators whose state goes from call to call: linear attention, and causal convolution.

use super::{Cx, Table};
use crate::onnx::model::Node;
use infer::error::{Error, Result};
use infer::graph::ValueId;
use infer::ops::binary::BinaryKind;
use infer::ops::unary::UnaryKind;
use infer::ops::window::Window;
use infer::ops::{Conv, MatMul, Pad, Unary};
use infer::tensor::DType;

pub const TABLE: Table = &[("CausalConvWithState", causal_conv), ("LinearAttention", linear_attention)];

/// A convolution of each channel of `[N, C, length]` with what stands before it: the state `[N, C, taps - 1]`, or zeros.
fn causal_conv(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (x, w, bias) = (cx.input(n, 0)?, cx.input(n, 1)?, cx.optional(n, 2)?);
    let (groups, taps) = match cx.b.dims(w).iter().map(|d| d.fixed()).collect::<Option<Vec<_>>>().as_deref() {
        Some(&[groups, 1, taps]) if taps > 0 => (u32::try_from(groups).unwrap_or(0), taps),
        _ => return Err(Error::shape(format!("weights {}; [channels, 1, taps] are needed", cx.b.ty(w)))),
    };
    if cx.b.rank(x) != 3 {
        return Err(Error::shape(format!("an input {}; rank 3 is needed", cx.b.ty(x))));
    }
    let padded = match cx.optional(n, 3)? {
        Some(past) => cx.b.concat(2, &[past, x])?,
        None => {
            let pads = cx.b.ints(&[taps - 1, 0])?;
            cx.b.emit1(Pad { axes: vec![2], ..Pad::default() }, &[x, pads])?
        }
    };
    let window = Window { strides: vec![1], pads: vec![0, 0], dilations: vec![1] };
    let (image, weights) = (cx.b.channels_last(padded)?, cx.b.channels_last(w)?);
    let op = Conv { window, groups, ..Conv::default() };
    let y = cx.b.emit(op, &[Some(image), Some(weights), bias])?[0];
    let mut y = cx.b.channels_first(y)?;
    match n.string("activation", "none")? {
        "none" => {}
        "silu" | "swish" => y = cx.b.emit1(Unary::with_alpha(UnaryKind::Swish, 1.0), &[y])?,
        other => return Err(Error::format(format!("activation '{other}' is not defined"))),
    }
    let present = if taps == 1 { cx.b.slice(padded, 2, 0, 0)? } else { cx.b.slice(padded, 2, 1 - taps, i64::MAX)? };
    Ok(vec![y, present])
}

/// What a step of linear attention reads, in f32, step by step along axis 1.
struct Steps {
    /// `[N, T, heads of keys, queries of each, size]`, scaled.
    queries: ValueId,
    /// `[N, T, heads, size, 1]`.
    keys: ValueId,
    /// `[N, T, heads, 1, value size]`.
    values: ValueId,
    /// Factors of the state, `[N, T, heads, size or 1, 1]`.
    decay: Option<ValueId>,
    /// Factors of corrections, `[N, T, heads or 1, 1, 1]`.
    beta: Option<ValueId>,
}

/// For each step: `S ← decay · S + k ⊗ v`, where with `beta` the value is first corrected by what S holds for the key,
/// and `y = q · S`. Computed in f32.
fn linear_attention(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    // How the steps may be taken together.
    n.attribute::<i64>("chunk_size")?;
    let (decays, corrects) = match n.string("update_rule", "gated_delta")? {
        "linear" => (false, false),
        "gated" => (true, false),
        "delta" => (false, true),
        "gated_delta" => (true, true),
        other => return Err(Error::format(format!("update_rule '{other}' is not defined"))),
    };
    let (q, v) = (cx.input(n, 0)?, cx.input(n, 2)?);
    let (heads, kv_heads): (i64, i64) = (n.required("q_num_heads")?, n.required("kv_num_heads")?);
    if heads < 1 || kv_heads < 1 || heads % kv_heads != 0 {
        return Err(Error::format(format!("{heads} heads of queries for {kv_heads} of keys")));
    }
    let (size, value_size) = (width(cx, q, heads)?, width(cx, v, kv_heads)?);
    let scale = match n.float("scale", 0.0)? {
        0.0 => 1.0 / (size as f64).sqrt(),
        scale => scale.into(),
    };
    let parts = |cx: &mut Cx<'_>, index: usize, behind: &[i64]| {
        let x = cx.input(n, index)?;
        let x = cx.b.cast(x, DType::F32)?;
        cx.b.reshape(x, &[&[0, 0], behind].concat())
    };
    let queries = parts(cx, 0, &[kv_heads, heads / kv_heads, size])?;
    let queries = cx.b.binary_with(BinaryKind::Mul, queries, scale)?;
    let (keys, values) = (parts(cx, 1, &[kv_heads, size, 1])?, parts(cx, 2, &[kv_heads, 1, value_size])?);
    check_gates(n, decays, corrects)?;
    let mut steps = Steps { queries, keys, values, decay: None, beta: None };
    if decays {
        let v = cx.input(n, 4)?;
        let factors = width(cx, v, kv_heads)?;
        let logs = parts(cx, 4, &[kv_heads, factors, 1])?;
        steps.decay = Some(cx.b.unary(UnaryKind::Exp, logs)?);
    }
    if corrects {
        let v = cx.input(n, 5)?;
        let factors = width(cx, v, 1)?;
        steps.beta = Some(parts(cx, 5, &[factors, 1, 1])?);
    }
    let state = cx.first_state(n, &steps)?;
    cx.linear_steps(n, &steps, state)
}

/// Elements of each head in `[N, T, heads · size]`.
fn width(cx: &Cx<'_>, x: ValueId, heads: i64) -> Result<i64> {
    let size = match &cx.b.dims(x)[..] {
        [_, _, width] => width.fixed().filter(|w| w % heads == 0).map(|w| w / heads),
        _ => None,
    };
    size.filter(|&s| s > 0).ok_or_else(|| Error::shape(format!("{heads} heads of {}", cx.b.ty(x))))
}

/// Gates are given where the rule has them, and only there.
fn check_gates(n: &Node, decays: bool, corrects: bool) -> Result<()> {
    for (index, name, wanted) in [(4, "decay", decays), (5, "beta", corrects)] {
        if n.input(index).is_some() != wanted {
            let what = if wanted { "is missing" } else { "is not part of the update rule" };
            return Err(Error::format(format!("input '{name}' {what}")));
        }
    }
    Ok(())
}

impl Cx<'_> {
    /// The state `[N, heads, size, value size]` before the first step.
    fn first_state(&mut self, n: &Node, steps: &Steps) -> Result<ValueId> {
        if let Some(past) = self.optional(n, 3)? {
            return self.b.cast(past, DType::F32);
        }
        let zero = self.b.scalar(DType::F32, 0.0)?;
        let (k, v) = (steps.keys, steps.values);
        let shape = self.b.extents(&[vec![(k, 0)], vec![(k, 2)], vec![(k, 3)], vec![(v, 4)]])?;
        self.b.expand(zero, shape)
    }

    fn linear_steps(&mut self, n: &Node, steps: &Steps, state: ValueId) -> Result<Vec<ValueId>> {
        let q = self.input(n, 0)?;
        let dtype = self.b.dtype(q);
        let state_type = self.optional(n, 3)?.map_or(dtype, |past| self.b.dtype(past));
        let trips = self.b.extent_scalar((steps.queries, 1))?;
        let gates = [steps.decay, steps.beta];
        let around: Vec<ValueId> =
            [steps.queries, steps.keys, steps.values].into_iter().chain(gates.into_iter().flatten()).collect();
        let results = self.emit_loop(Some(trips), None, &[state], &[], &around, |cx, inputs| {
            let [trip, _, state, around @ ..] = inputs else { return Err(Error::internal("too few inputs")) };
            let parts = around.iter().map(|&x| cx.b.gather(x, *trip, 1)).collect::<Result<Vec<_>>>()?;
            let mut rest = parts[3..].iter().copied();
            let [decay, beta] = gates.map(|gate| gate.and_then(|_| rest.next()));
            let (state, y) = cx.linear_step([parts[0], parts[1], parts[2]], decay, beta, *state)?;
            Ok(vec![cx.b.scalar(DType::Bool, 1.0)?, state, y])
        })?;
        // [T, N, heads, queries, value size] to [N, T, all].
        let y = self.b.transpose(results[1], &[1, 0, 2, 3, 4])?;
        let y = self.b.reshape_as(y, &[vec![(y, 0)], vec![(y, 1)], vec![(y, 2), (y, 3), (y, 4)]])?;
        Ok(vec![self.b.cast(y, dtype)?, self.b.cast(results[0], state_type)?])
    }

    /// One step: the new state, and what the queries read from it.
    fn linear_step(
        &mut self,
        [q, k, mut v]: [ValueId; 3],
        decay: Option<ValueId>,
        beta: Option<ValueId>,
        mut state: ValueId,
    ) -> Result<(ValueId, ValueId)> {
        if let Some(decay) = decay {
            state = self.b.mul(state, decay)?;
        }
        if let Some(beta) = beta {
            let op = MatMul { transpose_a: true, ..MatMul::default() };
            let held = self.b.emit1(op, &[k, state])?;
            let error = self.b.sub(v, held)?;
            v = self.b.mul(error, beta)?;
        }
        let written = self.b.mul(k, v)?;
        state = self.b.add(state, written)?;
        Ok((state, self.b.emit1(MatMul::default(), &[q, state])?))
    }
}
