//! Split: cuts the input along an axis into consecutive outputs. Input: data.
//!
//! Either `sizes` gives the extent of each output along the axis, or `parts` the number of outputs of equal extent, where
//! the last one is smaller if the input's extent is not a multiple.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use super::{Inputs, Kernel, OpDef, Prepare};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{Dim, Shape, TensorType};

/// Most outputs a Split may have.
const MAX_OUTPUTS: usize = 1 << 16;

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Split {
    /// The axis; negative ones count from the back.
    pub axis: i64,
    /// Extent of each output along the axis; empty if `parts` is set.
    pub sizes: Vec<usize>,
    /// Number of outputs; 0 if `sizes` is set.
    pub parts: usize,
}

impl OpDef for Split {
    type Table<'a> = schema::Split<'a>;
    const NAME: &'static str = "Split";
    const INPUTS: (usize, usize) = (1, 1);

    fn read(table: Self::Table<'_>) -> Result<Self> {
        let negative = |_| Error::format("a negative size");
        let sizes = table.sizes().into_iter().flatten().map(|n| usize::try_from(n).map_err(negative));
        Ok(Split {
            axis: table.axis().into(),
            sizes: sizes.collect::<Result<_>>()?,
            parts: table.parts() as usize,
        })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        let sizes: Vec<i64> = self.sizes.iter().map(|&n| n as i64).collect();
        let sizes = Some(b.create_vector(&sizes));
        schema::Split::create(b, &schema::SplitArgs { axis: self.axis as i32, sizes, parts: self.parts as u32 })
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let x = inputs.get(0)?;
        let axis = x.shape.axis(self.axis)?;
        let mut start = Dim::Fixed(0);
        let mut out = vec![];
        for extent in self.extents(&x.shape[axis])? {
            let mut dims = x.shape.to_vec();
            dims[axis] = extent.clone();
            let mut ty = TensorType::new(x.dtype, Shape::new(dims)?);
            // Only vectors carry values here: shapes that are taken apart.
            if let (Some(value), 1, Some(from), Some(n)) = (&x.value, x.shape.rank(), start.fixed(), extent.fixed()) {
                ty = ty.with_value(value[from as usize..(from + n) as usize].to_vec());
            }
            start = start.add(&extent);
            out.push(ty);
        }
        Ok(out)
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        cpu::prepare(cx, self.axis)
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        cuda::prepare(cx, self.axis)
    }
}

impl Split {
    /// Extents of the outputs along the axis, for an input of extent `n`.
    fn extents(&self, n: &Dim) -> Result<Vec<Dim>> {
        if self.sizes.len().max(self.parts) > MAX_OUTPUTS {
            return Err(Error::unsupported(format!("a Split into more than {MAX_OUTPUTS} outputs")));
        }
        match (&self.sizes[..], self.parts) {
            ([], 0) => Err(Error::invalid("a Split needs sizes or a number of parts")),
            ([], parts) => {
                let size = n.ceil_div(&Dim::from(parts));
                let last = n.sub(&size.mul(&Dim::from(parts - 1)));
                if last.fixed().is_some_and(|n| n < 0) {
                    return Err(Error::shape(format!("extent {n} cannot be cut into {parts} parts of extent {size}")));
                }
                Ok((1..parts).map(|_| size.clone()).chain([last]).collect())
            }
            (sizes, 0) => {
                let total = sizes.iter().fold(Dim::Fixed(0), |n, &s| n.add(&Dim::from(s)));
                if n.fixed().is_some() && *n != total {
                    return Err(Error::shape(format!("sizes with the sum {total} for an extent of {n}")));
                }
                Ok(sizes.iter().map(|&s| Dim::from(s)).collect())
            }
            _ => Err(Error::invalid("a Split has both sizes and a number of parts")),
        }
    }
}
