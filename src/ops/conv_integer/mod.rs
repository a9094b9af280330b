//! ConvInteger: convolution of integers in i32, `Σ (x - x₀) · (w - w₀)`. Inputs: X `[N, spatial.., C]`, W
//! `[OC, taps.., C/groups]` (i8 or u8 each), optional zero points of the same types: x₀ a single value, w₀ a single value or
//! one for each output channel. What lies outside of the input counts as x₀. The output is `[N, spatial.., OC]`.

#[cfg(test)]
mod tests;

use super::matmul_integer::check_bytes;
use super::window::Window;
use super::{Conv, Inputs, Kernel, OpDef, Prepare, TensorInfo, centered};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{DType, Dim, Dims, TensorType};

/// See the [module](self).
#[derive(Clone, Debug, PartialEq)]
pub struct ConvInteger {
    /// Strides, padding and dilations.
    pub window: Window,
    /// Divides the channels of input and output.
    pub groups: u32,
}

impl Default for ConvInteger {
    fn default() -> Self {
        ConvInteger { window: Window::default(), groups: 1 }
    }
}

impl OpDef for ConvInteger {
    type Table<'a> = schema::ConvInteger<'a>;
    const NAME: &'static str = "ConvInteger";
    const INPUTS: (usize, usize) = (2, 4);

    fn read(t: Self::Table<'_>) -> Result<Self> {
        Ok(ConvInteger { window: Window::read(t.strides(), t.pads(), t.dilations())?, groups: t.groups() })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        let (strides, pads, dilations) = self.window.write(b);
        schema::ConvInteger::create(b, &schema::ConvIntegerArgs { strides, pads, dilations, groups: self.groups })
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        check_bytes(inputs)?;
        let (x, w) = (&inputs.get(0)?.shape, &inputs.get(1)?.shape);
        let shape = self.conv().output(x, w)?;
        let single = |d: &[Dim]| d.iter().all(|d| *d == Dim::Fixed(1)) && d.len() <= 1;
        if let Some(zero) = inputs.opt(2).filter(|zero| !single(&zero.shape)) {
            return Err(Error::shape(format!("a zero point {} of X; a single value is needed", zero.shape)));
        }
        if let Some(zero) = inputs.opt(3).filter(|zero| !single(&zero.shape)) {
            let fits = |d: &Dim| d.fixed().zip(w[0].fixed()).is_none_or(|(a, b)| a == b);
            if zero.shape.rank() != 1 || !fits(&zero.shape[0]) {
                return Err(Error::shape(format!("zero points {} for weights {w}", zero.shape)));
            }
        }
        Ok(vec![TensorType::new(DType::I32, shape)])
    }

    fn flops(&self, inputs: &[Option<TensorInfo>], outputs: &[TensorInfo]) -> u64 {
        self.conv().flops(inputs, outputs)
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        let zero = |i: usize| cx.optional(i).map(|zero| zero.info.dims);
        // One per output channel: as many as the first dimension of the weights.
        let channels = zero(3).map(|dims| match &dims[..] {
            [n] if *n > 1 => {
                let mut all = cx.dims(1);
                all[1..].fill(1);
                all[0] = *n;
                all
            }
            _ => Dims::default(),
        });
        centered::prepare(&self.conv(), [zero(2), channels], cx)
    }
}

impl ConvInteger {
    /// The convolution of the differences.
    fn conv(&self) -> Conv {
        Conv { window: self.window.clone(), groups: self.groups, ..Conv::default() }
    }
}
