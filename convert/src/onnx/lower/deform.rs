//! Deformable convolution (Dai et al., arXiv 1703.06211; Zhu et al., arXiv 1811.11168): a convolution of samples.

use super::conv::groups;
use super::{Cx, Table};
use crate::onnx::model::Node;
use infer::error::{Error, Result};
use infer::graph::ValueId;
use infer::ops::binary::BinaryKind;
use infer::ops::grid_sample::{GridMode, GridPadding};
use infer::ops::window::Window;
use infer::ops::{Conv, GridSample};
use infer::tensor::DType;

pub const TABLE: Table = &[("DeformConv", deform_conv)];

/// What the samples are taken from and where.
struct Taps {
    /// `[N, H, W, C]`.
    image: ValueId,
    /// `[N, groups · taps · 2, oH, oW]`.
    offsets: ValueId,
    /// Factors, `[N, groups · taps, oH, oW]`.
    mask: Option<ValueId>,
    /// Positions of the taps in the window, y and x.
    places: [Vec<f64>; 2],
    strides: [u32; 2],
    pads: [i64; 2],
}

/// Interpolated elements `[N, oH, oW · taps, C]` under a window of one row and as many columns as taps.
fn deform_conv(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (x, w, offsets) = (cx.input(n, 0)?, cx.input(n, 1)?, cx.input(n, 2)?);
    let (bias, mask) = (cx.optional(n, 3)?, cx.optional(n, 4)?);
    let kernel = cx.kernel(n, w)?;
    let &[height, width] = &kernel[..] else {
        return Err(Error::unsupported(format!("DeformConv of {} spatial dimensions; 2 are supported", kernel.len())));
    };
    let spatial = cx.spatial(x, 2)?;
    let Window { strides, pads, dilations } = cx.window(n, &spatial, &kernel)?;
    let count = height * width;
    let place = |axis: usize, tap: usize| [tap / width, tap % width][axis] as f64 * f64::from(dilations[axis]);
    let taps = Taps {
        image: cx.b.channels_last(x)?,
        offsets,
        mask,
        places: [0, 1].map(|axis| (0..count).map(|tap| place(axis, tap)).collect()),
        strides: [strides[0], strides[1]],
        pads: [pads[0].into(), pads[1].into()],
    };
    let samples = cx.all_samples(n, &taps)?;
    let columns = cx.b.reshape(w, &[0, 0, 1, count as i64])?;
    let columns = cx.b.channels_last(columns)?;
    let window = Window { strides: vec![1, count as u32], pads: vec![0; 4], dilations: vec![1; 2] };
    let op = Conv { window, groups: groups(n)?, ..Conv::default() };
    let y = cx.b.emit(op, &[Some(samples), Some(columns), bias])?[0];
    Ok(vec![cx.b.channels_first(y)?])
}

impl Cx<'_> {
    /// The samples of all groups of channels that share offsets.
    fn all_samples(&mut self, n: &Node, taps: &Taps) -> Result<ValueId> {
        let groups = n.int("offset_group", 1)?;
        if groups == 1 {
            return self.samples(taps, taps.image, 0);
        }
        let channels = self.b.dims(taps.image)[3].fixed().filter(|c| groups > 0 && c % groups == 0);
        let each = channels.ok_or_else(|| {
            Error::shape(format!("{groups} groups of offsets for the channels of {}", self.b.ty(taps.image)))
        })? / groups;
        let mut parts = vec![];
        for group in 0..groups {
            let image = self.b.slice(taps.image, 3, group * each, (group + 1) * each)?;
            parts.push(self.samples(taps, image, group)?);
        }
        self.b.concat(3, &parts)
    }

    /// `[N, oH, oW · taps, C]` for one group. Coordinates are computed in f64, so that scaling them costs nothing.
    fn samples(&mut self, taps: &Taps, image: ValueId, group: i64) -> Result<ValueId> {
        let count = taps.places[0].len() as i64;
        let offsets = self.b.slice(taps.offsets, 1, group * 2 * count, (group + 1) * 2 * count)?;
        let mut grid = vec![];
        // The last axis comes first.
        for axis in [1, 0] {
            let every_second = self.b.ints(&(0..count).map(|tap| 2 * tap + axis as i64).collect::<Vec<_>>())?;
            let offset = self.b.gather(offsets, every_second, 1)?;
            let offset = self.b.channels_last(offset)?;
            let offset = self.b.cast(offset, DType::F64)?;
            let at = self.regular(taps, axis)?;
            let at = self.b.add(offset, at)?;
            let at = self.normalised(at, (image, axis + 1))?;
            grid.push(self.b.unsqueeze(at, &[4])?);
        }
        let grid = self.b.concat(4, &grid)?;
        let grid = self
            .b
            .reshape_as(grid, &[vec![(grid, 0)], vec![(grid, 1)], vec![(grid, 2), (grid, 3)], vec![(grid, 4)]])?;
        let op = GridSample { mode: GridMode::Linear, padding: GridPadding::Zeros, align_corners: false };
        let samples = self.b.emit1(op, &[image, grid])?;
        let Some(mask) = taps.mask else { return Ok(samples) };
        let mask = self.b.slice(mask, 1, group * count, (group + 1) * count)?;
        let mask = self.b.channels_last(mask)?;
        let mask = self.b.reshape_as(mask, &[vec![(mask, 0)], vec![(mask, 1)], vec![(mask, 2), (mask, 3)], vec![]])?;
        self.b.mul(samples, mask)
    }

    /// Where the taps would be without offsets: `[oH, 1, taps]` for axis 0, `[oW, taps]` for axis 1.
    fn regular(&mut self, taps: &Taps, axis: usize) -> Result<ValueId> {
        let index = self.indices((taps.offsets, axis + 2), 0)?;
        let start = self.b.binary_with(BinaryKind::Mul, index, taps.strides[axis].into())?;
        let start = self.b.binary_with(BinaryKind::Sub, start, taps.pads[axis] as f64)?;
        let start = self.b.cast(start, DType::F64)?;
        let start = self.b.unsqueeze(start, if axis == 0 { &[1, 2] } else { &[1] })?;
        let places = self.b.array(&[taps.places[axis].len()], &taps.places[axis])?;
        self.b.add(start, places)
    }

    /// `(2 · at + 1) / extent - 1`: the edges of the image become -1 and 1.
    fn normalised(&mut self, at: ValueId, extent: crate::emit::Extent) -> Result<ValueId> {
        let extent = self.b.extent_scalar(extent)?;
        let extent = self.b.cast(extent, DType::F64)?;
        let at = self.b.binary_with(BinaryKind::Mul, at, 2.0)?;
        let at = self.b.binary_with(BinaryKind::Add, at, 1.0)?;
        let at = self.b.div(at, extent)?;
        self.b.binary_with(BinaryKind::Sub, at, 1.0)
    }
}
