//! Bounds along one axis, on numbers and on expressions. Expressions are exact where every named dimension is at least 1.

use crate::error::{Error, Result};
use crate::tensor::Dim;

/// A start or end of at least this size (or, negated, at most) means the end (or the beginning) of the axis.
const FAR: i64 = i32::MAX as i64;

/// What is taken along an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// First element; of no meaning where there is none.
    pub start: Dim,
    /// Distance between elements, if known.
    pub step: Option<i64>,
    /// Number of elements.
    pub len: Dim,
}

/// What a start, an end and a step take of an axis of extent `n`.
pub fn piece(n: &Dim, start: &Dim, end: &Dim, step: &Dim) -> Result<Piece> {
    let Some(step) = step.fixed() else {
        return Ok(Piece { start: Dim::Unknown, step: None, len: Dim::Unknown });
    };
    if step == 0 {
        return Err(Error::invalid("a slice with step 0"));
    }
    let step = step.max(-i64::MAX);
    let (start, len) = match (n.fixed(), start.fixed(), end.fixed()) {
        (Some(n), Some(start), Some(end)) => {
            let (start, len) = numbers(n, start, end, step);
            (Dim::Fixed(start), Dim::Fixed(len))
        }
        _ if step > 0 => forward(n, start, end, step),
        _ => backward(n, start, end, step),
    };
    Ok(Piece { start, step: Some(step), len })
}

/// First element and number of elements.
fn numbers(n: i64, start: i64, end: i64, step: i64) -> (i64, i64) {
    let from_front = |i: i64| if i < 0 { i.saturating_add(n) } else { i };
    let (start, end) = (from_front(start), from_front(end));
    if n == 0 {
        return (0, 0);
    }
    if step > 0 {
        let (start, end) = (start.clamp(0, n), end.clamp(0, n));
        return (start, ceil_div((end - start).max(0), step));
    }
    let (start, end) = (start.clamp(0, n - 1), end.clamp(-1, n - 1));
    (start, ceil_div((start - end).max(0), -step))
}

fn ceil_div(a: i64, b: i64) -> i64 {
    a / b + i64::from(a % b != 0)
}

/// First element and number of elements for a positive step.
fn forward(n: &Dim, start: &Dim, end: &Dim, step: i64) -> (Dim, Dim) {
    let (first, last) = (from_front(start, n), from_front(end, n));
    let zero = Dim::Fixed(0);
    let start = clamp(&first, &zero, n);
    let len = match (start == zero, &clamp(&last, &zero, n)) {
        (true, end) => end.clone(),
        // n - clamp(first, 0, n), without the detour.
        (false, end) if end == n => clamp(&n.sub(&first), &zero, n),
        (false, end) => end.sub(&start).larger(&zero),
    };
    (start, len.ceil_div(&Dim::Fixed(step)))
}

/// First element and number of elements for a negative step.
fn backward(n: &Dim, start: &Dim, end: &Dim, step: i64) -> (Dim, Dim) {
    let last = n.sub(&Dim::Fixed(1));
    let start = clamp(&from_front(start, n), &Dim::Fixed(0), &last);
    let end = clamp(&from_front(end, n), &Dim::Fixed(-1), &last);
    let len = start.sub(&end).larger(&Dim::Fixed(0));
    (start, len.ceil_div(&Dim::Fixed(-step)))
}

/// `i` counted from the front of an axis of extent `n`.
fn from_front(i: &Dim, n: &Dim) -> Dim {
    match i {
        Dim::Fixed(FAR..) => n.clone(),
        Dim::Fixed(i) if *i <= -FAR => Dim::Fixed(-1),
        Dim::Fixed(0..) => i.clone(),
        _ if Dim::Fixed(0).at_most(i) => i.clone(),
        _ if i.at_most(&Dim::Fixed(-1)) => n.add(i),
        _ => Dim::Unknown,
    }
}

fn clamp(i: &Dim, low: &Dim, high: &Dim) -> Dim {
    i.larger(low).smaller(high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{Bindings, Sym};

    fn n() -> Dim {
        Dim::sym(Sym(0))
    }

    #[test]
    fn expressions_stay_simple() {
        let len = |start: Dim, end: Dim, step: i64| piece(&n(), &start, &end, &step.into()).unwrap().len;
        let f = Dim::Fixed;
        let n_minus = |k: i64| n().sub(&f(k));
        assert_eq!(len(f(0), f(i64::MAX), 1), n());
        assert_eq!(len(f(1), f(i64::MAX), 1), n_minus(1));
        assert_eq!(len(f(0), f(-1), 1), n_minus(1));
        assert_eq!(len(f(0), n(), 1), n());
        assert_eq!(len(n_minus(1), n(), 1), f(1));
        assert_eq!(len(f(-1), f(i64::MAX), 1), f(1));
        assert_eq!(len(f(0), f(1), 1), f(1));
        assert_eq!(len(f(0), f(512), 1), n().minimum(&f(512)));
        assert_eq!(len(f(-1), f(i64::MIN), -1), n());
        assert_eq!(len(f(0), f(i64::MAX), 2), n().ceil_div(&f(2)));
        assert_eq!(piece(&f(512), &f(0), &n(), &f(1)).unwrap().len, n().minimum(&f(512)));
        let two_n = n().mul(&f(2));
        assert_eq!(piece(&two_n, &n(), &f(i64::MAX), &f(1)).unwrap().len, n());
        assert_eq!(piece(&two_n, &f(0), &n(), &f(1)).unwrap().len, n());
    }

    #[test]
    fn expressions_agree_with_numbers() {
        let bounds = [i64::MIN, -FAR, -8, -7, -3, -1, 0, 1, 2, 6, 7, 8, FAR, i64::MAX];
        for extent in 1..10 {
            let mut b = Bindings::new(1);
            assert!(b.bind(Sym(0), extent));
            for (start, end) in bounds.iter().flat_map(|&s| bounds.map(|e| (s, e))) {
                for step in [1, 2, 3, 100, -1, -2, -5, i64::MIN] {
                    let symbolic = piece(&n(), &start.into(), &end.into(), &step.into()).unwrap().len;
                    let (_, want) = numbers(extent, start, end, step.max(-i64::MAX));
                    assert_eq!(symbolic.bind(&b), Dim::Fixed(want), "{start}:{end}:{step} of {extent}: {symbolic}");
                }
            }
        }
    }

    #[test]
    fn what_is_unknown_stays_unknown() {
        let len = |start: &Dim, end: &Dim| piece(&n(), start, end, &Dim::Fixed(1)).unwrap().len;
        assert_eq!(len(&Dim::Unknown, &n()), Dim::Unknown);
        assert_eq!(len(&Dim::Fixed(0), &Dim::sym(Sym(1)).sub(&n())), Dim::Unknown);
        let free = piece(&Dim::Fixed(4), &Dim::Fixed(0), &Dim::Fixed(4), &Dim::Unknown).unwrap();
        assert_eq!((free.len, free.step), (Dim::Unknown, None));
    }
}
