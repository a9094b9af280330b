//! Signals: windows, filter banks, and Fourier transforms, which are products with constant matrices.

use super::{Cx, Table};
use crate::onnx::model::Node;
use infer::error::{Error, Result};
use infer::graph::ValueId;
use infer::ops::binary::BinaryKind;
use infer::ops::unary::UnaryKind;
use infer::ops::{MatMul, Pad, Range};
use infer::tensor::{DType, Dim, normalize_axis};
use std::f64::consts::PI;

pub const TABLE: Table = &[
    ("BlackmanWindow", |cx, n| window(cx, n, [0.42, 0.5, 0.08])),
    ("DFT", dft),
    ("HammingWindow", |cx, n| window(cx, n, [25.0 / 46.0, 21.0 / 46.0, 0.0])),
    ("HannWindow", |cx, n| window(cx, n, [0.5, 0.5, 0.0])),
    ("MelWeightMatrix", mel_weights),
    ("STFT", stft),
];

/// Most elements of a matrix that is made at import.
const MAX_MATRIX: usize = 1 << 24;

/// `a - b cos(2πi/N) + c cos(4πi/N)` for i from 0 to the size, which is N or, for a window that is not periodic, N + 1.
fn window(cx: &mut Cx<'_>, n: &Node, [a, b, c]: [f64; 3]) -> Result<Vec<ValueId>> {
    let size = cx.input(n, 0)?;
    let size = cx.single(size)?;
    let to = Cx::dtype(n.int("output_datatype", 1)?)?;
    let size = cx.b.cast(size, DType::F64)?;
    let period = if n.flag("periodic", true)? { size } else { cx.b.binary_with(BinaryKind::Sub, size, 1.0)? };
    let (start, step) = (cx.b.scalar(DType::F64, 0.0)?, cx.b.scalar(DType::F64, 1.0)?);
    let index = cx.b.emit1(Range, &[start, size, step])?;
    let mut y = cx.b.scalar(DType::F64, a)?;
    for (factor, turns) in [(-b, 2.0), (c, 4.0)] {
        let angle = cx.b.binary_with(BinaryKind::Mul, index, turns * PI)?;
        let angle = cx.b.div(angle, period)?;
        let cos = cx.b.unary(UnaryKind::Cos, angle)?;
        let term = cx.b.binary_with(BinaryKind::Mul, cos, factor)?;
        y = cx.b.add(y, term)?;
    }
    Ok(vec![cx.b.cast(y, to)?])
}

/// Triangular filters whose corners are equally far apart on the mel scale.
fn mel_weights(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let unknown = || Error::unsupported("MelWeightMatrix of what is not constant");
    let known = |i| cx.b.known_scalar(cx.input(n, i)?).ok_or_else(unknown);
    let v = (0..5).map(known).collect::<Result<Vec<f64>>>()?;
    let to = Cx::dtype(n.int("output_datatype", 1)?)?;
    let (bands, length, rate) = (v[0] as usize, v[1], v[2]);
    let bins = (length / 2.0).floor() as usize + 1;
    if v.iter().any(|x| !x.is_finite() || *x < 0.0) || rate == 0.0 || bands.saturating_mul(bins) > MAX_MATRIX {
        return Err(Error::format(format!("MelWeightMatrix of {v:?}")));
    }
    let mel = |hertz: f64| 2595.0 * (1.0 + hertz / 700.0).log10();
    let (low, high) = (mel(v[3]), mel(v[4]));
    let step = (high - low) / (bands + 2) as f64;
    let corner = |i: usize| {
        let hertz = 700.0 * (10f64.powf((i as f64 * step + low) / 2595.0) - 1.0);
        ((length + 1.0) * hertz / rate).floor() as usize
    };
    let mut weights = vec![0f64; bins * bands];
    for band in 0..bands {
        let [left, peak, right] = [0, 1, 2].map(|i| corner(band + i));
        let slope = |bin: usize| match bin {
            _ if bin == peak && left == peak => 1.0,
            _ if (left..=peak).contains(&bin) => (bin - left) as f64 / (peak - left) as f64,
            _ if (peak..right).contains(&bin) => (right - bin) as f64 / (right - peak) as f64,
            _ => 0.0,
        };
        (0..bins).for_each(|bin| weights[bin * bands + band] = slope(bin));
    }
    let weights = cx.b.array(&[bins, bands], &weights)?;
    Ok(vec![cx.b.cast(weights, to)?])
}

/// The attributes of a discrete Fourier transform.
struct Dft {
    axis: usize,
    inverse: bool,
    onesided: bool,
}

/// The axis is an attribute before opset 20 and an input from then on; real and imaginary parts are the last axis.
fn dft(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (x, length) = (cx.input(n, 0)?, cx.optional(n, 1)?);
    let axis = match cx.optional(n, 2)? {
        _ if n.opset < 20 => n.int("axis", 1)?,
        Some(axis) => match cx.b.known_ints(axis).as_deref() {
            Some(&[axis]) => axis,
            _ => return Err(Error::unsupported("an axis that is not constant")),
        },
        None => -2,
    };
    let rank = cx.b.rank(x);
    let axis = normalize_axis(axis, rank)?;
    let (inverse, onesided) = (n.flag("inverse", false)?, n.flag("onesided", false)?);
    if axis + 1 == rank || inverse && onesided {
        return Err(Error::unsupported("a transform along the last axis, or an inverse one of half a spectrum"));
    }
    let length = match length {
        Some(length) => cx.b.known_ints(length).and_then(|v| v.first().copied()),
        None => cx.b.dims(x)[axis].fixed(),
    };
    let length = length.and_then(|l| usize::try_from(l).ok()).filter(|&l| l > 0);
    let length = length.ok_or_else(|| Error::unsupported("a length that is not constant"))?;
    Ok(vec![cx.dft(x, length, &Dft { axis, inverse, onesided })?])
}

/// Transforms of overlapping frames of `[batch, length]` or `[batch, length, parts]`, multiplied with a window.
fn stft(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (mut x, window) = (cx.input(n, 0)?, cx.optional(n, 2)?);
    if cx.b.rank(x) == 2 {
        x = cx.b.unsqueeze(x, &[2])?;
    }
    let known = |cx: &Cx<'_>, v: ValueId| cx.b.known_ints(v).and_then(|v| v.first().copied()).filter(|&v| v > 0);
    let step = known(cx, cx.input(n, 1)?).ok_or_else(|| Error::unsupported("a frame_step that is not constant"))?;
    let length = match (cx.optional(n, 3)?, window) {
        (Some(length), _) => known(cx, length),
        (None, Some(window)) => cx.b.ty(window).shape.first().and_then(Dim::fixed),
        (None, None) => cx.b.ty(x).shape.get(1).and_then(Dim::fixed),
    };
    let length = length.ok_or_else(|| Error::unsupported("a frame_length that is not constant"))?;
    let frames = cx.frames(x, step, length)?;
    let frames = match window {
        Some(window) => {
            let window = cx.b.unsqueeze(window, &[1])?;
            cx.b.mul(frames, window)?
        }
        None => frames,
    };
    let length = usize::try_from(length).map_err(|_| Error::unsupported("a frame_length beyond memory"))?;
    let dft = Dft { axis: 2, inverse: false, onesided: n.flag("onesided", true)? };
    Ok(vec![cx.dft(frames, length, &dft)?])
}

impl Cx<'_> {
    /// `[batch, frames, length, parts]` of `[batch, samples, parts]`: all frames that begin `step` apart and fit.
    fn frames(&mut self, x: ValueId, step: i64, length: i64) -> Result<ValueId> {
        let samples = self.b.extent_scalar((x, 1))?;
        let room = self.b.binary_with(BinaryKind::Sub, samples, (length - 1) as f64)?;
        let (zero, one) = (self.b.array(&[], &[0i64])?, self.b.array(&[], &[1i64])?);
        let (stride, length) = (self.b.array(&[], &[step])?, self.b.array(&[], &[length])?);
        let starts = self.b.emit1(Range, &[zero, room, stride])?;
        let starts = self.b.unsqueeze(starts, &[1])?;
        let offsets = self.b.emit1(Range, &[zero, length, one])?;
        let places = self.b.add(starts, offsets)?;
        self.b.gather(x, places, 1)
    }

    fn dft(&mut self, x: ValueId, length: usize, dft: &Dft) -> Result<ValueId> {
        let rank = self.b.rank(x);
        let x = self.with_length(x, dft.axis, length)?;
        // The axis last, behind real and imaginary part.
        let mut perm: Vec<usize> = (0..rank).filter(|&i| i != dft.axis).collect();
        perm.push(dft.axis);
        let x = self.b.transpose(x, &perm)?;
        let parts = match self.b.dims(x)[rank - 2].fixed() {
            Some(parts @ 1..=2) => parts,
            _ => return Err(Error::shape(format!("{} has no real and imaginary parts", self.b.ty(x)))),
        };
        let (cos, sin) = self.dft_matrices(self.b.dtype(x), length, dft)?;
        let product = |cx: &mut Self, part: i64, matrix| {
            let part = cx.b.pick(x, rank - 2, part)?;
            cx.b.emit1(MatMul::default(), &[part, matrix])
        };
        let (mut re, mut im) = (product(self, 0, cos)?, product(self, 0, sin)?);
        if parts == 2 {
            let (a, b) = (product(self, 1, sin)?, product(self, 1, cos)?);
            (re, im) = (self.b.sub(re, a)?, self.b.add(im, b)?);
        }
        let (re, im) = (self.b.unsqueeze(re, &[rank - 1])?, self.b.unsqueeze(im, &[rank - 1])?);
        let y = self.b.concat(-1, &[re, im])?;
        let mut back: Vec<usize> = (0..rank - 2).collect();
        back.insert(dft.axis, rank - 2);
        back.push(rank - 1);
        self.b.transpose(y, &back)
    }

    /// `x` with `length` elements along an axis: cut off, or zeros behind it.
    fn with_length(&mut self, x: ValueId, axis: usize, length: usize) -> Result<ValueId> {
        if self.b.dims(x)[axis] == length.into() {
            return Ok(x);
        }
        let x = self.b.slice(x, axis, 0, length as i64)?;
        let want = self.b.ints(&[length as i64])?;
        let have = self.b.extent((x, axis))?;
        let (before, after) = (self.b.ints(&[0])?, self.b.sub(want, have)?);
        let pads = self.b.concat(0, &[before, after])?;
        self.b.emit1(Pad { axes: vec![axis as i64], ..Pad::default() }, &[x, pads])
    }

    /// Real and imaginary part of `e^(∓2πi jk / length)`, `[length, frequencies]`; scaled by 1 / length if inverse.
    fn dft_matrices(&mut self, dtype: DType, length: usize, dft: &Dft) -> Result<(ValueId, ValueId)> {
        let frequencies = if dft.onesided { length / 2 + 1 } else { length };
        if length.saturating_mul(frequencies) > MAX_MATRIX {
            return Err(Error::unsupported(format!("a transform of {length} elements")));
        }
        let (sign, scale) = if dft.inverse { (1.0, 1.0 / length as f64) } else { (-1.0, 1.0) };
        let angle = |i: usize| 2.0 * PI * ((i / frequencies) * (i % frequencies) % length) as f64 / length as f64;
        let angles = (0..length * frequencies).map(angle);
        let (sin, cos): (Vec<f64>, Vec<f64>) = angles.map(|a| (sign * scale * a.sin(), scale * a.cos())).unzip();
        let (cos, sin) = (self.b.array(&[length, frequencies], &cos)?, self.b.array(&[length, frequencies], &sin)?);
        Ok((self.b.cast(cos, dtype)?, self.b.cast(sin, dtype)?))
    }
}
