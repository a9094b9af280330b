//! Constants: bytes of a graph that are known when it is built.

use crate::error::{Error, Result};
use crate::ops::{Tensor, TensorInfo};
use crate::tensor::{Blob, Layout, TensorType, View};

/// Data of a constant value. Its dimensions are logical; `layout` tells how the bytes are arranged.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// Element type and logical dimensions.
    pub info: TensorInfo,
    /// Arrangement of the bytes.
    pub layout: Layout,
    /// The bytes, aligned for the element type.
    pub data: Blob,
}

impl Constant {
    /// A constant; an error if the number or the alignment of the bytes does not fit.
    pub fn new(info: TensorInfo, layout: Layout, data: Blob) -> Result<Self> {
        let want = layout.byte_len(info.dtype, &info.dims);
        if want != Some(data.len()) {
            let (dtype, dims) = (info.dtype, info.dims);
            return Err(Error::format(format!("a {layout:?} {dtype}{dims:?} constant of {} bytes", data.len())));
        }
        if data.as_ptr().align_offset(info.dtype.size()) != 0 {
            return Err(Error::format("constant data is not aligned for its element type"));
        }
        Ok(Constant { info, layout, data })
    }

    /// A view of the bytes; elements are in the order of [`Constant::layout`].
    pub fn view(&self) -> View<'_> {
        View::new(&self.data, self.info.dtype)
    }

    /// The type, with its elements if they can be tracked.
    pub fn ty(&self) -> TensorType {
        match self.layout {
            Layout::RowMajor => Tensor { info: self.info, data: self.data.clone() }.ty(),
            _ => {
                let dims = self.info.dims.iter().map(|&d| d.into()).collect::<Vec<_>>();
                TensorType::new(self.info.dtype, crate::tensor::Shape::new(dims).unwrap_or_default())
            }
        }
    }

    /// The constant as a tensor, if it is row-major.
    pub fn tensor(&self) -> Option<Tensor> {
        (self.layout == Layout::RowMajor).then(|| Tensor { info: self.info, data: self.data.clone() })
    }
}

impl From<Tensor> for Constant {
    fn from(tensor: Tensor) -> Self {
        Constant { info: tensor.info, layout: Layout::RowMajor, data: tensor.data }
    }
}
