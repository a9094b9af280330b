//! Convolutions as products: those of 1 x 1 by [`Gemm::kernel`], others by kernels that read rows of windows where the input has
//! them, and groups of few channels directly; or by cuDNN, where it is installed and faster.

mod dnn;

use super::{Conv, Geometry};
use crate::cpu::Activation;
use crate::cpu::conv::ConvShape;
use crate::cuda::{Launch, Module};
use crate::error::Result;
use crate::ops::matmul::cuda::gemm::{Axis, Gemm, Slices, Tile, suffix};
use crate::ops::{CudaKernel, PrepareCuda};

static MODULE: Module = crate::cuda_module!("conv");

/// Least number of channels of a group that are done as a product.
const LEAST_GROUP: usize = 16;

/// Pixels and channels from which on a thread computes several pixels.
const MANY: usize = 128 * 1024;

/// Padded extents have to be smaller, so that coordinates beyond the input do not wrap into it.
const MAX_EXTENT: usize = 1 << 30;

/// A kernel for f32, f16 and bf16.
pub fn prepare(op: &Conv, cx: &PrepareCuda<'_>) -> Result<Option<CudaKernel>> {
    let Some(suffix) = suffix(cx.outputs[0].dtype).filter(|_| !cx.has_empty_input()) else { return Ok(None) };
    let window = Window::new(op, cx);
    let ConvShape { groups, input, window: w, .. } = window.geometry.shape;
    if (0..3).any(|d| input[d] + w.pad_begin[d] + w.pad_end[d] >= MAX_EXTENT) {
        return Ok(None);
    }
    let group_out = window.geometry.shape.group_out();
    let kernel = match () {
        _ if groups > 1 && group_out < LEAST_GROUP => window.direct(cx, suffix),
        _ if window.is_matrix() => window.product().kernel(cx),
        _ => window.tiles(&window.product(), cx, suffix),
    };
    dnn::prepare(&window, kernel?, cx).map(Some)
}

/// How a convolution reads its input.
struct Window {
    geometry: Geometry,
    /// Distances in the input of images, pixels and channels.
    image: usize,
    pixel: usize,
    channel: usize,
    activation: Activation,
}

impl Window {
    fn new(op: &Conv, cx: &PrepareCuda<'_>) -> Window {
        let geometry = Geometry::new(op, cx);
        let plane: usize = geometry.shape.input.iter().product();
        let channels = geometry.shape.in_channels;
        let (pixel, channel) = if geometry.channels_first { (1, plane) } else { (channels, 1) };
        Window { geometry, image: plane * channels, pixel, channel, activation: op.activation }
    }

    /// Elements of a window of a group.
    fn depth(&self) -> usize {
        self.geometry.shape.window.taps() * self.geometry.shape.group_in()
    }

    /// Pixels of all outputs.
    fn pixels(&self) -> usize {
        self.geometry.shape.batch * self.geometry.output.iter().product::<usize>()
    }

    /// Whether the input is the matrix that the weights are multiplied with: its pixels are the windows.
    fn is_matrix(&self) -> bool {
        let ConvShape { window: w, input, .. } = self.geometry.shape;
        let same = input == self.geometry.output && w.pad_begin == [0; 3] && w.pad_end == [0; 3];
        w.taps() == 1 && same && !self.geometry.channels_first
    }

    /// The products of the groups.
    fn product(&self) -> Gemm {
        let ConvShape { groups, out_channels, .. } = self.geometry.shape;
        let (group_in, group_out) = (self.geometry.shape.group_in(), self.geometry.shape.group_out());
        let k = self.depth();
        let of_groups = Axis { extent: groups, a: group_in * self.channel, b: group_out * k, bias: group_out };
        Gemm {
            operands: [0, 1],
            m: self.pixels(),
            n: group_out,
            k,
            a: [self.pixel, self.channel],
            b: [1, k],
            y: [out_channels, 1, group_out],
            bias: [0, 1],
            batch: if groups > 1 { vec![of_groups] } else { vec![] },
            alpha: 1.0,
            activation: self.activation,
        }
    }

    /// All groups at once: a product of all channels with the depth of one group.
    fn all_groups(&self) -> Gemm {
        Gemm { n: self.geometry.shape.out_channels, batch: vec![], ..self.product() }
    }

    /// The kernel that computes products in tiles.
    fn tiles(&self, gemm: &Gemm, cx: &PrepareCuda<'_>, suffix: &str) -> Result<CudaKernel> {
        let tile = Tile::of(gemm.m, gemm.n, self.geometry.shape.groups);
        let slices = gemm.slices(tile);
        let name = format!("conv_{}_{suffix}", tile.name());
        let launch = cx.grid(&MODULE, &name, gemm.grid(tile, slices))?.input(0).input(1).input(2).input(3).output(0);
        let end = |launch: Launch| launch.structure(&gemm.words(cx, slices)).structure(&self.words()).build();
        if slices.count == 1 {
            return end(launch.value(0u64));
        }
        let product = end(launch.workspace(0, gemm.bytes_of_sums(slices)))?;
        Ok(Box::new(vec![product, gemm.finish(cx, slices)?]))
    }

    /// The kernel for groups of few channels.
    fn direct(&self, cx: &PrepareCuda<'_>, suffix: &str) -> Result<CudaKernel> {
        let ConvShape { out_channels, .. } = self.geometry.shape;
        let at_once = if self.pixels() * out_channels < MANY { 1 } else { 4 };
        let width = self.geometry.output[2];
        let threads = self.pixels() / width * width.div_ceil(at_once);
        let grid = out_channels.div_ceil(32) * threads.div_ceil(8);
        let gemm = self.all_groups();
        let launch = cx.grid(&MODULE, &format!("conv_direct{at_once}_{suffix}"), [grid, 1, 1])?.input(0).input(1).input(2).input(3).output(0);
        let launch = launch.structure(&gemm.words(cx, Slices::ONE)).structure(&self.words());
        launch.value(self.geometry.shape.group_out() as u32).build()
    }

    /// Window of `conv.cu`.
    fn words(&self) -> Vec<u32> {
        let ConvShape { input, window: w, .. } = self.geometry.shape;
        let group_in = self.geometry.shape.group_in();
        let extents = [input, self.geometry.output, w.kernel, w.stride, w.dilation, w.pad_begin];
        let quads = self.channel == 1 && group_in.is_multiple_of(4) && self.pixel.is_multiple_of(4);
        let rest = [group_in, self.image, self.pixel, self.channel, usize::from(quads)];
        extents.into_iter().flatten().chain(rest).map(|n| n as u32).collect()
    }
}
