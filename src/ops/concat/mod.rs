//! Concat: the inputs one after another along an axis. Inputs: one or more tensors that agree in all other dimensions.

mod cpu;
#[cfg(test)]
mod tests;

use super::{Inputs, Kernel, OpDef, Prepare};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{Dim, Shape, TensorType};

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Concat {
    /// The axis; negative ones count from the back.
    pub axis: i64,
}

impl OpDef for Concat {
    type Table<'a> = schema::Concat<'a>;
    const NAME: &'static str = "Concat";
    const INPUTS: (usize, usize) = (1, usize::MAX);

    fn read(table: Self::Table<'_>) -> Result<Self> {
        Ok(Concat { axis: table.axis().into() })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        schema::Concat::create(b, &schema::ConcatArgs { axis: self.axis as i32 })
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let dtype = inputs.same_dtype()?;
        let axis = inputs.get(0)?.shape.axis(self.axis)?;
        let types = (0..inputs.len()).map(|i| inputs.get(i)).collect::<Result<Vec<_>>>()?;
        let mut dims: Vec<Dim> = types[0].shape.to_vec();
        for (i, ty) in types.iter().enumerate().skip(1) {
            append(&mut dims, &ty.shape, axis)
                .ok_or_else(|| Error::shape(format!("input {i} is {ty}, which does not go with {} here", types[0])))?;
        }
        let outermost = dims[..axis].iter().all(|d| *d == Dim::Fixed(1));
        let ty = TensorType::new(dtype, Shape::new(dims)?);
        let values: Option<Vec<&[Dim]>> = types.iter().map(|ty| ty.value.as_deref()).collect();
        Ok(vec![match values {
            Some(values) if outermost => ty.with_value(values.concat()),
            _ => ty,
        }])
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        cpu::prepare(cx, cx.out_dims(0).len(), self.axis)
    }
}

/// Appends a shape along `axis`; None if other dimensions are known to differ.
fn append(dims: &mut [Dim], shape: &Shape, axis: usize) -> Option<()> {
    if dims.len() != shape.rank() {
        return None;
    }
    for (i, (dim, other)) in dims.iter_mut().zip(shape.iter()).enumerate() {
        match (dim.fixed(), other.fixed()) {
            _ if i == axis => *dim = dim.add(other),
            (Some(a), Some(b)) if a != b => return None,
            (None, Some(_)) => *dim = other.clone(),
            _ => {}
        }
    }
    Some(())
}
