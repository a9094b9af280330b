//! Choice of the kernel of a product.

use super::MatMul;
use super::f32::Product;
use super::plain::Plain;
use super::shape::Problem;
use crate::error::{Error, Result};
use crate::ops::{Kernel, Prepare, widen};
use crate::tensor::{DType, Layout};

pub fn prepare(op: &MatMul, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
    match (cx.input(0).layout, cx.input(1).layout) {
        (Layout::RowMajor, Layout::RowMajor) => {}
        (Layout::RowMajor, Layout::Panels) if !op.transpose_b => {}
        (a, b) => return Err(Error::format(format!("a product of operands stored as {a:?} and {b:?}"))),
    }
    let dtype = cx.outputs[0].dtype;
    if widen::is_half(dtype) {
        return widen::prepare(op, cx);
    }
    let problem = Problem::new(op, cx);
    match dtype {
        DType::F32 => Product::prepare(op, &problem, cx),
        DType::F64 => Ok(Plain::<f64>::prepare(problem, cx)),
        DType::I32 | DType::U32 => Ok(Plain::<i32>::prepare(problem, cx)),
        DType::I64 | DType::U64 => Ok(Plain::<i64>::prepare(problem, cx)),
        other => Err(Error::internal(format!("a product of {other}"))),
    }
}
