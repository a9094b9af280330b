//! Norm: normalisations. Inputs: X and, for those that take them, optional scale and bias. Outputs: Y of X's shape and,
//! for the layer norm, optionally mean and inverse standard deviation (f32, extents 1 where X is normalised). Sums are
//! formed in f32 for f16 and bf16.
//!
//! | kind | y |
//! |---|---|
//! | Layer | `(x - mean) / √(var + ε) · scale + bias` over the dimensions from `axis` on |
//! | Rms | `x / √(mean x² + ε) · scale + bias` over the dimensions from `axis` on |
//! | Group | as Layer over all positions of a group of channels of X `[N, .., C]`, per batch; scale and bias `[C]` |
//! | Lp | `x / (Σ \|x\|^p)^(1/p)` along `axis`, 0 where the norm is 0 |
//! | Response | `x / (bias + α/size · Σ x²)^β` over `size` neighbouring channels of X `[N, .., C]` |
//!
//! Scale and bias of Layer and Rms have the normalised dimensions, or ones that broadcast to them.

#[cfg(feature = "cuda")]
mod cuda;
mod groups;
mod lp;
mod response;
mod rows;
#[cfg(test)]
mod tests;

use super::{Inputs, Kernel, OpDef, Prepare, widen};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{DType, Dim, Shape, TensorType};

/// See the [module](self).
#[derive(Clone, Debug, PartialEq)]
pub enum Norm {
    /// Layer normalisation (Ba et al., arXiv 1607.06450).
    Layer {
        /// First normalised dimension; negative ones count from the back.
        axis: i32,
        /// Added to the variance.
        epsilon: f32,
    },
    /// Root mean square normalisation (Zhang and Sennrich, arXiv 1910.07467).
    Rms {
        /// First normalised dimension; negative ones count from the back.
        axis: i32,
        /// Added to the mean square.
        epsilon: f32,
    },
    /// Group normalisation (Wu and He, arXiv 1803.08494); instance normalisation is the case of one channel per group.
    Group {
        /// Groups of channels; 0 for as many as there are channels.
        groups: u32,
        /// Added to the variance.
        epsilon: f32,
    },
    /// Division by the 1-norm or 2-norm.
    Lp {
        /// The dimension along which the norm is formed; negative ones count from the back.
        axis: i32,
        /// 1 or 2.
        p: u32,
    },
    /// Local response normalisation (Krizhevsky et al., NIPS 2012).
    Response {
        /// Channels summed: `(size - 1) / 2` before, rounded down, and after, rounded up.
        size: u32,
        /// Factor of the mean square.
        alpha: f32,
        /// Exponent.
        beta: f32,
        /// Addend.
        bias: f32,
    },
}

impl OpDef for Norm {
    type Table<'a> = schema::Norm<'a>;
    const NAME: &'static str = "Norm";
    const INPUTS: (usize, usize) = (1, 3);

    fn read(t: Self::Table<'_>) -> Result<Self> {
        let (axis, epsilon) = (t.axis(), t.epsilon());
        match t.kind() {
            0 => Ok(Norm::Layer { axis, epsilon }),
            1 => Ok(Norm::Rms { axis, epsilon }),
            2 => Ok(Norm::Group { groups: t.groups(), epsilon }),
            3 if matches!(t.p(), 1 | 2) => Ok(Norm::Lp { axis, p: t.p() }),
            3 => Err(Error::unsupported(format!("normalisation by the {}-norm; 1 and 2 are supported", t.p()))),
            4 if t.size() > 0 => {
                Ok(Norm::Response { size: t.size(), alpha: t.alpha(), beta: t.beta(), bias: t.bias() })
            }
            4 => Err(Error::format("local response normalisation over 0 channels")),
            kind => Err(Error::version(format!("unknown normalisation {kind}; a newer library may know it"))),
        }
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        let args = match *self {
            Norm::Layer { axis, epsilon } => schema::NormArgs { kind: 0, axis, epsilon, ..Default::default() },
            Norm::Rms { axis, epsilon } => schema::NormArgs { kind: 1, axis, epsilon, ..Default::default() },
            Norm::Group { groups, epsilon } => schema::NormArgs { kind: 2, groups, epsilon, ..Default::default() },
            Norm::Lp { axis, p } => schema::NormArgs { kind: 3, axis, p, ..Default::default() },
            Norm::Response { size, alpha, beta, bias } => {
                schema::NormArgs { kind: 4, size, alpha, beta, bias, ..Default::default() }
            }
        };
        schema::Norm::create(b, &args)
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let x = inputs.float(0)?;
        inputs.same_dtype()?;
        match self {
            Norm::Layer { axis, .. } | Norm::Rms { axis, .. } => check_rows(inputs, &x.shape, *axis)?,
            Norm::Group { groups, .. } => check_channels(inputs, &x.shape, *groups)?,
            Norm::Lp { axis, .. } => {
                x.shape.axis((*axis).into())?;
                check_alone(inputs)?;
            }
            Norm::Response { .. } => {
                if x.shape.rank() < 2 {
                    return Err(Error::shape(format!("{} has no channels to normalise", x.shape)));
                }
                check_alone(inputs)?;
            }
        }
        let mut outputs = vec![TensorType::new(x.dtype, x.shape.clone())];
        if let Norm::Layer { axis, .. } = self {
            let axis = x.shape.axis((*axis).into())?;
            let mut dims = x.shape.to_vec();
            dims[axis..].fill(Dim::Fixed(1));
            let statistics = TensorType::new(DType::F32, Shape::new(dims)?);
            outputs.extend([statistics.clone(), statistics]);
        }
        Ok(outputs)
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        match cx.outputs[0].dtype {
            DType::F32 => self.kernel::<f32>(cx),
            DType::F64 => self.kernel::<f64>(cx),
            _ => widen::prepare(self, cx),
        }
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        cuda::prepare(self, cx)
    }
}

impl Norm {
    fn kernel<T: super::arith::Real>(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        match *self {
            Norm::Layer { axis, epsilon } => rows::prepare::<T>(cx, axis, rows::Kind::Layer, epsilon),
            Norm::Rms { axis, epsilon } => rows::prepare::<T>(cx, axis, rows::Kind::Rms, epsilon),
            Norm::Group { groups, epsilon } => Ok(groups::prepare::<T>(cx, groups as usize, epsilon)),
            Norm::Lp { axis, p } => lp::prepare::<T>(cx, axis, p),
            Norm::Response { size, alpha, beta, bias } => {
                Ok(response::prepare::<T>(cx, response::Attributes { size: size as usize, alpha, beta, bias }))
            }
        }
    }
}

fn check_alone(inputs: &Inputs<'_>) -> Result<()> {
    if inputs.opt(1).is_some() || inputs.opt(2).is_some() {
        return Err(Error::invalid("this normalisation has neither scale nor bias"));
    }
    Ok(())
}

/// Checks that scale and bias broadcast to the dimensions from `axis` on.
fn check_rows(inputs: &Inputs<'_>, x: &Shape, axis: i32) -> Result<()> {
    let axis = x.axis(axis.into())?;
    for (i, name) in [(1, "scale"), (2, "bias")] {
        let Some(ty) = inputs.opt(i) else { continue };
        let outer = ty.shape.rank().saturating_sub(x.rank() - axis);
        let inner = &x[axis..];
        let fits = |s: Shape| s.iter().zip(inner).all(|(a, b)| a.fixed().zip(b.fixed()).is_none_or(|(a, b)| a == b));
        let broadcasts = || Shape::new(inner)?.broadcast(&ty.shape[outer..]).map(fits);
        if ty.shape.rank() > x.rank() || ty.shape[..outer].iter().any(|d| *d != Dim::Fixed(1)) || !broadcasts()? {
            let message = format!("the {name} {} does not broadcast to the normalised dimensions of {x} from {axis}", ty.shape);
            return Err(Error::unsupported(message));
        }
    }
    Ok(())
}

/// Checks that groups divide the channels, and that scale and bias have one value for each.
fn check_channels(inputs: &Inputs<'_>, x: &Shape, groups: u32) -> Result<()> {
    let [_, .., channels] = &x[..] else {
        return Err(Error::shape(format!("{x} is not [batch, .., channels]")));
    };
    if groups > 0 && channels.fixed().is_some_and(|c| c % i64::from(groups) != 0) {
        return Err(Error::shape(format!("{groups} groups do not divide {channels} channels")));
    }
    for (i, name) in [(1, "scale"), (2, "bias")] {
        let Some(ty) = inputs.opt(i) else { continue };
        let fits = |d: &Dim| d.fixed().zip(channels.fixed()).is_none_or(|(a, b)| a == b);
        if ty.shape.rank() != 1 || !fits(&ty.shape[0]) {
            return Err(Error::shape(format!("the {name} {} is not one value for each of {channels} channels", ty.shape)));
        }
    }
    Ok(())
}
