//! Reshape: the same elements in the same order under another shape. Inputs: data, target shape (i64 vector).
//!
//! A target of -1 is inferred from the number of elements; 0 copies the input's dimension at that position unless
//! `keep_zero` is set. Squeeze, Unsqueeze and Flatten are lowered to this operator.

mod cpu;
#[cfg(test)]
mod tests;

pub(super) use cpu::copy;

use super::{Inputs, Kernel, OpDef, Prepare};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{Dim, Shape, TensorType};

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Reshape {
    /// A 0 in the target means an extent of 0 rather than the input's extent.
    pub keep_zero: bool,
}

impl OpDef for Reshape {
    type Table<'a> = schema::Reshape<'a>;
    const NAME: &'static str = "Reshape";
    const INPUTS: (usize, usize) = (2, 2);
    const IS_VIEW: bool = true;

    fn read(table: Self::Table<'_>) -> Result<Self> {
        Ok(Reshape { keep_zero: table.keep_zero() })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        schema::Reshape::create(b, &schema::ReshapeArgs { keep_zero: self.keep_zero })
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let x = inputs.get(0)?;
        let shape = self.target(&x.shape, inputs.vector(1)?)?;
        let ty = TensorType::new(x.dtype, shape);
        Ok(vec![match &x.value {
            Some(value) => ty.with_value(value.to_vec()),
            None => ty,
        }])
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        Ok(copy(cx))
    }
}

impl Reshape {
    fn target(&self, from: &Shape, mut target: Vec<Dim>) -> Result<Shape> {
        let mut inferred = None;
        // What is left on either side without the copied dimensions: they may be 0, and -1 is then known all the same.
        let mut rest = from.to_vec();
        let mut known = Dim::Fixed(1);
        for (i, dim) in target.iter_mut().enumerate() {
            match dim {
                Dim::Fixed(0) if !self.keep_zero => {
                    let same = from.get(i).ok_or_else(|| {
                        Error::shape(format!("target dimension {i} is 0, which copies a dimension that {from} lacks"))
                    })?;
                    *dim = same.clone();
                    rest[i] = Dim::Fixed(1);
                }
                Dim::Fixed(-1) if inferred.is_some() => {
                    return Err(Error::shape("more than one dimension of the target is -1"));
                }
                Dim::Fixed(-1) => {
                    inferred = Some(i);
                    *dim = Dim::Fixed(1);
                }
                _ => known = known.mul(dim),
            }
        }
        if let Some(i) = inferred {
            let rest = rest.iter().fold(Dim::Fixed(1), |n, d| n.mul(d));
            target[i] = if known == Dim::Fixed(0) { Dim::Fixed(0) } else { rest.floor_div(&known) };
        }
        let total = from.numel();
        let shape = Shape::new(target)?;
        match (total.fixed(), shape.numel().fixed()) {
            (Some(a), Some(b)) if a != b => Err(Error::shape(format!("{from} cannot be reshaped to {shape}"))),
            _ => Ok(shape),
        }
    }
}
