use super::Norm;
use crate::error::Result;
use crate::ops::{CudaKernel, PrepareCuda};
pub fn prepare(_: &Norm, _: &PrepareCuda<'_>) -> Result<Option<CudaKernel>> { Ok(None) }
