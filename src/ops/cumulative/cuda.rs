//! A thread for each column where there are many, otherwise a block.

use super::Cumulative;
use crate::cuda::{Module, blocks};
use crate::error::Result;
use crate::ops::{CudaKernel, PrepareCuda};
use crate::tensor::{DType, normalize_axis};

static MODULE: Module = crate::cuda_module!("cumulative");

/// Columns that keep a GPU busy with a thread for each.
const MANY: usize = 16 * 1024;

/// Elements that a thread accumulates as fast as a block does.
const SHORT: usize = 32;

/// A kernel for every type but f64.
pub fn prepare(op: &Cumulative, cx: &PrepareCuda<'_>) -> Result<Option<CudaKernel>> {
    let x = cx.input(0).info;
    let name = match x.dtype {
        DType::F64 => return Ok(None),
        dtype if dtype.is_float() => "float",
        _ => "integer",
    };
    let axis = normalize_axis(op.axis, x.dims.len())?;
    let (len, inner) = (x.dims[axis], x.dims[axis + 1..].iter().product::<usize>());
    let columns = x.numel() / len;
    let (form, grid) = match columns >= MANY || len <= SHORT {
        true => ("columns", blocks(columns) as usize),
        false => ("blocks", columns),
    };
    let launch = cx.grid(&MODULE, &format!("cumulative_{form}_{name}"), [grid, 1, 1])?.input(0).output(0);
    let space = [columns as u32, len as u32, inner as u32, op.kind as u32, op.exclusive.into(), op.reverse.into()];
    launch.value(space).value(x.dtype as u32).build().map(Some)
}
