use super::Pool;
use crate::error::Result;
use crate::ops::{CudaKernel, PrepareCuda};
pub fn prepare(_: &Pool, _: &PrepareCuda<'_>) -> Result<Option<CudaKernel>> { Ok(None) }
