//! TopK: the `k` largest or smallest elements along an axis, best first, and their indices (i64). Inputs: data, k (an
//! integer vector of one element).
//!
//! NaN counts as larger than every number. Of equal elements those with lower indices come first.

mod cpu;
#[cfg(test)]
mod tests;

use super::{Inputs, Kernel, OpDef, Prepare};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{DType, Dim, Shape, TensorType, normalize_axis};

/// See the [module](self).
#[derive(Clone, Debug, PartialEq)]
pub struct TopK {
    /// The axis; negative ones count from the back.
    pub axis: i64,
    /// The largest elements rather than the smallest.
    pub largest: bool,
    /// Whether the result must be sorted; it is in any case.
    pub sorted: bool,
}

impl Default for TopK {
    /// The largest along the last axis.
    fn default() -> Self {
        TopK { axis: -1, largest: true, sorted: true }
    }
}

impl OpDef for TopK {
    type Table<'a> = schema::TopK<'a>;
    const NAME: &'static str = "TopK";
    const INPUTS: (usize, usize) = (2, 2);

    fn read(table: Self::Table<'_>) -> Result<Self> {
        Ok(TopK { axis: table.axis().into(), largest: table.largest(), sorted: table.sorted() })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        let args = schema::TopKArgs { axis: self.axis as i32, largest: self.largest, sorted: self.sorted };
        schema::TopK::create(b, &args)
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let (x, k) = (inputs.get(0)?, inputs.vector(1)?);
        let axis = x.shape.axis(self.axis)?;
        let [k] = &k[..] else {
            return Err(Error::shape(format!("k has {} elements; one is needed", k.len())));
        };
        let n = &x.shape[axis];
        if k.fixed().is_some_and(|k| k < 0 || n.fixed().is_some_and(|n| k > n)) {
            return Err(Error::invalid(format!("the best {k} of {n} elements along axis {axis}")));
        }
        let mut dims: Vec<Dim> = x.shape.to_vec();
        dims[axis] = k.clone();
        let shape = Shape::new(dims)?;
        Ok(vec![TensorType::new(x.dtype, shape.clone()), TensorType::new(DType::I64, shape)])
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        let dims = cx.dims(0);
        Ok(cpu::prepare(cx, normalize_axis(self.axis, dims.len())?, self.largest))
    }
}
