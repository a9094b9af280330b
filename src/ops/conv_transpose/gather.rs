//! Transposed convolutions in f32 of few pixels or few output channels: one product computes what each input pixel
//! contributes by each tap, and outputs gather it. The weights are a matrix of all taps, rearranged once per model.
#![allow(unsafe_code, reason = "calls the matrix product driver on raw parts of the workspace")]

use super::ConvTranspose;
use super::geometry::Geometry;
use crate::cpu::gemm::{Gemm, GemmShape, Output, StridedRows, packed_len};
use crate::cpu::simd::{Machine, Work};
use crate::cpu::{Activation, Isa};
use crate::error::Result;
use crate::ops::{Inputs, Kernel, Prepare};
use crate::tensor::{Args, Blob, DType, Dim, Grid, Layout, PANEL};

/// What an extent is taken for that is not known when a model is opened.
const USUAL_EXTENT: i64 = 16;

/// Most contributions of an image: 64 MiB.
const MOST: usize = 16 << 20;

/// Contributions worth a part of their own.
const GRAIN: usize = 32 * 1024;

struct Gather {
    isa: Isa,
    activation: Activation,
    gemm: Gemm,
    weights: Blob,
    reach: [Reach; 3],
    batch: usize,
    channels: usize,
    /// Contributions of an image.
    image: usize,
    phases: [Grid; 2],
}

/// For each output along a dimension, where what reaches it begins: the dimension's share of the elements before.
type Reach = Vec<Vec<usize>>;

/// See [`OpDef::derives`](crate::ops::OpDef::derives).
pub fn wanted(op: &ConvTranspose, inputs: &Inputs<'_>) -> Option<(usize, usize)> {
    let (x, w) = (inputs.opt(0)?, inputs.opt(1)?);
    let extent = |d: &Dim| usize::try_from(d.fixed().unwrap_or(USUAL_EXTENT)).ok();
    let x_dims: Vec<usize> = x.shape.iter().map(extent).collect::<Option<_>>()?;
    let w_dims = w.shape.as_fixed()?;
    (x.dtype == DType::F32 && op.groups == 1 && pays(&x_dims, &w_dims)).then_some(())?;
    Some((1, bytes(&w_dims).ok()?))
}

/// Whether contributions cost less than what [`f32`](super::f32) has to pack and to pad.
fn pays(x: &[usize], w: &[usize]) -> bool {
    let ([_, pixels @ .., _], [out_channels, taps @ .., depth]) = (x, w) else { return false };
    let (pixels, columns) = (pixels.iter().product::<usize>(), taps.iter().product::<usize>() * out_channels);
    (*out_channels < PANEL || pixels <= 2 * depth) && pixels.saturating_mul(columns) <= MOST
}

fn bytes(w: &[usize]) -> Result<usize> {
    let depth = w[w.len() - 1];
    Ok(packed_len(w[..w.len() - 1].iter().product(), depth)? * size_of::<f32>())
}

/// The kernel for a transposed convolution of known shape; None for one that is better done otherwise.
pub fn prepare(op: &ConvTranspose, cx: &Prepare<'_>) -> Result<Option<Box<dyn Kernel>>> {
    let (x, w) = (cx.dims(0), cx.dims(1));
    let stored = cx.input(1);
    let data = stored.data.filter(|_| stored.layout == Layout::RowMajor && op.groups == 1 && pays(&x, &w));
    let Some(data) = data else { return Ok(None) };
    let geometry = Geometry::new(op, cx);
    let Some(weights) = cx.derived.get(&data, bytes(&w)?, |to| arrange(&geometry, data.slice(), to)) else {
        return Ok(None);
    };
    let Geometry { batch, group_in, group_out: channels, input, output, window, .. } = geometry;
    let (pixels, columns) = (input.iter().product::<usize>(), window.taps() * channels);
    let gemm = Gemm::new(cx.target(), GemmShape::matrix(batch * pixels, columns, group_in))?;
    let lines = batch * output[0] * output[1];
    let phases =
        [Grid::rows(gemm.parts(), gemm.parts()), Grid::by_cost(lines, pixels * columns * batch / lines.max(1), GRAIN)];
    let reach = [0, 1, 2].map(|d| reach(&geometry, d));
    let (isa, activation, image) = (cx.isa, op.activation, pixels * columns);
    Ok(Some(Box::new(Gather { isa, activation, gemm, weights, reach, batch, channels, image, phases })))
}

/// Packs the weights as a matrix whose columns are the taps, and for each tap the output channels.
fn arrange(geometry: &Geometry, from: &[f32], to: &mut [u8]) {
    let Geometry { group_in, group_out, window, .. } = geometry;
    for column in 0..window.taps() * group_out {
        let (tap, channel) = (column / group_out, column % group_out);
        let from = &from[(channel * window.taps() + tap) * group_in..][..*group_in];
        let panel = &mut to.as_chunks_mut::<4>().0[column / PANEL * group_in * PANEL..][..group_in * PANEL];
        for (row, x) in panel.as_chunks_mut::<PANEL>().0.iter_mut().zip(from) {
            row[column % PANEL] = x.to_ne_bytes();
        }
    }
}

/// What reaches the outputs along dimension `d`.
fn reach(geometry: &Geometry, d: usize) -> Reach {
    let Geometry { group_out, input, window, .. } = geometry;
    let columns = window.taps() * group_out;
    let pixel = input[d + 1..].iter().product::<usize>() * columns;
    let tap_step = window.kernel[d + 1..].iter().product::<usize>() * group_out;
    let of = |o| {
        let taps = 0..window.kernel[d];
        taps.filter_map(|tap| Some(geometry.source(d, o, tap)? * pixel + tap * tap_step)).collect()
    };
    (0..geometry.output[d]).map(of).collect()
}

impl Kernel for Gather {
    fn phases(&self) -> Vec<Grid> {
        self.phases.to_vec()
    }

    fn shared_bytes(&self) -> usize {
        self.len() * size_of::<f32>()
    }

    fn scratch_bytes(&self) -> usize {
        self.gemm.scratch_bytes()
    }

    fn run(&self, phase: usize, args: &mut Args<'_>) -> Result<()> {
        if phase == 0 {
            self.multiply(args);
            return Ok(());
        }
        // SAFETY: the contributions were written in the phase before this one; nothing writes them now.
        let contributions: &[f32] = unsafe { args.shared(0, self.len()) };
        let bias = args.optional::<f32>(2);
        let mut tile = args.output::<f32>(0);
        for line in tile.rows() {
            let y = tile.row(line);
            self.isa.dispatch(Line { kernel: self, contributions, bias, line, y: &mut *y });
            self.activation.apply_to(self.isa, y);
        }
        Ok(())
    }
}

impl Gather {
    /// Contributions of all images.
    fn len(&self) -> usize {
        self.batch * self.image
    }

    /// Computes parts of the contributions.
    fn multiply(&self, args: &mut Args<'_>) {
        let GemmShape { m, n, depth, .. } = self.gemm.shape();
        let (x, shared) = (args.input::<f32>(0), args.raw_shared());
        assert!(x.len() == m * depth && shared.byte_len() >= m * n * size_of::<f32>());
        let rows = StridedRows { data: x.as_ptr(), stride: depth };
        let out = Output::new(shared.as_ptr().cast(), n);
        let (parts, _) = args.ranges();
        let scratch = args.scratch::<u8>().as_mut_ptr();
        for part in parts {
            // SAFETY: the operands have the planned extents; parts write disjoint parts of the workspace.
            unsafe { self.gemm.run_part(part, &rows, self.weights.as_ptr().cast(), &out, scratch) };
        }
    }
}

/// An output line, which gathers what reaches it.
struct Line<'a> {
    kernel: &'a Gather,
    contributions: &'a [f32],
    bias: Option<&'a [f32]>,
    line: usize,
    y: &'a mut [f32],
}

impl Work for Line<'_> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        let Line { kernel, contributions, bias, line, y } = self;
        let [depths, heights, widths] = &kernel.reach;
        let image = line / heights.len() / depths.len();
        let contributions = &contributions[image * kernel.image..][..kernel.image];
        let (depths, heights) = (&depths[line / heights.len() % depths.len()], &heights[line % heights.len()]);
        for (y, widths) in y.chunks_exact_mut(kernel.channels.max(1)).zip(widths) {
            match bias {
                Some(bias) => y.copy_from_slice(bias),
                None => y.fill(0.0),
            }
            for depth in depths {
                for height in heights {
                    for width in widths {
                        for (y, x) in y.iter_mut().zip(&contributions[depth + height + width..]) {
                            *y += x;
                        }
                    }
                }
            }
        }
    }
}
