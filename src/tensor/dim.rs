//! Dimensions that are numbers or expressions of named dimensions, kept in a canonical form so that equal
//! expressions compare equal.
//!
//! An expression is a polynomial with integer coefficients over *atoms*; an atom is a named dimension or one of the
//! functions that polynomials cannot express (floor division, remainder, minimum, maximum) of two dimensions.
//! Arithmetic saturates: a saturated extent is beyond every limit and is refused when a tensor's size is computed.

mod bounds;
mod code;

pub use code::DimCode;

use std::fmt;
use std::sync::Arc;

/// A named dimension: an index into the model's table of named dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sym(pub u32);

/// An extent or a small integer that shape computations work with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dim {
    /// A number.
    Fixed(i64),
    /// An expression of named dimensions; never one that is a plain number.
    Expr(Arc<Poly>),
    /// Depends on data that is known only when the model runs. Absorbs every operation.
    Unknown,
}

/// A canonical polynomial: monomials in ascending order, each at most once, no zero coefficient.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Poly {
    terms: Vec<(Monomial, i64)>,
}

/// Largest expression (counted in nodes of its tree) that is tracked: those of real models are far smaller, and a
/// hostile file could make them grow exponentially.
const MAX_NODES: usize = 512;

/// A product of atoms in ascending order; empty for the constant term.
type Monomial = Vec<Atom>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Atom {
    Sym(Sym),
    Func(Func, Arc<(Dim, Dim)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Func {
    FloorDiv,
    Mod,
    Min,
    Max,
}

/// Values of named dimensions while a model runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bindings(Vec<Option<i64>>);

impl Bindings {
    /// No dimension is bound.
    pub fn new(symbols: usize) -> Self {
        Bindings(vec![None; symbols])
    }

    /// The value bound to `sym`.
    pub fn get(&self, sym: Sym) -> Option<i64> {
        self.0.get(sym.0 as usize).copied().flatten()
    }

    /// Binds `sym`; false if it is bound to another value already.
    #[must_use]
    pub fn bind(&mut self, sym: Sym, value: i64) -> bool {
        let index = sym.0 as usize;
        if self.0.len() <= index {
            self.0.resize(index + 1, None);
        }
        *self.0[index].get_or_insert(value) == value
    }
}

impl Func {
    fn apply(self, a: i64, b: i64) -> Option<i64> {
        match self {
            Func::FloorDiv => {
                let (q, r) = (a.checked_div(b)?, a.checked_rem(b)?);
                Some(if r != 0 && (r < 0) != (b < 0) { q - 1 } else { q })
            }
            Func::Mod => {
                let r = a.checked_rem(b)?;
                Some(if r != 0 && (r < 0) != (b < 0) { r + b } else { r })
            }
            Func::Min => Some(a.min(b)),
            Func::Max => Some(a.max(b)),
        }
    }
}

impl Poly {
    fn constant(n: i64) -> Self {
        Poly { terms: if n == 0 { vec![] } else { vec![(vec![], n)] } }
    }

    fn atom(atom: Atom) -> Self {
        Poly { terms: vec![(vec![atom], 1)] }
    }

    fn add_term(&mut self, monomial: Monomial, coefficient: i64) {
        match self.terms.binary_search_by(|t| t.0.cmp(&monomial)) {
            Ok(i) => {
                self.terms[i].1 = self.terms[i].1.saturating_add(coefficient);
                if self.terms[i].1 == 0 {
                    self.terms.remove(i);
                }
            }
            Err(i) if coefficient != 0 => self.terms.insert(i, (monomial, coefficient)),
            Err(_) => {}
        }
    }

    fn into_dim(self) -> Dim {
        match &self.terms[..] {
            [] => Dim::Fixed(0),
            [(m, c)] if m.is_empty() => Dim::Fixed(*c),
            _ if self.nodes() > MAX_NODES => Dim::Unknown,
            _ => Dim::Expr(Arc::new(self)),
        }
    }

    /// Size of the tree.
    fn nodes(&self) -> usize {
        let atom = |a: &Atom| match a {
            Atom::Sym(_) => 1,
            Atom::Func(_, args) => 1 + args.0.nodes() + args.1.nodes(),
        };
        self.terms.iter().map(|(m, _)| 1 + m.iter().map(atom).sum::<usize>()).sum()
    }

    /// `self / divisor` if it is exact term by term.
    fn exact_div(&self, divisor: &Poly) -> Option<Poly> {
        let [(dm, dc)] = &divisor.terms[..] else {
            return (self == divisor).then(|| Poly::constant(1));
        };
        let mut quotient = Poly::default();
        for (m, c) in &self.terms {
            if c.checked_rem(*dc)? != 0 {
                return None;
            }
            let mut rest = m.clone();
            for atom in dm {
                rest.remove(rest.iter().position(|a| a == atom)?);
            }
            quotient.add_term(rest, c / dc);
        }
        Some(quotient)
    }
}

impl Dim {
    /// The named dimension `sym`.
    pub fn sym(sym: Sym) -> Self {
        Dim::Expr(Arc::new(Poly::atom(Atom::Sym(sym))))
    }

    /// The number, if it is one.
    pub fn fixed(&self) -> Option<i64> {
        match self {
            Dim::Fixed(n) => Some(*n),
            _ => None,
        }
    }

    /// The name, if it is a bare named dimension.
    pub fn as_sym(&self) -> Option<Sym> {
        match self {
            Dim::Expr(p) => match &p.terms[..] {
                [(m, 1)] => match &m[..] {
                    [Atom::Sym(s)] => Some(*s),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        }
    }

    /// The named dimensions that occur in it, possibly repeatedly.
    pub fn symbols(&self) -> impl Iterator<Item = Sym> {
        let symbol = |code| if let DimCode::Sym(s) = code { Some(s) } else { None };
        self.to_codes().into_iter().filter_map(symbol)
    }

    /// Whether this is [`Dim::Unknown`].
    pub fn is_unknown(&self) -> bool {
        matches!(self, Dim::Unknown)
    }

    fn nodes(&self) -> usize {
        match self {
            Dim::Expr(p) => p.nodes(),
            _ => 1,
        }
    }

    fn poly(&self) -> Option<Poly> {
        match self {
            Dim::Fixed(n) => Some(Poly::constant(*n)),
            Dim::Expr(p) => Some((**p).clone()),
            Dim::Unknown => None,
        }
    }

    /// `self + other`.
    pub fn add(&self, other: &Dim) -> Dim {
        if let (Dim::Fixed(a), Dim::Fixed(b)) = (self, other) {
            return Dim::Fixed(a.saturating_add(*b));
        }
        let (Some(mut sum), Some(b)) = (self.poly(), other.poly()) else { return Dim::Unknown };
        for (m, c) in b.terms {
            sum.add_term(m, c);
        }
        sum.into_dim()
    }

    /// `-self`.
    pub fn neg(&self) -> Dim {
        self.mul(&Dim::Fixed(-1))
    }

    /// `self - other`.
    pub fn sub(&self, other: &Dim) -> Dim {
        self.add(&other.neg())
    }

    /// `self * other`.
    pub fn mul(&self, other: &Dim) -> Dim {
        match (self, other) {
            (Dim::Fixed(a), Dim::Fixed(b)) => return Dim::Fixed(a.saturating_mul(*b)),
            (Dim::Fixed(0), _) | (_, Dim::Fixed(0)) => return Dim::Fixed(0),
            _ => {}
        }
        let (Some(a), Some(b)) = (self.poly(), other.poly()) else { return Dim::Unknown };
        if a.terms.len() * b.terms.len() > MAX_NODES {
            return Dim::Unknown;
        }
        let mut product = Poly::default();
        for (ma, ca) in &a.terms {
            for (mb, cb) in &b.terms {
                let mut m: Monomial = ma.iter().chain(mb).cloned().collect();
                m.sort();
                product.add_term(m, ca.saturating_mul(*cb));
            }
        }
        product.into_dim()
    }

    /// `self / other` rounded towards minus infinity; unknown when `other` is 0.
    pub fn floor_div(&self, other: &Dim) -> Dim {
        if other == &Dim::Fixed(1) {
            return self.clone();
        }
        if let (Some(a), Some(b)) = (self.poly(), other.poly())
            && other != &Dim::Fixed(0)
            && let Some(q) = a.exact_div(&b)
        {
            return q.into_dim();
        }
        self.func(Func::FloorDiv, other)
    }

    /// `self / other` rounded towards plus infinity.
    pub fn ceil_div(&self, other: &Dim) -> Dim {
        self.neg().floor_div(other).neg()
    }

    /// Remainder with the sign of `other`.
    pub fn modulo(&self, other: &Dim) -> Dim {
        if let (Some(a), Some(b)) = (self.poly(), other.poly())
            && other != &Dim::Fixed(0)
            && a.exact_div(&b).is_some()
        {
            return Dim::Fixed(0);
        }
        self.func(Func::Mod, other)
    }

    /// The smaller of the two.
    pub fn minimum(&self, other: &Dim) -> Dim {
        self.lattice(Func::Min, Func::Max, other)
    }

    /// The larger of the two.
    pub fn maximum(&self, other: &Dim) -> Dim {
        self.lattice(Func::Max, Func::Min, other)
    }

    /// The minimum or maximum `f`, of which `dual` is the other; max(a, min(a, b)) is a, max(a, max(a, b)) max(a, b).
    fn lattice(&self, f: Func, dual: Func, other: &Dim) -> Dim {
        if self == other {
            return self.clone();
        }
        for (a, b) in [(self, other), (other, self)] {
            match b.as_func() {
                Some((g, args)) if (args.0 == *a || args.1 == *a) && g == dual => return a.clone(),
                Some((g, args)) if (args.0 == *a || args.1 == *a) && g == f => return b.clone(),
                _ => {}
            }
        }
        self.min(other).func(f, self.max(other))
    }

    /// Function and arguments, if the expression is nothing but a function.
    fn as_func(&self) -> Option<(Func, &(Dim, Dim))> {
        let Dim::Expr(p) = self else { return None };
        match &p.terms[..] {
            [(monomial, 1)] => match &monomial[..] {
                [Atom::Func(f, args)] => Some((*f, args)),
                _ => None,
            },
            _ => None,
        }
    }

    fn func(&self, f: Func, other: &Dim) -> Dim {
        match (self, other) {
            (Dim::Fixed(a), Dim::Fixed(b)) => f.apply(*a, *b).map_or(Dim::Unknown, Dim::Fixed),
            (Dim::Unknown, _) | (_, Dim::Unknown) => Dim::Unknown,
            _ => Poly::atom(Atom::Func(f, Arc::new((self.clone(), other.clone())))).into_dim(),
        }
    }

    /// The number that results when named dimensions have these values; unbound ones stay symbolic.
    pub fn bind(&self, bindings: &Bindings) -> Dim {
        let Dim::Expr(p) = self else { return self.clone() };
        let mut sum = Dim::Fixed(0);
        for (monomial, c) in &p.terms {
            let term = monomial.iter().fold(Dim::Fixed(*c), |product, atom| product.mul(&atom.bind(bindings)));
            sum = sum.add(&term);
        }
        sum
    }

    /// Writes the expression with the given names; a dimension without a name is written `?N`.
    pub fn display<'a>(&'a self, names: Names<'a>) -> impl fmt::Display + 'a {
        Named { dim: self, names }
    }
}

impl Atom {
    fn bind(&self, bindings: &Bindings) -> Dim {
        match self {
            Atom::Sym(s) => bindings.get(*s).map_or_else(|| Dim::sym(*s), Dim::Fixed),
            Atom::Func(f, args) => {
                let (a, b) = (args.0.bind(bindings), args.1.bind(bindings));
                match f {
                    Func::FloorDiv => a.floor_div(&b),
                    Func::Mod => a.modulo(&b),
                    Func::Min => a.minimum(&b),
                    Func::Max => a.maximum(&b),
                }
            }
        }
    }
}

impl From<i64> for Dim {
    fn from(n: i64) -> Self {
        Dim::Fixed(n)
    }
}

impl From<usize> for Dim {
    fn from(n: usize) -> Self {
        Dim::Fixed(i64::try_from(n).unwrap_or(i64::MAX))
    }
}

/// Gives the name of a dimension, if it has one.
pub type Names<'a> = &'a dyn Fn(Sym) -> Option<String>;

struct Named<'a> {
    dim: &'a Dim,
    names: Names<'a>,
}

impl Named<'_> {
    fn atom(&self, atom: &Atom, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match atom {
            Atom::Sym(s) => match (self.names)(*s) {
                Some(name) => f.write_str(&name),
                None => write!(f, "?{}", s.0),
            },
            Atom::Func(func, args) => {
                let name = match func {
                    Func::FloorDiv => "floordiv",
                    Func::Mod => "mod",
                    Func::Min => "min",
                    Func::Max => "max",
                };
                let (a, b) = (Named { dim: &args.0, names: self.names }, Named { dim: &args.1, names: self.names });
                write!(f, "{name}({a}, {b})")
            }
        }
    }
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let p = match self.dim {
            Dim::Fixed(n) => return write!(f, "{n}"),
            Dim::Unknown => return f.write_str("?"),
            Dim::Expr(p) => p,
        };
        // The constant term sorts first but reads better last.
        for (i, (monomial, c)) in p.terms.iter().rev().enumerate() {
            if i > 0 {
                f.write_str(if *c < 0 { " - " } else { " + " })?;
            } else if *c < 0 {
                f.write_str("-")?;
            }
            if c.unsigned_abs() != 1 || monomial.is_empty() {
                write!(f, "{}{}", c.unsigned_abs(), if monomial.is_empty() { "" } else { "*" })?;
            }
            for (j, atom) in monomial.iter().enumerate() {
                if j > 0 {
                    f.write_str("*")?;
                }
                self.atom(atom, f)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.display(&|_| None).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n() -> Dim {
        Dim::sym(Sym(0))
    }

    fn m() -> Dim {
        Dim::sym(Sym(1))
    }

    #[test]
    fn equal_expressions_are_equal() {
        let two = Dim::Fixed(2);
        assert_eq!(n().add(&n()), n().mul(&two));
        assert_eq!(n().add(&m()).mul(&n()), n().mul(&m()).add(&n().mul(&n())));
        assert_eq!(n().sub(&n()), Dim::Fixed(0));
        assert_eq!(n().mul(&m()).mul(&Dim::Fixed(49)).floor_div(&n().mul(&Dim::Fixed(7))), m().mul(&Dim::Fixed(7)));
        assert_eq!(n().mul(&two).modulo(&two), Dim::Fixed(0));
        assert_eq!(n().minimum(&m()), m().minimum(&n()));
        let least = Dim::Fixed(512).minimum(&n());
        assert_eq!((least.maximum(&n()), n().minimum(&least)), (n(), least.clone()));
        assert_eq!(n().minimum(&n().maximum(&m())), n());
        assert_eq!(n().as_sym(), Some(Sym(0)));
    }

    #[test]
    fn division_rounds_down_and_never_panics() {
        assert_eq!(Dim::Fixed(-7).floor_div(&Dim::Fixed(2)), Dim::Fixed(-4));
        assert_eq!(Dim::Fixed(7).ceil_div(&Dim::Fixed(2)), Dim::Fixed(4));
        assert_eq!(Dim::Fixed(-7).modulo(&Dim::Fixed(3)), Dim::Fixed(2));
        assert_eq!(Dim::Fixed(7).floor_div(&Dim::Fixed(0)), Dim::Unknown);
        assert_eq!(Dim::Fixed(i64::MIN).floor_div(&Dim::Fixed(-1)), Dim::Unknown);
        assert_eq!(n().floor_div(&Dim::Fixed(0)).bind(&Bindings::new(1)), n().floor_div(&Dim::Fixed(0)));
    }

    #[test]
    fn expressions_stop_growing() {
        let mut d = n().add(&m());
        for _ in 0..100 {
            d = d.floor_div(&Dim::Fixed(3)).maximum(&d.add(&n()));
        }
        assert_eq!(d, Dim::Unknown);
        let mut d = n().add(&m()).add(&Dim::Fixed(1));
        for _ in 0..100 {
            d = d.mul(&d);
        }
        assert_eq!(d, Dim::Unknown);
    }

    #[test]
    fn binding_gives_numbers() {
        let mut b = Bindings::new(2);
        assert!(b.bind(Sym(0), 10) && b.bind(Sym(0), 10) && !b.bind(Sym(0), 11));
        let half = n().add(&Dim::Fixed(1)).floor_div(&Dim::Fixed(2));
        assert_eq!(half.bind(&b), Dim::Fixed(5));
        assert_eq!(half.mul(&m()).bind(&b), m().mul(&Dim::Fixed(5)));
    }

    #[test]
    fn postfix_round_trips() {
        let half = n().add(&Dim::Fixed(-3)).floor_div(&Dim::Fixed(2));
        for dim in
            [Dim::Fixed(-5), n(), half.mul(&m()).add(&n()), n().maximum(&m()).minimum(&Dim::Fixed(4)), n().modulo(&m())]
        {
            assert_eq!(Dim::from_codes(&dim.to_codes()), Some(dim));
        }
        assert_eq!(Dim::from_codes(&[]), None);
        assert_eq!(Dim::from_codes(&[DimCode::Add]), None);
        assert_eq!(Dim::from_codes(&[DimCode::Const(1), DimCode::Const(1)]), None);
    }

    #[test]
    fn reads_like_arithmetic() {
        let names: Names<'_> = &|s| (s.0 == 0).then(|| "batch".to_string());
        let dim = n().mul(&Dim::Fixed(2)).sub(&Dim::Fixed(1));
        assert_eq!(dim.display(names).to_string(), "2*batch - 1");
        assert_eq!(m().floor_div(&Dim::Fixed(3)).to_string(), "floordiv(?1, 3)");
    }
}
