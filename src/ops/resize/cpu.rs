//! Rows along the last resized axis: the input rows that an output row is made of are blended first, then elements along
//! the row, each of which is the contiguous stretch of elements behind that axis.

use super::axis::{Map, Taps};
use super::nearest::Nearest;
use super::{Interpolation, Resize};
use crate::cpu::Isa;
use crate::cpu::simd::{Machine, Work};
use crate::error::Result;
use crate::ops::arith::Arith;
use crate::ops::elementwise::{Number, for_type};
use crate::ops::sample::{Real, Sample, SampleRows, Samples, add_scaled};
use crate::ops::{Kernel, Prepare};
use crate::tensor::{Args, Grid, MAX_RANK};

/// Multiplications worth a part of their own.
const GRAIN: usize = 64 * 1024;

/// The kernel for the axes that are resized.
pub fn prepare(cx: &Prepare<'_>, op: &Resize, maps: Vec<(usize, Map)>) -> Box<dyn Kernel> {
    let frame = Frame::new(cx, op, maps);
    let (dtype, isa, extrapolation) = (cx.outputs[0].dtype, cx.isa, op.extrapolation.into());
    if op.mode == Interpolation::Nearest {
        return for_type!(dtype, nearest(frame, extrapolation));
    }
    for_type!(dtype, blended(frame, isa, extrapolation))
}

fn nearest<T: Number>(frame: Frame, extrapolation: f64) -> Box<dyn Kernel> {
    Box::new(Nearest { frame, extrapolation: T::from_f64(extrapolation) })
}

fn blended<T: Sample>(frame: Frame, isa: Isa, extrapolation: f64) -> Box<dyn Kernel> {
    let weights = frame.row.weight.iter().map(|&w| Real::of(w)).collect();
    let run = |blended: &Blended<T::Wide>, args: &mut Args<'_>| {
        let (from, mut to) = (args.input::<T>(0), args.output::<T>(0));
        blended.rows(&from, &mut to, args.scratch());
    };
    Box::new(Blended { frame, isa, weights, extrapolation: Real::of(extrapolation), run })
}

/// The output as rows.
pub struct Frame {
    /// The axes outside the rows.
    outer: Vec<Outer>,
    /// What elements along a row are made of.
    pub row: Taps,
    /// Number of rows.
    pub rows: usize,
    /// Extent of the rows' axis in the input and the output.
    pub from: usize,
    /// See `from`.
    pub to: usize,
    /// Elements behind each element of the rows' axis.
    pub inner: usize,
}

/// An axis outside the rows.
struct Outer {
    extent: usize,
    /// Elements of the input between neighbours.
    stride: usize,
    /// What its elements are made of, if it is resized.
    taps: Option<Taps>,
}

/// Where the input rows of an output row are.
pub struct Place<'a> {
    /// Offset by the axes that are not resized.
    base: usize,
    /// For each resized axis its distance between elements, its taps and the coordinate.
    axes: [Option<(usize, &'a Taps, usize)>; MAX_RANK],
    count: usize,
}

impl Frame {
    fn new(cx: &Prepare<'_>, op: &Resize, mut maps: Vec<(usize, Map)>) -> Self {
        let (from, to) = (cx.dims(0), cx.out_dims(0));
        maps.sort_by_key(|m| m.0);
        let whole = Map { from: 1, to: 1, scale: 1.0, region: (0.0, 1.0) };
        // Without a resized axis everything is one row of one element.
        let (last, map) = maps.pop().unwrap_or((0, whole));
        let is_copy = map.from == 1 && map.to == 1 && maps.is_empty() && map.is_identity();
        let (outer, inner) = if is_copy { (0, from.iter().product()) } else { (last, from[last + 1..].iter().product()) };
        let strides = from.strides();
        let axis = |i: usize| {
            let map = maps.iter().find(|m| m.0 == i).map(|m| m.1.taps(op));
            Outer { extent: to[i], stride: strides[i], taps: map }
        };
        let outer: Vec<Outer> = (0..outer).map(axis).collect();
        let rows = outer.iter().map(|a| a.extent).product();
        Frame { outer, row: map.taps(op), rows, from: map.from, to: map.to, inner }
    }

    /// Where row `row` comes from; None if it lies outside the data.
    pub fn place(&self, mut row: usize) -> Option<Place<'_>> {
        let mut place = Place { base: 0, axes: [None; MAX_RANK], count: 0 };
        for axis in self.outer.iter().rev() {
            let at = row % axis.extent;
            row /= axis.extent;
            match &axis.taps {
                None => place.base += at * axis.stride,
                Some(taps) if taps.outside.get(at) == Some(&true) => return None,
                Some(taps) => {
                    place.axes[place.count] = Some((axis.stride, taps, at));
                    place.count += 1;
                }
            }
        }
        Some(place)
    }

    /// Input elements of a row.
    fn row_len(&self) -> usize {
        self.from * self.inner
    }
}

impl Place<'_> {
    /// Number of input rows.
    fn rows(&self) -> usize {
        self.axes.iter().flatten().map(|(_, taps, _)| taps.taps).product()
    }

    /// Offset and weight of input row `i`.
    pub fn row(&self, mut i: usize) -> (usize, f64) {
        let (mut offset, mut weight) = (self.base, 1.0);
        for (stride, taps, at) in self.axes.iter().flatten() {
            let tap = at * taps.taps + i % taps.taps;
            i /= taps.taps;
            offset += taps.index[tap] * stride;
            weight *= taps.weight[tap];
        }
        (offset, weight)
    }
}

struct Blended<W> {
    frame: Frame,
    isa: Isa,
    /// Weights along a row.
    weights: Vec<W>,
    extrapolation: W,
    /// Runs a part, for the element type of the data.
    run: fn(&Self, &mut Args<'_>),
}

impl<W: Real> Kernel for Blended<W> {
    fn phases(&self) -> Vec<Grid> {
        let f = &self.frame;
        let cost = f.to * f.inner * f.row.taps + f.row_len() * 2;
        vec![Grid::by_cost(f.rows, cost, GRAIN)]
    }

    fn scratch_bytes(&self) -> usize {
        let f = &self.frame;
        (2 * f.row_len() + f.to * f.inner) * size_of::<W>()
    }

    fn run(&self, _phase: usize, args: &mut Args<'_>) -> Result<()> {
        (self.run)(self, args);
        Ok(())
    }
}

impl<W: Real> Blended<W> {
    fn rows(&self, from: &dyn Samples<W>, to: &mut dyn SampleRows<W>, scratch: &mut [W]) {
        let len = self.frame.row_len();
        let (blend, rest) = scratch.split_at_mut(len);
        let (row, rest) = rest.split_at_mut(len);
        let result = &mut rest[..self.frame.to * self.frame.inner];
        for r in to.range() {
            let place = self.frame.place(r);
            let row = place.map(|place| self.blend(&place, from, blend, row));
            if let Some(to) = to.direct(r) {
                self.along(row, to);
            } else {
                self.along(row, result);
                to.put(self.isa, r, result);
            }
        }
    }

    /// The blend of the input rows of an output row: in `blend`, or in place if there is only one.
    fn blend<'a>(&self, place: &Place<'_>, from: &'a dyn Samples<W>, blend: &'a mut [W], row: &mut [W]) -> &'a [W] {
        let input = |offset: usize| offset..offset + self.frame.row_len();
        let mut weighted = (0..place.rows()).map(|i| place.row(i)).filter(|(_, w)| *w != 0.0);
        let (first, second) = (weighted.next(), weighted.next());
        if let (Some((offset, weight)), None) = (first, second)
            && weight == 1.0
        {
            return from.wide(self.isa, input(offset), blend);
        }
        if let (Some(a), Some(b)) = (first, second)
            && let (Some(x), Some(y)) = (from.direct(input(a.0)), from.direct(input(b.0)))
        {
            self.isa.dispatch(MixRows { from: [x, y], weights: [a.1, b.1].map(W::of), to: blend });
        } else {
            blend.fill(W::default());
            let mut add = |(at, weight)| add_scaled(self.isa, from.wide(self.isa, input(at), row), weight, blend);
            [first, second].into_iter().flatten().for_each(&mut add);
        }
        weighted.for_each(|(at, weight)| add_scaled(self.isa, from.wide(self.isa, input(at), row), weight, blend));
        blend
    }

    /// An output row from the blend of its input rows; None if all of it lies outside.
    fn along(&self, row: Option<&[W]>, to: &mut [W]) {
        let Some(row) = row else { return to.fill(self.extrapolation) };
        self.combine(row, to);
        let outside = self.frame.row.outside.iter().enumerate().filter(|(_, outside)| **outside);
        for (i, _) in outside {
            to[i * self.frame.inner..(i + 1) * self.frame.inner].fill(self.extrapolation);
        }
    }

    /// Combines elements along a row.
    fn combine(&self, row: &[W], to: &mut [W]) {
        let f = &self.frame;
        let (index, weights, inner) = (&f.row.index[..], &self.weights[..], f.inner);
        match (f.row.taps, inner) {
            (2, 1) => self.isa.dispatch(Pixels::<_, 2, 1> { row, index, weights, inner, to }),
            (2, 3) => self.isa.dispatch(Pixels::<_, 2, 3> { row, index, weights, inner, to }),
            (2, _) => self.isa.dispatch(Pixels::<_, 2, 0> { row, index, weights, inner, to }),
            (4, 1) => self.isa.dispatch(Pixels::<_, 4, 1> { row, index, weights, inner, to }),
            (4, 3) => self.isa.dispatch(Pixels::<_, 4, 3> { row, index, weights, inner, to }),
            (4, _) => self.isa.dispatch(Pixels::<_, 4, 0> { row, index, weights, inner, to }),
            (taps, _) => self.isa.dispatch(AnyPixels { row, index, weights, inner, taps, to }),
        }
    }
}

/// The weighted sum of two rows.
struct MixRows<'a, A> {
    from: [&'a [A]; 2],
    weights: [A; 2],
    to: &'a mut [A],
}

impl<A: Arith> Work for MixRows<'_, A> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        let ([x, y], [a, b]) = (self.from, self.weights);
        for ((to, &x), &y) in self.to.iter_mut().zip(x).zip(y) {
            *to = A::mul_add::<M>(y, b, A::mul_add::<M>(x, a, A::default()));
        }
    }
}

/// Elements along a row from `TAPS` others each; `INNER` is their length, or 0 if that is not known.
struct Pixels<'a, A, const TAPS: usize, const INNER: usize> {
    row: &'a [A],
    index: &'a [usize],
    weights: &'a [A],
    inner: usize,
    to: &'a mut [A],
}

impl<A: Arith, const TAPS: usize, const INNER: usize> Work for Pixels<'_, A, TAPS, INNER> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        let inner = if INNER > 0 { INNER } else { self.inner };
        let (index, weights) = (self.index.as_chunks::<TAPS>().0, self.weights.as_chunks::<TAPS>().0);
        for ((to, index), weights) in self.to.chunks_exact_mut(inner.max(1)).zip(index).zip(weights) {
            let from: [&[A]; TAPS] = index.map(|i| &self.row[i * inner..][..inner]);
            for (c, to) in to.iter_mut().enumerate() {
                let mut sum = A::default();
                for t in 0..TAPS {
                    sum = A::mul_add::<M>(from[t][c], weights[t], sum);
                }
                *to = sum;
            }
        }
    }
}

/// As [`Pixels`], for any number of taps.
struct AnyPixels<'a, A> {
    row: &'a [A],
    index: &'a [usize],
    weights: &'a [A],
    inner: usize,
    taps: usize,
    to: &'a mut [A],
}

impl<A: Arith> Work for AnyPixels<'_, A> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        let (index, weights) = (self.index.chunks_exact(self.taps), self.weights.chunks_exact(self.taps));
        for ((to, index), weights) in self.to.chunks_exact_mut(self.inner.max(1)).zip(index).zip(weights) {
            to.fill(A::default());
            for (&i, &weight) in index.iter().zip(weights) {
                for (to, &from) in to.iter_mut().zip(&self.row[i * self.inner..][..self.inner]) {
                    *to = A::mul_add::<M>(from, weight, *to);
                }
            }
        }
    }
}
