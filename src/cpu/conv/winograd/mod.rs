//! Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray, arXiv 1509.09308): 36 products where a direct convolution
//! of a 4 x 4 output tile has 144.
//!
//! Input tiles of 6 x 6 are transformed; for each of their 36 elements, a matrix product over the channels follows; the
//! sums are transformed to output tiles. Where there are many tiles, a part does all three steps for a strip of tiles,
//! so that what is in between stays in the second-level cache. Few tiles or many weights take three phases, of which
//! the middle one reads the transformed weights once.
//!
//! Taps along the depth, as many as there are, are further terms of the products: slices of the input are transformed
//! once for all. The pixels of a tile are as far apart as a dilated window's taps.

mod stages;
mod transform;
mod weights;

use super::ConvArgs;
use super::dense::trimmed;
use super::shape::ConvShape;
use crate::cpu::Isa;
use crate::cpu::gemm::kernel::{Micro, PANEL};
use crate::cpu::gemm::{Gemm, GemmShape, Output, panels};
use crate::cpu::parts::{Split, even};
use crate::cpu::scratch;
use crate::error::Result;
use stages::Stages;
use std::ops::Range;
use std::ptr;
use transform::PLANES;

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
    positions: usize,
    /// Strips of positions, and ranges of output channels.
    split: Split,
    phased: bool,
}

impl Winograd {
    /// The plan, where it is expected to be faster than a direct convolution.
    pub fn new(isa: Isa, shape: &ConvShape, stride: usize) -> Result<Option<Winograd>> {
        Ok(Winograd::fitting(isa, shape, stride)?.filter(|plan| is_faster(isa, shape, &plan.stages)))
    }

    /// The plan, where the algorithm applies.
    pub(super) fn fitting(isa: Isa, shape: &ConvShape, stride: usize) -> Result<Option<Winograd>> {
        let (output, window) = (shape.output()?, &shape.window);
        let suitable = window.kernel[1..] == [3, 3]
            && window.stride == [1; 3]
            && trimmed(shape, output).0.window == *window
            && shape.groups == 1
            && shape.in_channels > 0
            && shape.out_channels > 0;
        if !suitable {
            return Ok(None);
        }
        let weights = winograd_len(shape)? * size_of::<f32>();
        let stages = Stages::new(shape, stride, output);
        let positions = stages.positions();
        let phased = positions * stages.out_slices <= FEW_TILES || weights >= MANY_WEIGHTS;
        let bytes_per_tile = PLANES * (shape.in_channels + CHUNK) * size_of::<f32>();
        let tiles = (STRIP_BYTES / bytes_per_tile).clamp(STRIP_TILES.start, STRIP_TILES.end);
        let strip = tiles.div_ceil(stages.out_slices.max(1));
        let row_parts = if phased { 1 } else { positions.div_ceil(strip).next_multiple_of(4) };
        let column_parts = (PARTS / row_parts).clamp(1, panels(shape.out_channels).div_ceil(CHUNK / PANEL));
        Ok(Some(Winograd { isa, stages, positions, split: Split { row_parts, column_parts }, phased }))
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
        match (self.positions * self.stages.out_slices, self.phased, phase) {
            (0, ..) => 0,
            (_, false, _) => self.split.parts(),
            (_, true, 1) => PLANES * self.split.column_parts,
            (_, true, _) => self.positions.min(MOST_PARTS),
        }
    }

    pub fn shared_bytes(&self) -> usize {
        let Stages { out_channels, .. } = self.stages;
        if self.phased { self.input_bytes(self.positions) + self.sums_bytes(self.positions, out_channels) } else { 0 }
    }

    pub fn scratch_bytes(&self) -> usize {
        let strip = self.positions.div_ceil(self.split.row_parts);
        let own = if self.phased { 0 } else { self.input_bytes(strip) + self.sums_bytes(strip, CHUNK) };
        own + self.table_bytes(strip) + self.stages.in_channels * size_of::<f32>()
    }

    /// Bytes for the transformed input of so many positions.
    fn input_bytes(&self, positions: usize) -> usize {
        self.input(ptr::null_mut(), positions).bytes()
    }

    /// Bytes for the sums of so many positions and output channels.
    fn sums_bytes(&self, positions: usize, channels: usize) -> usize {
        self.sums(ptr::null_mut(), positions, channels).bytes()
    }

    /// Bytes to locate what is multiplied for so many positions.
    fn table_bytes(&self, positions: usize) -> usize {
        (self.table_len(positions) * size_of::<*const f32>()).next_multiple_of(64)
    }

    fn table_len(&self, positions: usize) -> usize {
        self.stages.taps * positions * self.stages.out_slices
    }

    /// The transformed input of so many positions, and a row of zeros unless the plan is flat.
    fn input(&self, memory: *mut u8, positions: usize) -> Planes {
        let zeros = usize::from(!self.stages.is_flat());
        Planes::new(memory, positions * self.stages.in_slices + zeros, self.stages.in_channels)
    }

    /// Makes the row of zeros of a transformed input, if it has one.
    ///
    /// # Safety
    /// Nothing else accesses it meanwhile.
    unsafe fn clear_zeros(&self, input: &Planes) {
        let planes = if self.stages.is_flat() { 0 } else { PLANES };
        for p in 0..planes {
            // SAFETY: the caller's promise; the last row of each matrix is that of zeros.
            unsafe { input.row(input.rows - 1).add(p * input.plane).write_bytes(0, input.channels) };
        }
    }

    fn sums(&self, memory: *mut u8, positions: usize, channels: usize) -> Planes {
        Planes::new(memory, positions * self.stages.out_slices, channels)
    }

    /// # Safety
    /// As for [`Conv::run`](super::Conv::run); the weights are those of [`winograd_weights`].
    pub unsafe fn run(&self, phase: usize, part: usize, args: &ConvArgs, shared: *mut u8, scratch: *mut u8) {
        let all = self.positions;
        let (input, sums) = (self.input(shared, all), shared.wrapping_add(self.input_bytes(all)));
        let sums = self.sums(sums, all, self.stages.out_channels);
        let positions = || (even(all, self.parts(phase), part), 0);
        // SAFETY: the caller's promises.
        unsafe {
            match (self.phased, phase) {
                (false, _) => self.run_strip(part, args, scratch),
                (true, 0) => {
                    if part == 0 {
                        self.clear_zeros(&input);
                    }
                    self.stages.transform_input(self.isa, positions(), args, &input, scratch);
                }
                (true, 1) => self.run_plane(part, args, (&input, &sums), scratch),
                (true, _) => {
                    let columns = 0..self.stages.out_channels;
                    self.stages.transform_output(self.isa, positions(), columns, args, &sums);
                }
            }
        }
    }

    /// All three steps for a strip of positions and a range of output channels.
    ///
    /// # Safety
    /// As for [`Winograd::run`].
    unsafe fn run_strip(&self, part: usize, args: &ConvArgs, scratch: *mut u8) {
        let out_channels = self.stages.out_channels;
        let (positions, groups) = self.split.ranges(self.positions, panels(out_channels), part);
        let count = positions.len();
        // SAFETY: the caller's promises; the pieces of scratch memory follow each other.
        unsafe {
            let transformed = self.input(scratch, count);
            let sums = self.sums(scratch.add(transformed.bytes()), count, CHUNK);
            let rest = scratch.add(transformed.bytes() + sums.bytes());
            let zeros = rest.add(self.table_bytes(count));
            let strip = (positions.clone(), positions.start);
            self.clear_zeros(&transformed);
            self.stages.transform_input(self.isa, strip.clone(), args, &transformed, zeros);
            let table = scratch::slice::<*const f32>(rest, self.table_len(count));
            self.stages.locate(count, &transformed, table);
            for first in groups.clone().step_by(CHUNK / PANEL) {
                let columns = first * PANEL..((first + CHUNK / PANEL).min(groups.end) * PANEL).min(out_channels);
                let gemm = self.gemm(sums.rows, columns.len());
                for p in 0..PLANES {
                    let weights = (self.weights(args, p, first), self.weights(args, p + 1, first));
                    gemm.run_all((table, p * transformed.plane), weights, &sums.output(p, 0));
                }
                self.stages.transform_output(self.isa, strip.clone(), columns, args, &sums);
            }
        }
    }

    /// The product of one element of all tiles, for a range of output channels.
    ///
    /// # Safety
    /// As for [`Winograd::run`].
    unsafe fn run_plane(&self, part: usize, args: &ConvArgs, (input, sums): (&Planes, &Planes), scratch: *mut u8) {
        let (p, column) = (part / self.split.column_parts, part % self.split.column_parts);
        let groups = even(panels(self.stages.out_channels), self.split.column_parts, column);
        let columns = groups.start * PANEL..(groups.end * PANEL).min(self.stages.out_channels);
        // SAFETY: the caller's promises.
        unsafe {
            let table = scratch::slice::<*const f32>(scratch, self.table_len(self.positions));
            self.stages.locate(self.positions, input, table);
            let weights = (self.weights(args, p, groups.start), self.weights(args, p, groups.end));
            let gemm = self.gemm(sums.rows, columns.len());
            gemm.run_all((table, p * input.plane), weights, &sums.output(p, columns.start));
        }
    }

    fn gemm(&self, rows: usize, columns: usize) -> Gemm {
        let Stages { taps, in_channels, .. } = self.stages;
        Gemm::whole(self.isa, GemmShape { m: rows, n: columns, segments: taps, depth: in_channels })
    }

    /// Where the transformed weights of element `p` are, from panel `panel` on.
    fn weights(&self, args: &ConvArgs, p: usize, panel: usize) -> *const f32 {
        let Stages { taps, in_channels, out_channels, .. } = self.stages;
        args.weights.wrapping_add((p * panels(out_channels) + panel) * PANEL * taps * in_channels)
    }
}

/// One matrix, of tiles and channels, for each element of a tile.
#[derive(Clone, Copy, Debug)]
struct Planes {
    data: *mut f32,
    rows: usize,
    /// Elements from one row to the next.
    channels: usize,
    /// Elements from one matrix to the next: an odd number of cache lines, so that the matrices do not compete for places
    /// in the cache.
    plane: usize,
}

impl Planes {
    fn new(memory: *mut u8, rows: usize, channels: usize) -> Planes {
        let channels = channels.next_multiple_of(PANEL);
        Planes { data: memory.cast(), rows, channels, plane: ((rows * channels / PANEL) | 1) * PANEL }
    }

    fn bytes(&self) -> usize {
        PLANES * self.plane * size_of::<f32>()
    }

    /// Row `row` of the first matrix.
    fn row(&self, row: usize) -> *mut f32 {
        self.data.wrapping_add(row * self.channels)
    }

    /// Matrix `p` from `column` on, as the output of a product.
    fn output(&self, p: usize, column: usize) -> Output {
        Output::new(self.data.wrapping_add(p * self.plane + column), self.channels)
    }
}

/// Compares estimates of the cycles that both ways take for one image: then an image has the same result in every batch.
fn is_faster(isa: Isa, shape: &ConvShape, stages: &Stages) -> bool {
    /// Bytes of weights read per cycle.
    const FETCH: f64 = 5.0;
    /// Cycles of the transforms of a vector of channels of one tile.
    const TRANSFORM: f64 = 100.0;
    if shape.in_channels < PANEL || shape.out_channels < PANEL {
        return false;
    }
    let lanes = Micro::select(isa).lanes() as f64;
    let (ic, oc) = (shape.in_channels as f64, shape.out_channels as f64);
    let (from, to) = (stages.in_slices as f64, stages.out_slices as f64);
    let positions = stages.positions_of_image() as f64;
    let products = |weights: f64, rows: f64| ic * oc * weights * (rows / (2.0 * lanes) + 4.0 / FETCH);
    let direct = products((stages.taps * 9) as f64, stages.pixels() as f64 * to);
    let transforms = positions * (ic * from + oc * to) / lanes * TRANSFORM;
    let winograd = products((stages.taps * PLANES) as f64, positions * to) + transforms;
    winograd < 0.85 * direct
}
