//! Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray, arXiv 1509.09308): 36 products where a direct convolution
//! of a 4 x 4 output tile has 144.
//!
//! Input tiles of 6 x 6 are transformed; for each of their 36 elements, a matrix product over the channels follows; the
//! sums are transformed to output tiles. Where there are many tiles, a part does all three steps for a strip of tiles,
//! so that what is in between stays in the second-level cache. Few tiles or many weights take three phases, of which
//! the middle one reads the transformed weights once.

mod stages;
mod transform;
mod weights;

use super::ConvArgs;
use super::shape::{ConvShape, Spatial, Window};
use crate::cpu::Isa;
use crate::cpu::gemm::kernel::{Micro, PANEL};
use crate::cpu::gemm::{Gemm, GemmShape, Output, panels};
use crate::cpu::parts::{Split, even};
use crate::cpu::scratch;
use crate::error::Result;
use stages::Stages;
use std::ops::Range;
use transform::{OUT, PLANES};

pub use weights::{winograd_len, winograd_weights};

/// Bytes of transformed input and sums of a strip.
const STRIP_BYTES: usize = 400 << 10;
/// Fewest and most tiles of a strip: fewer would read the weights too often.
const STRIP_TILES: Range<usize> = 12..28;
/// Output channels whose sums are finished at once.
const CHUNK: usize = 64;
/// Tiles up to which three phases are used.
const FEW_TILES: usize = 32;
/// Bytes of weights from which they are used, as outer caches do not hold the weights from strip to strip.
const MANY_WEIGHTS: usize = 16 << 20;
/// Parts that a large convolution should have, and that a phase has at most.
const PARTS: usize = 16;
const MOST_PARTS: usize = 64;

/// A convolution by Winograd's algorithm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Winograd {
    isa: Isa,
    stages: Stages,
    tiles: usize,
    /// Strips of tiles, and ranges of output channels.
    split: Split,
    phased: bool,
}

impl Winograd {
    /// The plan, where it is expected to be faster than a direct convolution.
    pub fn new(isa: Isa, shape: &ConvShape, stride: usize) -> Result<Option<Winograd>> {
        let output = shape.output()?;
        Ok(Winograd::fitting(isa, shape, stride)?.filter(|_| is_faster(isa, shape, output)))
    }

    /// The plan, where the algorithm applies.
    pub(super) fn fitting(isa: Isa, shape: &ConvShape, stride: usize) -> Result<Option<Winograd>> {
        let output = shape.output()?;
        let window = &shape.window;
        let suitable = Window { pad_begin: [0; 3], pad_end: [0; 3], ..*window } == Window::new([1, 3, 3])
            && window.pad_begin[0] + window.pad_end[0] == 0
            && shape.groups == 1
            && shape.in_channels > 0
            && shape.out_channels > 0;
        if !suitable {
            return Ok(None);
        }
        let weights = winograd_len(shape.in_channels, shape.out_channels)? * size_of::<f32>();
        let stages = Stages::new(shape, stride, output);
        let tiles = stages.tiles();
        let phased = tiles <= FEW_TILES || weights >= MANY_WEIGHTS;
        let bytes_per_tile = PLANES * (shape.in_channels + CHUNK) * size_of::<f32>();
        let strip = (STRIP_BYTES / bytes_per_tile).clamp(STRIP_TILES.start, STRIP_TILES.end);
        let row_parts = if phased { 1 } else { tiles.div_ceil(strip).next_multiple_of(4) };
        let column_parts = (PARTS / row_parts).clamp(1, panels(shape.out_channels).div_ceil(CHUNK / PANEL));
        Ok(Some(Winograd { isa, stages, tiles, split: Split { row_parts, column_parts }, phased }))
    }

    /// The same in three phases, of any size.
    #[cfg(test)]
    pub fn in_phases(self) -> Winograd {
        Winograd { phased: true, split: Split { row_parts: 1, ..self.split }, ..self }
    }

    pub fn phases(&self) -> usize {
        if self.phased { 3 } else { 1 }
    }

    pub fn parts(&self, phase: usize) -> usize {
        match (self.tiles, self.phased, phase) {
            (0, ..) => 0,
            (_, false, _) => self.split.parts(),
            (_, true, 1) => PLANES * self.split.column_parts,
            (_, true, _) => self.tiles.min(MOST_PARTS),
        }
    }

    pub fn shared_bytes(&self) -> usize {
        let Stages { in_channels, out_channels, .. } = self.stages;
        if self.phased {
            sums_offset(self.tiles, in_channels) + plane(self.tiles, out_channels) * PLANES * 4
        } else {
            0
        }
    }

    pub fn scratch_bytes(&self) -> usize {
        let Stages { in_channels, .. } = self.stages;
        let strip = self.tiles.div_ceil(self.split.row_parts);
        let own = if self.phased { 0 } else { sums_offset(strip, in_channels) + plane(strip, CHUNK) * PLANES * 4 };
        own + (strip * size_of::<*const f32>()).next_multiple_of(64) + in_channels * size_of::<f32>()
    }

    /// # Safety
    /// As for [`Conv::run`](super::Conv::run); the weights are those of [`winograd_weights`].
    pub unsafe fn run(&self, phase: usize, part: usize, args: &ConvArgs, shared: *mut u8, scratch: *mut u8) {
        let tiles = || even(self.tiles, self.parts(phase), part);
        // SAFETY: the caller's promises.
        unsafe {
            match (self.phased, phase) {
                (false, _) => self.run_strip(part, args, scratch),
                (true, 0) => self.stages.transform_input(self.isa, tiles(), args, &self.tiles_in(shared), scratch),
                (true, 1) => self.run_plane(part, args, shared, scratch),
                (true, _) => {
                    let columns = 0..self.stages.out_channels;
                    self.stages.transform_output(self.isa, tiles(), columns, args, &self.sums_in(shared));
                }
            }
        }
    }

    /// All three steps for a strip of tiles and a range of output channels.
    ///
    /// # Safety
    /// As for [`Winograd::run`].
    unsafe fn run_strip(&self, part: usize, args: &ConvArgs, scratch: *mut u8) {
        let Stages { in_channels, out_channels, .. } = self.stages;
        let (tiles, groups) = self.split.ranges(self.tiles, panels(out_channels), part);
        let count = tiles.len();
        // SAFETY: the caller's promises; the pieces of scratch memory follow each other.
        unsafe {
            let transformed = Planes::new(scratch, count, in_channels);
            let sums = Planes::new(scratch.add(sums_offset(count, in_channels)), count, CHUNK);
            let rest = scratch.add(sums_offset(count, in_channels) + sums.bytes());
            let table_bytes = (count * size_of::<*const f32>()).next_multiple_of(64);
            self.stages.transform_input(self.isa, tiles.clone(), args, &transformed, rest.add(table_bytes));
            for first in groups.clone().step_by(CHUNK / PANEL) {
                let columns = first * PANEL..((first + CHUNK / PANEL).min(groups.end) * PANEL).min(out_channels);
                let gemm = self.gemm(count, columns.len());
                let table = scratch::slice::<*const f32>(rest, count);
                transformed.locate(table);
                for p in 0..PLANES {
                    let weights = (self.weights(args, p, first), self.weights(args, p + 1, first));
                    gemm.run_all((table, p * transformed.plane), weights, &sums.output(p, 0));
                }
                self.stages.transform_output(self.isa, tiles.clone(), columns, args, &sums);
            }
        }
    }

    /// The product of one element of all tiles, for a range of output channels.
    ///
    /// # Safety
    /// As for [`Winograd::run`].
    unsafe fn run_plane(&self, part: usize, args: &ConvArgs, shared: *mut u8, scratch: *mut u8) {
        let (p, column) = (part / self.split.column_parts, part % self.split.column_parts);
        let groups = even(panels(self.stages.out_channels), self.split.column_parts, column);
        let columns = groups.start * PANEL..(groups.end * PANEL).min(self.stages.out_channels);
        // SAFETY: the caller's promises.
        unsafe {
            let (transformed, sums) = (self.tiles_in(shared), self.sums_in(shared));
            let table = scratch::slice::<*const f32>(scratch, self.tiles);
            transformed.locate(table);
            let weights = (self.weights(args, p, groups.start), self.weights(args, p, groups.end));
            let gemm = self.gemm(self.tiles, columns.len());
            gemm.run_all((table, p * transformed.plane), weights, &sums.output(p, columns.start));
        }
    }

    fn gemm(&self, tiles: usize, columns: usize) -> Gemm {
        Gemm::whole(self.isa, GemmShape::matrix(tiles, columns, self.stages.in_channels))
    }

    /// Where the transformed weights of element `p` are, from panel `panel` on.
    fn weights(&self, args: &ConvArgs, p: usize, panel: usize) -> *const f32 {
        let Stages { in_channels, out_channels, .. } = self.stages;
        args.weights.wrapping_add((p * panels(out_channels) + panel) * PANEL * in_channels)
    }

    /// The transformed input of the phases.
    fn tiles_in(&self, shared: *mut u8) -> Planes {
        Planes::new(shared, self.tiles, self.stages.in_channels)
    }

    /// The sums of the phases.
    fn sums_in(&self, shared: *mut u8) -> Planes {
        let sums = shared.wrapping_add(sums_offset(self.tiles, self.stages.in_channels));
        Planes::new(sums, self.tiles, self.stages.out_channels)
    }
}

/// One matrix, of tiles and channels, for each element of a tile.
#[derive(Clone, Copy, Debug)]
struct Planes {
    data: *mut f32,
    tiles: usize,
    channels: usize,
    /// Elements from one matrix to the next.
    plane: usize,
}

impl Planes {
    fn new(memory: *mut u8, tiles: usize, channels: usize) -> Planes {
        let channels = channels.next_multiple_of(PANEL);
        Planes { data: memory.cast(), tiles, channels, plane: plane(tiles, channels) }
    }

    fn bytes(&self) -> usize {
        PLANES * self.plane * size_of::<f32>()
    }

    /// The rows of the first matrix.
    fn locate(&self, table: &mut [*const f32]) {
        for (tile, entry) in table.iter_mut().enumerate() {
            *entry = self.data.wrapping_add(tile * self.channels);
        }
    }

    /// Matrix `p` from `column` on, as the output of a product.
    fn output(&self, p: usize, column: usize) -> Output {
        Output::new(self.data.wrapping_add(p * self.plane + column), self.channels)
    }
}

/// Elements of one matrix. An odd number of cache lines, so that the matrices do not compete for places in the cache.
fn plane(tiles: usize, channels: usize) -> usize {
    ((tiles * channels.next_multiple_of(PANEL) / PANEL) | 1) * PANEL
}

/// Bytes of the transformed input, after which the sums follow.
fn sums_offset(tiles: usize, in_channels: usize) -> usize {
    PLANES * plane(tiles, in_channels) * size_of::<f32>()
}

/// Compares estimates of the cycles that both ways take for one image: then an image has the same result in every batch.
fn is_faster(isa: Isa, shape: &ConvShape, output: Spatial) -> bool {
    /// Bytes of weights read per cycle.
    const FETCH: f64 = 5.0;
    /// Cycles of the transforms of a vector of channels of one tile.
    const TRANSFORM: f64 = 100.0;
    if shape.in_channels < PANEL || shape.out_channels < PANEL {
        return false;
    }
    let lanes = Micro::select(isa).lanes() as f64;
    let (ic, oc) = (shape.in_channels as f64, shape.out_channels as f64);
    let tiles = (output[1].div_ceil(OUT) * output[2].div_ceil(OUT)) as f64;
    let pixels = (output[1] * output[2]) as f64;
    let direct = ic * oc * 9.0 * (pixels / (2.0 * lanes) + 4.0 / FETCH);
    let weights = ic * oc * PLANES as f64 * (tiles / (2.0 * lanes) + 4.0 / FETCH);
    let winograd = weights + tiles * (ic + oc) / lanes * TRANSFORM;
    winograd < 0.85 * direct
}
