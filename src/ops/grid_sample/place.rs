//! One coordinate: the elements around it along its axis, and their weights.

use super::{GridMode, GridPadding, GridSample};

/// The parameter of the cubic convolution.
const A: f64 = -0.75;

/// Coordinates further out are as good as this one.
const FAR: f64 = 1e15;

/// An axis of the data.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    /// Number of elements, at least 1.
    pub extent: usize,
    /// Elements of the data between neighbours.
    pub stride: usize,
}

/// Up to four elements along an axis; offsets None where there are zeros.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taps {
    /// Where the elements are.
    pub offset: [Option<usize>; 4],
    /// Their weights.
    pub weight: [f64; 4],
    /// Number of elements.
    pub count: usize,
}

impl GridSample {
    /// The coordinate in elements of grid value `x`, which stands for an f32 if `single`.
    pub fn coordinate(&self, x: f64, single: bool, extent: usize) -> f64 {
        if single {
            // Ties between elements come out as they do elsewhere only if every step is rounded.
            let (x, n) = (x as f32, extent as f32);
            return if self.align_corners { (x + 1.0) / 2.0 * (n - 1.0) } else { ((x + 1.0) * n - 1.0) / 2.0 }.into();
        }
        let n = extent as f64;
        if self.align_corners { (x + 1.0) / 2.0 * (n - 1.0) } else { ((x + 1.0) * n - 1.0) / 2.0 }
    }

    /// The taps at a coordinate of an axis.
    pub fn taps(&self, x: f64, axis: Axis) -> Taps {
        let x = if self.mode == GridMode::Nearest { x.round_ties_even() } else { x };
        let x = x.clamp(-FAR, FAR);
        // A cubic goes on outside of the data, over elements that are moved inside one by one.
        let x = if self.mode == GridMode::Cubic { x } else { self.pad(x, axis.extent) };
        let first = x.floor();
        let r = x - first;
        let (before, count) = match self.mode {
            GridMode::Nearest => (0, 1),
            GridMode::Linear => (0, 2),
            GridMode::Cubic => (1, 4),
        };
        let mut taps = Taps { count, ..Taps::default() };
        for (i, offset) in taps.offset[..count].iter_mut().enumerate() {
            *offset = self.element(first as i64 - before + i as i64, axis.extent).map(|e| e * axis.stride);
        }
        match self.mode {
            GridMode::Nearest => taps.weight[0] = 1.0,
            GridMode::Linear => taps.weight[..2].copy_from_slice(&[1.0 - r, r]),
            GridMode::Cubic => taps.weight = [r + 1.0, r, 1.0 - r, 2.0 - r].map(cubic),
        }
        taps
    }

    /// The smallest and the largest coordinate that is inside.
    fn bounds(&self, extent: usize) -> (f64, f64) {
        let n = extent as f64;
        if self.align_corners { (0.0, n - 1.0) } else { (-0.5, n - 0.5) }
    }

    /// A coordinate moved inside, unless there are zeros outside.
    fn pad(&self, x: f64, extent: usize) -> f64 {
        let (low, high) = self.bounds(extent);
        match self.padding {
            _ if (low..=high).contains(&x) => x,
            GridPadding::Zeros => x,
            GridPadding::Border => x.clamp(0.0, (extent - 1) as f64),
            GridPadding::Reflection => reflect(x, low, high),
        }
    }

    /// The element that stands at index `i`; None for zero.
    fn element(&self, i: i64, extent: usize) -> Option<usize> {
        let last = extent as i64 - 1;
        match self.padding {
            _ if (0..=last).contains(&i) => Some(i as usize),
            GridPadding::Zeros => None,
            GridPadding::Border => Some(i.clamp(0, last) as usize),
            GridPadding::Reflection => {
                let (low, high) = self.bounds(extent);
                Some((reflect(i as f64, low, high) as i64).clamp(0, last) as usize)
            }
        }
    }
}

/// `x` mirrored at `low` and `high` until it lies between them.
fn reflect(x: f64, low: f64, high: f64) -> f64 {
    let range = high - low;
    if range <= 0.0 || x.is_nan() {
        return low.max(0.0);
    }
    let at = (x - low).rem_euclid(2.0 * range);
    low + if at > range { 2.0 * range - at } else { at }
}

/// Keys' convolution kernel at a distance below 2.
fn cubic(x: f64) -> f64 {
    if x <= 1.0 { ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0 } else { ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A }
}
