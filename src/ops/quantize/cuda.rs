use super::Quantize;
use crate::error::Result;
use crate::ops::{CudaKernel, PrepareCuda};
pub fn prepare(_: &Quantize, _: &PrepareCuda<'_>) -> Result<Option<CudaKernel>> { Ok(None) }
