//! MatMulInteger: `(A - a₀) · (B - b₀)` in i32, with the shapes of `numpy.matmul`. Inputs: A, B (i8 or u8 each), optional
//! zero points a₀ and b₀ of the same types.
//!
//! A zero point is a single value, or one for each row of A (a vector of as many elements, or a tensor that broadcasts to
//! A with a last extent of 1), or one for each column of B (a vector, or a tensor that broadcasts to B).

#[cfg(test)]
mod tests;

use super::{Inputs, Kernel, MatMul, OpDef, Prepare, TensorInfo, centered};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{DType, Dim, Dims, Shape, TensorType};

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct MatMulInteger;

impl OpDef for MatMulInteger {
    type Table<'a> = schema::MatMulInteger<'a>;
    const NAME: &'static str = "MatMulInteger";
    const INPUTS: (usize, usize) = (2, 4);

    fn read(_: Self::Table<'_>) -> Result<Self> {
        Ok(MatMulInteger)
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        schema::MatMulInteger::create(b, &schema::MatMulIntegerArgs {})
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        check_bytes(inputs)?;
        let wide = [0, 1].map(|i| inputs.get(i).map(|ty| TensorType::new(DType::I32, ty.shape.clone())));
        let [a, b] = wide;
        let (a, b) = (a?, b?);
        for (zero, of, rows) in [(2, &a.shape, true), (3, &b.shape, false)] {
            let Some(zero) = inputs.opt(zero) else { continue };
            let shape = Shape::new(if rows { as_column(&zero.shape, of) } else { zero.shape.to_vec() })?;
            let same = |(a, b): (&Dim, &Dim)| a.fixed().zip(b.fixed()).is_none_or(|(a, b)| a == b);
            let fits = |wide: Shape| wide.rank() == of.rank() && wide.iter().zip(of.iter()).all(same);
            let last_is_one = shape.last().is_none_or(|d| *d == Dim::Fixed(1));
            if rows && !last_is_one || !of.broadcast(&shape).is_ok_and(fits) {
                let message = format!("a zero point {} for {} of shape {of}", zero.shape, if rows { "A" } else { "B" });
                return Err(Error::shape(message));
            }
        }
        MatMul::default().infer(&Inputs::new(&[Some(&a), Some(&b)]))
    }

    fn flops(&self, inputs: &[Option<TensorInfo>], outputs: &[TensorInfo]) -> u64 {
        MatMul::default().flops(inputs, outputs)
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        let zero = |i: usize| cx.optional(i).map(|zero| zero.info.dims);
        let rows = zero(2).map(|dims| match (&dims[..], cx.dims(0).len()) {
            ([n], rank) if *n > 1 && rank > 1 => Dims::new(&[*n, 1]),
            _ => dims,
        });
        centered::prepare(&MatMul::default(), [rows, zero(3)], cx)
    }
}

/// A vector of more than one zero point, for the rows of a matrix, as a column.
fn as_column(zero: &Shape, of: &Shape) -> Vec<Dim> {
    let mut dims = zero.to_vec();
    if dims.len() == 1 && dims[0] != Dim::Fixed(1) && of.rank() > 1 {
        dims.push(Dim::Fixed(1));
    }
    dims
}

/// Checks that the first two inputs are i8 or u8, and zero points of the types of those that they belong to.
pub(super) fn check_bytes(inputs: &Inputs<'_>) -> Result<()> {
    for i in 0..2 {
        let dtype = inputs.get(i)?.dtype;
        if !matches!(dtype, DType::I8 | DType::U8) {
            return Err(Error::dtype(format!("input {i} is {dtype}; i8 or u8 is needed")));
        }
        inputs.expect_dtype(i + 2, dtype)?;
    }
    Ok(())
}
