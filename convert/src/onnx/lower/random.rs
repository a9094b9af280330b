//! Random numbers: hashes of a seed and each element's index. A model has no state, so every run draws the same ones;
//! whoever needs others makes them an input of the model.

use super::{Cx, Table};
use crate::onnx::model::Node;
use infer::error::{Error, Result};
use infer::graph::ValueId;
use infer::ops::binary::BinaryKind;
use infer::ops::cumulative::CumulativeKind;
use infer::ops::reduce::ReduceKind;
use infer::ops::softmax::SoftmaxKind;
use infer::ops::unary::UnaryKind;
use infer::ops::{Cumulative, Range, Softmax};
use infer::tensor::DType;
use std::f64::consts::PI;

pub const TABLE: Table = &[
    ("Multinomial", multinomial),
    ("RandomNormal", |cx, n| given(cx, n, Kind::Normal)),
    ("RandomNormalLike", |cx, n| like(cx, n, Kind::Normal)),
    ("RandomUniform", |cx, n| given(cx, n, Kind::Uniform)),
    ("RandomUniformLike", |cx, n| like(cx, n, Kind::Uniform)),
];

/// A distribution, with two attributes.
#[derive(Clone, Copy)]
enum Kind {
    /// By mean and scale.
    Normal,
    /// By low and high.
    Uniform,
}

/// Of the shape in an attribute.
fn given(cx: &mut Cx<'_>, n: &Node, kind: Kind) -> Result<Vec<ValueId>> {
    let shape: &[i64] = n.required("shape")?;
    let (shape, dtype) = (cx.b.ints(shape)?, Cx::dtype(n.int("dtype", 1)?)?);
    cx.draw(n, kind, shape, dtype)
}

/// Of the input's shape and, unless an attribute says otherwise, type.
fn like(cx: &mut Cx<'_>, n: &Node, kind: Kind) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    let dtype = n.attribute::<i64>("dtype")?.map_or_else(|| Ok(cx.b.dtype(x)), Cx::dtype)?;
    let shape = cx.b.shape(x)?;
    cx.draw(n, kind, shape, dtype)
}

/// Classes `[batch, samples]` by their logarithmic, not normalised probabilities `[batch, classes]`: how many classes of
/// the cumulative distribution lie below a uniform number.
fn multinomial(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    let (samples, dtype) = (n.int("sample_size", 1)?, Cx::dtype(n.int("dtype", 6)?)?);
    let batch = cx.b.extent((x, 0))?;
    let samples = cx.b.ints(&[samples])?;
    let shape = cx.b.concat(0, &[batch, samples])?;
    let seed = cx.seed(n)?;
    let uniform = cx.uniform(shape, seed)?;
    let uniform = cx.b.unsqueeze(uniform, &[2])?;
    let x = cx.b.cast(x, DType::F32)?;
    let shares = cx.b.emit1(Softmax { kind: SoftmaxKind::Softmax, axis: 1 }, &[x])?;
    let sums =
        cx.b.emit1(Cumulative { kind: CumulativeKind::Sum, axis: 1, exclusive: false, reverse: false }, &[shares])?;
    // The last sum is 1 but for rounding: no number lies above it.
    let sums = cx.b.slice(sums, 1, 0, -1)?;
    let sums = cx.b.unsqueeze(sums, &[1])?;
    let below = cx.b.binary(BinaryKind::LessOrEqual, sums, uniform)?;
    let below = cx.b.cast(below, DType::I64)?;
    let class = cx.b.reduce(ReduceKind::Sum, below, &[2], false)?;
    Ok(vec![cx.b.cast(class, dtype)?])
}

impl Cx<'_> {
    fn draw(&mut self, n: &Node, kind: Kind, shape: ValueId, dtype: DType) -> Result<Vec<ValueId>> {
        let seed = self.seed(n)?;
        let (x, factor, offset) = match kind {
            Kind::Normal => (self.normal(shape, seed)?, n.float("scale", 1.0)?, n.float("mean", 0.0)?),
            Kind::Uniform => {
                let (low, high) = (n.float("low", 0.0)?, n.float("high", 1.0)?);
                (self.uniform(shape, seed)?, high - low, low)
            }
        };
        let x = self.b.binary_with(BinaryKind::Mul, x, factor.into())?;
        let x = self.b.binary_with(BinaryKind::Add, x, offset.into())?;
        Ok(vec![self.b.cast(x, dtype)?])
    }

    /// The attribute, or another one for each node.
    fn seed(&self, n: &Node) -> Result<u32> {
        let given = n.attribute::<f32>("seed")?;
        if self.depth > 0 {
            let message = "random numbers in the body of an If or a Loop, where each trip would draw the same ones: \
                           make them an input of the model";
            return Err(Error::unsupported(message));
        }
        Ok(given.map_or_else(|| self.b.g().values.len() as u32, f32::to_bits))
    }

    /// f32 in [0, 1).
    fn uniform(&mut self, shape: ValueId, seed: u32) -> Result<ValueId> {
        let bits = self.hashes(shape, seed)?;
        self.b.binary_with(BinaryKind::Mul, bits, 1.0 / f64::from(1 << 24))
    }

    /// f32 by the transform of Box and Muller (1958).
    fn normal(&mut self, shape: ValueId, seed: u32) -> Result<ValueId> {
        let (length, angle) = (self.hashes(shape, seed)?, self.hashes(shape, !seed)?);
        let length = self.b.binary_with(BinaryKind::Add, length, 1.0)?;
        let length = self.b.binary_with(BinaryKind::Mul, length, 1.0 / f64::from(1 << 24))?;
        let length = self.b.unary(UnaryKind::Log, length)?;
        let length = self.b.binary_with(BinaryKind::Mul, length, -2.0)?;
        let length = self.b.unary(UnaryKind::Sqrt, length)?;
        let angle = self.b.binary_with(BinaryKind::Mul, angle, 2.0 * PI / f64::from(1 << 24))?;
        let angle = self.b.unary(UnaryKind::Cos, angle)?;
        self.b.mul(length, angle)
    }

    /// 24 random bits for each element, as f32: a permuted congruential generator (O'Neill, 2014) as a hash, as Jarzynski
    /// and Olano (2020) have it, of the index times an odd number plus the hashed seed.
    fn hashes(&mut self, shape: ValueId, seed: u32) -> Result<ValueId> {
        let count = self.b.reduce(ReduceKind::Prod, shape, &[0], false)?;
        let (start, step) = (self.b.array(&[], &[0i64])?, self.b.array(&[], &[1i64])?);
        let index = self.b.emit1(Range, &[start, count, step])?;
        let mut x = self.b.cast(index, DType::U32)?;
        let seed = seed.wrapping_mul(0x9e37_79b9).rotate_left(15).wrapping_mul(0x85eb_ca6b) | 1;
        x = self.b.binary_with(BinaryKind::Mul, x, f64::from(747_796_405u32))?;
        x = self.b.binary_with(BinaryKind::Add, x, seed.into())?;
        let by = self.b.binary_with(BinaryKind::ShiftRight, x, 28.0)?;
        let by = self.b.binary_with(BinaryKind::Add, by, 4.0)?;
        let shifted = self.b.binary(BinaryKind::ShiftRight, x, by)?;
        x = self.b.binary(BinaryKind::BitXor, shifted, x)?;
        x = self.b.binary_with(BinaryKind::Mul, x, f64::from(277_803_737u32))?;
        let shifted = self.b.binary_with(BinaryKind::ShiftRight, x, 22.0)?;
        x = self.b.binary(BinaryKind::BitXor, shifted, x)?;
        x = self.b.binary_with(BinaryKind::ShiftRight, x, 8.0)?;
        let x = self.b.cast(x, DType::F32)?;
        self.b.reshape_by(x, shape)
    }
}
