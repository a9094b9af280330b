//! The transforms of all tiles: from the input to matrices, and from matrices to the output.

use super::Planes;
use super::transform::{IN, OUT, input_tile, output_tile};
use crate::cpu::activation::Simple;
use crate::cpu::conv::ConvArgs;
use crate::cpu::conv::depthwise::store;
use crate::cpu::conv::shape::{ConvShape, Spatial};
use crate::cpu::gemm::finish_rows;
use crate::cpu::simd::{Machine, Vector, Work};
use crate::cpu::{Isa, scratch};
use std::ops::Range;

/// Extents of the tensors, and where tiles lie in them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stages {
    pub in_channels: usize,
    pub out_channels: usize,
    images: usize,
    input: [usize; 2],
    output: [usize; 2],
    pad: [usize; 2],
    /// Tiles along height and width.
    grid: [usize; 2],
    /// Elements from one pixel of the input to the next.
    stride: usize,
}

impl Stages {
    pub fn new(shape: &ConvShape, stride: usize, output: Spatial) -> Stages {
        let ([depth, height, width], pad) = (shape.input, shape.window.pad_begin);
        Stages {
            in_channels: shape.in_channels,
            out_channels: shape.out_channels,
            images: shape.batch * depth,
            input: [height, width],
            output: [output[1], output[2]],
            pad: [pad[1], pad[2]],
            grid: [output[1].div_ceil(OUT), output[2].div_ceil(OUT)],
            stride,
        }
    }

    pub fn tiles(&self) -> usize {
        self.images * self.grid[0] * self.grid[1]
    }

    /// Image, row and column of a tile.
    fn place(&self, tile: usize) -> [usize; 3] {
        let [height, width] = self.grid;
        [tile / (height * width), tile / width % height, tile % width]
    }

    /// Transforms input tiles into the rows of `to`, of which the first is that of `tiles.start`, or of tile 0 if `to`
    /// has all tiles. `zeros` is scratch memory for a pixel.
    ///
    /// # Safety
    /// The tiles exist, `args.input` is the input, nothing else accesses these rows of `to` meanwhile.
    pub unsafe fn transform_input(&self, isa: Isa, tiles: Range<usize>, args: &ConvArgs, to: &Planes, zeros: *mut u8) {
        // SAFETY: the caller's promises.
        let zeros = unsafe { scratch::slice::<f32>(zeros, self.in_channels) };
        zeros.fill(0.0);
        isa.dispatch(Input { stages: *self, tiles, input: args.input, to: *to, zeros: zeros.as_ptr() });
    }

    /// Transforms the rows of `from`, numbered as in [`Stages::transform_input`], to output tiles. Column 0 of `from` is
    /// the first of `columns`.
    ///
    /// # Safety
    /// The tiles exist, `args.output` is the output, nothing else accesses these columns of these tiles meanwhile.
    pub unsafe fn transform_output(
        &self,
        isa: Isa,
        tiles: Range<usize>,
        columns: Range<usize>,
        args: &ConvArgs,
        from: &Planes,
    ) {
        isa.dispatch(ToOutput { stages: *self, tiles, columns, args: *args, from: *from });
    }

    /// The row of a matrix that belongs to a tile.
    fn row(&self, planes: &Planes, tiles: &Range<usize>, tile: usize) -> usize {
        if planes.tiles == self.tiles() { tile } else { tile - tiles.start }
    }
}

/// Made by [`Stages::transform_input`] only, whose caller answers for the pointers.
struct Input {
    stages: Stages,
    tiles: Range<usize>,
    input: *const f32,
    to: Planes,
    zeros: *const f32,
}

impl Work for Input {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        for tile in self.tiles.clone() {
            let to = self.to.data.wrapping_add(self.stages.row(&self.to, &self.tiles, tile) * self.to.channels);
            // SAFETY: the promises of the maker.
            unsafe { self.tile::<M::Vector>(tile, to) };
        }
    }
}

impl Input {
    #[inline(always)]
    unsafe fn tile<V: Vector>(&self, tile: usize, to: *mut f32) {
        let pixels = self.pixels(tile);
        let (channels, plane) = (self.stages.in_channels, self.to.plane);
        for channel in (0..channels).step_by(V::LANES) {
            // SAFETY: the caller's promises; rows of `to` have room for whole vectors.
            unsafe {
                input_tile::<V>(
                    |i, j| V::load_up_to(pixels[i][j].add(channel), channels - channel),
                    |i, j, x| x.store(to.add((i * IN + j) * plane + channel)),
                );
            }
        }
    }

    /// Where the pixels of a tile are; those in the padding are zeros.
    #[inline(always)]
    fn pixels(&self, tile: usize) -> [[*const f32; IN]; IN] {
        let Stages { input: [height, width], pad, stride, .. } = self.stages;
        let [image, row, column] = self.stages.place(tile);
        let mut pixels = [[self.zeros; IN]; IN];
        for i in 0..IN {
            let y = (row * OUT + i).wrapping_sub(pad[0]);
            for j in 0..IN {
                let x = (column * OUT + j).wrapping_sub(pad[1]);
                if y < height && x < width {
                    pixels[i][j] = self.input.wrapping_add(((image * height + y) * width + x) * stride);
                }
            }
        }
        pixels
    }
}

/// Made by [`Stages::transform_output`] only, whose caller answers for the pointers.
struct ToOutput {
    stages: Stages,
    tiles: Range<usize>,
    columns: Range<usize>,
    args: ConvArgs,
    from: Planes,
}

impl Work for ToOutput {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        for tile in self.tiles.clone() {
            let from = self.from.data.wrapping_add(self.stages.row(&self.from, &self.tiles, tile) * self.from.channels);
            // SAFETY: the promises of the maker.
            unsafe { self.tile::<M>(tile, from) };
        }
    }
}

impl ToOutput {
    #[inline(always)]
    unsafe fn tile<M: Machine>(&self, tile: usize, from: *const f32) {
        let Stages { output: [height, width], .. } = self.stages;
        let [image, row, column] = self.stages.place(tile);
        let (rows, columns) = (OUT.min(height - row * OUT), OUT.min(width - column * OUT));
        let first = (image * height + row * OUT) * width + column * OUT;
        let simple = self.args.output.activation.simple(M::ISA).unwrap_or(Simple::NONE);
        for i in (0..self.columns.len()).step_by(M::Vector::LANES) {
            let (channel, n) = (self.columns.start + i, self.columns.len() - i);
            // SAFETY: the caller's promises; rows of `from` have room for whole vectors.
            unsafe {
                output_tile::<M::Vector>(
                    |row, column| M::Vector::load(from.add((row * IN + column) * self.from.plane + i)),
                    |row, column, y| {
                        if row < rows && column < columns {
                            store(&self.args.output, simple, first + row * width + column, channel, n, y);
                        }
                    },
                );
            }
        }
        for i in 0..rows {
            let first = first + i * width;
            // SAFETY: the caller's promises.
            unsafe { finish_rows(M::ISA, &self.args.output, first..first + columns, self.columns.clone()) };
        }
    }
}
