//! Signals: windows, filter banks, and Fourier transforms, which are products with matrices.

use super::{Cx, Table};
use crate::onnx::model::Node;
use infer::error::{Error, Result, Status};
use infer::graph::ValueId;
use infer::ops::binary::BinaryKind;
use infer::ops::unary::UnaryKind;
use infer::ops::{Fail, MatMul, Pad, Range, Slice};
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

/// A discrete Fourier transform.
#[derive(Clone, Copy)]
struct Dft {
    inverse: bool,
    /// Only the first half of the spectrum comes out, or of an inverse transform goes in, whose result is real.
    onesided: bool,
}

/// The axis is an attribute before opset 20 and an input from then on; real and imaginary parts are the last axis.
fn dft(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (x, length, axis) = (cx.input(n, 0)?, cx.optional(n, 1)?, cx.optional(n, 2)?);
    let length = length.map(|length| cx.length(length)).transpose()?;
    let dft = Dft { inverse: n.flag("inverse", false)?, onesided: n.flag("onesided", false)? };
    let known = match axis {
        _ if n.opset < 20 => n.int("axis", 1)?,
        None => -2,
        Some(axis) => match cx.b.known_ints(axis).as_deref() {
            Some(&[axis]) => axis,
            _ => {
                let mask = cx.axis_mask(axis, cx.b.rank(x))?;
                return Ok(vec![cx.dft_along(x, mask, 0, (length, dft))?]);
            }
        },
    };
    let axis = normalize_axis(known, cx.b.rank(x))?;
    Ok(vec![cx.dft(x, axis, length, dft)?])
}

/// Transforms of overlapping frames of `[batch, length]` or `[batch, length, parts]`, multiplied with a window.
fn stft(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (mut x, window) = (cx.input(n, 0)?, cx.optional(n, 2)?);
    if cx.b.rank(x) == 2 {
        x = cx.b.unsqueeze(x, &[2])?;
    }
    let known = |cx: &Cx<'_>, v: ValueId| cx.b.known_ints(v).and_then(|v| v.first().copied()).filter(|&v| v > 0);
    let length = match (cx.optional(n, 3)?, window) {
        (Some(length), _) => known(cx, length),
        (None, Some(window)) => cx.b.ty(window).shape.first().and_then(Dim::fixed),
        (None, None) => cx.b.ty(x).shape.get(1).and_then(Dim::fixed),
    };
    let length = length.ok_or_else(|| Error::unsupported("a frame_length that is not constant"))?;
    let step = cx.input(n, 1)?;
    let frames = cx.frames(x, step, length)?;
    let frames = match window {
        Some(window) => {
            let window = cx.b.unsqueeze(window, &[1])?;
            cx.b.mul(frames, window)?
        }
        None => frames,
    };
    let dft = Dft { inverse: false, onesided: n.flag("onesided", true)? };
    Ok(vec![cx.dft(frames, 2, None, dft)?])
}

impl Cx<'_> {
    /// `[batch, frames, length, parts]` of `[batch, samples, parts]`: all frames that begin `step` apart and fit.
    fn frames(&mut self, x: ValueId, step: ValueId, length: i64) -> Result<ValueId> {
        let samples = self.b.extent_scalar((x, 1))?;
        let room = self.b.binary_with(BinaryKind::Sub, samples, (length - 1) as f64)?;
        let (zero, one) = (self.b.array(&[], &[0i64])?, self.b.array(&[], &[1i64])?);
        let stride = self.single(step)?;
        let (stride, length) = (self.b.cast(stride, DType::I64)?, self.b.array(&[], &[length])?);
        let starts = self.b.emit1(Range, &[zero, room, stride])?;
        let starts = self.b.unsqueeze(starts, &[1])?;
        let offsets = self.b.emit1(Range, &[zero, length, one])?;
        let places = self.b.add(starts, offsets)?;
        self.b.gather(x, places, 1)
    }

    /// The transform along the axis in the mask, which is `axis` or a later one.
    fn dft_along(
        &mut self,
        x: ValueId,
        mask: ValueId,
        axis: usize,
        (length, dft): (Option<ValueId>, Dft),
    ) -> Result<ValueId> {
        let (dtype, rank) = (self.b.dtype(x), self.b.rank(x));
        let fail = |message: &str| Fail { message: message.to_owned(), dtype, dims: vec![None; rank] };
        if axis + 1 >= rank {
            let op = fail("a transform along no axis, or along that of real and imaginary parts");
            return Ok(self.b.emit(op, &[])?[0]);
        }
        let here = self.b.pick(mask, 0, axis as i64)?;
        let around: Vec<ValueId> = [x, mask].into_iter().chain(length).collect();
        let then = self.body("axis", &[], &[], &around, |cx, inputs| {
            match cx.dft(inputs[0], axis, inputs.get(2).copied(), dft) {
                // It matters only if this is the axis.
                Err(e) if e.status() == Status::Shape => cx.b.emit(fail(e.message()), &[]),
                y => Ok(vec![y?]),
            }
        })?;
        let otherwise = self.body("other", &[], &[], &around, |cx, inputs| {
            Ok(vec![cx.dft_along(inputs[0], inputs[1], axis + 1, (inputs.get(2).copied(), dft))?])
        })?;
        Ok(self.emit_if(here, [then, otherwise])?[0])
    }

    /// The length of a transform as an i64 vector of one element.
    fn length(&mut self, given: ValueId) -> Result<ValueId> {
        let length = self.b.reshape(given, &[1])?;
        self.b.cast(length, DType::I64)
    }

    /// The transform along an axis of `length` elements, which go in, or come out of an inverse transform; of as many as
    /// there are if that is not given.
    fn dft(&mut self, x: ValueId, axis: usize, length: Option<ValueId>, dft: Dft) -> Result<ValueId> {
        let rank = self.b.rank(x);
        if axis + 1 >= rank {
            return Err(Error::shape("a transform along the axis of real and imaginary parts"));
        }
        let real = dft.inverse && dft.onesided;
        let (length, x) = match length {
            Some(length) => {
                let rows = if real { self.half(length)? } else { length };
                (length, self.with_length(x, axis, rows)?)
            }
            None => {
                let extent = self.b.extent((x, axis))?;
                let others = if real { self.b.binary_with(BinaryKind::Sub, extent, 1.0)? } else { extent };
                (if real { self.b.binary_with(BinaryKind::Mul, others, 2.0)? } else { extent }, x)
            }
        };
        let matrices = match self.b.known_ints(length).as_deref() {
            Some(&[known]) if known > 0 => self.dft_matrices(self.b.dtype(x), known as usize, dft)?,
            Some(_) => return Err(Error::shape("a transform of no elements")),
            None => self.dft_matrices_of(self.b.dtype(x), length, dft)?,
        };
        // The axis last, behind real and imaginary part.
        let mut perm: Vec<usize> = (0..rank).filter(|&i| i != axis).collect();
        perm.push(axis);
        let x = self.b.transpose(x, &perm)?;
        let y = self.spectrum(x, matrices, dft)?;
        let mut back: Vec<usize> = (0..rank - 2).collect();
        back.insert(axis, rank - 2);
        back.push(rank - 1);
        self.b.transpose(y, &back)
    }

    /// The transform of `[.., parts, elements]`: `[.., elements, parts]`.
    fn spectrum(&mut self, x: ValueId, (cos, sin): (ValueId, ValueId), dft: Dft) -> Result<ValueId> {
        let rank = self.b.rank(x);
        let complex = match self.b.dims(x)[rank - 2].fixed() {
            Some(parts @ 1..=2) => parts == 2,
            _ => return Err(Error::shape(format!("{} has no real and imaginary parts", self.b.ty(x)))),
        };
        let product = |cx: &mut Self, part: i64, matrix| {
            let part = cx.b.pick(x, rank - 2, part)?;
            cx.b.emit1(MatMul::default(), &[part, matrix])
        };
        let mut re = product(self, 0, cos)?;
        if complex {
            let turned = product(self, 1, sin)?;
            re = self.b.sub(re, turned)?;
        }
        let re = self.b.unsqueeze(re, &[rank - 1])?;
        if dft.inverse && dft.onesided {
            return Ok(re);
        }
        let mut im = product(self, 0, sin)?;
        if complex {
            let turned = product(self, 1, cos)?;
            im = self.b.add(im, turned)?;
        }
        let im = self.b.unsqueeze(im, &[rank - 1])?;
        self.b.concat(-1, &[re, im])
    }

    /// How many of `length` frequencies a spectrum of real elements has.
    fn half(&mut self, length: ValueId) -> Result<ValueId> {
        let half = self.b.binary_with(BinaryKind::Div, length, 2.0)?;
        self.b.binary_with(BinaryKind::Add, half, 1.0)
    }

    /// `x` with `want` elements along an axis: cut off, or zeros behind it.
    fn with_length(&mut self, x: ValueId, axis: usize, want: ValueId) -> Result<ValueId> {
        let have = self.b.dims(x)[axis].clone();
        if !have.is_unknown() && self.b.ty(want).value.as_ref().and_then(|v| v.first()) == Some(&have) {
            return Ok(x);
        }
        let zero = self.b.ints(&[0])?;
        let x = self.b.emit1(Slice { axes: vec![axis as i64] }, &[x, zero, want])?;
        let have = self.b.extent((x, axis))?;
        let (before, after) = (zero, self.b.sub(want, have)?);
        let pads = self.b.concat(0, &[before, after])?;
        self.b.emit1(Pad { axes: vec![axis as i64], ..Pad::default() }, &[x, pads])
    }

    /// Real and imaginary part of `e^(∓2πi jk / length)`, one row for each element that goes in. An inverse transform is
    /// divided by the length, and for half a spectrum counts twice what stands for two frequencies.
    fn dft_matrices(&mut self, dtype: DType, length: usize, dft: Dft) -> Result<(ValueId, ValueId)> {
        let half = |cut: bool| if cut { length / 2 + 1 } else { length };
        let (rows, columns) = (half(dft.onesided && dft.inverse), half(dft.onesided && !dft.inverse));
        if rows.saturating_mul(columns) > MAX_MATRIX {
            return Err(Error::unsupported(format!("a transform of {length} elements")));
        }
        let scale = |row: usize| match dft.inverse {
            false => 1.0,
            true if dft.onesided && row > 0 && 2 * row < length => 2.0 / length as f64,
            true => 1.0 / length as f64,
        };
        let sign = if dft.inverse { 1.0 } else { -1.0 };
        let element = |i: usize| {
            let (row, column) = (i / columns, i % columns);
            let angle = 2.0 * PI * (row * column % length) as f64 / length as f64;
            (sign * scale(row) * angle.sin(), scale(row) * angle.cos())
        };
        let (sin, cos): (Vec<f64>, Vec<f64>) = (0..rows * columns).map(element).unzip();
        let (cos, sin) = (self.b.array(&[rows, columns], &cos)?, self.b.array(&[rows, columns], &sin)?);
        Ok((self.b.cast(cos, dtype)?, self.b.cast(sin, dtype)?))
    }

    /// [`Cx::dft_matrices`] of a length that only the run knows, an i64 vector of one element.
    fn dft_matrices_of(&mut self, dtype: DType, length: ValueId, dft: Dft) -> Result<(ValueId, ValueId)> {
        let half = self.half(length)?;
        let index = |cx: &mut Self, cut: bool| {
            let end = cx.single(if cut { half } else { length })?;
            let (start, step) = (cx.b.array(&[], &[0i64])?, cx.b.array(&[], &[1i64])?);
            cx.b.emit1(Range, &[start, end, step])
        };
        let (row, column) = (index(self, dft.onesided && dft.inverse)?, index(self, dft.onesided && !dft.inverse)?);
        let row = self.b.unsqueeze(row, &[1])?;
        let turns = self.b.mul(row, column)?;
        let turns = self.b.binary(BinaryKind::Mod, turns, length)?;
        let (turns, period) = (self.b.cast(turns, DType::F64)?, self.b.cast(length, DType::F64)?);
        let turns = self.b.div(turns, period)?;
        let angle = self.b.binary_with(BinaryKind::Mul, turns, if dft.inverse { 2.0 * PI } else { -2.0 * PI })?;
        let mut parts = [self.b.unary(UnaryKind::Cos, angle)?, self.b.unary(UnaryKind::Sin, angle)?];
        if dft.inverse {
            let scale = self.inverse_scale(row, length, dft.onesided)?;
            parts = [self.b.mul(parts[0], scale)?, self.b.mul(parts[1], scale)?];
        }
        Ok((self.b.cast(parts[0], dtype)?, self.b.cast(parts[1], dtype)?))
    }

    /// What the rows of an inverse transform's matrices are multiplied with, f64 `[rows, 1]`.
    fn inverse_scale(&mut self, row: ValueId, length: ValueId, onesided: bool) -> Result<ValueId> {
        let mut scale = self.b.scalar(DType::F64, 1.0)?;
        if onesided {
            let (zero, twice) = (self.b.ints(&[0])?, self.b.binary_with(BinaryKind::Mul, row, 2.0)?);
            let (above, below) =
                (self.b.binary(BinaryKind::Greater, row, zero)?, self.b.binary(BinaryKind::Less, twice, length)?);
            let paired = self.b.binary(BinaryKind::And, above, below)?;
            let two = self.b.scalar(DType::F64, 2.0)?;
            scale = self.b.select(paired, two, scale)?;
        }
        let period = self.b.cast(length, DType::F64)?;
        self.b.div(scale, period)
    }
}
