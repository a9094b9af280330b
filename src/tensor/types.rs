//! Shapes and tensor types: what is known of a tensor before its data exists.

use super::{Bindings, DType, Dim, MAX_RANK};
use crate::error::{Error, Result};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Dimensions of a tensor, outermost first; empty for a scalar.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Shape(Vec<Dim>);

impl Shape {
    /// A shape of the given dimensions; an error if there are more than [`MAX_RANK`] or one is negative.
    pub fn new(dims: impl Into<Vec<Dim>>) -> Result<Self> {
        let dims = dims.into();
        if dims.len() > MAX_RANK {
            return Err(Error::shape(format!("rank {} is above the limit of {MAX_RANK}", dims.len())));
        }
        match dims.iter().find(|d| d.fixed().is_some_and(|n| n < 0)) {
            Some(d) => Err(Error::shape(format!("negative dimension {d}"))),
            None => Ok(Shape(dims)),
        }
    }

    /// A shape of numbers.
    pub fn fixed(dims: &[usize]) -> Result<Self> {
        Shape::new(dims.iter().map(|&d| Dim::from(d)).collect::<Vec<_>>())
    }

    /// The shape of a scalar.
    pub fn scalar() -> Self {
        Shape::default()
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// Number of elements.
    pub fn numel(&self) -> Dim {
        self.0.iter().fold(Dim::Fixed(1), |n, d| n.mul(d))
    }

    /// The dimensions as numbers, if all are.
    pub fn as_fixed(&self) -> Option<Dims> {
        let mut dims = Dims::default();
        for d in &self.0 {
            dims.push(usize::try_from(d.fixed()?).ok()?);
        }
        Some(dims)
    }

    /// The shape with named dimensions replaced by their values.
    pub fn bind(&self, bindings: &Bindings) -> Shape {
        Shape(self.0.iter().map(|d| d.bind(bindings)).collect())
    }

    /// The shape to which both shapes can be expanded by NumPy's rules: aligned at the last dimension, extents are equal
    /// or one of them is 1. Two different named extents give the larger one.
    pub fn broadcast(&self, other: &[Dim]) -> Result<Shape> {
        let rank = self.rank().max(other.len());
        let one = Dim::Fixed(1);
        let at = |dims: &[Dim], i: usize| (i + dims.len()).checked_sub(rank).map_or(one.clone(), |i| dims[i].clone());
        let dims: Option<Vec<Dim>> = (0..rank).map(|i| broadcast(at(self, i), at(other, i))).collect();
        match dims {
            Some(dims) => Shape::new(dims),
            None => Err(Error::shape(format!("{self} and {} do not broadcast", Shape(other.to_vec())))),
        }
    }

    /// `axis` counted from the front; negative ones count from the back. An error outside `-rank..rank`.
    pub fn axis(&self, axis: i64) -> Result<usize> {
        normalize_axis(axis, self.rank())
    }
}

/// The common extent of two, either of which may be 1; None if there is none.
fn broadcast(a: Dim, b: Dim) -> Option<Dim> {
    match (a.fixed(), b.fixed()) {
        (Some(1), _) => Some(b),
        (_, Some(1)) => Some(a),
        (Some(x), Some(y)) => (x == y).then_some(a),
        (Some(_), None) => Some(a),
        (None, Some(_)) => Some(b),
        (None, None) => Some(a.maximum(&b)),
    }
}

/// `axis` of a tensor of rank `rank` counted from the front; negative ones count from the back.
pub fn normalize_axis(axis: i64, rank: usize) -> Result<usize> {
    let r = rank as i64;
    let a = if axis < 0 { axis.saturating_add(r) } else { axis };
    if (0..r).contains(&a) {
        return Ok(a as usize);
    }
    Err(Error::shape(format!("axis {axis} is out of range for rank {rank}")))
}

impl Deref for Shape {
    type Target = [Dim];

    fn deref(&self) -> &[Dim] {
        &self.0
    }
}

impl From<Shape> for Vec<Dim> {
    fn from(shape: Shape) -> Self {
        shape.0
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, d) in self.0.iter().enumerate() {
            write!(f, "{}{d}", if i > 0 { ", " } else { "" })?;
        }
        f.write_str("]")
    }
}

/// Up to [`MAX_RANK`] dimensions as numbers, stored in place.
#[derive(Clone, Copy, Default)]
pub struct Dims {
    len: u8,
    dims: [usize; MAX_RANK],
}

impl Dims {
    /// The dimensions of a scalar: none.
    pub const SCALAR: Dims = Dims { len: 0, dims: [0; MAX_RANK] };

    /// The given dimensions. Panics above [`MAX_RANK`].
    pub fn new(dims: &[usize]) -> Self {
        let mut out = Dims::default();
        dims.iter().for_each(|&d| out.push(d));
        out
    }

    /// Appends a dimension. Panics above [`MAX_RANK`].
    pub fn push(&mut self, dim: usize) {
        self.dims[self.len as usize] = dim;
        self.len += 1;
    }

    /// Number of elements; an error if it does not fit.
    pub fn numel(&self) -> Result<usize> {
        self.iter()
            .try_fold(1usize, |n, &d| n.checked_mul(d))
            .ok_or_else(|| Error::shape(format!("a tensor of shape {self:?} is too large")))
    }

    /// Distances in elements between neighbours along each dimension of a contiguous tensor.
    pub fn strides(&self) -> Dims {
        let mut strides = *self;
        let mut next = 1usize;
        for i in (0..self.len()).rev() {
            strides.dims[i] = next;
            next = next.saturating_mul(self.dims[i]);
        }
        strides
    }
}

impl Deref for Dims {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.dims[..self.len as usize]
    }
}

impl std::ops::DerefMut for Dims {
    fn deref_mut(&mut self) -> &mut [usize] {
        &mut self.dims[..self.len as usize]
    }
}

impl PartialEq for Dims {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Dims {}

impl std::hash::Hash for Dims {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for Dims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Element type and shape of a tensor and, for small integer tensors that shape computations read, its elements.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Dimensions.
    pub shape: Shape,
    /// The elements in row-major order, if they are known as expressions; only for integers and bool (0 or 1), at
    /// most [`TensorType::MAX_VALUES`] of them, and never [`Dim::Unknown`].
    pub value: Option<Arc<[Dim]>>,
}

impl TensorType {
    /// Longest tensor whose elements are tracked.
    pub const MAX_VALUES: usize = 256;

    /// A type of which no elements are known.
    pub fn new(dtype: DType, shape: Shape) -> Self {
        TensorType { dtype, shape, value: None }
    }

    /// Attaches the elements if they are such that they can be tracked, else leaves them unknown.
    pub fn with_value(mut self, value: Vec<Dim>) -> Self {
        let tracked = matches!(self.dtype, DType::I32 | DType::I64 | DType::Bool)
            && value.len() <= Self::MAX_VALUES
            && self.shape.numel() == Dim::from(value.len())
            && !value.iter().any(Dim::is_unknown);
        self.value = tracked.then(|| value.into());
        self
    }

    /// The elements as numbers, if all are known to be numbers.
    pub fn fixed_value(&self) -> Option<Vec<i64>> {
        self.value.as_ref()?.iter().map(Dim::fixed).collect()
    }

    /// Bytes that the tensor occupies; None if its shape is not fixed or the size does not fit.
    pub fn byte_len(&self) -> Option<usize> {
        self.shape.as_fixed()?.numel().ok()?.checked_mul(self.dtype.size())
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dtype, self.shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Sym;

    #[test]
    fn shapes_broadcast_from_the_back() {
        let n = Dim::sym(Sym(0));
        let shape = |dims: &[Dim]| Shape::new(dims).unwrap();
        let fixed = |dims: &[usize]| Shape::fixed(dims).unwrap();
        assert_eq!(fixed(&[4, 1, 3]).broadcast(&fixed(&[5, 1])).unwrap(), fixed(&[4, 5, 3]));
        assert_eq!(fixed(&[0, 1]).broadcast(&fixed(&[1, 7])).unwrap(), fixed(&[0, 7]));
        assert_eq!(fixed(&[]).broadcast(&fixed(&[2])).unwrap(), fixed(&[2]));
        let named = shape(&[n]);
        assert_eq!(named.broadcast(&fixed(&[1])).unwrap(), named);
        assert_eq!(named.broadcast(&fixed(&[6])).unwrap(), fixed(&[6]));
        assert_eq!(named.broadcast(&named).unwrap(), named);
        assert_eq!(shape(&[Dim::Unknown]).broadcast(&named).unwrap(), shape(&[Dim::Unknown]));
        let message = fixed(&[2, 3]).broadcast(&fixed(&[4])).unwrap_err().to_string();
        assert!(message.contains("[2, 3] and [4]"), "{message}");
    }
}
