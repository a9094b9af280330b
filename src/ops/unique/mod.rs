//! Unique: the different elements, or the different slices along an axis. Input: data. Outputs: those elements or slices;
//! the index of the first occurrence of each; for each of the input's elements or slices which of the unique ones it is;
//! how often each occurs (all three i64 vectors).
//!
//! Sorted ascending, slices lexicographically; or in the order of their first occurrence. NaNs are equal, and last.

#[cfg(test)]
mod tests;

use super::elementwise::for_type;
use super::order;
use super::order::Sortable;
use super::{Inputs, Kernel, OpDef, Prepare, Tensor, TensorInfo};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{Blob, Buffer, DType, Dim, Dims, Shape, TensorType, normalize_axis};
use std::cmp::Ordering;

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Unique {
    /// The axis along which slices are compared, negative ones counting from the back; None to compare all elements.
    pub axis: Option<i64>,
    /// Whether the result is sorted.
    pub sorted: bool,
}

impl OpDef for Unique {
    type Table<'a> = schema::Unique<'a>;
    const NAME: &'static str = "Unique";
    const INPUTS: (usize, usize) = (1, 1);

    fn read(table: Self::Table<'_>) -> Result<Self> {
        let axis = (!table.flat()).then(|| table.axis().into());
        Ok(Unique { axis, sorted: table.sorted() })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        let (axis, flat) = (self.axis.unwrap_or(0) as i32, self.axis.is_none());
        schema::Unique::create(b, &schema::UniqueArgs { axis, flat, sorted: self.sorted })
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let x = inputs.get(0)?;
        let (shape, count) = match self.axis {
            None => (Shape::new([Dim::Unknown])?, x.shape.numel()),
            Some(axis) => {
                let axis = x.shape.axis(axis)?;
                let mut dims = x.shape.to_vec();
                let count = std::mem::replace(&mut dims[axis], Dim::Unknown);
                (Shape::new(dims)?, count)
            }
        };
        let vector = |n: Dim| Shape::new([n]).map(|shape| TensorType::new(DType::I64, shape));
        Ok(vec![TensorType::new(x.dtype, shape), vector(Dim::Unknown)?, vector(count)?, vector(Dim::Unknown)?])
    }

    fn prepare_cpu(&self, _: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        Err(Error::internal("the extents of Unique depend on data"))
    }

    fn run_dynamic(&self, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>> {
        let Some(Some(x)) = inputs.first() else { return Err(Error::invalid("input 0 is missing")) };
        let slices = Slices::new(&x.info.dims, self.axis)?;
        unique(x, &slices, self.sorted)
    }
}

/// The data as `outer` x `n` x `inner` elements, whose slices along the middle are compared.
struct Slices {
    outer: usize,
    n: usize,
    inner: usize,
    /// Shape of the output; `axis` counts the unique slices.
    dims: Dims,
    axis: usize,
}

impl Slices {
    fn new(dims: &Dims, axis: Option<i64>) -> Result<Self> {
        let Some(axis) = axis else {
            let n = dims.iter().product();
            return Ok(Slices { outer: 1, n, inner: 1, dims: Dims::new(&[n]), axis: 0 });
        };
        let axis = normalize_axis(axis, dims.len())?;
        let (outer, inner) = (dims[..axis].iter().product(), dims[axis + 1..].iter().product());
        Ok(Slices { outer, n: dims[axis], inner, dims: *dims, axis })
    }

    /// The order of slices `a` and `b`, from the keys of all elements.
    fn compare(&self, keys: &[i64], a: usize, b: usize) -> Ordering {
        let of = |i: usize| (0..self.outer).flat_map(move |o| &keys[(o * self.n + i) * self.inner..][..self.inner]);
        of(a).cmp(of(b))
    }
}

fn keys<T: Sortable>(x: &Tensor) -> Vec<i64> {
    x.elements::<T>().iter().map(|e| e.key()).collect()
}

/// The four outputs.
fn unique(x: &Tensor, slices: &Slices, sorted: bool) -> Result<Vec<Tensor>> {
    let keys = for_type!(x.info.dtype, keys(x));
    let mut order: Vec<usize> = (0..slices.n).collect();
    // Stable, so that the first of a group of equals is the first to occur.
    order::stable(&mut order, &|a, b| slices.compare(&keys, a, b));
    let mut groups: Vec<&[usize]> = order.chunk_by(|&a, &b| slices.compare(&keys, a, b).is_eq()).collect();
    if !sorted {
        groups.sort_by_key(|group| group[0]);
    }
    let mut inverse = vec![0i64; slices.n];
    for (i, group) in groups.iter().enumerate() {
        group.iter().for_each(|&at| inverse[at] = i as i64);
    }
    let first: Vec<i64> = groups.iter().map(|group| group[0] as i64).collect();
    let counts: Vec<i64> = groups.iter().map(|group| group.len() as i64).collect();
    let vector = |v: &[i64]| Tensor::new(&[v.len()], v);
    let values = take(x, slices, &first)?;
    Ok(vec![values, vector(&first)?, vector(&inverse)?, vector(&counts)?])
}

/// The slices at `places`.
fn take(x: &Tensor, slices: &Slices, places: &[i64]) -> Result<Tensor> {
    let mut dims = slices.dims;
    dims[slices.axis] = places.len();
    let (bytes, width) = (x.view().bytes(), x.info.dtype.size());
    let len = slices.inner * width;
    let piece = |o: usize, at: i64| &bytes[(o * slices.n + at as usize) * len..][..len];
    let pieces: Vec<&[u8]> = (0..slices.outer).flat_map(|o| places.iter().map(move |&at| piece(o, at))).collect();
    let info = TensorInfo { dtype: x.info.dtype, dims };
    Ok(Tensor { info, data: Blob::new(Buffer::from_elements(&pieces.concat())?) })
}
