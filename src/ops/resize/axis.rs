//! One axis: which elements of the input an output element is made of, and with what weights.

use super::{Coordinates, Interpolation, Resize, Rounding};

/// Coordinates further out are as good as this one.
const FAR: f64 = 1e15;

/// The mapping of one axis.
#[derive(Clone, Copy, Debug)]
pub struct Map {
    /// Extent of the input.
    pub from: usize,
    /// Extent of the output.
    pub to: usize,
    /// The scale, which `to` is rounded from.
    pub scale: f64,
    /// Start and end of the region, as fractions of the extent.
    pub region: (f64, f64),
}

/// For each output element the input elements it is made of; `taps` of them, with weights.
#[derive(Clone, Debug, Default)]
pub struct Taps {
    /// Elements per output element.
    pub taps: usize,
    /// Indices into the input.
    pub index: Vec<usize>,
    /// Weights, of which there are as many.
    pub weight: Vec<f64>,
    /// Whether the output element lies outside the data and has the extrapolation value; empty if none does.
    pub outside: Vec<bool>,
}

impl Map {
    /// Whether every output element is the input's.
    pub fn is_identity(&self) -> bool {
        self.from == self.to && self.scale == 1.0 && self.region == (0.0, 1.0)
    }

    /// The input's coordinate of output element `i`.
    fn coordinate(&self, kind: Coordinates, i: usize) -> f64 {
        let (n, i) = (self.from as f64, i as f64);
        let unrounded = n * self.scale;
        let half_pixel = (i + 0.5) / self.scale - 0.5;
        match kind {
            Coordinates::HalfPixel => half_pixel,
            Coordinates::HalfPixelSymmetric => n / 2.0 * (1.0 - self.to as f64 / unrounded) + half_pixel,
            Coordinates::PytorchHalfPixel if self.to == 1 => 0.0,
            Coordinates::PytorchHalfPixel => half_pixel,
            Coordinates::AlignCorners | Coordinates::AlignExactCorners if unrounded == 1.0 || self.to == 1 => 0.0,
            Coordinates::AlignCorners | Coordinates::AlignExactCorners => i * (n - 1.0) / (unrounded - 1.0),
            Coordinates::Asymmetric => i / self.scale,
            Coordinates::CropAndResize => {
                let (start, end) = self.region;
                let within = if unrounded == 1.0 || self.to == 1 { 0.5 } else { i / (unrounded - 1.0) };
                start * (n - 1.0) + within * (end - start) * (n - 1.0)
            }
        }
    }

    /// The taps of all output elements.
    pub fn taps(&self, op: &Resize) -> Taps {
        let filter = Filter::new(op, self.scale);
        let mut out = Taps { taps: filter.width, ..Taps::default() };
        let last = self.from as i64 - 1;
        for i in 0..self.to {
            let x = self.coordinate(op.coordinates, i).clamp(-FAR, FAR);
            let first = filter.first(x);
            let before = out.weight.len();
            for at in first..first + filter.width as i64 {
                let inside = (0..=last).contains(&at);
                out.index.push(at.clamp(0, last) as usize);
                out.weight.push(if op.exclude_outside && !inside { 0.0 } else { filter.weight(at as f64 - x) });
            }
            if op.exclude_outside || filter.stretch < 1.0 {
                normalize(&mut out.weight[before..]);
            }
            if op.coordinates == Coordinates::CropAndResize {
                out.outside.push(!(0.0..=last as f64).contains(&x));
            }
        }
        if !out.outside.contains(&true) {
            out.outside.clear();
        }
        out
    }
}

/// Divides weights by their sum.
fn normalize(weights: &mut [f64]) {
    let sum: f64 = weights.iter().sum();
    if sum != 0.0 {
        weights.iter_mut().for_each(|w| *w /= sum);
    }
}

/// A function of the distance between an element and a coordinate.
#[derive(Clone, Copy)]
pub struct Filter {
    mode: Interpolation,
    rounding: Rounding,
    a: f64,
    /// What distances are multiplied with: less than 1 for a wider filter.
    pub stretch: f64,
    /// Elements that are covered.
    pub width: usize,
}

impl Filter {
    /// The filter of an axis.
    pub fn new(op: &Resize, scale: f64) -> Self {
        let stretch = if op.antialias { scale.min(1.0) } else { 1.0 };
        let radius = match op.mode {
            Interpolation::Nearest => 0.5,
            Interpolation::Linear => 1.0,
            Interpolation::Cubic => 2.0,
        };
        let width = 2.0 * (radius / stretch).ceil();
        let width = if op.mode == Interpolation::Nearest { 1 } else { width as usize };
        Filter { mode: op.mode, rounding: op.nearest, a: op.cubic_a.into(), stretch, width }
    }

    /// The first element that the filter at coordinate `x` covers. The nearest one is that of a coordinate in f32, as
    /// what should be an integer is often one only after rounding: 17 / 1.7.
    fn first(&self, x: f64) -> i64 {
        let x = if self.mode == Interpolation::Nearest { f64::from(x as f32) } else { x };
        match (self.mode, self.rounding) {
            (Interpolation::Nearest, Rounding::PreferFloor) => (x - 0.5).ceil() as i64,
            (Interpolation::Nearest, Rounding::PreferCeil) => (x + 0.5).floor() as i64,
            (Interpolation::Nearest, Rounding::Floor) => x.floor() as i64,
            (Interpolation::Nearest, Rounding::Ceil) => x.ceil() as i64,
            _ => x.floor() as i64 - (self.width as i64 / 2 - 1),
        }
    }

    /// The weight of an element at this distance from the coordinate.
    fn weight(&self, distance: f64) -> f64 {
        let (x, a) = ((distance * self.stretch).abs(), self.a);
        match self.mode {
            Interpolation::Nearest => 1.0,
            Interpolation::Linear => (1.0 - x).max(0.0),
            Interpolation::Cubic if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
            Interpolation::Cubic if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
            Interpolation::Cubic => 0.0,
        }
    }
}
