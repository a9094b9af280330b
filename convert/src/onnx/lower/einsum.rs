//! Einsum: sums of products over named axes. Terms are contracted from left to right, each pair as one matrix product whose
//! batch axes are those that both have and that are still needed, or element by element where nothing is summed.

use super::{Cx, Table};
use crate::emit::Extent;
use crate::onnx::model::Node;
use infer::error::{Error, Result};
use infer::graph::ValueId;
use infer::ops::reduce::ReduceKind;
use infer::ops::{MatMul, Slice};
use infer::tensor::{DType, Dim};

pub const TABLE: Table = &[("Einsum", einsum)];

/// Name of an axis: a letter, or one of those that an ellipsis stands for, counted from the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Ellipsis(std::cmp::Reverse<usize>),
    Letter(char),
}

/// A tensor with the names of its axes.
struct Term {
    value: ValueId,
    labels: Vec<Label>,
}

impl Term {
    fn axis(&self, label: Label) -> Option<usize> {
        self.labels.iter().position(|&l| l == label)
    }

    fn extent(&self, label: Label) -> Option<Extent> {
        self.axis(label).map(|axis| (self.value, axis))
    }
}

fn einsum(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let inputs = cx.inputs(n)?;
    let equation: String = n.required::<&str>("equation")?.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (equation.as_str(), None),
    };
    let texts: Vec<&str> = left.split(',').collect();
    if texts.len() != inputs.len() {
        return Err(Error::format(format!("equation '{equation}' for {} inputs", inputs.len())));
    }
    let mut terms = vec![];
    for (text, &value) in texts.iter().zip(&inputs) {
        let labels = labels(text, Some(cx.b.rank(value)))?;
        terms.push(cx.diagonal(Term { value, labels })?);
    }
    let output = match right {
        Some(text) => expanded(text, &terms)?,
        None => implied(&texts, &terms),
    };
    if let Some(label) = output.iter().find(|l| terms.iter().all(|t| t.axis(**l).is_none())) {
        return Err(Error::format(format!("{label:?} of the output is no axis of an input")));
    }
    Ok(vec![cx.contract_all(terms, &output)?])
}

/// The axes of one term. `rank` tells how many an ellipsis stands for: none if it is not given.
fn labels(text: &str, rank: Option<usize>) -> Result<Vec<Label>> {
    let bad = || Error::format(format!("'{text}' does not name the axes of a tensor of rank {rank:?}"));
    let (head, tail) = text.split_once("...").unwrap_or((text, ""));
    let letters =
        |s: &str| s.chars().map(|c| c.is_alphabetic().then_some(Label::Letter(c))).collect::<Option<Vec<_>>>();
    let (head, tail) = (letters(head).ok_or_else(bad)?, letters(tail).ok_or_else(bad)?);
    let named = head.len() + tail.len();
    let hidden = rank.map_or(Some(0), |rank| rank.checked_sub(named)).ok_or_else(bad)?;
    if hidden > 0 && !text.contains("...") {
        return Err(bad());
    }
    let ellipsis = (0..hidden).map(|i| Label::Ellipsis(std::cmp::Reverse(hidden - 1 - i)));
    Ok(head.into_iter().chain(ellipsis).chain(tail).collect())
}

/// All axes that ellipses stand for.
fn ellipsis(terms: &[Term]) -> Vec<Label> {
    let mut all: Vec<Label> = terms.iter().flat_map(|t| &t.labels).copied().collect();
    all.retain(|l| matches!(l, Label::Ellipsis(_)));
    all.sort_unstable();
    all.dedup();
    all
}

/// The axes of a stated output.
fn expanded(text: &str, terms: &[Term]) -> Result<Vec<Label>> {
    let hidden = ellipsis(terms);
    if !hidden.is_empty() && !text.contains("...") {
        return Err(Error::unsupported("an output without the ellipsis that an input has"));
    }
    let named = text.replace("...", "").chars().count();
    let output = labels(text, text.contains("...").then_some(named + hidden.len()))?;
    match (1..output.len()).find(|&i| output[..i].contains(&output[i])) {
        Some(_) => Err(Error::format(format!("the output '{text}' names an axis twice"))),
        None => Ok(output),
    }
}

/// Without a stated output: the ellipsis, then the letters that occur once, in order.
fn implied(texts: &[&str], terms: &[Term]) -> Vec<Label> {
    let mut letters: Vec<char> = texts.iter().flat_map(|t| t.chars()).filter(|c| *c != '.').collect();
    letters.sort_unstable();
    let once = |c: &char| letters.iter().filter(|l| *l == c).count() == 1;
    let named = letters.iter().copied().filter(once).map(Label::Letter);
    ellipsis(terms).into_iter().chain(named).collect()
}

impl Cx<'_> {
    /// The term with each axis once: elements whose indices along axes of the same name differ play no part.
    fn diagonal(&mut self, mut term: Term) -> Result<Term> {
        while let Some(j) = (1..term.labels.len()).find(|&j| term.labels[..j].contains(&term.labels[j])) {
            let label = term.labels.remove(j);
            let i = term.axis(label).unwrap_or(0);
            term.labels.remove(i);
            let mut perm: Vec<usize> = (0..self.b.rank(term.value)).filter(|&k| k != i && k != j).collect();
            perm.extend([i, j]);
            let square = self.b.transpose(term.value, &perm)?;
            let last = perm.len() - 2;
            let mut products: Vec<Vec<Extent>> = (0..last).map(|k| vec![(square, k)]).collect();
            products.push(vec![(square, last), (square, last + 1)]);
            let flat = self.b.reshape_as(square, &products)?;
            let (start, end) = (self.b.ints(&[0])?, self.b.ints(&[i64::MAX])?);
            let (extent, one) = (self.b.extent((square, last))?, self.b.ints(&[1])?);
            let step = self.b.add(extent, one)?;
            let line = self.b.emit1(Slice { axes: vec![-1] }, &[flat, start, end, step])?;
            products[last].pop();
            term.value = self.b.reshape_as(line, &products)?;
            term.labels.push(label);
        }
        Ok(term)
    }

    fn contract_all(&mut self, terms: Vec<Term>, output: &[Label]) -> Result<ValueId> {
        let mut terms = std::collections::VecDeque::from(terms);
        let mut all = terms.pop_front().ok_or_else(|| Error::format("an Einsum without inputs"))?;
        while let Some(term) = terms.pop_front() {
            let later = terms.iter().flat_map(|t| &t.labels);
            let needed: Vec<Label> = output.iter().chain(later).copied().collect();
            all = self.contract(all, term, &needed)?;
        }
        let all = self.summed(all, |label| output.contains(&label))?;
        let groups: Vec<Vec<Label>> = output.iter().map(|&l| vec![l]).collect();
        self.arranged(&all, &groups)
    }

    /// The product of two terms, summed over axes that are not needed.
    fn contract(&mut self, a: Term, b: Term, needed: &[Label]) -> Result<Term> {
        let a = self.without_ones(a, &b)?;
        let b = self.without_ones(b, &a)?;
        let a = self.summed(a, |l| needed.contains(&l) || b.axis(l).is_some())?;
        let b = self.summed(b, |l| needed.contains(&l) || a.axis(l).is_some())?;
        let (shared, own): (Vec<Label>, Vec<Label>) = a.labels.iter().partition(|l| b.axis(**l).is_some());
        let (batch, inner): (Vec<Label>, Vec<Label>) = shared.iter().partition(|l| needed.contains(l));
        let other: Vec<Label> = b.labels.iter().copied().filter(|l| a.axis(*l).is_none()).collect();
        let labels = [&batch[..], &own, &other].concat();
        let multiplies = !matches!(self.b.dtype(a.value), DType::I8 | DType::U8 | DType::I16 | DType::U16);
        if inner.is_empty() || !multiplies {
            let all: Vec<Vec<Label>> = labels.iter().chain(&inner).map(|&l| vec![l]).collect();
            let (x, y) = (self.arranged(&a, &all)?, self.arranged(&b, &all)?);
            let product = Term { value: self.b.mul(x, y)?, labels: all.concat() };
            return self.summed(product, |l| !inner.contains(&l));
        }
        let singles = |more: [&[Label]; 2]| -> Vec<Vec<Label>> {
            batch.iter().map(|&l| vec![l]).chain(more.map(<[Label]>::to_vec)).collect()
        };
        let x = self.arranged(&a, &singles([&own, &inner]))?;
        let y = self.arranged(&b, &singles([&inner, &other]))?;
        let product = self.b.emit1(MatMul::default(), &[x, y])?;
        let mut extents: Vec<Vec<Extent>> = (0..batch.len()).map(|i| vec![(product, i)]).collect();
        extents.extend(own.iter().map(|&l| a.extent(l).into_iter().collect()));
        extents.extend(other.iter().map(|&l| b.extent(l).into_iter().collect()));
        Ok(Term { value: self.b.reshape_as(product, &extents)?, labels })
    }

    /// The term without axes of extent 1 that are longer in the other term, which they broadcast to.
    fn without_ones(&mut self, mut term: Term, other: &Term) -> Result<Term> {
        let one = |x: ValueId, axis: usize, cx: &Self| cx.b.dims(x)[axis] == Dim::Fixed(1);
        let short = |cx: &Self, l: Label| {
            let (mine, theirs) = (term.extent(l), other.extent(l));
            mine.zip(theirs).is_some_and(|((x, i), (y, j))| one(x, i, cx) && !one(y, j, cx))
        };
        let axes: Vec<usize> = (0..term.labels.len()).filter(|&i| short(self, term.labels[i])).collect();
        term.value = self.b.squeeze(term.value, &axes)?;
        let mut i = 0..;
        term.labels.retain(|_| i.next().is_none_or(|i| !axes.contains(&i)));
        Ok(term)
    }

    /// The term summed over the axes that are not to be kept.
    fn summed(&mut self, mut term: Term, keep: impl Fn(Label) -> bool) -> Result<Term> {
        let axes: Vec<usize> = (0..term.labels.len()).filter(|&i| !keep(term.labels[i])).collect();
        if !axes.is_empty() {
            term.value = self.b.reduce(ReduceKind::Sum, term.value, &axes, false)?;
            term.labels.retain(|&l| keep(l));
        }
        Ok(term)
    }

    /// The term with one axis for each group of labels; a group of which it has none is an axis of extent 1.
    fn arranged(&mut self, term: &Term, groups: &[Vec<Label>]) -> Result<ValueId> {
        let mut perm = vec![];
        let mut places = vec![];
        for group in groups {
            let axes: Vec<usize> = group.iter().filter_map(|&l| term.axis(l)).collect();
            places.push(perm.len()..perm.len() + axes.len());
            perm.extend(axes);
        }
        let x = self.b.transpose(term.value, &perm)?;
        let extents: Vec<Vec<Extent>> = places.into_iter().map(|p| p.map(|i| (x, i)).collect()).collect();
        self.b.reshape_as(x, &extents)
    }
}
