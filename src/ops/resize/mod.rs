//! Resize: interpolates the data at other extents along some axes, as ONNX Resize 19 defines. Inputs: data, optional region
//! (starts, then ends, of the axes of `axes` as fractions of their extents), scales (f32) or sizes (i64) of those axes.
//!
//! Along each axis an output coordinate is mapped to one of the input ([`Coordinates`]) and the input's elements around it
//! are combined with weights ([`axis`]); the results along several axes multiply. Elements beyond the edge are the edge's.
//! Extents are `floor(extent * scale)`, computed in f32.
//!
//! The region is used with [`Coordinates::CropAndResize`] only. It has to be known when the kernel is prepared, like scales
//! and sizes, and so extents are unknown until it is.

mod axis;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod nearest;
#[cfg(test)]
mod tests;

use super::{Inputs, Kernel, OpDef, Prepare};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{DType, Dim, Element, Shape, TensorType, View, normalize_axis};
use axis::Map;
use half::{bf16, f16};

/// Defines an enum whose numbers are those of the file format.
macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$item:meta])* $variant:ident = $code:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Default)]
        #[repr(u8)]
        pub enum $name { $($(#[$item])* $variant = $code,)* }

        impl $name {
            fn from_code(code: u8) -> Result<Self> {
                match code {
                    $($code => Ok($name::$variant),)*
                    _ => Err(Error::format(format!(concat!("unknown ", stringify!($name), " {} of a Resize"), code))),
                }
            }
        }
    };
}

codes! {
    /// How elements around a coordinate are combined.
    Interpolation {
        /// One element is taken.
        #[default]
        Nearest = 0,
        /// Two elements, by their distance.
        Linear = 1,
        /// Four elements, by Keys' cubic convolution (1981).
        Cubic = 2,
    }
}

codes! {
    /// Which coordinate x of the input, of extent `n`, belongs to coordinate i of the output, of extent `m`; `s` is the
    /// scale and `n * s` what the output's extent would be without rounding.
    Coordinates {
        /// `(i + 0.5) / s - 0.5`.
        #[default]
        HalfPixel = 0,
        /// As half pixel, moved so that the centres of both coincide though `m` is rounded.
        HalfPixelSymmetric = 1,
        /// As half pixel, but 0 where `m` is 1.
        PytorchHalfPixel = 2,
        /// `i * (n - 1) / (n * s - 1)`.
        AlignCorners = 3,
        /// `i / s`.
        Asymmetric = 4,
        /// From the start to the end of a region; outside the data the extrapolation value is taken.
        CropAndResize = 5,
        /// `i * (n - 1) / (m - 1)`: as align corners with the extent that the output has.
        AlignExactCorners = 6,
    }
}

codes! {
    /// Which element is nearest to a coordinate.
    Rounding {
        /// The nearer one; the lower one of two.
        #[default]
        PreferFloor = 0,
        /// The nearer one; the higher one of two.
        PreferCeil = 1,
        /// The next lower one.
        Floor = 2,
        /// The next higher one.
        Ceil = 3,
    }
}

codes! {
    /// What sizes mean for the ratio of the extents.
    Aspect {
        /// They are the output's extents.
        #[default]
        Stretch = 0,
        /// The ratio is kept, and no extent is larger.
        NotLarger = 1,
        /// The ratio is kept, and no extent is smaller.
        NotSmaller = 2,
    }
}

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Resize {
    /// How elements are combined.
    pub mode: Interpolation,
    /// How coordinates are mapped.
    pub coordinates: Coordinates,
    /// Which element is nearest.
    pub nearest: Rounding,
    /// Keys' parameter a.
    pub cubic_a: f32,
    /// Elements beyond the edge have no weight rather than the edge's value.
    pub exclude_outside: bool,
    /// Filters are as wide as the distance of output elements where that is more than 1.
    pub antialias: bool,
    /// Value outside the data, with [`Coordinates::CropAndResize`].
    pub extrapolation: f32,
    /// Input 2 holds scales rather than sizes.
    pub by_scales: bool,
    /// What sizes mean.
    pub aspect: Aspect,
    /// The axes that region, scales and sizes are given for, each at most once; negative ones count from the back. Empty
    /// for all.
    pub axes: Vec<i64>,
}

impl OpDef for Resize {
    type Table<'a> = schema::Resize<'a>;
    const NAME: &'static str = "Resize";
    const INPUTS: (usize, usize) = (3, 3);

    fn read(table: Self::Table<'_>) -> Result<Self> {
        Ok(Resize {
            mode: Interpolation::from_code(table.mode())?,
            coordinates: Coordinates::from_code(table.coordinates())?,
            nearest: Rounding::from_code(table.nearest())?,
            cubic_a: table.cubic_a(),
            exclude_outside: table.exclude_outside(),
            antialias: table.antialias(),
            extrapolation: table.extrapolation(),
            by_scales: table.by_scales(),
            aspect: Aspect::from_code(table.aspect())?,
            axes: table.axes().into_iter().flatten().map(i64::from).collect(),
        })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        let axes: Vec<i32> = self.axes.iter().map(|&a| a as i32).collect();
        let args = schema::ResizeArgs {
            mode: self.mode as u8,
            coordinates: self.coordinates as u8,
            nearest: self.nearest as u8,
            cubic_a: self.cubic_a,
            exclude_outside: self.exclude_outside,
            antialias: self.antialias,
            extrapolation: self.extrapolation,
            by_scales: self.by_scales,
            aspect: self.aspect as u8,
            axes: Some(b.create_vector(&axes)),
        };
        schema::Resize::create(b, &args)
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let x = inputs.get(0)?;
        if x.dtype == DType::Bool && self.mode != Interpolation::Nearest {
            return Err(Error::dtype("bool cannot be interpolated; only the nearest element can be taken"));
        }
        if self.mode == Interpolation::Nearest && self.antialias {
            return Err(Error::unsupported("antialiasing of the nearest element; linear and cubic have it"));
        }
        let axes = self.axes(x.shape.rank())?;
        let crops = self.coordinates == Coordinates::CropAndResize;
        self.check_inputs(inputs, axes.len())?;
        let mut dims = x.shape.to_vec();
        let extents = if crops && inputs.data(1).is_none() {
            vec![Dim::Unknown; axes.len()]
        } else if self.by_scales {
            self.scaled(inputs, &axes.iter().map(|&a| &dims[a]).collect::<Vec<_>>())?
        } else {
            self.sized(inputs.vector(2)?, &axes.iter().map(|&a| &dims[a]).collect::<Vec<_>>())
        };
        for (&axis, extent) in axes.iter().zip(extents) {
            if dims[axis] == Dim::Fixed(0) && extent.fixed().is_some_and(|n| n > 0) {
                return Err(Error::shape(format!("axis {axis} is empty and cannot be resized to {extent}")));
            }
            dims[axis] = extent;
        }
        Ok(vec![TensorType::new(x.dtype, Shape::new(dims)?)])
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        Ok(cpu::prepare(cx, self, self.maps(cx)?))
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        cuda::prepare(cx, self, self.maps(cx)?)
    }
}

impl Resize {
    /// The axes that are resized, and how.
    fn maps(&self, cx: &Prepare<'_>) -> Result<Vec<(usize, Map)>> {
        let (from, to) = (cx.dims(0), cx.out_dims(0));
        let axes = self.axes(from.len())?;
        let unknown = || Error::internal("scales or region are not known when the kernel is prepared");
        let region = match (self.coordinates, cx.optional(1)) {
            (Coordinates::CropAndResize, Some(region)) => Some(floats(&region.data.ok_or_else(unknown)?)),
            _ => None,
        };
        let scales = match self.by_scales && self.coordinates != Coordinates::AlignExactCorners {
            true => Some(floats(&cx.input(2).data.ok_or_else(unknown)?)),
            false => None,
        };
        let common = self.common_scale(cx, &axes)?;
        let map = |i: usize, axis: usize| {
            let ratio = to[axis] as f64 / from[axis] as f64;
            let scale = scales.as_ref().map(|s| s[i]).or(common).unwrap_or(ratio);
            let region = region.as_ref().map_or((0.0, 1.0), |r| (r[i], r[i + axes.len()]));
            (axis, Map { from: from[axis], to: to[axis], scale, region })
        };
        let maps = axes.iter().enumerate().map(|(i, &a)| map(i, a)).filter(|(_, map)| !map.is_identity());
        Ok(maps.collect())
    }

    /// The axes from the front.
    fn axes(&self, rank: usize) -> Result<Vec<usize>> {
        if self.axes.is_empty() {
            return Ok((0..rank).collect());
        }
        let axes = self.axes.iter().map(|&a| normalize_axis(a, rank)).collect::<Result<Vec<_>>>()?;
        match (1..axes.len()).find(|&i| axes[..i].contains(&axes[i])) {
            Some(i) => Err(Error::invalid(format!("axis {} is given twice", axes[i]))),
            None => Ok(axes),
        }
    }

    /// Checks types and lengths of the inputs beside the data.
    fn check_inputs(&self, inputs: &Inputs<'_>, axes: usize) -> Result<()> {
        let check = |index: usize, want: usize| {
            let ty = inputs.get(index)?;
            match ty.shape.numel().fixed() {
                Some(n) if n != want as i64 => {
                    Err(Error::shape(format!("input {index} is {ty}; {want} elements are needed for {axes} axes")))
                }
                _ => Ok(ty.dtype),
            }
        };
        if self.coordinates == Coordinates::CropAndResize {
            let dtype = check(1, 2 * axes)?;
            if !dtype.is_float() {
                return Err(Error::dtype(format!("the region is {dtype}; a floating-point type is needed")));
            }
        }
        let dtype = check(2, axes)?;
        if self.by_scales && dtype != DType::F32 {
            return Err(Error::dtype(format!("the scales are {dtype}, not f32")));
        }
        Ok(())
    }

    /// Extents by scales.
    fn scaled(&self, inputs: &Inputs<'_>, extents: &[&Dim]) -> Result<Vec<Dim>> {
        let Some(scales) = inputs.data(2) else { return Ok(vec![Dim::Unknown; extents.len()]) };
        let scale = |(&n, &scale): (&&Dim, &f32)| {
            if !(scale.is_finite() && scale > 0.0) {
                return Err(Error::invalid(format!("scale {scale}; a positive number is needed")));
            }
            Ok(match n {
                Dim::Fixed(n) => Dim::Fixed((*n as f32 * scale) as i64),
                n => ratio(scale).map_or(Dim::Unknown, |(p, q)| n.mul(&Dim::Fixed(p)).floor_div(&Dim::Fixed(q))),
            })
        };
        extents.iter().zip(scales.slice::<f32>()).map(scale).collect()
    }

    /// Extents by sizes.
    fn sized(&self, sizes: Vec<Dim>, extents: &[&Dim]) -> Vec<Dim> {
        if self.aspect == Aspect::Stretch {
            return sizes;
        }
        let numbers = |dims: &mut dyn Iterator<Item = &Dim>| dims.map(Dim::fixed).collect::<Option<Vec<i64>>>();
        let (Some(to), Some(from)) = (numbers(&mut sizes.iter()), numbers(&mut extents.iter().copied())) else {
            return vec![Dim::Unknown; sizes.len()];
        };
        let scale = self.aspect_scale(&from, &to);
        from.iter().map(|&n| Dim::Fixed((scale * n as f64 + 0.5) as i64)).collect()
    }

    /// The scale of all axes that keeps the ratio of the extents.
    fn aspect_scale(&self, from: &[i64], to: &[i64]) -> f64 {
        let scales = from.iter().zip(to).map(|(&n, &m)| m as f64 / n as f64);
        match self.aspect {
            Aspect::NotLarger => scales.fold(f64::INFINITY, f64::min),
            _ => scales.fold(0.0, f64::max),
        }
    }

    /// The scale of all axes where the ratio of the extents is kept.
    fn common_scale(&self, cx: &Prepare<'_>, axes: &[usize]) -> Result<Option<f64>> {
        if self.by_scales || self.aspect == Aspect::Stretch {
            return Ok(None);
        }
        let from: Vec<i64> = axes.iter().map(|&a| cx.dims(0)[a] as i64).collect();
        Ok(Some(self.aspect_scale(&from, &cx.vector(2)?)))
    }
}

/// The fraction of small numbers that a scale is, if it is one.
fn ratio(scale: f32) -> Option<(i64, i64)> {
    let exact = |&q: &i64| (scale as f64 * q as f64).fract() == 0.0;
    (1..=16).find(exact).map(|q| ((scale as f64 * q as f64) as i64, q))
}

/// The elements of a floating-point tensor.
fn floats(view: &View<'_>) -> Vec<f64> {
    fn all<T: Element + Into<f64>>(view: &View<'_>) -> Vec<f64> {
        view.slice::<T>().iter().map(|&x| x.into()).collect()
    }
    match view.dtype() {
        DType::F16 => all::<f16>(view),
        DType::BF16 => all::<bf16>(view),
        DType::F32 => all::<f32>(view),
        _ => all::<f64>(view),
    }
}
