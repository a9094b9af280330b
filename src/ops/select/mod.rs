//! Where: elements of one tensor where a condition holds, of another where it does not. Inputs: condition (bool), x, y,
//! which broadcast to each other by NumPy's rules; x and y have the same type, which is the result's.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use super::{Inputs, Kernel, OpDef, Prepare, Walk};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{DType, Dim, TensorType};

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Where;

impl OpDef for Where {
    type Table<'a> = schema::Where<'a>;
    const NAME: &'static str = "Where";
    const INPUTS: (usize, usize) = (3, 3);

    fn read(_: Self::Table<'_>) -> Result<Self> {
        Ok(Where)
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        schema::Where::create(b, &schema::WhereArgs {})
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let (condition, x, y) = (inputs.get(0)?, inputs.get(1)?, inputs.get(2)?);
        inputs.expect_dtype(0, DType::Bool)?;
        if x.dtype != y.dtype {
            return Err(Error::dtype(format!("a choice between {} and {}; both must have the same type", x.dtype, y.dtype)));
        }
        let shape = condition.shape.broadcast(&x.shape)?.broadcast(&y.shape)?;
        let ty = TensorType::new(x.dtype, shape);
        Ok(vec![match chosen(&ty, condition, x, y) {
            Some(value) => ty.with_value(value),
            None => ty,
        }])
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        cpu::prepare(cx)
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        cuda::prepare(self, cx)
    }
}

/// The elements of the result, if they follow from what is known of the inputs.
fn chosen(result: &TensorType, condition: &TensorType, x: &TensorType, y: &TensorType) -> Option<Vec<Dim>> {
    let dims = result.shape.as_fixed()?;
    let count = dims.numel().ok().filter(|&n| n <= TensorType::MAX_VALUES)?;
    let inputs = [condition, x, y];
    let [c, p, q] = [condition.shape.as_fixed()?, x.shape.as_fixed()?, y.shape.as_fixed()?];
    let walk = Walk::broadcast(&dims, [&c, &p, &q]).ok()?;
    let steps = walk.inner_strides();
    let mut value = Vec::with_capacity(count);
    for run in walk.runs(0..count) {
        for i in 0..run.len {
            let at = |n: usize| inputs[n].value.as_ref().map(|v| &v[run.at[n] + i * steps[n]]);
            value.push(choose(at(0).and_then(Dim::fixed), at(1), at(2))?.clone());
        }
    }
    Some(value)
}

/// The element that is chosen; either, if they are the same.
fn choose<'a>(condition: Option<i64>, x: Option<&'a Dim>, y: Option<&'a Dim>) -> Option<&'a Dim> {
    match condition {
        Some(0) => y,
        Some(_) => x,
        None => x.filter(|_| x == y),
    }
}
