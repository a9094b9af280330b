//! Rectangles and how much they overlap.

/// Rectangles looked at together.
const LANES: usize = 16;

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

/// Rectangles of which one may overlap another too much. Most are far apart, so they are kept by coordinate as well: that
/// none of [`LANES`] comes near takes a few vector comparisons.
#[derive(Debug, Default)]
pub struct Selected {
    boxes: Vec<Rectangle>,
    /// Low ends along both axes, then high ends, of [`LANES`] rectangles; infinite where there is none yet.
    ends: Vec<[[f32; LANES]; 4]>,
}

impl Selected {
    /// Adds a rectangle.
    pub fn push(&mut self, rectangle: Rectangle) {
        let lane = self.boxes.len() % LANES;
        if lane == 0 {
            self.ends.push([[f32::INFINITY; LANES]; 4]);
        }
        let Rectangle { low, high, .. } = rectangle;
        if let Some(ends) = self.ends.last_mut() {
            ends.iter_mut().zip([low[0], low[1], high[0], high[1]]).for_each(|(lanes, end)| lanes[lane] = end);
        }
        self.boxes.push(rectangle);
    }

    /// Whether any of the rectangles overlaps `other` by more than `threshold`.
    pub fn any_overlaps(&self, other: &Rectangle, threshold: f32) -> bool {
        let groups = self.ends.iter().zip(self.boxes.chunks(LANES));
        groups.into_iter().any(|(ends, boxes)| {
            other.is_near(ends) && boxes.iter().any(|selected| other.overlaps(selected, threshold))
        })
    }
}

impl Rectangle {
    /// Whether one of a few rectangles, by their ends as in [`Selected`], may intersect this one. NaN may.
    fn is_near(&self, [low0, low1, high0, high1]: &[[f32; LANES]; 4]) -> bool {
        let mut near = [0u32; LANES];
        for i in 0..LANES {
            let apart = |axis: usize, low: f32, high: f32| (self.high[axis] <= low) | (high <= self.low[axis]);
            near[i] = u32::from(!(apart(0, low0[i], high0[i]) | apart(1, low1[i], high1[i])));
        }
        near.iter().fold(0, |any, near| any | near) != 0
    }
}
