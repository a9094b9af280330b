//! The postfix form in which the model file stores expressions.

use super::{Atom, Dim, Func, Sym};

/// One instruction of the postfix form in which the model file stores an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DimCode {
    /// Pushes a number.
    Const(i64),
    /// Pushes a named dimension.
    Sym(Sym),
    /// Adds the two topmost.
    Add,
    /// Multiplies the two topmost.
    Mul,
    /// Floor division of the second topmost by the topmost.
    FloorDiv,
    /// Remainder of the second topmost by the topmost.
    Mod,
    /// Smaller of the two topmost.
    Min,
    /// Larger of the two topmost.
    Max,
}

impl Dim {
    /// The postfix form; empty for [`Dim::Unknown`].
    pub fn to_codes(&self) -> Vec<DimCode> {
        let mut codes = vec![];
        self.push_codes(&mut codes);
        codes
    }

    fn push_codes(&self, out: &mut Vec<DimCode>) {
        match self {
            Dim::Fixed(n) => out.push(DimCode::Const(*n)),
            Dim::Unknown => {}
            Dim::Expr(p) => {
                for (i, (monomial, c)) in p.terms.iter().enumerate() {
                    out.push(DimCode::Const(*c));
                    for atom in monomial {
                        atom.push_codes(out);
                        out.push(DimCode::Mul);
                    }
                    if i > 0 {
                        out.push(DimCode::Add);
                    }
                }
            }
        }
    }

    /// The dimension that the postfix form stands for; None if it is not one well-formed expression.
    pub fn from_codes(codes: &[DimCode]) -> Option<Dim> {
        let mut stack: Vec<Dim> = vec![];
        for code in codes {
            let dim = match code {
                DimCode::Const(n) => Dim::Fixed(*n),
                DimCode::Sym(s) => Dim::sym(*s),
                _ => {
                    let (b, a) = (stack.pop()?, stack.pop()?);
                    match code {
                        DimCode::Add => a.add(&b),
                        DimCode::Mul => a.mul(&b),
                        DimCode::FloorDiv => a.floor_div(&b),
                        DimCode::Mod => a.modulo(&b),
                        DimCode::Min => a.minimum(&b),
                        _ => a.maximum(&b),
                    }
                }
            };
            stack.push(dim);
        }
        match (stack.pop(), stack.is_empty()) {
            (Some(dim), true) if !dim.is_unknown() => Some(dim),
            _ => None,
        }
    }
}

impl Atom {
    fn push_codes(&self, out: &mut Vec<DimCode>) {
        match self {
            Atom::Sym(s) => out.push(DimCode::Sym(*s)),
            Atom::Func(f, args) => {
                args.0.push_codes(out);
                args.1.push_codes(out);
                out.push(match f {
                    Func::FloorDiv => DimCode::FloorDiv,
                    Func::Mod => DimCode::Mod,
                    Func::Min => DimCode::Min,
                    Func::Max => DimCode::Max,
                });
            }
        }
    }
}
