//! Chains of Reshapes and Transposes: what a chain does as a whole, and the shortest chain that does it.

use super::rewrite::{Rewriter, Rule};
use infer::cpu::Activation;
use infer::error::Result;
use infer::graph::ValueId;
use infer::ops::binary::BinaryKind;
use infer::ops::{Op, Reshape};
use infer::tensor::{Dim, MAX_RANK};

/// The rules of this file.
pub const RULES: &[Rule] = &[shorten];

/// Outputs in place of an operator's, if a rule applies.
type Replaced = Result<Option<Vec<ValueId>>>;

/// A tensor whose elements are those of another one in a different order or under another shape.
///
/// The extents of the source, 1 left out, are cut into **atoms** so that each dimension of the tensor is a product of
/// atoms. Their order in the source and in the tensor is then all there is to know.
#[derive(Clone, Debug, PartialEq)]
pub struct Arranged {
    /// The tensor that holds the elements.
    pub source: ValueId,
    /// Extents of the atoms, in the source's order.
    pub atoms: Vec<Dim>,
    /// The atoms of each dimension.
    pub dims: Vec<Vec<usize>>,
    /// Extent of each dimension.
    pub extents: Vec<Dim>,
}

/// a / b if that is certain to leave no remainder.
fn exact_div(a: &Dim, b: &Dim) -> Option<Dim> {
    if *b == Dim::Fixed(0) {
        return None;
    }
    let quotient = a.floor_div(b);
    (!quotient.is_unknown() && quotient.mul(b) == *a).then_some(quotient)
}

impl Arranged {
    /// A value as itself; None if it has no elements.
    pub fn of(r: &Rewriter<'_>, source: ValueId) -> Option<Self> {
        let extents = r.b.dims(source);
        if extents.contains(&Dim::Fixed(0)) {
            return None;
        }
        let (mut atoms, mut dims) = (vec![], vec![]);
        for extent in &extents {
            let real = *extent != Dim::Fixed(1);
            dims.push(if real { vec![atoms.len()] } else { vec![] });
            atoms.extend(real.then(|| extent.clone()));
        }
        Some(Arranged { source, atoms, dims, extents })
    }

    /// A value in terms of the tensor from which Reshapes and Transposes make it, as far back as can be followed.
    pub fn trace(r: &Rewriter<'_>, value: ValueId) -> Option<Self> {
        Self::trace_chain(r, value, false).map(|(arranged, _)| arranged)
    }

    /// As [`Arranged::trace`], through multiplications by numbers too, whose product is the second result.
    pub fn trace_scaled(r: &Rewriter<'_>, value: ValueId) -> Option<(Self, f64)> {
        Self::trace_chain(r, value, true)
    }

    fn trace_chain(r: &Rewriter<'_>, value: ValueId, through_scales: bool) -> Option<(Self, f64)> {
        let mut chain = vec![(value, 1.0)];
        let mut last = value;
        loop {
            let (x, factor) = match r.producer(last) {
                Some((Op::Reshape(_) | Op::Transpose(_), inputs)) => (inputs[0]?, None),
                _ if through_scales => match scaled(r, last) {
                    Some((x, factor)) => (x, Some(factor)),
                    None => break,
                },
                _ => break,
            };
            if let (Some(factor), Some(entry)) = (factor, chain.last_mut()) {
                entry.1 = factor;
            }
            chain.push((x, 1.0));
            last = x;
        }
        while let Some((source, _)) = chain.pop() {
            let start = (Self::of(r, source)?, 1.0);
            let steps = chain.iter().rev();
            let whole = steps.copied().try_fold(start, |(a, scale), (v, factor)| Some((a.step(r, v)?, scale * factor)));
            if whole.is_some() {
                return whole;
            }
        }
        None
    }

    /// After the operator that makes `value`.
    fn step(self, r: &Rewriter<'_>, value: ValueId) -> Option<Self> {
        match r.producer(value)? {
            (Op::Transpose(t), _) => self.transposed(&t.perm),
            (Op::Reshape(_), _) => self.reshaped(&r.b.dims(value)),
            _ => Some(self),
        }
    }

    /// With dimensions permuted; no permutation reverses them.
    pub fn transposed(&self, perm: &[usize]) -> Option<Self> {
        let reversed: Vec<usize> = (0..self.dims.len()).rev().collect();
        let perm = if perm.is_empty() { &reversed } else { perm };
        let dims = perm.iter().map(|&p| self.dims.get(p).cloned()).collect::<Option<_>>()?;
        let extents = perm.iter().map(|&p| self.extents.get(p).cloned()).collect::<Option<_>>()?;
        Some(Arranged { dims, extents, ..self.clone() })
    }

    /// With the last two dimensions swapped.
    pub fn swapped(&self) -> Option<Self> {
        let n = self.dims.len();
        let perm: Vec<usize> = (0..n.checked_sub(2)?).chain([n - 1, n - 2]).collect();
        self.transposed(&perm)
    }

    /// Under another shape of as many elements; None where extents that have no number cannot be matched.
    pub fn reshaped(mut self, to: &[Dim]) -> Option<Self> {
        // Atoms still to be given to a dimension, the next one last.
        let mut left: Vec<usize> = self.order().into_iter().rev().collect();
        let mut dims: Vec<Vec<usize>> = vec![];
        for extent in to {
            let mut rest = extent.clone();
            dims.push(vec![]);
            while rest != Dim::Fixed(1) {
                let atom = left.pop()?;
                let have = self.atoms[atom].clone();
                if let Some(more) = exact_div(&rest, &have) {
                    rest = more;
                } else {
                    let inner = exact_div(&have, &rest)?;
                    self.atoms[atom] = rest;
                    self.atoms.insert(atom + 1, inner);
                    let after = dims.iter_mut().flatten().chain(&mut left);
                    after.filter(|a| **a > atom).for_each(|a| *a += 1);
                    left.push(atom + 1);
                    rest = Dim::Fixed(1);
                }
                if let Some(dim) = dims.last_mut() {
                    dim.push(atom);
                }
            }
        }
        left.is_empty().then(|| Arranged { dims, extents: to.to_vec(), ..self })
    }

    /// Followed by a rearrangement of the result.
    pub fn then(&self, after: &Arranged) -> Option<Self> {
        self.clone().reshaped(&after.atoms)?.transposed(&after.order())?.reshaped(&after.extents)
    }

    /// The atoms in the tensor's order.
    pub fn order(&self) -> Vec<usize> {
        self.dims.concat()
    }

    /// Whether the elements are in the source's order.
    pub fn in_order(&self) -> bool {
        self.order().is_sorted()
    }

    /// How many of the last atoms make up the last dimension of the source.
    pub fn last_atoms(&self, r: &Rewriter<'_>) -> Option<usize> {
        let last = r.b.dims(self.source).last()?.clone();
        let mut product = Dim::Fixed(1);
        for n in 0..=self.atoms.len() {
            if product == last {
                return Some(n);
            }
            product = product.mul(self.atoms.iter().rev().nth(n)?);
        }
        None
    }

    /// How the tensor is made from its source.
    fn route(&self, r: &Rewriter<'_>) -> Route {
        let from = r.b.dims(self.source);
        let order = self.order();
        if order.is_sorted() {
            return Route { cut: None, perm: None, moved: from };
        }
        let (atoms, order) = self.merged(&from, &order);
        let whole: Vec<usize> = (0..from.len()).filter(|&i| from[i] != Dim::Fixed(1)).collect();
        let (cut, perm) = if whole.len() == atoms.len() {
            (None, self.with_ones(&from, &whole, &order))
        } else {
            (Some(atoms), order)
        };
        let moved = perm.iter().map(|&p| cut.as_ref().unwrap_or(&from)[p].clone()).collect();
        Route { cut, perm: Some(perm), moved }
    }

    /// Atoms and order when atoms of one dimension of the source that stay neighbours are one.
    fn merged(&self, from: &[Dim], order: &[usize]) -> (Vec<Dim>, Vec<usize>) {
        // For each atom, whether it continues the one before it.
        let mut continues = vec![false; self.atoms.len()];
        let mut atom = 0;
        for extent in from.iter().filter(|d| **d != Dim::Fixed(1)) {
            let mut product = Dim::Fixed(1);
            let first = atom;
            while product != *extent && atom < self.atoms.len() {
                product = product.mul(&self.atoms[atom]);
                continues[atom] = atom > first && order.windows(2).any(|w| w == [atom - 1, atom]);
                atom += 1;
            }
        }
        let mut atoms: Vec<Dim> = vec![];
        let mut new = vec![];
        for (extent, &continues) in self.atoms.iter().zip(&continues) {
            match atoms.last_mut() {
                Some(last) if continues => *last = last.mul(extent),
                _ => atoms.push(extent.clone()),
            }
            new.push(atoms.len() - 1);
        }
        (atoms, order.iter().filter(|&&a| !continues[a]).map(|&a| new[a]).collect())
    }

    /// The permutation of the source's dimensions, those of 1 included; these go where the result has some.
    fn with_ones(&self, from: &[Dim], whole: &[usize], order: &[usize]) -> Vec<usize> {
        let mut ones = (0..from.len()).filter(|&i| from[i] == Dim::Fixed(1));
        let mut atoms = order.iter().map(|&a| whole[a]);
        let mut perm = vec![];
        for extent in &self.extents {
            perm.extend(if *extent == Dim::Fixed(1) { ones.next() } else { atoms.next() });
        }
        perm.extend(atoms);
        perm.extend(ones);
        perm
    }

    /// What [`Arranged::emit`] will cost: how often data is moved, then the number of operators.
    fn cost(&self, r: &Rewriter<'_>) -> (usize, usize) {
        let route = self.route(r);
        let length = usize::from(route.cut.is_some()) + usize::from(route.moved != self.extents);
        let moves = usize::from(route.perm.is_some());
        (moves, length + moves)
    }

    /// Emits the tensor: at most a Reshape, a Transpose and a Reshape. None if a shape cannot be expressed, as where a
    /// chain cuts the source into more atoms than a tensor has dimensions.
    pub fn emit(&self, r: &mut Rewriter<'_>) -> Result<Option<ValueId>> {
        let route = self.route(r);
        let mut x = self.source;
        if let Some(cut) = &route.cut {
            if cut.len() > MAX_RANK {
                return Ok(None);
            }
            let Some(v) = reshape(r, x, cut)? else { return Ok(None) };
            x = v;
        }
        if let Some(perm) = &route.perm {
            x = r.transpose(x, perm)?;
        }
        reshape(r, x, &self.extents)
    }
}

/// A Reshape to `cut`, a Transpose by `perm`, to a tensor of extents `moved`; then a Reshape if these are not the result's.
struct Route {
    cut: Option<Vec<Dim>>,
    perm: Option<Vec<usize>>,
    moved: Vec<Dim>,
}

/// The tensor and the number whose product or quotient makes a value of the tensor's shape.
pub fn scaled(r: &Rewriter<'_>, value: ValueId) -> Option<(ValueId, f64)> {
    let (Op::Binary(b), &[Some(x), Some(y)]) = r.producer(value)? else { return None };
    if b.activation != Activation::None || !r.b.dtype(x).is_float() {
        return None;
    }
    let (tensor, factor) = match (b.kind, r.b.known_scalar(x), r.b.known_scalar(y)) {
        (BinaryKind::Mul, _, Some(c)) => (x, c),
        (BinaryKind::Mul, Some(c), _) => (y, c),
        (BinaryKind::Div, _, Some(c)) => (x, 1.0 / c),
        _ => return None,
    };
    (r.b.ty(tensor).shape == r.b.ty(value).shape && factor.is_finite() && factor != 0.0).then_some((tensor, factor))
}

/// `x` under possibly symbolic dimensions; None if they cannot be expressed.
pub fn reshape(r: &mut Rewriter<'_>, x: ValueId, dims: &[Dim]) -> Result<Option<ValueId>> {
    if r.b.dims(x) == dims {
        return Ok(Some(x));
    }
    let Some(target) = r.b.reshape_target(x, dims) else { return Ok(None) };
    let target = r.b.ints(&target)?;
    r.emit1(Reshape::default(), &[x, target]).map(Some)
}

/// What a chain that ends in `value` costs: how often it moves data, then its length.
fn cost(r: &Rewriter<'_>, source: ValueId, mut value: ValueId) -> Option<(usize, usize)> {
    let (mut moves, mut length) = (0, 0);
    while value != source {
        let (op, inputs) = r.producer(value)?;
        let x = inputs[0]?;
        if let Op::Transpose(t) = op {
            let moved = Arranged::of(r, x)?.transposed(&t.perm)?;
            moves += usize::from(!moved.in_order());
        }
        length += 1;
        value = x;
    }
    Some((moves, length))
}

/// A chain that a shorter one, or one that moves data less often, can replace.
fn shorten(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let (Op::Reshape(_) | Op::Transpose(_), Some(x)) = (op, inputs[0]) else { return Ok(None) };
    if !matches!(r.producer(x), Some((Op::Reshape(_) | Op::Transpose(_), _))) {
        return Ok(None);
    }
    let Some(before) = Arranged::trace(r, x) else { return Ok(None) };
    let Some((mut moves, mut length)) = cost(r, before.source, x) else { return Ok(None) };
    let after = match op {
        Op::Transpose(t) => {
            moves += usize::from(Arranged::of(r, x).and_then(|a| a.transposed(&t.perm)).is_some_and(|a| !a.in_order()));
            before.transposed(&t.perm)
        }
        _ => before.reshaped(&super::simplify::output_shape(r, op, inputs)?),
    };
    let Some(after) = after else { return Ok(None) };
    length += 1;
    let shortest = after.cost(r);
    if shortest >= (moves, length) {
        return Ok(None);
    }
    Ok(after.emit(r)?.map(|v| vec![v]))
}
