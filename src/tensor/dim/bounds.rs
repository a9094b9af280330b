//! What is certain about the value of an expression when every named dimension is at least 1.

use super::{Atom, Dim, Func};

/// Smallest and largest value; the extreme numbers stand for infinity.
type Interval = (i64, i64);

const EVERYTHING: Interval = (i64::MIN, i64::MAX);

impl Dim {
    /// A number that the value is certainly not below if every named dimension is at least 1; None where there is none.
    pub fn lower_bound(&self) -> Option<i64> {
        Some(self.interval(1).0).filter(|&low| low > i64::MIN)
    }

    /// Whether the value is certainly not negative, even where named dimensions are 0.
    pub fn is_nonnegative(&self) -> bool {
        self.interval(0).0 >= 0
    }

    /// Whether the value is certainly at most that of `other`, if every named dimension is at least 1.
    pub fn at_most(&self, other: &Dim) -> bool {
        other.sub(self).lower_bound().is_some_and(|n| n >= 0)
    }

    /// The smaller of the two, without a minimum where [`Dim::at_most`] tells which one it is.
    pub fn smaller(&self, other: &Dim) -> Dim {
        match () {
            _ if self.at_most(other) => self.clone(),
            _ if other.at_most(self) => other.clone(),
            _ => self.minimum(other),
        }
    }

    /// The larger of the two, without a maximum where [`Dim::at_most`] tells which one it is.
    pub fn larger(&self, other: &Dim) -> Dim {
        match () {
            _ if self.at_most(other) => other.clone(),
            _ if other.at_most(self) => self.clone(),
            _ => self.maximum(other),
        }
    }

    /// All values, if every named dimension is at least `least`.
    fn interval(&self, least: i64) -> Interval {
        match self {
            Dim::Fixed(n) => (*n, *n),
            Dim::Expr(p) => p.terms.iter().fold((0, 0), |sum, (monomial, c)| {
                let term = monomial.iter().fold((*c, *c), |product, atom| multiply(product, atom.interval(least)));
                (add(sum.0, term.0, i64::MIN), add(sum.1, term.1, i64::MAX))
            }),
            Dim::Unknown => EVERYTHING,
        }
    }
}

impl Atom {
    fn interval(&self, least: i64) -> Interval {
        let Atom::Func(f, args) = self else { return (least, i64::MAX) };
        let (a, b) = (args.0.interval(least), args.1.interval(least));
        match f {
            Func::FloorDiv if b.0 >= 1 => divide(a, b),
            Func::Mod if b.0 >= 1 => (0, b.1 - 1),
            Func::FloorDiv | Func::Mod => EVERYTHING,
            Func::Min => (a.0.min(b.0), a.1.min(b.1)),
            Func::Max => (a.0.max(b.0), a.1.max(b.1)),
        }
    }
}

/// The number, or infinity from the largest number on.
fn saturate(n: i128) -> i64 {
    const LARGEST: i128 = i64::MAX as i128;
    match n {
        LARGEST.. => i64::MAX,
        _ if n <= -LARGEST => i64::MIN,
        n => n as i64,
    }
}

/// The sum; `infinity` where one of the numbers is.
fn add(a: i64, b: i64, infinity: i64) -> i64 {
    if a == infinity || b == infinity { infinity } else { saturate(a as i128 + b as i128) }
}

fn multiply(a: Interval, b: Interval) -> Interval {
    let corner = |x: i64, y: i64| saturate(x as i128 * y as i128);
    let corners = [corner(a.0, b.0), corner(a.0, b.1), corner(a.1, b.0), corner(a.1, b.1)];
    let [first, rest @ ..] = corners;
    rest.into_iter().fold((first, first), |(low, high), c| (low.min(c), high.max(c)))
}

/// Quotients, rounded down, of any number and a positive one.
fn divide(a: Interval, b: Interval) -> Interval {
    let quotient = |a: i64, b: i64| match (a, b) {
        (i64::MIN | i64::MAX, _) => a,
        (_, i64::MAX) => a.signum().min(0),
        _ => a.div_euclid(b),
    };
    // Nothing is certain to remain of a number that may be divided by any other.
    let low = if a.0 < 0 { quotient(a.0, b.0) } else { quotient(a.0.min(i64::MAX - 1), b.1) };
    (low, quotient(a.1, if a.1 < 0 { b.1 } else { b.0 }))
}

#[cfg(test)]
mod tests {
    use super::super::Sym;
    use super::*;

    #[test]
    fn bounds_are_known_where_they_follow() {
        let (n, m, one, four) = (Dim::sym(Sym(0)), Dim::sym(Sym(1)), Dim::Fixed(1), Dim::Fixed(4));
        assert_eq!(n.mul(&m).add(&Dim::Fixed(-1)).lower_bound(), Some(0));
        assert_eq!(n.minimum(&four).lower_bound(), Some(1));
        assert_eq!(four.sub(&n.minimum(&Dim::Fixed(3))).lower_bound(), Some(1));
        assert_eq!(n.sub(&m).maximum(&four).lower_bound(), Some(4));
        assert_eq!(n.add(&Dim::Fixed(7)).floor_div(&four).lower_bound(), Some(2));
        assert_eq!(n.ceil_div(&four).lower_bound(), Some(1));
        assert_eq!(n.neg().floor_div(&four).lower_bound(), None);
        assert_eq!(n.floor_div(&m).lower_bound(), Some(0));
        assert_eq!(Dim::Fixed(-9).floor_div(&m).lower_bound(), Some(-9));
        assert_eq!(n.modulo(&m).lower_bound(), Some(0));
        assert_eq!((Dim::Fixed(9).sub(&n).lower_bound(), Dim::Unknown.lower_bound()), (None, None));
        assert!(one.at_most(&n) && n.at_most(&n.add(&m)) && !Dim::Fixed(2).at_most(&n) && !n.at_most(&four));
    }

    #[test]
    fn signs_hold_for_empty_dimensions_too() {
        let (n, m, one) = (Dim::sym(Sym(0)), Dim::sym(Sym(1)), Dim::Fixed(1));
        assert!(n.mul(&m).is_nonnegative() && n.add(&one).floor_div(&Dim::Fixed(2)).is_nonnegative());
        assert!(n.sub(&m).maximum(&Dim::Fixed(0)).is_nonnegative());
        assert!(!n.sub(&one).is_nonnegative() && !n.floor_div(&m.neg()).is_nonnegative());
        assert!(!Dim::Unknown.is_nonnegative());
    }

    #[test]
    fn the_certain_one_is_chosen() {
        let (n, one) = (Dim::sym(Sym(0)), Dim::Fixed(1));
        assert_eq!((n.smaller(&one), n.larger(&one)), (one.clone(), n.clone()));
        let two = Dim::Fixed(2);
        assert_eq!((n.smaller(&two), n.larger(&two)), (n.minimum(&two), n.maximum(&two)));
    }
}
