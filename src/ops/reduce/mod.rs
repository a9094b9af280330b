//! Reduce: one number for all elements along some axes. Input: a numeric tensor.
//!
//! | kind | result for elements x of which there are n |
//! |---|---|
//! | Sum, Mean, Prod, Max, Min | Σx, Σx / n, Πx, the largest, the smallest; NaN if one of them is |
//! | L1, L2, SumSquare | Σ\|x\|, √Σx², Σx² |
//! | LogSum, LogSumExp | ln Σx, ln Σeˣ (computed around the largest x) |
//!
//! No axes reduce nothing: each element by itself. Without elements, the result is that of an empty sum, product or
//! set. Integers wrap; a Mean of them truncates. Global pooling is lowered to this operator.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod plain;
mod slices;
#[cfg(test)]
mod tests;

use super::{Inputs, Kernel, OpDef, Prepare, Walk, widen};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{DType, Dim, Dims, Shape, TensorType};

/// What is computed of the elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the table above says what they are")]
pub enum ReduceKind {
    Sum,
    Mean,
    Prod,
    Max,
    Min,
    L1,
    L2,
    SumSquare,
    LogSum,
    LogSumExp,
}

impl ReduceKind {
    /// Every kind; each one's index is its number in model files.
    pub const ALL: [ReduceKind; 10] = {
        use ReduceKind::*;
        [Sum, Mean, Prod, Max, Min, L1, L2, SumSquare, LogSum, LogSumExp]
    };

    /// Whether it is computed as a real number even for integers.
    fn is_real(self) -> bool {
        matches!(self, ReduceKind::L2 | ReduceKind::LogSum | ReduceKind::LogSumExp)
    }
}

/// See the [module](self).
#[derive(Clone, Debug, PartialEq)]
pub struct Reduce {
    /// What is computed.
    pub kind: ReduceKind,
    /// Axes along which elements are reduced; negative ones count from the back.
    pub axes: Vec<i64>,
    /// Reduced dimensions stay, with extent 1.
    pub keep_dims: bool,
}

impl OpDef for Reduce {
    type Table<'a> = schema::Reduce<'a>;
    const NAME: &'static str = "Reduce";
    const INPUTS: (usize, usize) = (1, 1);

    fn read(table: Self::Table<'_>) -> Result<Self> {
        let unknown = || Error::version(format!("unknown reduction {}; a newer library may know it", table.kind()));
        Ok(Reduce {
            kind: ReduceKind::ALL.get(table.kind() as usize).copied().ok_or_else(unknown)?,
            axes: table.axes().into_iter().flatten().map(i64::from).collect(),
            keep_dims: table.keep_dims(),
        })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        let axes: Vec<i32> = self.axes.iter().map(|&a| a as i32).collect();
        let axes = Some(b.create_vector(&axes));
        schema::Reduce::create(b, &schema::ReduceArgs { kind: self.kind as u8, keep_dims: self.keep_dims, axes })
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let x = inputs.get(0)?;
        let extreme = matches!(self.kind, ReduceKind::Max | ReduceKind::Min);
        let logarithm = matches!(self.kind, ReduceKind::LogSum | ReduceKind::LogSumExp | ReduceKind::L2);
        if x.dtype == DType::Bool && !extreme || logarithm && !x.dtype.is_float() && !x.dtype.is_int() {
            return Err(Error::dtype(format!("{:?} of {}", self.kind, x.dtype)));
        }
        let reduced = self.reduced(&x.shape)?;
        let mut dims = vec![];
        for (dim, &reduced) in x.shape.iter().zip(&reduced) {
            match (reduced, self.keep_dims) {
                (false, _) => dims.push(dim.clone()),
                (true, true) => dims.push(Dim::Fixed(1)),
                (true, false) => {}
            }
        }
        let ty = TensorType::new(x.dtype, Shape::new(dims)?);
        Ok(vec![match self.value(x, &reduced) {
            Some(value) => ty.with_value(vec![value]),
            None => ty,
        }])
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        let x = cx.input(0).info;
        let shape = Shape::fixed(&x.dims)?;
        let reduced = self.reduced(&shape)?;
        match x.dtype {
            DType::F32 => Ok(cpu::prepare(self.kind, &x.dims, &reduced, cx.isa)),
            dtype if widen::is_half(dtype) => widen::prepare(self, cx),
            dtype => Ok(plain::prepare(self.kind, &x.dims, &reduced, dtype)),
        }
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        cuda::prepare(self, cx)
    }
}

/// The results, and where the elements of each begin; the elements of a result, relative to the first.
fn walks(dims: &[usize], reduced: &[bool]) -> (Walk<1>, Walk<1>) {
    let strides = Dims::new(dims).strides();
    let pick = |want: bool| {
        let (dims, strides): (Vec<usize>, Vec<[usize; 1]>) =
            (0..dims.len()).filter(|&i| reduced[i] == want).map(|i| (dims[i], [strides[i]])).unzip();
        Walk::new(&dims, &strides)
    };
    (pick(false), pick(true))
}

/// Elements of the dimensions that are reduced, or kept.
fn count(dims: &[usize], reduced: &[bool], want: bool) -> usize {
    dims.iter().zip(reduced).filter(|(_, reduced)| **reduced == want).map(|(dim, _)| dim).product()
}

impl Reduce {
    /// For each dimension, whether it is reduced.
    fn reduced(&self, shape: &Shape) -> Result<Vec<bool>> {
        let mut reduced = vec![false; shape.rank()];
        for &axis in &self.axes {
            reduced[shape.axis(axis)?] = true;
        }
        Ok(reduced)
    }

    /// The result for a vector of integers whose elements are known.
    fn value(&self, x: &TensorType, reduced: &[bool]) -> Option<Dim> {
        let value = x.value.as_ref().filter(|_| reduced.iter().all(|&r| r) && x.dtype != DType::Bool)?;
        let (first, rest) = value.split_first()?;
        match self.kind {
            ReduceKind::Sum => Some(rest.iter().fold(first.clone(), |a, b| a.add(b))),
            ReduceKind::Prod => Some(rest.iter().fold(first.clone(), |a, b| a.mul(b))),
            ReduceKind::Max => Some(rest.iter().fold(first.clone(), |a, b| a.maximum(b))),
            ReduceKind::Min => Some(rest.iter().fold(first.clone(), |a, b| a.minimum(b))),
            _ => None,
        }
    }
}
