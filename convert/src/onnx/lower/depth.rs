//! Rearrangements of images: depth and space, crops, and images from columns.

use super::window::{given_pads, positive};
use super::{Cx, Table};
use crate::emit::Extent;
use crate::onnx::model::Node;
use infer::error::{Error, Result};
use infer::graph::ValueId;
use infer::ops::binary::BinaryKind;
use infer::ops::pad::PadMode;
use infer::ops::scatter_elements::Reduction;
use infer::ops::{Pad, ScatterElements, Slice};
use infer::tensor::{DType, normalize_axis};

pub const TABLE: Table = &[
    ("CenterCropPad", center_crop_pad),
    ("Col2Im", col2im),
    ("DepthToSpace", depth_to_space),
    ("SpaceToDepth", space_to_depth),
];

/// Most elements of a table of indices that is made at import.
const MAX_INDICES: usize = 1 << 24;

/// Whether channels are outermost in the depth, as mode CRD says.
fn channels_outermost(n: &Node) -> Result<bool> {
    match n.string("mode", "DCR")? {
        "DCR" => Ok(false),
        "CRD" => Ok(true),
        other => Err(Error::format(format!("mode '{other}' is not defined"))),
    }
}

fn block_size(cx: &Cx<'_>, n: &Node, x: ValueId) -> Result<i64> {
    let block: i64 = n.required("blocksize")?;
    if cx.b.rank(x) != 4 || !(1..=1 << 15).contains(&block) {
        return Err(Error::shape(format!("blocks of {block} in {}", cx.b.ty(x))));
    }
    Ok(block)
}

fn depth_to_space(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    let block = block_size(cx, n, x)?;
    let sides = cx.b.ints(&[block, block])?;
    let depth = cx.blocks((x, 1), block * block)?;
    let [batch, height, width] = [0, 2, 3].map(|axis| (x, axis)).map(|extent| cx.b.extent(extent));
    let crd = channels_outermost(n)?;
    let middle = if crd { [depth, sides] } else { [sides, depth] };
    let shape = cx.b.concat(0, &[batch?, middle[0], middle[1], height?, width?])?;
    let split = cx.b.reshape_by(x, shape)?;
    let y = cx.b.transpose(split, if crd { &[0, 1, 4, 2, 5, 3] } else { &[0, 3, 4, 1, 5, 2] })?;
    let merged: Vec<Vec<Extent>> = vec![vec![(y, 0)], vec![(y, 1)], vec![(y, 2), (y, 3)], vec![(y, 4), (y, 5)]];
    Ok(vec![cx.b.reshape_as(y, &merged)?])
}

fn space_to_depth(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    let block = block_size(cx, n, x)?;
    let crd = channels_outermost(n)?;
    let side = cx.b.ints(&[block])?;
    let outer = cx.b.extents(&[vec![(x, 0)], vec![(x, 1)]])?;
    let (height, width) = (cx.blocks((x, 2), block)?, cx.blocks((x, 3), block)?);
    let shape = cx.b.concat(0, &[outer, height, side, width, side])?;
    let split = cx.b.reshape_by(x, shape)?;
    let y = cx.b.transpose(split, if crd { &[0, 1, 3, 5, 2, 4] } else { &[0, 3, 5, 1, 2, 4] })?;
    let merged: Vec<Vec<Extent>> = vec![vec![(y, 0)], vec![(y, 1), (y, 2), (y, 3)], vec![(y, 4)], vec![(y, 5)]];
    Ok(vec![cx.b.reshape_as(y, &merged)?])
}

/// The middle of the input along some axes, with zeros around it where it is too small.
fn center_crop_pad(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (x, target) = (cx.input(n, 0)?, cx.input(n, 1)?);
    let rank = cx.b.rank(x);
    let axes: Vec<i64> = n.ints("axes")?.map_or_else(|| (0..rank as i64).collect(), <[i64]>::to_vec);
    let extents: Vec<Vec<Extent>> =
        axes.iter().map(|&a| Ok(vec![(x, normalize_axis(a, rank)?)])).collect::<Result<_>>()?;
    if cx.b.dims(target)[..] != [axes.len().into()] {
        return Err(Error::shape(format!("the shape {} for {} axes", cx.b.ty(target), axes.len())));
    }
    let have = cx.b.extents(&extents)?;
    let want = cx.b.cast(target, DType::I64)?;
    let kept = cx.b.binary(BinaryKind::Min, have, want)?;
    let half = |cx: &mut Cx<'_>, whole: ValueId| {
        let rest = cx.b.sub(whole, kept)?;
        cx.b.binary_with(BinaryKind::Div, rest, 2.0)
    };
    let start = half(cx, have)?;
    let end = cx.b.add(start, kept)?;
    let y = cx.b.emit1(Slice { axes: axes.clone() }, &[x, start, end])?;
    let before = half(cx, want)?;
    let after = cx.b.sub(want, kept)?;
    let after = cx.b.sub(after, before)?;
    let pads = cx.b.concat(0, &[before, after])?;
    Ok(vec![cx.b.emit1(Pad { mode: PadMode::Constant, axes }, &[y, pads])?])
}

/// Sums blocks that overlap into an image: each column of the input is added where its block lies.
fn col2im(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (x, image, block) = (cx.input(n, 0)?, cx.input(n, 1)?, cx.input(n, 2)?);
    let known = |v: ValueId| cx.b.known_ints(v).ok_or_else(|| Error::unsupported("extents that are not constant"));
    let (image, block) = (known(image)?, known(block)?);
    let rank = image.len();
    let limit = |v: &[i64]| v.iter().all(|e| (1..=1 << 20).contains(e));
    if block.len() != rank || rank == 0 || cx.b.rank(x) != 3 || !limit(&image) || !limit(&block) {
        return Err(Error::shape(format!("blocks {block:?} of an image {image:?} from {}", cx.b.ty(x))));
    }
    let folded = Folded {
        block: &block,
        strides: positive(n, "strides", rank)?,
        dilations: positive(n, "dilations", rank)?,
        padded: padded(&image, &given_pads(n, rank)?)?,
    };
    let indices = folded.indices()?;
    let area: i64 = folded.padded.iter().product();
    let channels = cx.blocks((x, 1), block.iter().product())?;
    let batch = cx.b.extent((x, 0))?;
    let count = cx.b.ints(&[indices.len() as i64])?;
    let shape = cx.b.concat(0, &[batch, channels, count])?;
    let updates = cx.b.reshape_by(x, shape)?;
    let indices = cx.b.ints(&indices)?;
    let indices = cx.b.expand(indices, shape)?;
    let zero = cx.b.scalar(cx.b.dtype(x), 0.0)?;
    let area = cx.b.ints(&[area])?;
    let flat = cx.b.concat(0, &[batch, channels, area])?;
    let flat = cx.b.expand(zero, flat)?;
    let op = ScatterElements { axis: 2, reduction: Reduction::Add };
    let y = cx.b.emit1(op, &[flat, indices, updates])?;
    let padded = cx.b.ints(&folded.padded)?;
    let shape = cx.b.concat(0, &[batch, channels, padded])?;
    let y = cx.b.reshape_by(y, shape)?;
    cx.cropped(y, &image, &given_pads(n, rank)?)
}

/// An image's extents with its padding.
fn padded(image: &[i64], pads: &[i64]) -> Result<Vec<i64>> {
    if pads.iter().any(|p| !(0..=1 << 20).contains(p)) {
        return Err(Error::format(format!("padding {pads:?}")));
    }
    Ok(image.iter().enumerate().map(|(i, e)| e + pads[i] + pads[i + image.len()]).collect())
}

/// An image whose blocks are columns.
struct Folded<'a> {
    block: &'a [i64],
    strides: Vec<u32>,
    dilations: Vec<u32>,
    /// Extents of the image with its padding.
    padded: Vec<i64>,
}

impl Folded<'_> {
    /// For each element of a block, and for each block, the place in the padded image.
    fn indices(&self) -> Result<Vec<i64>> {
        let mut indices = vec![0];
        for i in 0..self.block.len() {
            let (stride, dilation) = (i64::from(self.strides[i]), i64::from(self.dilations[i]));
            let room = self.padded[i] - dilation * (self.block[i] - 1) - 1;
            let positions = if room < 0 { 0 } else { room / stride + 1 };
            let count = self.block[i].saturating_mul(positions) as usize;
            if count.saturating_mul(indices.len()) > MAX_INDICES {
                return Err(Error::unsupported("an image of so many blocks"));
            }
            let done: i64 = self.block[..i].iter().product();
            // Element of the block outermost, position of the block innermost, whatever the dimension.
            let (taps, places) = (done.max(1) as usize, indices.len() / done.max(1) as usize);
            let mut next = Vec::with_capacity(count * indices.len());
            for tap in 0..taps {
                for own in 0..self.block[i] {
                    for place in 0..places {
                        let outer = indices[tap * places + place] * self.padded[i];
                        next.extend((0..positions).map(|p| outer + own * dilation + p * stride));
                    }
                }
            }
            indices = next;
        }
        Ok(indices)
    }
}

impl Cx<'_> {
    /// How many blocks of `size` an extent has, as a vector of one element; an error if they do not fit.
    fn blocks(&mut self, extent: Extent, size: i64) -> Result<ValueId> {
        let whole = self.b.product(&[extent]).fixed();
        if size <= 0 || whole.is_some_and(|e| e % size != 0) {
            return Err(Error::shape(format!("blocks of {size} in {}", self.b.ty(extent.0))));
        }
        let extent = self.b.extent(extent)?;
        self.b.binary_with(BinaryKind::Div, extent, size as f64)
    }

    /// The image inside its padding.
    fn cropped(&mut self, x: ValueId, image: &[i64], pads: &[i64]) -> Result<Vec<ValueId>> {
        let starts = self.b.ints(&pads[..image.len()])?;
        let ends: Vec<i64> = image.iter().zip(pads).map(|(e, p)| e + p).collect();
        let ends = self.b.ints(&ends)?;
        let axes = (2..2 + image.len() as i64).collect();
        Ok(vec![self.b.emit1(Slice { axes }, &[x, starts, ends])?])
    }
}
