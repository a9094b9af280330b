//! Attention, and the rotation of embeddings by position.

use super::{Cx, Table};
use crate::onnx::model::Node;
use infer::error::{Error, Result};
use infer::graph::ValueId;
use infer::ops::attention::{Arrangement, Scores};
use infer::ops::{Attention, Slice};
use infer::tensor::DType;

pub const TABLE: Table = &[("Attention", attention), ("RotaryEmbedding", rotary)];

fn attention(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let mut inputs = cx.optional_inputs(n)?;
    let q = cx.input(n, 0)?;
    let arrangement = match cx.b.rank(q) {
        4 => Arrangement::HeadsFirst,
        3 => Arrangement::SequenceFirst,
        _ => return Err(Error::shape(format!("queries {}; rank 3 or 4 is needed", cx.b.ty(q)))),
    };
    if let Some(mask) = inputs.get_mut(3).and_then(Option::as_mut)
        && cx.b.dtype(*mask) != DType::Bool
    {
        *mask = cx.b.cast(*mask, cx.b.dtype(q))?;
    }
    // The softmax is computed in f32 at least, and its results are rounded once.
    n.attribute::<i64>("softmax_precision")?;
    let scores = match n.int("qk_matmul_output_mode", 0)? {
        0 => Scores::Products,
        1 => Scores::Capped,
        2 => Scores::Masked,
        3 => Scores::Weights,
        other => return Err(Error::format(format!("qk_matmul_output_mode {other} is not defined"))),
    };
    let scale = n.attribute::<f32>("scale")?;
    if scale == Some(0.0) {
        return Err(Error::unsupported("an Attention with scale 0"));
    }
    let op = Attention {
        heads: heads(n, "q_num_heads", arrangement)?,
        kv_heads: heads(n, "kv_num_heads", arrangement)?,
        scale: scale.unwrap_or(0.0),
        causal: n.flag("is_causal", false)?,
        softcap: n.float("softcap", 0.0)?,
        arrangement,
        left_window: window(n, "left_window_size")?,
        right_window: window(n, "right_window_size")?,
        scores: n.output(3).map(|_| scores),
    };
    cx.b.emit(op, &inputs)
}

/// Number of heads, which the shape tells unless heads and their elements share a dimension.
fn heads(n: &Node, name: &str, arrangement: Arrangement) -> Result<u32> {
    let heads = n.int(name, 0)?;
    match u32::try_from(heads) {
        Ok(_) if arrangement == Arrangement::HeadsFirst => Ok(0),
        Ok(heads) if heads > 0 => Ok(heads),
        _ => Err(Error::format(format!("{name} is {heads}; it must be positive"))),
    }
}

/// Positions that a query sees to one side; -1 stands for all.
fn window(n: &Node, name: &str) -> Result<Option<u32>> {
    match n.int(name, -1)? {
        -1 => Ok(None),
        size => u32::try_from(size).map(Some).map_err(|_| Error::format(format!("{name} is {size}"))),
    }
}

/// Pairs of elements as complex numbers, turned by the angles whose cosines and sines are given for each position.
fn rotary(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (mut x, mut cos, mut sin) = (cx.input(n, 0)?, cx.input(n, 1)?, cx.input(n, 2)?);
    let positions = cx.optional(n, 3)?;
    let heads: i64 = n.int("num_heads", 0)?;
    let original = x;
    // Heads first, or in the middle after a reshape.
    let head_axis = match cx.b.rank(x) {
        4 => 1,
        3 => {
            let width = cx.b.dims(x)[2].fixed().filter(|w| heads > 0 && w % heads == 0);
            let width = width.ok_or_else(|| Error::format(format!("{heads} heads of {}", cx.b.ty(x))))?;
            x = cx.b.reshape(x, &[0, 0, heads, width / heads])?;
            2
        }
        _ => return Err(Error::shape(format!("embeddings {}; rank 3 or 4 is needed", cx.b.ty(x)))),
    };
    if let Some(positions) = positions {
        (cos, sin) = (cx.b.gather(cos, positions, 0)?, cx.b.gather(sin, positions, 0)?);
    }
    (cos, sin) = (cx.b.unsqueeze(cos, &[head_axis])?, cx.b.unsqueeze(sin, &[head_axis])?);
    let size = cx.b.dims(x)[3].fixed().ok_or_else(|| Error::unsupported("heads of unknown size"))?;
    let turned = match n.int("rotary_embedding_dim", 0)? {
        0 => size,
        turned if (1..=size).contains(&turned) && turned % 2 == 0 => turned,
        other => return Err(Error::format(format!("rotary_embedding_dim {other} for heads of {size}"))),
    };
    let head = cx.b.slice(x, 3, 0, turned)?;
    let mut parts = vec![cx.rotated(head, cos, sin, turned, n.flag("interleaved", false)?)?];
    if turned < size {
        parts.push(cx.b.slice(x, 3, turned, size)?);
    }
    let y = cx.b.concat(3, &parts)?;
    let back = (0..cx.b.rank(original)).map(|i| vec![(original, i)]).collect::<Vec<_>>();
    Ok(vec![cx.b.reshape_as(y, &back)?])
}

impl Cx<'_> {
    /// All of `[.., size]`: its halves are real and imaginary parts, or each two neighbours are if `interleaved`.
    fn rotated(&mut self, x: ValueId, cos: ValueId, sin: ValueId, size: i64, interleaved: bool) -> Result<ValueId> {
        let (re, im) = match interleaved {
            true => (self.every_second(x, 0)?, self.every_second(x, 1)?),
            false => (self.b.slice(x, 3, 0, size / 2)?, self.b.slice(x, 3, size / 2, size)?),
        };
        let [a, b] = [self.b.mul(re, cos)?, self.b.mul(im, sin)?];
        let [c, d] = [self.b.mul(re, sin)?, self.b.mul(im, cos)?];
        let (re, im) = (self.b.sub(a, b)?, self.b.add(c, d)?);
        if !interleaved {
            return self.b.concat(3, &[re, im]);
        }
        let (re, im) = (self.b.unsqueeze(re, &[4])?, self.b.unsqueeze(im, &[4])?);
        let pairs = self.b.concat(4, &[re, im])?;
        self.b.reshape_as(pairs, &(0..4).map(|i| vec![(x, i)]).collect::<Vec<_>>())
    }

    /// Every second element of the last of four dimensions.
    fn every_second(&mut self, x: ValueId, start: i64) -> Result<ValueId> {
        let (start, end, step) = (self.b.ints(&[start])?, self.b.ints(&[i64::MAX])?, self.b.ints(&[2])?);
        self.b.emit1(Slice { axes: vec![3] }, &[x, start, end, step])
    }
}
