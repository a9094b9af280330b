//! Transpose: axis i of the output is axis `perm[i]` of the input. Input: data.

#[cfg(test)]
mod tests;

use super::strided::Strided;
use super::{Inputs, Kernel, OpDef, Prepare};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{Dim, Dims, MAX_RANK, Shape, TensorType};

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Transpose {
    /// Input axis of each output axis; empty to reverse the order of all axes.
    pub perm: Vec<usize>,
}

impl OpDef for Transpose {
    type Table<'a> = schema::Transpose<'a>;
    const NAME: &'static str = "Transpose";
    const INPUTS: (usize, usize) = (1, 1);

    fn read(table: Self::Table<'_>) -> Result<Self> {
        let perm: Vec<usize> = table.perm().iter().flatten().map(|p| p as usize).collect();
        check(&perm)?;
        Ok(Transpose { perm })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        let perm: Vec<u32> = self.perm.iter().map(|&p| p as u32).collect();
        let perm = Some(b.create_vector(&perm));
        schema::Transpose::create(b, &schema::TransposeArgs { perm })
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let x = inputs.get(0)?;
        check(&self.perm)?;
        let rank = x.shape.rank();
        if !self.perm.is_empty() && self.perm.len() != rank {
            return Err(Error::shape(format!("a permutation of {} axes for {x}", self.perm.len())));
        }
        let dims: Vec<Dim> = self.axes(rank).map(|p| x.shape[p].clone()).collect();
        let ty = TensorType::new(x.dtype, Shape::new(dims)?);
        Ok(vec![match (&x.value, x.shape.as_fixed()) {
            (Some(value), Some(from)) => ty.with_value(self.strided(&from).apply(value)),
            _ => ty,
        }])
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        Ok(self.strided(&cx.dims(0)).kernel(cx))
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        self.strided(&cx.dims(0)).cuda_kernel(cx)
    }
}

impl Transpose {
    fn axes(&self, rank: usize) -> impl Iterator<Item = usize> {
        (0..rank).map(move |i| if self.perm.is_empty() { rank - 1 - i } else { self.perm[i] })
    }

    fn strided(&self, from: &Dims) -> Strided {
        let strides = from.strides();
        Strided::new(0, self.axes(from.len()).map(|p| (from[p], strides[p] as isize)))
    }
}

/// Checks that `perm` holds each axis once.
fn check(perm: &[usize]) -> Result<()> {
    let is_axis = |i: usize| perm.contains(&i);
    if perm.len() <= MAX_RANK && (0..perm.len()).all(is_axis) {
        return Ok(());
    }
    Err(Error::invalid(format!("{perm:?} is not a permutation of at most {MAX_RANK} axes")))
}
