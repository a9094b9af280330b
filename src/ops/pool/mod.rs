//! Pool: the maximum, mean or p-norm of the elements under a window, per channel. Input: X `[N, spatial.., C]` with 1 to 3
//! spatial dimensions. Outputs: Y `[N, spatial.., C]` and, for maxima, optionally Indices (i64).
//!
//! Output o covers inputs `o · stride + tap · dilation - padding`. Padding counts for no maximum, and for a mean only
//! with `count_padding`, as zeros. Extents round down, or up with `ceil`; then what lies beyond the padding counts for
//! nothing, and windows that would start there are left out. Padding must be smaller than the window.
//!
//! An index is the position of the (first) maximum in X laid out as ONNX has it, `[N, C, spatial..]`; with
//! `column_major_indices` the spatial dimensions count from the first one. Maxima are of any float, i8 or u8; the rest of
//! floats. A NaN makes the result NaN.

#[cfg(feature = "cuda")]
mod cuda;
mod f32;
mod plain;
#[cfg(test)]
mod tests;

use super::window::{Window, channels_last};
use super::{Inputs, Kernel, OpDef, Prepare, widen};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{DType, Dim, Shape, TensorType};

/// What becomes of the elements under the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// The largest.
    Max,
    /// The mean; with `count_padding`, padding counts as zeros.
    Mean {
        /// Divide by the taps inside the padded input, not inside the input.
        count_padding: bool,
    },
    /// `(Σ |x|^p)^(1/p)`.
    Norm {
        /// The exponent, at least 1.
        p: u32,
    },
}

/// See the [module](self).
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// What becomes of the elements.
    pub kind: PoolKind,
    /// Taps of the window along each spatial dimension.
    pub kernel: Vec<u32>,
    /// Strides, padding and dilations.
    pub window: Window,
    /// Extents round up.
    pub ceil: bool,
    /// Indices count the first spatial dimension fastest.
    pub column_major_indices: bool,
}

impl Default for Pool {
    fn default() -> Self {
        let (kernel, window) = (vec![], Window::default());
        Pool { kind: PoolKind::Max, kernel, window, ceil: false, column_major_indices: false }
    }
}

impl OpDef for Pool {
    type Table<'a> = schema::Pool<'a>;
    const NAME: &'static str = "Pool";
    const INPUTS: (usize, usize) = (1, 1);

    fn read(t: Self::Table<'_>) -> Result<Self> {
        let kind = match t.kind() {
            0 => PoolKind::Max,
            1 => PoolKind::Mean { count_padding: t.count_padding() },
            2 if t.p() > 0 => PoolKind::Norm { p: t.p() },
            2 => return Err(Error::format("pooling by the 0-norm")),
            kind => return Err(Error::version(format!("unknown pooling {kind}; a newer library may know it"))),
        };
        Ok(Pool {
            kind,
            kernel: t.kernel().iter().flatten().collect(),
            window: Window::read(t.strides(), t.pads(), t.dilations())?,
            ceil: t.ceil(),
            column_major_indices: t.column_major_indices(),
        })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        let (strides, pads, dilations) = self.window.write(b);
        let kernel = Some(b.create_vector(&self.kernel));
        let (kind, count_padding, p) = match self.kind {
            PoolKind::Max => (0, false, 2),
            PoolKind::Mean { count_padding } => (1, count_padding, 2),
            PoolKind::Norm { p } => (2, false, p),
        };
        let (ceil, column_major_indices) = (self.ceil, self.column_major_indices);
        let args =
            schema::PoolArgs { kind, kernel, strides, pads, dilations, ceil, count_padding, p, column_major_indices };
        schema::Pool::create(b, &args)
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let x = inputs.get(0)?;
        let max = self.kind == PoolKind::Max;
        if !(x.dtype.is_float() || max && matches!(x.dtype, DType::I8 | DType::U8)) {
            let message = format!("pooling of {}; floats and, for maxima, i8 and u8 are supported", x.dtype);
            return Err(Error::dtype(message));
        }
        let shape = self.output(&x.shape)?;
        let indices = TensorType::new(DType::I64, shape.clone());
        let mut outputs = vec![TensorType::new(x.dtype, shape)];
        outputs.extend(max.then_some(indices));
        Ok(outputs)
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        match (cx.outputs[0].dtype, self.kind) {
            (DType::F16 | DType::BF16, _) => widen::prepare(self, cx),
            (DType::F32, PoolKind::Max | PoolKind::Mean { .. }) if cx.outputs.len() == 1 => f32::prepare(self, cx),
            _ => plain::prepare(self, cx),
        }
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        cuda::prepare(self, cx)
    }
}

impl Pool {
    fn output(&self, x: &Shape) -> Result<Shape> {
        let (batch, spatial, channels) = channels_last(x)?;
        self.window.check_rank(spatial.len())?;
        if self.kernel.len() != spatial.len() {
            return Err(Error::shape(format!("a window of {:?} over {} dimensions", self.kernel, spatial.len())));
        }
        let kernel: Vec<Dim> = self.kernel.iter().map(|&k| Dim::Fixed(k.into())).collect();
        for (i, k) in kernel.iter().enumerate() {
            let (begin, end) = self.window.pad(i);
            if self.window.reach(i, k).fixed().is_some_and(|reach| reach <= begin.max(end) as i64) {
                let message = format!("padding {begin} and {end} for a window of {k}: it may lie in padding entirely");
                return Err(Error::unsupported(message));
            }
        }
        let floor = self.window.output(spatial, &kernel)?;
        let mut dims = vec![batch.clone()];
        match self.ceil {
            false => dims.extend(floor),
            true => dims.extend((0..spatial.len()).map(|i| self.rounded_up(i, &spatial[i], &kernel[i]))),
        }
        dims.push(channels.clone());
        Shape::new(dims)
    }

    /// Extent along dimension `i` when it rounds up, less windows that start after the input.
    fn rounded_up(&self, i: usize, input: &Dim, kernel: &Dim) -> Dim {
        let (begin, end) = self.window.pad(i);
        let stride = Dim::from(self.window.stride(i));
        let room = input.add(&Dim::from(begin + end)).sub(&self.window.reach(i, kernel));
        let starts = input.add(&begin.into()).ceil_div(&stride);
        room.ceil_div(&stride).add(&Dim::Fixed(1)).minimum(&starts)
    }

    /// Taps of the window.
    fn kernel(&self) -> Vec<usize> {
        self.kernel.iter().map(|&k| k as usize).collect()
    }
}
