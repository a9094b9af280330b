//! ConvTranspose: transposed convolution of channels-last tensors, `activation(bias + Σ x · w)`. Inputs: X
//! `[N, spatial.., C]`, W `[OC, taps.., C/groups]`, optional bias `[OC]`. The output is `[N, spatial.., OC]`.
//!
//! Input i reaches outputs `i · stride + tap · dilation - padding` along each of 1 to 3 spatial dimensions; the output's
//! extent is `(input - 1) · stride + (taps - 1) · dilation + 1 - padding + output padding`. Channel groups reach only
//! their own outputs. f16 and bf16 accumulate in f32.

#[cfg(feature = "cuda")]
mod cuda;
mod f32;
mod gather;
mod geometry;
mod plain;
#[cfg(test)]
mod tests;

use super::conv::check_bias;
use super::window::{Window, channels_last};
use super::{Inputs, Kernel, OpDef, Prepare, TensorInfo, activation, widen};
use crate::cpu::Activation;
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{DType, Dim, Shape, TensorType};

/// See the [module](self).
#[derive(Clone, Debug, PartialEq)]
pub struct ConvTranspose {
    /// Strides, padding and dilations.
    pub window: Window,
    /// Added to the extents at the end, one per spatial dimension; empty for none.
    pub output_padding: Vec<u32>,
    /// Divides the channels of input and output.
    pub groups: u32,
    /// Applied last.
    pub activation: Activation,
}

impl Default for ConvTranspose {
    fn default() -> Self {
        let activation = Activation::None;
        ConvTranspose { window: Window::default(), output_padding: vec![], groups: 1, activation }
    }
}

impl OpDef for ConvTranspose {
    type Table<'a> = schema::ConvTranspose<'a>;
    const NAME: &'static str = "ConvTranspose";
    const INPUTS: (usize, usize) = (2, 3);

    fn read(t: Self::Table<'_>) -> Result<Self> {
        let output_padding: Vec<u32> = t.output_padding().iter().flatten().collect();
        if output_padding.iter().any(|&p| p > 1 << 30) {
            return Err(Error::format(format!("output padding {output_padding:?}")));
        }
        Ok(ConvTranspose {
            window: Window::read(t.strides(), t.pads(), t.dilations())?,
            output_padding,
            groups: t.groups(),
            activation: activation::read(t.activation())?,
        })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        let (strides, pads, dilations) = self.window.write(b);
        let args = schema::ConvTransposeArgs {
            strides,
            pads,
            dilations,
            output_padding: Some(b.create_vector(&self.output_padding)),
            groups: self.groups,
            activation: activation::write(self.activation, b),
        };
        schema::ConvTranspose::create(b, &args)
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        inputs.float(0)?;
        let dtype = inputs.same_dtype()?;
        if dtype == DType::F64 && self.activation != Activation::None {
            return Err(Error::unsupported("an activation on f64; f32, f16 and bf16 have them"));
        }
        let shape = self.output(&inputs.get(0)?.shape, &inputs.get(1)?.shape)?;
        check_bias(inputs, 2, &shape)?;
        Ok(vec![TensorType::new(dtype, shape)])
    }

    fn flops(&self, inputs: &[Option<TensorInfo>], _outputs: &[TensorInfo]) -> u64 {
        let [Some(x), Some(w), ..] = inputs else { return 0 };
        // Each input pixel is multiplied with all weights.
        2 * x.dims[..x.dims.len() - 1].iter().product::<usize>() as u64 * w.numel() as u64
    }

    fn derives(&self, inputs: &Inputs<'_>) -> Option<(usize, usize)> {
        gather::wanted(self, inputs)
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        if cx.outputs[0].dtype == DType::F32
            && let Some(kernel) = gather::prepare(self, cx)?
        {
            return Ok(kernel);
        }
        match cx.outputs[0].dtype {
            DType::F32 if f32::fits(self, cx) => f32::prepare(self, cx),
            DType::F32 => plain::prepare::<f32>(self, cx),
            DType::F64 => plain::prepare::<f64>(self, cx),
            _ => widen::prepare(self, cx),
        }
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        cuda::prepare(self, cx)
    }
}

impl ConvTranspose {
    /// Shape of the output.
    fn output(&self, x: &Shape, w: &Shape) -> Result<Shape> {
        let (batch, spatial, channels) = channels_last(x)?;
        self.window.check_rank(spatial.len())?;
        let [out_channels, kernel @ .., group_in] = &w[..] else {
            return Err(Error::shape(format!("weights {w}; [out channels, taps.., channels / groups] are needed")));
        };
        if kernel.len() != spatial.len() || ![0, kernel.len()].contains(&self.output_padding.len()) {
            let padding = self.output_padding.len();
            let message = format!("weights {w} and {padding} output paddings for {} spatial dimensions", spatial.len());
            return Err(Error::shape(message));
        }
        if self.groups == 0 || out_channels.fixed().is_some_and(|c| c % i64::from(self.groups) != 0) {
            return Err(Error::shape(format!("{} groups do not divide {out_channels} output channels", self.groups)));
        }
        let want = group_in.mul(&Dim::Fixed(self.groups.into()));
        if channels.fixed().zip(want.fixed()).is_some_and(|(a, b)| a != b) {
            let message = format!("{channels} input channels for weights {w} in {} groups", self.groups);
            return Err(Error::shape(message));
        }
        let mut dims = vec![batch.clone()];
        for (i, (input, taps)) in spatial.iter().zip(kernel).enumerate() {
            dims.push(self.extent(i, input, taps)?);
        }
        dims.push(out_channels.clone());
        Shape::new(dims)
    }

    /// Extent of the output along spatial dimension `i`.
    fn extent(&self, i: usize, input: &Dim, taps: &Dim) -> Result<Dim> {
        let (begin, end) = self.window.pad(i);
        let extra = self.output_padding.get(i).map_or(0, |&p| i64::from(p));
        let steps = input.sub(&Dim::Fixed(1)).mul(&self.window.stride(i).into());
        let extent = steps.add(&self.window.reach(i, taps)).add(&Dim::Fixed(extra)).sub(&Dim::from(begin + end));
        let empty = taps.fixed() == Some(0) || input.fixed() == Some(0);
        if empty || extent.fixed().is_some_and(|e| e < 0) {
            let message = format!("an extent of {input} under {taps} taps with padding {begin} and {end} leaves no output");
            return Err(Error::shape(message));
        }
        Ok(extent)
    }
}
