//! What numbers a tensor of floats has: how many of them are not finite, and how large the others are.

use super::{DType, Element, View};
use half::{bf16, f16};

/// A count of a tensor's elements that are not finite, and the largest of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Census {
    /// Elements that are NaN.
    pub nan: u64,
    /// Elements that are infinite.
    pub infinite: u64,
    /// Index of the first of both, in row-major order.
    pub first: Option<u64>,
    /// Largest magnitude of a finite element; 0 if there is none.
    pub largest: f64,
}

impl Census {
    /// Counts all elements of a view. Those of other types than floats are finite, and count as 0.
    pub fn of(view: &View<'_>) -> Census {
        Census::of_rows(view, usize::MAX, usize::MAX)
    }

    /// Counts rows of `width` elements that are `stride` apart; the first begins the view.
    pub fn of_rows(view: &View<'_>, width: usize, stride: usize) -> Census {
        match view.dtype() {
            DType::F32 => rows(view, (width, stride), |x: f32| f64::from(x)),
            DType::F64 => rows(view, (width, stride), |x: f64| x),
            DType::F16 => rows(view, (width, stride), f16::to_f64),
            DType::BF16 => rows(view, (width, stride), bf16::to_f64),
            _ => Census::default(),
        }
    }

    /// Elements that are not finite.
    pub fn wrong(&self) -> u64 {
        self.nan + self.infinite
    }
}

fn rows<T: Element>(view: &View<'_>, (width, stride): (usize, usize), number: impl Fn(T) -> f64) -> Census {
    let mut census = Census::default();
    let rows = view.slice::<T>().chunks(stride.max(1)).map(|row| &row[..width.min(row.len())]);
    for (index, &element) in (0..).zip(rows.flatten()) {
        let magnitude = number(element).abs();
        if magnitude.is_finite() {
            census.largest = census.largest.max(magnitude);
            continue;
        }
        *(if magnitude.is_nan() { &mut census.nan } else { &mut census.infinite }) += 1;
        census.first.get_or_insert(index);
    }
    census
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Buffer;

    fn census<T: Element>(dtype: DType, elements: &[T], width: usize, stride: usize) -> Census {
        Census::of_rows(&View::new(&Buffer::from_elements(elements).unwrap(), dtype), width, stride)
    }

    #[test]
    fn what_is_not_finite_is_counted_in_every_type() {
        let numbers = [1.5, -7.0, f32::INFINITY, 0.0, f32::NAN, f32::NEG_INFINITY];
        let want = Census { nan: 1, infinite: 2, first: Some(2), largest: 7.0 };
        assert_eq!(census(DType::F32, &numbers, 6, 6), want);
        assert_eq!(census(DType::F64, &numbers.map(f64::from), 6, 6), want);
        assert_eq!(census(DType::F16, &numbers.map(f16::from_f32), 6, 6), want);
        assert_eq!(census(DType::BF16, &numbers.map(bf16::from_f32), 6, 6), want);
        assert_eq!(Census::of(&View::new(&Buffer::from_elements(&numbers).unwrap(), DType::F32)), want);
        assert_eq!(want.wrong(), 3);
        assert_eq!(census(DType::I32, &[i32::MAX], 1, 1), Census::default());
        assert_eq!(census::<f32>(DType::F32, &[], 0, 0), Census::default());
    }

    #[test]
    fn gaps_between_rows_do_not_count() {
        let numbers = [1.0, 2.0, f32::NAN, 3.0, f32::INFINITY, f32::NAN, 4.0, 5.0];
        let want = Census { nan: 0, infinite: 1, first: Some(3), largest: 5.0 };
        assert_eq!(census(DType::F32, &numbers, 2, 3), want);
    }
}
