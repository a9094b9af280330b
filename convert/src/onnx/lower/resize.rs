//! Resampling: Resize and its predecessor, samples at given coordinates, and in regions.

use super::window::positive;
use super::{Cx, Table};
use crate::onnx::model::Node;
use infer::error::{Error, Result};
use infer::graph::ValueId;
use infer::ops::grid_sample::{GridMode, GridPadding};
use infer::ops::resize::{Aspect, Coordinates, Interpolation, Rounding};
use infer::ops::roi_align::RoiMode;
use infer::ops::{GridSample, Resize, RoiAlign};
use infer::tensor::{DType, Dim, normalize_axis};

pub const TABLE: Table = &[
    ("GridSample", grid_sample),
    ("MaxRoiPool", max_roi_pool),
    ("Resize", resize),
    ("RoiAlign", roi_align),
    ("Upsample", upsample),
];

fn undefined(name: &str, value: &str) -> Error {
    Error::unsupported(format!("attribute '{name}' is '{value}', which is not defined"))
}

fn interpolation(n: &Node) -> Result<Interpolation> {
    match n.string("mode", "nearest")? {
        "nearest" => Ok(Interpolation::Nearest),
        "linear" | "bilinear" | "trilinear" => Ok(Interpolation::Linear),
        "cubic" => Ok(Interpolation::Cubic),
        other => Err(undefined("mode", other)),
    }
}

/// What an input resizes to.
struct Target {
    /// Starts and ends, as fractions.
    region: Option<ValueId>,
    /// Scales or sizes.
    extents: ValueId,
}

/// Scales, none less than 1, are an attribute before opset 9.
fn upsample(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    let extents = if n.opset < 9 {
        let scales: &[f32] = n.required("scales")?;
        cx.b.array(&[scales.len()], scales)?
    } else {
        cx.input(n, 1)?
    };
    if cx.b.elements::<f32>(extents).is_some_and(|scales| scales.iter().any(|&s| s < 1.0)) {
        return Err(Error::format("a scale is less than 1"));
    }
    let op = Resize { nearest: Rounding::Floor, ..old_resize(n)? };
    Ok(vec![cx.resized(x, op, &Target { region: None, extents })?])
}

fn resize(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    if n.opset < 11 {
        return resize10(cx, n, x);
    }
    // Before opset 13, empty tensors stand for absent inputs.
    let present = |i| Ok(cx.optional(n, i)?.filter(|&v| cx.b.dims(v)[..] != [Dim::Fixed(0)]));
    let (region, scales, sizes): (Option<ValueId>, Option<ValueId>, Option<ValueId>) =
        (present(1)?, present(2)?, present(3)?);
    let (extents, by_scales) = match (scales, sizes) {
        (Some(scales), None) => (scales, true),
        (None, Some(sizes)) => (sizes, false),
        _ => return Err(Error::format("scales or sizes are needed, and not both")),
    };
    let (mut coordinates, nearest) = coordinates(n)?;
    if by_scales && coordinates == Coordinates::AlignCorners && cx.model.producer.starts_with("pytorch") {
        // In ONNX, the corners of an extent that scales do not round; in PyTorch, those of the result.
        coordinates = Coordinates::AlignExactCorners;
    }
    let mode = interpolation(n)?;
    // The nearest element has no filter.
    let antialias = n.flag("antialias", false)? && mode != Interpolation::Nearest;
    let op = Resize {
        mode,
        coordinates,
        nearest,
        cubic_a: n.float("cubic_coeff_a", -0.75)?,
        exclude_outside: n.flag("exclude_outside", false)? && (mode == Interpolation::Cubic || antialias),
        antialias,
        extrapolation: n.float("extrapolation_value", 0.0)?,
        by_scales,
        aspect: match n.string("keep_aspect_ratio_policy", "stretch")? {
            _ if by_scales => Aspect::Stretch,
            "stretch" => Aspect::Stretch,
            "not_larger" => Aspect::NotLarger,
            "not_smaller" => Aspect::NotSmaller,
            other => return Err(undefined("keep_aspect_ratio_policy", other)),
        },
        axes: n.ints("axes")?.unwrap_or_default().to_vec(),
    };
    let region = if coordinates == Coordinates::CropAndResize { region } else { None };
    Ok(vec![cx.resized(x, op, &Target { region, extents })?])
}

/// The attributes for coordinates and for the nearest element.
fn coordinates(n: &Node) -> Result<(Coordinates, Rounding)> {
    let rounding = n.string("nearest_mode", "round_prefer_floor")?;
    let nearest = match rounding {
        "round_prefer_floor" => Rounding::PreferFloor,
        "round_prefer_ceil" => Rounding::PreferCeil,
        "floor" => Rounding::Floor,
        "ceil" => Rounding::Ceil,
        other => return Err(undefined("nearest_mode", other)),
    };
    let kind = match n.string("coordinate_transformation_mode", "half_pixel")? {
        "half_pixel" => Coordinates::HalfPixel,
        "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        "tf_crop_and_resize" => Coordinates::CropAndResize,
        // Half a pixel further than half_pixel: the same elements are found by another rounding.
        "tf_half_pixel_for_nn" if interpolation(n)? == Interpolation::Nearest => match nearest {
            Rounding::Floor => return Ok((Coordinates::HalfPixel, Rounding::PreferCeil)),
            Rounding::PreferFloor => return Ok((Coordinates::HalfPixel, Rounding::Ceil)),
            _ => return Err(Error::unsupported(format!("tf_half_pixel_for_nn with nearest_mode '{rounding}'"))),
        },
        other => return Err(undefined("coordinate_transformation_mode", other)),
    };
    Ok((kind, nearest))
}

/// Before opset 11, coordinates are divided by the scale.
fn old_resize(n: &Node) -> Result<Resize> {
    let mode = interpolation(n)?;
    Ok(Resize { mode, coordinates: Coordinates::Asymmetric, by_scales: true, ..Resize::default() })
}

/// The nearest element is the next lower one, or the next higher one along axes that shrink.
fn resize10(cx: &mut Cx<'_>, n: &Node, x: ValueId) -> Result<Vec<ValueId>> {
    let (scales, op) = (cx.input(n, 1)?, old_resize(n)?);
    if op.mode != Interpolation::Nearest {
        return Ok(vec![cx.resized(x, op, &Target { region: None, extents: scales })?]);
    }
    let known: Option<Vec<f32>> = cx.b.elements(scales);
    let known = known.ok_or_else(|| Error::unsupported("scales that are not constant before opset 11"))?;
    let mut y = x;
    for (shrinks, nearest) in [(false, Rounding::Floor), (true, Rounding::Ceil)] {
        let axes: Vec<usize> = (0..known.len()).filter(|&i| (known[i] < 1.0) == shrinks).collect();
        if axes.is_empty() {
            continue;
        }
        let extents: Vec<f32> = axes.iter().map(|&i| known[i]).collect();
        let extents = cx.b.array(&[axes.len()], &extents)?;
        let axes = axes.iter().map(|&i| i as i64).collect();
        y = cx.resized(y, Resize { nearest, axes, ..op.clone() }, &Target { region: None, extents })?;
    }
    Ok(vec![y])
}

/// Modes are called as for images before opset 20.
fn grid_sample(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (x, grid) = (cx.input(n, 0)?, cx.input(n, 1)?);
    let mode = match n.string("mode", "linear")? {
        "linear" | "bilinear" => GridMode::Linear,
        "nearest" => GridMode::Nearest,
        "cubic" | "bicubic" => GridMode::Cubic,
        other => return Err(undefined("mode", other)),
    };
    let padding = match n.string("padding_mode", "zeros")? {
        "zeros" => GridPadding::Zeros,
        "border" => GridPadding::Border,
        "reflection" => GridPadding::Reflection,
        other => return Err(undefined("padding_mode", other)),
    };
    let op = GridSample { mode, padding, align_corners: n.flag("align_corners", false)? };
    let x = cx.b.channels_last(x)?;
    let y = cx.b.emit1(op, &[x, grid])?;
    Ok(vec![cx.b.channels_first(y)?])
}

/// Coordinates refer to edges, without an attribute, before opset 16.
fn roi_align(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (x, regions, batches) = (cx.input(n, 0)?, cx.input(n, 1)?, cx.input(n, 2)?);
    let count = |name: &str, default: i64| {
        let value = n.int(name, default)?;
        let fits = u32::try_from(value).map(|v| v as usize);
        fits.map_err(|_| Error::format(format!("attribute '{name}' is {value}")))
    };
    let default = if n.opset < 16 { "output_half_pixel" } else { "half_pixel" };
    let op = RoiAlign {
        mode: match n.string("mode", "avg")? {
            "avg" => RoiMode::Average,
            "max" => RoiMode::Max,
            other => return Err(undefined("mode", other)),
        },
        height: count("output_height", 1)?,
        width: count("output_width", 1)?,
        sampling_ratio: count("sampling_ratio", 0)?,
        scale: n.float("spatial_scale", 1.0)?,
        half_pixel: match n.string("coordinate_transformation_mode", default)? {
            "half_pixel" => true,
            "output_half_pixel" => false,
            other => return Err(undefined("coordinate_transformation_mode", other)),
        },
    };
    let x = cx.b.channels_last(x)?;
    let y = cx.b.emit1(op, &[x, regions, batches])?;
    Ok(vec![cx.b.channels_first(y)?])
}

/// The largest elements in the cells of regions, whose batch indices stand before their corners.
fn max_roi_pool(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (x, regions) = (cx.input(n, 0)?, cx.input(n, 1)?);
    let &[height, width] = &positive(n, "pooled_shape", 2)?[..] else {
        return Err(Error::format("attribute 'pooled_shape' has not 2 elements"));
    };
    let op = RoiAlign {
        mode: RoiMode::Elements,
        height: height as usize,
        width: width as usize,
        sampling_ratio: 0,
        scale: n.float("spatial_scale", 1.0)?,
        half_pixel: false,
    };
    let batches = cx.b.pick(regions, 1, 0)?;
    let batches = cx.b.cast(batches, DType::I64)?;
    let corners = cx.b.slice(regions, 1, 1, 5)?;
    let x = cx.b.channels_last(x)?;
    let y = cx.b.emit1(op, &[x, corners, batches])?;
    Ok(vec![cx.b.channels_first(y)?])
}

impl Cx<'_> {
    /// Emits a Resize; with channels last where channels are not resized.
    fn resized(&mut self, x: ValueId, mut op: Resize, target: &Target) -> Result<ValueId> {
        let rank = self.b.rank(x);
        let axes = match &op.axes[..] {
            [] => (0..rank).collect(),
            given => given.iter().map(|&a| normalize_axis(a, rank)).collect::<Result<Vec<_>>>()?,
        };
        let kept: Vec<usize> = (0..axes.len()).filter(|&i| !self.stays(x, axes[i], i, &op, target)).collect();
        if kept.is_empty() && !axes.is_empty() {
            return Ok(x);
        }
        let mut inputs = [None, target.region, Some(target.extents)];
        if kept.len() < axes.len() {
            let places: Vec<i64> = kept.iter().map(|&i| i as i64).collect();
            let places = self.b.ints(&places)?;
            inputs[2] = Some(self.b.gather(target.extents, places, 0)?);
        }
        let channels_last = rank > 2 && kept.iter().all(|&i| axes[i] != 1);
        let place = |axis: usize| if channels_last && axis > 1 { axis - 1 } else { axis };
        op.axes = kept.iter().map(|&i| place(axes[i]) as i64).collect();
        inputs[0] = Some(if channels_last { self.b.channels_last(x)? } else { x });
        let y = self.b.emit(op, &inputs)?[0];
        if channels_last { self.b.channels_first(y) } else { Ok(y) }
    }

    /// Whether the target leaves an axis as it is, whatever the other axes become.
    fn stays(&self, x: ValueId, axis: usize, index: usize, op: &Resize, target: &Target) -> bool {
        if target.region.is_some() || op.aspect != Aspect::Stretch {
            return false;
        }
        if op.by_scales {
            let scales: Option<Vec<f32>> = self.b.elements(target.extents);
            return scales.is_some_and(|s| s.get(index) == Some(&1.0));
        }
        let extent = &self.b.ty(x).shape[axis];
        let sizes = self.b.ty(target.extents).value.as_ref();
        !extent.is_unknown() && sizes.and_then(|s| s.get(index)) == Some(extent)
    }
}
