//! Range: `start + i * delta` for i from 0, as long as the result is before `limit`. Inputs: start, limit, delta (three
//! scalars of one type: i16, i32, i64 or a floating-point type).
//!
//! There are `max(ceil((limit - start) / delta), 0)` elements. Those of floating-point types are computed in f64 and
//! rounded once.

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use super::{Inputs, Kernel, OpDef, Prepare, kernel};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{DType, Dim, Element, Grid, Shape, TensorType, View};
use half::{bf16, f16};

/// Elements worth a part of their own.
const GRAIN: usize = 16 * 1024;

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Range;

impl OpDef for Range {
    type Table<'a> = schema::Range<'a>;
    const NAME: &'static str = "Range";
    const INPUTS: (usize, usize) = (3, 3);

    fn read(_: Self::Table<'_>) -> Result<Self> {
        Ok(Range)
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        schema::Range::create(b, &schema::RangeArgs {})
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let dtype = inputs.same_dtype()?;
        if !dtype.is_float() && !matches!(dtype, DType::I16 | DType::I32 | DType::I64) {
            return Err(Error::dtype(format!("Range makes i16, i32, i64 and floating-point elements, not {dtype}")));
        }
        for i in 0..3 {
            let ty = inputs.get(i)?;
            if ty.shape.numel().fixed().is_some_and(|n| n != 1) {
                return Err(Error::shape(format!("input {i} is {ty}; a scalar is needed")));
            }
        }
        if let (Some(start), Some(limit), Some(delta)) = (integer(inputs, 0), integer(inputs, 1), integer(inputs, 2)) {
            return Ok(vec![steps(dtype, &start, &limit, &delta)?]);
        }
        let scalar = |i: usize| inputs.data(i).map(|view| number(&view));
        let n = match (scalar(0), scalar(1), scalar(2)) {
            (Some(start), Some(limit), Some(delta)) => Dim::Fixed(count(start, limit, delta)?),
            _ => Dim::Unknown,
        };
        Ok(vec![TensorType::new(dtype, Shape::new([n])?)])
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        Ok(match cx.outputs[0].dtype {
            DType::I16 => fill(cx, |start: i16, delta, i| start.wrapping_add(delta.wrapping_mul(i as i16))),
            DType::I32 => fill(cx, |start: i32, delta, i| start.wrapping_add(delta.wrapping_mul(i as i32))),
            DType::I64 => fill(cx, |start: i64, delta, i| start.wrapping_add(delta.wrapping_mul(i as i64))),
            DType::F16 => fill(cx, |start: f16, delta, i| f16::from_f64(start.to_f64() + i as f64 * delta.to_f64())),
            DType::BF16 => fill(cx, |start: bf16, delta, i| bf16::from_f64(start.to_f64() + i as f64 * delta.to_f64())),
            DType::F32 => fill(cx, |start: f32, delta, i| (f64::from(start) + i as f64 * f64::from(delta)) as f32),
            _ => fill(cx, |start: f64, delta, i| start + i as f64 * delta),
        })
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        cuda::prepare(cx)
    }
}

/// The kernel whose element `i` is `element(start, delta, i)`.
fn fill<T: Element>(
    cx: &Prepare<'_>,
    element: impl Fn(T, T, usize) -> T + Copy + Send + Sync + 'static,
) -> Box<dyn Kernel> {
    kernel(Grid::by_cost(cx.outputs[0].numel(), 1, GRAIN), move |args| {
        let (start, delta) = (args.input::<T>(0)[0], args.input::<T>(2)[0]);
        let tile = args.output::<T>(0);
        for (i, to) in tile.rows().zip(tile.into_slice()) {
            *to = element(start, delta, i);
        }
        Ok(())
    })
}

/// An integer input, if it is known.
fn integer(inputs: &Inputs<'_>, index: usize) -> Option<Dim> {
    inputs.opt(index)?.value.as_ref()?.first().cloned()
}

/// The type for integers, with the elements where their number is known.
fn steps(dtype: DType, start: &Dim, limit: &Dim, delta: &Dim) -> Result<TensorType> {
    if *delta == Dim::Fixed(0) {
        return Err(zero_delta());
    }
    let n = limit.sub(start).ceil_div(delta).larger(&Dim::Fixed(0));
    let known = n.fixed().filter(|&n| n as usize <= TensorType::MAX_VALUES);
    let ty = TensorType::new(dtype, Shape::new([n])?);
    Ok(match known {
        Some(n) => ty.with_value((0..n).map(|i| start.add(&delta.mul(&Dim::Fixed(i)))).collect()),
        None => ty,
    })
}

fn zero_delta() -> Error {
    Error::invalid("a Range with delta 0")
}

/// Number of elements.
fn count(start: f64, limit: f64, delta: f64) -> Result<i64> {
    if delta == 0.0 {
        return Err(zero_delta());
    }
    let n = ((limit - start) / delta).ceil();
    if n.is_nan() || n > (1u64 << 53) as f64 {
        return Err(Error::invalid(format!("a Range from {start} to {limit} in steps of {delta} has no end")));
    }
    Ok(n.max(0.0) as i64)
}

/// The first element, which is a number of one of the types that Range accepts.
fn number(view: &View<'_>) -> f64 {
    match view.dtype() {
        DType::I16 => view.slice::<i16>()[0].into(),
        DType::I32 => view.slice::<i32>()[0].into(),
        DType::I64 => view.slice::<i64>()[0] as f64,
        DType::F16 => view.slice::<f16>()[0].to_f64(),
        DType::BF16 => view.slice::<bf16>()[0].to_f64(),
        DType::F32 => view.slice::<f32>()[0].into(),
        _ => view.slice::<f64>()[0],
    }
}
