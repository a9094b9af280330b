//! GatherElements: `out[i..] = data[i.. with i[axis] replaced by indices[i..]]`. Inputs: data, indices (i64 or i32) of the
//! data's rank; extents other than that along `axis` are at most the data's.
//!
//! Negative indices count from the back; others outside the axis are an error when the model runs.

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use super::index::{Index, expect_indices, resolve};
use super::{Inputs, Kernel, OpDef, Prepare, Walk, kernel};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{Args, DType, Dims, Element, Grid, Shape, TensorType, normalize_axis};

/// Elements worth a part of their own.
const GRAIN: usize = 16 * 1024;

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct GatherElements {
    /// The axis that the indices count along; negative ones count from the back.
    pub axis: i64,
}

impl OpDef for GatherElements {
    type Table<'a> = schema::GatherElements<'a>;
    const NAME: &'static str = "GatherElements";
    const INPUTS: (usize, usize) = (2, 2);

    fn read(table: Self::Table<'_>) -> Result<Self> {
        Ok(GatherElements { axis: table.axis().into() })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        schema::GatherElements::create(b, &schema::GatherElementsArgs { axis: self.axis as i32 })
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let (x, indices) = (inputs.get(0)?, inputs.get(1)?);
        expect_indices(inputs, 1)?;
        expect_inside(&indices.shape, &x.shape, x.shape.axis(self.axis)?)?;
        Ok(vec![TensorType::new(x.dtype, indices.shape.clone())])
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        let (from, to) = (cx.dims(0), cx.out_dims(0));
        let axis = normalize_axis(self.axis, from.len())?;
        let gather = Gather { walk: walk(&from, &to, axis), axis, n: from[axis], stride: from.strides()[axis] };
        let (size, wide) = (cx.outputs[0].dtype.size(), cx.input(1).info.dtype == DType::I64);
        Ok(kernel(Grid::by_cost(to.iter().product(), 1, GRAIN), move |args| match (size, wide) {
            (1, true) => gather.run::<u8, i64>(args),
            (2, true) => gather.run::<u16, i64>(args),
            (4, true) => gather.run::<u32, i64>(args),
            (_, true) => gather.run::<u64, i64>(args),
            (1, false) => gather.run::<u8, i32>(args),
            (2, false) => gather.run::<u16, i32>(args),
            (4, false) => gather.run::<u32, i32>(args),
            (_, false) => gather.run::<u64, i32>(args),
        }))
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        cuda::prepare(cx, self.axis)
    }
}

/// Checks that indices along `axis` of data have its rank, and extents of at most its own along the other axes.
pub fn expect_inside(indices: &Shape, data: &Shape, axis: usize) -> Result<()> {
    let fits = |i: usize| match (indices[i].fixed(), data[i].fixed()) {
        (Some(a), Some(b)) => i == axis || a <= b,
        _ => true,
    };
    if indices.rank() == data.rank() && (0..data.rank()).all(fits) {
        return Ok(());
    }
    Err(Error::shape(format!("indices of shape {indices} along axis {axis} of data of shape {data}")))
}

/// The elements of a tensor of shape `indices`, each at its own place in data of shape `data` but at 0 along `axis`.
pub fn walk(data: &Dims, indices: &Dims, axis: usize) -> Walk<1> {
    let strides = data.strides();
    let strides: Vec<[usize; 1]> = (0..data.len()).map(|i| [if i == axis { 0 } else { strides[i] }]).collect();
    Walk::new(indices, &strides)
}

struct Gather {
    walk: Walk<1>,
    axis: usize,
    n: usize,
    stride: usize,
}

impl Gather {
    fn run<T: Element, I: Index>(&self, args: &mut Args<'_>) -> Result<()> {
        let (from, indices) = (args.words::<T>(0), args.input::<I>(1));
        let tile = args.output_words::<T>(0);
        let range = tile.rows();
        let ([step], mut to) = (self.walk.inner_strides(), tile.into_slice());
        let mut indices = &indices[range.start..];
        for run in self.walk.runs(range) {
            let here;
            (here, to) = to.split_at_mut(run.len);
            for (i, (to, &index)) in here.iter_mut().zip(indices).enumerate() {
                *to = from[run.at[0] + i * step + resolve(index, self.n, self.axis)? * self.stride];
            }
            indices = &indices[run.len..];
        }
        Ok(())
    }
}
