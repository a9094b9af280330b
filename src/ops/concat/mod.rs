//! Concat: tensors, or parts of them, one after another along an axis. Inputs: one or more tensors that agree in all
//! other dimensions. Parts came with version 2 of the operator.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
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
    /// First index and number of indices along the axis that are taken of each tensor; empty if all of each are.
    pub parts: Vec<(usize, usize)>,
}

impl Concat {
    /// Whole tensors one after another.
    pub fn along(axis: i64) -> Self {
        Concat { axis, ..Concat::default() }
    }

    /// Whether it takes all of each tensor.
    pub fn is_plain(&self) -> bool {
        self.parts.is_empty()
    }

    /// The type of tensor `i` as far as it is taken.
    fn part(&self, i: usize, ty: &TensorType, axis: usize) -> Result<TensorType> {
        let Some(&(start, count)) = self.parts.get(i) else { return Ok(ty.clone()) };
        let whole = ty.shape.axis(axis as i64).is_ok_and(|axis| {
            ty.shape[axis].fixed().is_none_or(|extent| start.checked_add(count).is_some_and(|end| end as i64 <= extent))
        });
        if !whole {
            return Err(Error::shape(format!("input {i} is {ty}, which has not {count} indices from {start} on")));
        }
        let mut dims = ty.shape.to_vec();
        dims[axis] = Dim::from(count);
        Ok(TensorType::new(ty.dtype, Shape::new(dims)?))
    }
}

impl OpDef for Concat {
    type Table<'a> = schema::Concat<'a>;
    const NAME: &'static str = "Concat";
    const INPUTS: (usize, usize) = (1, usize::MAX);

    fn read(table: Self::Table<'_>) -> Result<Self> {
        let numbers = |v: Option<flatbuffers::Vector<'_, u32>>| v.into_iter().flatten().map(|n| n as usize).collect();
        let (starts, counts): (Vec<usize>, Vec<usize>) = (numbers(table.starts()), numbers(table.counts()));
        if starts.len() != counts.len() {
            return Err(Error::format(format!("{} parts with {} counts", starts.len(), counts.len())));
        }
        Ok(Concat { axis: table.axis().into(), parts: starts.into_iter().zip(counts).collect() })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        let (starts, counts): (Vec<u32>, Vec<u32>) = self.parts.iter().map(|&(s, n)| (s as u32, n as u32)).unzip();
        let vector = |b: &mut flatbuffers::FlatBufferBuilder<'b>, v: &[u32]| (!v.is_empty()).then(|| b.create_vector(v));
        let (starts, counts) = (vector(b, &starts), vector(b, &counts));
        schema::Concat::create(b, &schema::ConcatArgs { axis: self.axis as i32, starts, counts })
    }

    fn version(&self) -> u16 {
        if self.is_plain() { 1 } else { 2 }
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let dtype = inputs.same_dtype()?;
        let axis = inputs.get(0)?.shape.axis(self.axis)?;
        if !self.is_plain() && self.parts.len() != inputs.len() {
            return Err(Error::invalid(format!("{} inputs of {} parts", inputs.len(), self.parts.len())));
        }
        let types = (0..inputs.len()).map(|i| self.part(i, inputs.get(i)?, axis)).collect::<Result<Vec<_>>>()?;
        let mut dims: Vec<Dim> = types[0].shape.to_vec();
        for (i, ty) in types.iter().enumerate().skip(1) {
            append(&mut dims, &ty.shape, axis)
                .ok_or_else(|| Error::shape(format!("input {i} is {ty}, which does not go with {} here", types[0])))?;
        }
        let outermost = dims[..axis].iter().all(|d| *d == Dim::Fixed(1));
        let ty = TensorType::new(dtype, Shape::new(dims)?);
        let values: Option<Vec<&[Dim]>> = types.iter().map(|ty| ty.value.as_deref()).collect();
        Ok(vec![match values {
            Some(values) if outermost && self.is_plain() => ty.with_value(values.concat()),
            _ => ty,
        }])
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        cpu::prepare(self, cx)
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        cuda::prepare(self, cx)
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
