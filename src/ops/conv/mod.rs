//! Conv: convolution of channels-last tensors, `activation(bias + Σ x · w + residual)`. Inputs: X `[N, spatial.., C]`
//! (`[N, C, spatial..]` with `channels_first_input`), W `[OC, taps.., C/groups]`, optional bias `[OC]`, optional residual
//! (of the output's shape). The output is `[N, spatial.., OC]`.
//!
//! Output o reads inputs `o · stride + tap · dilation - padding` along each of 1 to 3 spatial dimensions; what lies
//! outside is zero. Channel groups see only their own inputs. f16 and bf16 accumulate in f32. (The kernel for i32 serves
//! [`ConvInteger`](super::ConvInteger).)

#[cfg(feature = "cuda")]
mod cuda;
mod expanded;
mod f32;
mod plain;
mod scaled;
#[cfg(test)]
mod tests;
mod winograd;

use super::window::{Window, channels_first, channels_last, spatial};
use super::{Inputs, Kernel, OpDef, Prepare, TensorInfo, activation, widen};
use crate::cpu::Activation;
use crate::cpu::conv::ConvShape;
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{DType, Dim, Shape, TensorType};

pub use f32::layout;
pub use plain::Geometry;

/// See the [module](self).
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// Strides, padding and dilations.
    pub window: Window,
    /// Divides the channels of input and output.
    pub groups: u32,
    /// The input is `[N, C, spatial..]`.
    pub channels_first_input: bool,
    /// Applied last.
    pub activation: Activation,
}

impl Default for Conv {
    fn default() -> Self {
        let activation = Activation::None;
        Conv { window: Window::default(), groups: 1, channels_first_input: false, activation }
    }
}

impl OpDef for Conv {
    type Table<'a> = schema::Conv<'a>;
    const NAME: &'static str = "Conv";
    const INPUTS: (usize, usize) = (2, 4);

    fn read(t: Self::Table<'_>) -> Result<Self> {
        Ok(Conv {
            window: Window::read(t.strides(), t.pads(), t.dilations())?,
            groups: t.groups(),
            channels_first_input: t.channels_first_input(),
            activation: activation::read(t.activation())?,
        })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        let (strides, pads, dilations) = self.window.write(b);
        let args = schema::ConvArgs {
            strides,
            pads,
            dilations,
            groups: self.groups,
            channels_first_input: self.channels_first_input,
            activation: activation::write(self.activation, b),
        };
        schema::Conv::create(b, &args)
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        inputs.float(0)?;
        let dtype = inputs.same_dtype()?;
        if dtype == DType::F64 && self.activation != Activation::None {
            return Err(Error::unsupported("an activation on f64; f32, f16 and bf16 have them"));
        }
        let shape = self.output(&inputs.get(0)?.shape, &inputs.get(1)?.shape)?;
        check_bias(inputs, 2, &shape)?;
        if let Some(residual) = inputs.opt(3)
            && !same(&residual.shape, &shape)
        {
            return Err(Error::shape(format!("the residual {} is not of the output's shape {shape}", residual.shape)));
        }
        Ok(vec![TensorType::new(dtype, shape)])
    }

    fn derives(&self, inputs: &Inputs<'_>) -> Option<(usize, usize)> {
        winograd::wanted(self, inputs)
    }

    fn flops(&self, inputs: &[Option<TensorInfo>], outputs: &[TensorInfo]) -> u64 {
        let ([_, Some(w), ..], [y, ..]) = (inputs, outputs) else { return 0 };
        // Each output element takes all weights of its channel.
        2 * y.numel() as u64 * w.dims[1..].iter().product::<usize>() as u64
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        match cx.outputs[0].dtype {
            DType::F32 => f32::prepare(self, cx),
            DType::F64 => plain::prepare::<f64>(self, cx),
            DType::I32 => plain::prepare::<i32>(self, cx),
            _ => widen::prepare(self, cx),
        }
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        cuda::prepare(self, cx)
    }
}

/// Where the inputs of two convolutions in one step continue with those of the first, from its weights on. Before stand
/// those of the second; its input is the first's.
pub const FIRST: usize = Conv::INPUTS.1;

/// A kernel for two convolutions, of which the second alone reads what the first computes; None where one by itself does
/// better, or there is none for both.
pub fn fuse(first: (&Conv, &Prepare<'_>), second: (&Conv, &Prepare<'_>)) -> Result<Option<Box<dyn Kernel>>> {
    Ok(scaled::prepare(first, second)?.or(expanded::prepare(first, second)?))
}

/// Whether the ranks are equal and no dimension has two different numbers.
fn same(a: &[Dim], b: &[Dim]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| !differ(a, b))
}

/// Whether these are two different numbers.
fn differ(a: &Dim, b: &Dim) -> bool {
    a.fixed().zip(b.fixed()).is_some_and(|(a, b)| a != b)
}

/// Checks that an input, if present, has one element per channel of an output `[.., channels]`.
pub(super) fn check_bias(inputs: &Inputs<'_>, index: usize, output: &Shape) -> Result<()> {
    match inputs.opt(index) {
        Some(bias) if !same(&bias.shape, &output[output.rank() - 1..]) => {
            let channels = &output[output.rank() - 1];
            Err(Error::shape(format!("the bias {} is not one value for each of {channels} channels", bias.shape)))
        }
        _ => Ok(()),
    }
}

impl Conv {
    /// The convolution of an input and weights of these extents, which `infer` has accepted.
    fn shape(&self, x: &[usize], w: &[usize]) -> ConvShape {
        let inner = 1..x.len() - 1;
        let input = if self.channels_first_input { &x[2..] } else { &x[inner.clone()] };
        ConvShape {
            batch: x[0],
            groups: self.groups as usize,
            in_channels: x[if self.channels_first_input { 1 } else { x.len() - 1 }],
            out_channels: w[0],
            input: spatial(input, 1),
            window: self.window.to_cpu(&w[inner]),
        }
    }

    /// Shape of the output.
    pub(super) fn output(&self, x: &Shape, w: &Shape) -> Result<Shape> {
        let (batch, spatial, channels) = if self.channels_first_input { channels_first(x)? } else { channels_last(x)? };
        output(&self.window, self.groups, (batch, spatial, channels), w)
    }
}

/// Shape of a convolution's output, after checks of input, weights and groups.
pub(super) fn output(
    window: &Window,
    groups: u32,
    (batch, spatial, channels): (&Dim, &[Dim], &Dim),
    w: &Shape,
) -> Result<Shape> {
    window.check_rank(spatial.len())?;
    let [out_channels, kernel @ .., group_in] = &w[..] else {
        return Err(Error::shape(format!("weights of shape {w}; [out channels, taps.., channels / groups] are needed")));
    };
    if kernel.len() != spatial.len() {
        return Err(Error::shape(format!("weights {w} for {} spatial dimensions", spatial.len())));
    }
    if groups == 0 || out_channels.fixed().is_some_and(|c| c % i64::from(groups) != 0) {
        return Err(Error::shape(format!("{groups} groups do not divide {out_channels} output channels")));
    }
    if differ(channels, &group_in.mul(&Dim::Fixed(groups.into()))) {
        let message = format!("{channels} input channels for weights {w} in {groups} groups");
        return Err(Error::shape(message));
    }
    let mut dims = vec![batch.clone()];
    dims.extend(window.output(spatial, kernel)?);
    dims.push(out_channels.clone());
    Shape::new(dims)
}
