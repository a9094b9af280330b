//! Rectangles and how much they overlap.

/// A rectangle as its extent along two axes.
#[derive(Clone, Copy, Debug)]
pub struct Rectangle {
    low: [f32; 2],
    high: [f32; 2],
    area: f32,
}

impl Rectangle {
    /// From (x, y, width, height) with the centre, or from two opposite corners.
    pub fn new(numbers: &[f32; 4], center: bool) -> Self {
        let [a, b, c, d] = *numbers;
        let (low, high) = if center {
            let (w, h) = (c / 2.0, d / 2.0);
            ([a - w, b - h], [a + w, b + h])
        } else {
            ([a.min(c), b.min(d)], [a.max(c), b.max(d)])
        };
        Rectangle { low, high, area: (high[0] - low[0]) * (high[1] - low[1]) }
    }

    /// Whether the intersection is more than `threshold` of the union. Never, if one of them is empty.
    pub fn overlaps(&self, other: &Self, threshold: f32) -> bool {
        let side = |i: usize| self.high[i].min(other.high[i]) - self.low[i].max(other.low[i]);
        let (a, b) = (side(0), side(1));
        if !(a > 0.0 && b > 0.0) {
            return false;
        }
        let common = a * b;
        let union = self.area + other.area - common;
        self.area > 0.0 && other.area > 0.0 && union > 0.0 && common / union > threshold
    }
}
