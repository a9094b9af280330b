//! Tensors in files: which format by the name's ending.

use std::fs;
use std::path::Path;

use infer::error::{Error, Result};
use infer::ops::TensorInfo;
use infer::tensor::{Buffer, DType, Dims};

use crate::{image, npy};

/// A tensor in memory, contiguous and row-major.
#[derive(Debug)]
pub struct Tensor {
    /// Element type and extents.
    pub info: TensorInfo,
    /// Its bytes.
    pub data: Buffer,
}

impl Tensor {
    /// A tensor of these bytes, as many as the type and extents say.
    pub fn new(dtype: DType, dims: &[usize], bytes: &[u8]) -> Result<Tensor> {
        let info = TensorInfo { dtype, dims: Dims::new(dims) };
        let needed = info.byte_len()?;
        if bytes.len() != needed {
            let got = bytes.len();
            return Err(Error::shape(format!("{got} bytes of data; {dtype}{dims:?} has {needed}")));
        }
        Ok(Tensor { info, data: Buffer::copy_of(bytes)? })
    }
}

/// Reads a tensor. Raw bytes and images have neither type nor extents of their own: they take those of `wanted`.
pub fn read(path: &Path, wanted: &TensorInfo, pixels: &image::Pixels) -> Result<Tensor> {
    let about = |e: Error| e.context(path.display());
    match ending(path).as_str() {
        "npy" => npy::decode(&load(path)?).map_err(about),
        "raw" | "bin" => Tensor::new(wanted.dtype, &wanted.dims, &load(path)?).map_err(about),
        "png" | "jpg" | "jpeg" | "pgm" | "ppm" | "pnm" => image::decode(&load(path)?, wanted, pixels).map_err(about),
        ending => Err(Error::unsupported(format!(
            "{}: '.{ending}' is no ending of a tensor; those are .npy .npz .raw .bin .png .jpg .pgm .ppm",
            path.display()
        ))),
    }
}

/// Writes a tensor.
pub fn write(path: &Path, tensor: &Tensor) -> Result<()> {
    let about = |e: Error| e.context(path.display());
    let bytes = match ending(path).as_str() {
        "npy" => npy::encode(tensor),
        "raw" | "bin" => tensor.data.to_vec(),
        "png" | "pgm" | "ppm" => image::encode(tensor, &ending(path)).map_err(about)?,
        ending => {
            let name = path.display();
            return Err(Error::unsupported(format!(
                "{name}: '.{ending}' cannot be written; use .npy .npz .raw .png .pgm .ppm"
            )));
        }
    };
    fs::write(path, bytes).map_err(|e| Error::io(path.display(), &e))
}

/// The bytes of a file.
pub fn load(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|e| Error::io(path.display(), &e))
}

/// What follows the last dot of a name, in lower case.
pub fn ending(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}
