//! Shorthands for the operators that importers emit most, and for arithmetic with shapes.

use crate::builder::Builder;
use infer::error::Result;
use infer::graph::ValueId;
use infer::ops::binary::BinaryKind;
use infer::ops::reduce::ReduceKind;
use infer::ops::unary::UnaryKind;
use infer::ops::{Binary, Cast, Concat, Expand, Gather, Reduce, Reshape, Shape, Slice, Unary, Where};
use infer::tensor::{DType, Dim};

/// One extent of a value.
pub type Extent = (ValueId, usize);

impl Builder<'_> {
    /// A function of two tensors.
    pub fn binary(&mut self, kind: BinaryKind, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.emit1(Binary::from(kind), &[a, b])
    }

    /// A function of a tensor and a number, which takes the tensor's element type.
    pub fn binary_with(&mut self, kind: BinaryKind, a: ValueId, b: f64) -> Result<ValueId> {
        let b = self.scalar(self.dtype(a), b)?;
        self.binary(kind, a, b)
    }

    /// a + b.
    pub fn add(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary(BinaryKind::Add, a, b)
    }

    /// a - b.
    pub fn sub(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary(BinaryKind::Sub, a, b)
    }

    /// a · b.
    pub fn mul(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary(BinaryKind::Mul, a, b)
    }

    /// a / b.
    pub fn div(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary(BinaryKind::Div, a, b)
    }

    /// A function of one tensor.
    pub fn unary(&mut self, kind: UnaryKind, x: ValueId) -> Result<ValueId> {
        self.emit1(Unary::from(kind), &[x])
    }

    /// `x` reduced over axes, which stay with extent 1 if `keep`.
    pub fn reduce(&mut self, kind: ReduceKind, x: ValueId, axes: &[usize], keep: bool) -> Result<ValueId> {
        let axes = axes.iter().map(|&a| a as i64).collect();
        self.emit1(Reduce { kind, axes, keep_dims: keep }, &[x])
    }

    /// `x` as another element type.
    pub fn cast(&mut self, x: ValueId, to: DType) -> Result<ValueId> {
        if self.dtype(x) == to { Ok(x) } else { self.emit1(Cast { to }, &[x]) }
    }

    /// Elements of `x` where the condition holds, of `y` where it does not.
    pub fn select(&mut self, condition: ValueId, x: ValueId, y: ValueId) -> Result<ValueId> {
        self.emit1(Where, &[condition, x, y])
    }

    /// The tensors one after another along an axis.
    pub fn concat(&mut self, axis: i64, parts: &[ValueId]) -> Result<ValueId> {
        match parts {
            [one] => Ok(*one),
            _ => self.emit1(Concat::along(axis), parts),
        }
    }

    /// Elements `start..end` along an axis; negative numbers count from the back, and both are clamped.
    pub fn slice(&mut self, x: ValueId, axis: usize, start: i64, end: i64) -> Result<ValueId> {
        let (start, end) = (self.ints(&[start])?, self.ints(&[end])?);
        self.emit1(Slice { axes: vec![axis as i64] }, &[x, start, end])
    }

    /// All elements along an axis in reverse order.
    pub fn reverse(&mut self, x: ValueId, axis: usize) -> Result<ValueId> {
        let (start, end, step) = (self.ints(&[-1])?, self.ints(&[i64::MIN])?, self.ints(&[-1])?);
        self.emit1(Slice { axes: vec![axis as i64] }, &[x, start, end, step])
    }

    /// Element `index` along an axis, which disappears.
    pub fn pick(&mut self, x: ValueId, axis: usize, index: i64) -> Result<ValueId> {
        let index = self.array(&[], &[index])?;
        self.emit1(Gather { axis: axis as i64 }, &[x, index])
    }

    /// Elements of `x` along an axis by index.
    pub fn gather(&mut self, x: ValueId, indices: ValueId, axis: usize) -> Result<ValueId> {
        self.emit1(Gather { axis: axis as i64 }, &[x, indices])
    }

    /// `x` repeated so that it has the shape that broadcasting gives for it and `shape`, an integer vector.
    pub fn expand(&mut self, x: ValueId, shape: ValueId) -> Result<ValueId> {
        self.emit1(Expand, &[x, shape])
    }

    /// `x` under the shape that an integer vector gives; extents are as they stand there, 0 included.
    pub fn reshape_by(&mut self, x: ValueId, shape: ValueId) -> Result<ValueId> {
        self.emit1(Reshape { keep_zero: true }, &[x, shape])
    }

    /// The extents of `x` as an i64 vector.
    pub fn shape(&mut self, x: ValueId) -> Result<ValueId> {
        self.emit1(Shape::default(), &[x])
    }

    /// One extent of `x` as an i64 vector of one element.
    pub fn extent(&mut self, (x, axis): Extent) -> Result<ValueId> {
        self.emit1(Shape { start: axis as i64, end: axis as i64 + 1 }, &[x])
    }

    /// One extent of `x` as an i64 scalar.
    pub fn extent_scalar(&mut self, extent: Extent) -> Result<ValueId> {
        let extent = self.extent(extent)?;
        self.reshape(extent, &[])
    }

    /// An i64 vector, each element of which is a product of extents; an empty product is 1.
    pub fn extents(&mut self, products: &[Vec<Extent>]) -> Result<ValueId> {
        let mut parts = vec![];
        for product in products {
            let mut part = self.ints(&[1])?;
            for &extent in product {
                let extent = self.extent(extent)?;
                part = if self.known_ints(part).as_deref() == Some(&[1]) { extent } else { self.mul(part, extent)? };
            }
            parts.push(part);
        }
        if parts.is_empty() { self.ints(&[]) } else { self.concat(0, &parts) }
    }

    /// `x` under a shape each of whose extents is a product of extents of values; an empty product is 1.
    pub fn reshape_as(&mut self, x: ValueId, products: &[Vec<Extent>]) -> Result<ValueId> {
        let dims: Vec<Dim> = products.iter().map(|p| self.product(p)).collect();
        if dims == self.dims(x) && !dims.iter().any(Dim::is_unknown) {
            return Ok(x);
        }
        if let Some(target) = self.reshape_target(x, &dims).filter(|_| !dims.iter().any(Dim::is_unknown)) {
            return self.reshape(x, &target);
        }
        let shape = self.extents(products)?;
        self.reshape_by(x, shape)
    }

    /// A product of extents, as far as it is known.
    pub fn product(&self, extents: &[Extent]) -> Dim {
        extents.iter().fold(Dim::Fixed(1), |p, &(x, axis)| p.mul(&self.ty(x).shape[axis]))
    }

    /// `x` with axes of extent 1 inserted at the given positions of the result, in ascending order.
    pub fn unsqueeze(&mut self, x: ValueId, axes: &[usize]) -> Result<ValueId> {
        let mut products: Vec<Vec<Extent>> = (0..self.rank(x)).map(|i| vec![(x, i)]).collect();
        axes.iter().for_each(|&axis| products.insert(axis.min(products.len()), vec![]));
        self.reshape_as(x, &products)
    }

    /// `x` without the given axes, whose extents are 1.
    pub fn squeeze(&mut self, x: ValueId, axes: &[usize]) -> Result<ValueId> {
        let kept: Vec<Vec<Extent>> = (0..self.rank(x)).filter(|i| !axes.contains(i)).map(|i| vec![(x, i)]).collect();
        self.reshape_as(x, &kept)
    }
}
