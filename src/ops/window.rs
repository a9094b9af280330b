//! The window attributes that convolutions and poolings share: strides, padding and dilations, one per spatial
//! dimension; empty where all have the default.

use crate::cpu::conv::{self, Spatial};
use crate::error::{Error, Result};
use crate::tensor::{Dim, Shape};
use flatbuffers::Vector;
#[cfg(feature = "write")]
use flatbuffers::{FlatBufferBuilder, WIPOffset};

/// Most spatial dimensions.
pub const MAX_SPATIAL: usize = 3;

/// Largest stride, padding or dilation that a file may hold: products with extents stay far from overflow.
const LIMIT: u32 = 1 << 30;

/// Strides, padding and dilations as they are written.
#[cfg(feature = "write")]
pub type Vectors<'b> =
    (Option<WIPOffset<Vector<'b, u32>>>, Option<WIPOffset<Vector<'b, i32>>>, Option<WIPOffset<Vector<'b, u32>>>);

/// How a window moves over the input.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Window {
    /// Distance in the input between neighbouring outputs, at least 1.
    pub strides: Vec<u32>,
    /// Padding in front of each dimension, then after each.
    pub pads: Vec<u32>,
    /// Distance between neighbouring taps, at least 1.
    pub dilations: Vec<u32>,
}

impl Window {
    /// A window from the vectors of an attribute table.
    pub fn read(
        strides: Option<Vector<'_, u32>>,
        pads: Option<Vector<'_, i32>>,
        dilations: Option<Vector<'_, u32>>,
    ) -> Result<Self> {
        let positive = |name: &str, v: Option<Vector<'_, u32>>| {
            let v: Vec<u32> = v.iter().flatten().collect();
            match v.iter().all(|x| (1..=LIMIT).contains(x)) {
                true => Ok(v),
                false => Err(Error::format(format!("{name} {v:?} are not all between 1 and {LIMIT}"))),
            }
        };
        let pads = pads.iter().flatten().map(|p| u32::try_from(p).ok().filter(|&p| p <= LIMIT));
        let pads: Option<Vec<u32>> = pads.collect();
        let pads = pads.ok_or_else(|| Error::format(format!("padding is negative or above {LIMIT}")))?;
        let window =
            Window { strides: positive("strides", strides)?, pads, dilations: positive("dilations", dilations)? };
        if window.strides.len() > MAX_SPATIAL
            || window.dilations.len() > MAX_SPATIAL
            || window.pads.len() > 2 * MAX_SPATIAL
        {
            return Err(Error::unsupported(format!("a window of more than {MAX_SPATIAL} dimensions")));
        }
        Ok(window)
    }

    /// The vectors of an attribute table: strides, padding, dilations.
    #[cfg(feature = "write")]
    pub fn write<'b>(&self, b: &mut FlatBufferBuilder<'b>) -> Vectors<'b> {
        let pads: Vec<i32> = self.pads.iter().map(|&p| p as i32).collect();
        let vectors = (b.create_vector(&self.strides), b.create_vector(&pads), b.create_vector(&self.dilations));
        (Some(vectors.0), Some(vectors.1), Some(vectors.2))
    }

    /// Checks that every attribute has one value per dimension, or none.
    pub fn check_rank(&self, rank: usize) -> Result<()> {
        if !(1..=MAX_SPATIAL).contains(&rank) {
            let message = format!("{rank} spatial dimensions; 1 to {MAX_SPATIAL} are supported");
            return Err(Error::unsupported(message));
        }
        let fits = |len: usize, want: usize| len == 0 || len == want;
        if fits(self.strides.len(), rank) && fits(self.dilations.len(), rank) && fits(self.pads.len(), 2 * rank) {
            return Ok(());
        }
        let Window { strides, pads, dilations } = self;
        Err(Error::shape(format!(
            "strides {strides:?}, padding {pads:?} or dilations {dilations:?} do not fit {rank} spatial dimensions"
        )))
    }

    /// Stride along dimension `i`.
    pub fn stride(&self, i: usize) -> usize {
        self.strides.get(i).map_or(1, |&s| s as usize)
    }

    /// Dilation along dimension `i`.
    pub fn dilation(&self, i: usize) -> usize {
        self.dilations.get(i).map_or(1, |&d| d as usize)
    }

    /// Padding in front of and after dimension `i`.
    pub fn pad(&self, i: usize) -> (usize, usize) {
        let at = |i: usize| self.pads.get(i).map_or(0, |&p| p as usize);
        (at(i), at(i + self.pads.len() / 2))
    }

    /// Extent that a window of `kernel` taps covers along dimension `i`.
    pub fn reach(&self, i: usize, kernel: &Dim) -> Dim {
        kernel.sub(&Dim::Fixed(1)).mul(&self.dilation(i).into()).add(&Dim::Fixed(1))
    }

    /// Extents of the output of a window of extents `kernel` over `input`, where the last position must lie inside the
    /// padded input.
    pub fn output(&self, input: &[Dim], kernel: &[Dim]) -> Result<Vec<Dim>> {
        let one = |(i, (input, kernel)): (usize, (&Dim, &Dim))| {
            let (begin, end) = self.pad(i);
            let room = input.add(&Dim::from(begin + end)).sub(&self.reach(i, kernel));
            if kernel.fixed() == Some(0) || room.fixed().is_some_and(|r| r < 0) {
                let message =
                    format!("a window of {kernel} does not fit an extent of {input} with padding {begin} and {end}");
                return Err(Error::shape(message));
            }
            Ok(room.floor_div(&self.stride(i).into()).add(&Dim::Fixed(1)))
        };
        input.iter().zip(kernel).enumerate().map(one).collect()
    }

    /// The window in the form of the CPU's plans.
    pub fn to_cpu(&self, kernel: &[usize]) -> conv::Window {
        let rank = kernel.len();
        let all = |of: &dyn Fn(usize) -> usize, fill: usize| spatial(&(0..rank).map(of).collect::<Vec<_>>(), fill);
        conv::Window {
            kernel: spatial(kernel, 1),
            stride: all(&|i| self.stride(i), 1),
            dilation: all(&|i| self.dilation(i), 1),
            pad_begin: all(&|i| self.pad(i).0, 0),
            pad_end: all(&|i| self.pad(i).1, 0),
        }
    }
}

/// Up to three values, with `fill` in front of missing ones.
pub fn spatial(values: &[usize], fill: usize) -> Spatial {
    let mut all = [fill; MAX_SPATIAL];
    all[MAX_SPATIAL - values.len()..].copy_from_slice(values);
    all
}

/// The dimensions of a channels-last tensor `[N, spatial.., C]`; an error if it has no or too many spatial ones.
pub fn channels_last(shape: &Shape) -> Result<(&Dim, &[Dim], &Dim)> {
    match &shape[..] {
        [n, spatial @ .., c] if (1..=MAX_SPATIAL).contains(&spatial.len()) => Ok((n, spatial, c)),
        _ => {
            let message =
                format!("{shape} is not [batch, spatial.., channels] with 1 to {MAX_SPATIAL} spatial dimensions");
            Err(Error::shape(message))
        }
    }
}

/// The dimensions of a channels-first tensor `[N, C, spatial..]`; an error if it has no or too many spatial ones.
pub fn channels_first(shape: &Shape) -> Result<(&Dim, &[Dim], &Dim)> {
    match &shape[..] {
        [n, c, spatial @ ..] if (1..=MAX_SPATIAL).contains(&spatial.len()) => Ok((n, spatial, c)),
        _ => {
            let message =
                format!("{shape} is not [batch, channels, spatial..] with 1 to {MAX_SPATIAL} spatial dimensions");
            Err(Error::shape(message))
        }
    }
}
