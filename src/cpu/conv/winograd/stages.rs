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
///
/// A position is a tile of the plane of height and width, in each slice along the depth. Pixels of a tile are as far apart
/// as the taps of the window: a dilated convolution is one without dilation for each remainder of rows and columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stages {
    pub in_channels: usize,
    pub out_channels: usize,
    images: usize,
    /// Slices along the depth of an image of the input and of the output.
    pub in_slices: usize,
    pub out_slices: usize,
    /// Taps along the depth, slices from one to the next, and of padding in front.
    pub taps: usize,
    depth_dilation: usize,
    depth_pad: usize,
    input: [usize; 2],
    output: [usize; 2],
    pad: [usize; 2],
    dilation: [usize; 2],
    /// Tiles along height and width, of each remainder.
    grid: [usize; 2],
    /// Elements from one pixel of the input to the next.
    stride: usize,
}

impl Stages {
    pub fn new(shape: &ConvShape, stride: usize, output: Spatial) -> Stages {
        let ([in_slices, height, width], window) = (shape.input, &shape.window);
        let dilation = [window.dilation[1], window.dilation[2]];
        let tiles = |d: usize| output[d + 1].div_ceil(dilation[d]).div_ceil(OUT);
        // Slices that a window does not mix are images of their own.
        let flat = window.kernel[0] == 1 && output[0] == in_slices && window.pad_begin[0] == 0;
        let (images, slices) = if flat { (in_slices, [1; 2]) } else { (1, [in_slices, output[0]]) };
        Stages {
            in_channels: shape.in_channels,
            out_channels: shape.out_channels,
            taps: window.kernel[0],
            depth_dilation: window.dilation[0],
            depth_pad: window.pad_begin[0],
            images: shape.batch * images,
            in_slices: slices[0],
            out_slices: slices[1],
            input: [height, width],
            output: [output[1], output[2]],
            pad: [window.pad_begin[1], window.pad_begin[2]],
            dilation,
            grid: [tiles(0), tiles(1)],
            stride,
        }
    }

    /// Positions of an image.
    pub fn positions_of_image(&self) -> usize {
        self.dilation.iter().chain(&self.grid).product()
    }

    /// Pixels of a slice of the output.
    pub fn pixels(&self) -> usize {
        self.output.iter().product()
    }

    pub fn positions(&self) -> usize {
        self.images * self.positions_of_image()
    }

    /// Image, and row and column of the output, of the first pixel of a position.
    fn place(&self, position: usize) -> [usize; 3] {
        let ([height, width], [tall, wide]) = (self.grid, self.dilation);
        let (sheet, tile) = (position / (height * width), position % (height * width));
        let (row, column) = (tile / width, tile % width);
        let (image, down, right) = match [tall, wide] {
            // The usual case, without more divisions.
            [1, 1] => (sheet, 0, 0),
            _ => (sheet / (tall * wide), sheet / wide % tall, sheet % wide),
        };
        [image, row * OUT * tall + down, column * OUT * wide + right]
    }

    /// The slice of the input under a tap of a slice of the output; None if it is padding.
    fn slice_under(&self, slice: usize, tap: usize) -> Option<usize> {
        (slice + tap * self.depth_dilation).checked_sub(self.depth_pad).filter(|&slice| slice < self.in_slices)
    }

    /// Whether all that is multiplied for a tile is its own row of the transformed input.
    pub fn is_flat(&self) -> bool {
        self.taps == 1 && self.in_slices == 1 && self.out_slices == 1
    }

    /// Locates what is multiplied for `count` positions: for each tap along the depth, each position and each of its slices,
    /// the row of `from`, whose last row is zeros unless the plan is flat.
    pub fn locate(&self, count: usize, from: &Planes, table: &mut [*const f32]) {
        if self.is_flat() {
            return table.iter_mut().enumerate().for_each(|(row, entry)| *entry = from.row(row));
        }
        let mut entries = table.iter_mut();
        for tap in 0..self.taps {
            for position in 0..count {
                for (slice, entry) in (0..self.out_slices).zip(&mut entries) {
                    let under = self.slice_under(slice, tap).map(|slice| position * self.in_slices + slice);
                    *entry = from.row(under.unwrap_or(count * self.in_slices));
                }
            }
        }
    }

    /// Transforms input tiles into the rows of `to`, of which the first ones are those of position `first`. `zeros` is
    /// scratch memory for a pixel.
    ///
    /// # Safety
    /// The positions exist, `args.input` is the input, nothing else accesses these rows of `to` meanwhile.
    pub unsafe fn transform_input(
        &self,
        isa: Isa,
        (positions, first): (Range<usize>, usize),
        args: &ConvArgs,
        to: &Planes,
        zeros: *mut u8,
    ) {
        // SAFETY: the caller's promises.
        let zeros = unsafe { scratch::slice::<f32>(zeros, self.in_channels) };
        zeros.fill(0.0);
        isa.dispatch(Input { stages: *self, positions, first, input: args.input, to: *to, zeros: zeros.as_ptr() });
    }

    /// Transforms the rows of `from`, numbered as in [`Stages::transform_input`], to output tiles. Column 0 of `from` is
    /// the first of `columns`.
    ///
    /// # Safety
    /// The positions exist, `args.output` is the output, nothing else accesses these columns of these tiles meanwhile.
    pub unsafe fn transform_output(
        &self,
        isa: Isa,
        (positions, first): (Range<usize>, usize),
        columns: Range<usize>,
        args: &ConvArgs,
        from: &Planes,
    ) {
        isa.dispatch(ToOutput { stages: *self, positions, first, columns, args: *args, from: *from });
    }
}

/// Made by [`Stages::transform_input`] only, whose caller answers for the pointers.
struct Input {
    stages: Stages,
    positions: Range<usize>,
    first: usize,
    input: *const f32,
    to: Planes,
    zeros: *const f32,
}

impl Work for Input {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        for position in self.positions.clone() {
            for slice in 0..self.stages.in_slices {
                let row = (position - self.first) * self.stages.in_slices + slice;
                // SAFETY: the promises of the maker.
                unsafe { self.tile::<M::Vector>(position, slice, self.to.row(row)) };
            }
        }
    }
}

impl Input {
    #[inline(always)]
    unsafe fn tile<V: Vector>(&self, position: usize, slice: usize, to: *mut f32) {
        let pixels = self.pixels(position, slice);
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
    fn pixels(&self, position: usize, slice: usize) -> [[*const f32; IN]; IN] {
        let Stages { input: [height, width], pad, dilation: [tall, wide], in_slices, stride, .. } = self.stages;
        let [image, row, column] = self.stages.place(position);
        let slice = image * in_slices + slice;
        let mut pixels = [[self.zeros; IN]; IN];
        for i in 0..IN {
            let y = (row + i * tall).wrapping_sub(pad[0]);
            for j in 0..IN {
                let x = (column + j * wide).wrapping_sub(pad[1]);
                if y < height && x < width {
                    pixels[i][j] = self.input.wrapping_add(((slice * height + y) * width + x) * stride);
                }
            }
        }
        pixels
    }
}

/// Made by [`Stages::transform_output`] only, whose caller answers for the pointers.
struct ToOutput {
    stages: Stages,
    positions: Range<usize>,
    first: usize,
    columns: Range<usize>,
    args: ConvArgs,
    from: Planes,
}

impl Work for ToOutput {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        for position in self.positions.clone() {
            for slice in 0..self.stages.out_slices {
                let row = (position - self.first) * self.stages.out_slices + slice;
                // SAFETY: the promises of the maker.
                unsafe { self.tile::<M>(position, slice, self.from.row(row)) };
            }
        }
    }
}

impl ToOutput {
    #[inline(always)]
    unsafe fn tile<M: Machine>(&self, position: usize, slice: usize, from: *const f32) {
        let Stages { output: [height, width], dilation: [tall, wide], out_slices, .. } = self.stages;
        let [image, row, column] = self.stages.place(position);
        let within = |extent: usize, start: usize, apart: usize| extent.saturating_sub(start).div_ceil(apart).min(OUT);
        let (rows, columns) = (within(height, row, tall), within(width, column, wide));
        let first = ((image * out_slices + slice) * height + row) * width + column;
        let tall = tall * width;
        let simple = self.args.output.activation.simple(M::ISA).unwrap_or(Simple::NONE);
        for i in (0..self.columns.len()).step_by(M::Vector::LANES) {
            let (channel, n) = (self.columns.start + i, self.columns.len() - i);
            // SAFETY: the caller's promises; rows of `from` have room for whole vectors.
            unsafe {
                output_tile::<M::Vector>(
                    |row, column| M::Vector::load(from.add((row * IN + column) * self.from.plane + i)),
                    |row, column, y| {
                        if row < rows && column < columns {
                            let pixel = first + row * tall + column * wide;
                            store(&self.args.output, simple, pixel, channel, n, y);
                        }
                    },
                );
            }
        }
        let together = if wide == 1 { columns.max(1) } else { 1 };
        for i in 0..rows {
            for j in (0..columns).step_by(together) {
                let first = first + i * tall + j * wide;
                // SAFETY: the caller's promises.
                unsafe { finish_rows(M::ISA, &self.args.output, first..first + together, self.columns.clone()) };
            }
        }
    }
}
