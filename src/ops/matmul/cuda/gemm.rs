//! Products of matrices on a GPU: how their operands lie in memory, and which kernels compute them.

use super::{MODULE, blas};
use crate::cpu::Activation;
use crate::cuda::{Launch, THREADS, walk};
use crate::error::Result;
use crate::ops::{CudaKernel, PrepareCuda, activation};
use crate::tensor::DType;

/// Depth of the tiles in shared memory: DEPTH of `gemm.cuh`.
const DEPTH: usize = 16;

/// Blocks that fill a GPU: about two for each of its multiprocessors.
const BLOCKS: usize = 264;

/// Least depth of a slice: below it, adding the slices takes longer than their products.
const LEAST_SLICE: usize = 128;

/// A batch of products `activation(alpha · A · B + bias + residual)` of `m` x `k` and `k` x `n` matrices. Distances are counted in
/// elements; what does not depend on a coordinate has the distance 0 along it.
#[derive(Clone, Debug)]
pub struct Gemm {
    /// Inputs that hold A and B; inputs 2 and 3 are bias and residual.
    pub operands: [usize; 2],
    pub m: usize,
    pub n: usize,
    pub k: usize,
    /// Distances of rows of A, and of the elements of a row.
    pub a: [usize; 2],
    /// Distances of rows of B, and of the elements of a row.
    pub b: [usize; 2],
    /// Distances of rows of the output and the residual, of the elements of a row, and of products.
    pub y: [usize; 3],
    /// Distances in the bias of rows and of columns.
    pub bias: [usize; 2],
    pub batch: Vec<Axis>,
    pub alpha: f32,
    pub activation: Activation,
}

/// A dimension of a batch, and how far the operands of neighbouring products are apart.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    pub extent: usize,
    pub a: usize,
    pub b: usize,
    pub bias: usize,
}

/// What a block of threads computes of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tile {
    Row,
    Dot,
    Tall,
    Large,
    Square,
}

impl Tile {
    /// The kernels' name for it.
    pub fn name(self) -> &'static str {
        match self {
            Tile::Row => "row",
            Tile::Dot => "dot",
            Tile::Tall => "tall",
            Tile::Large => "large",
            Tile::Square => "square",
        }
    }

    /// Rows and columns.
    fn extents(self) -> (usize, usize) {
        match self {
            Tile::Row => (1, 64),
            Tile::Dot => (1, 8),
            Tile::Tall => (128, 32),
            Tile::Large => (128, 128),
            Tile::Square => (64, 64),
        }
    }

    /// The tile for a batch of products of several rows and columns. Sums do not depend on it.
    pub fn of(m: usize, n: usize, batch: usize) -> Tile {
        let [large, square] = [Tile::Large, Tile::Square].map(|tile| tile.blocks(m, n));
        match () {
            _ if n <= 32 => Tile::Tall,
            // Four times as large, and faster by more than what a quarter of it outside of the output costs.
            _ if large.saturating_mul(batch) >= BLOCKS && 16 * large <= 5 * square => Tile::Large,
            _ => Tile::Square,
        }
    }

    /// Blocks of a product.
    fn blocks(self, m: usize, n: usize) -> usize {
        let (rows, cols) = self.extents();
        m.div_ceil(rows) * n.div_ceil(cols)
    }
}

/// How the depth of a product is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slices {
    pub count: usize,
    depth: usize,
}

impl Slices {
    /// Not at all.
    pub const ONE: Slices = Slices { count: 1, depth: usize::MAX };
}

/// The suffix of kernels for an element type, if there are any.
pub fn suffix(dtype: DType) -> Option<&'static str> {
    match dtype {
        DType::F32 => Some("f32"),
        DType::F16 | DType::BF16 => Some("half"),
        _ => None,
    }
}

impl Gemm {
    /// The product with rows and columns exchanged: the same numbers at the same places.
    pub fn turned(self) -> Gemm {
        let Gemm { operands: [a, b], m, n, y: [row, col, product], bias: [bias_row, bias_col], .. } = self;
        let turn = |axis: &Axis| Axis { a: axis.b, b: axis.a, ..*axis };
        Gemm {
            operands: [b, a],
            m: n,
            n: m,
            a: [self.b[1], self.b[0]],
            b: [self.a[1], self.a[0]],
            y: [col, row, product],
            bias: [bias_col, bias_row],
            batch: self.batch.iter().map(turn).collect(),
            ..self
        }
    }

    /// The kernel for operands of a type that has a [`suffix`].
    pub fn kernel(self, cx: &PrepareCuda<'_>) -> Result<CudaKernel> {
        let own = self.clone().own(cx)?;
        blas::prepare(&self, own, cx)
    }

    /// The library's own kernel.
    fn own(self, cx: &PrepareCuda<'_>) -> Result<CudaKernel> {
        // Matrices of few rows are those of few columns, turned; a column times a matrix is a row times one.
        let flat = self.m > 1 && self.m <= 32 && self.n > self.m;
        let gemm = if flat || self.n == 1 && self.m > 1 { self.turned() } else { self };
        let tile = gemm.tile();
        let slices = gemm.slices(tile);
        let product = gemm.launch(cx, tile, slices)?;
        if slices.count == 1 {
            return product.value(0u64).structure(&gemm.words(cx, slices)).build();
        }
        let sums = gemm.bytes_of_sums(slices);
        let product = product.workspace(0, sums).structure(&gemm.words(cx, slices)).build()?;
        Ok(Box::new(vec![product, gemm.finish(cx, slices)?]))
    }

    /// The kernel that leaves the sums of all slices in the workspace, `[slices][batch][m][n]` f32, and their number.
    pub fn sums(&self, cx: &PrepareCuda<'_>) -> Result<(CudaKernel, usize)> {
        let tile = self.tile();
        let slices = self.slices(tile);
        let launch = self.launch(cx, tile, slices)?.workspace(0, self.bytes_of_sums(slices));
        Ok((launch.structure(&self.words(cx, slices)).build()?, slices.count))
    }

    /// The kernel that adds the sums of slices, and ends the products.
    pub fn finish(&self, cx: &PrepareCuda<'_>, slices: Slices) -> Result<CudaKernel> {
        let launch = cx.threads(&MODULE, &format!("matmul_finish_{}", suffix_of(cx)), self.products() * self.m * self.n)?;
        let launch = launch.input(2).input(3).output(0).workspace(0, self.bytes_of_sums(slices));
        launch.structure(&self.words(cx, slices)).value(slices.count as u32).build()
    }

    /// The launch of a tile's kernel, without sums and words.
    fn launch(&self, cx: &PrepareCuda<'_>, tile: Tile, slices: Slices) -> Result<Launch> {
        let name = format!("matmul_{}_{}", tile.name(), suffix_of(cx));
        let [a, b] = self.operands;
        Ok(cx.grid(&MODULE, &name, self.grid(tile, slices))?.input(a).input(b).input(2).input(3).output(0))
    }

    /// The kernel for other types, which computes with their own arithmetic.
    pub fn exact(&self, cx: &PrepareCuda<'_>, suffix: &str) -> Result<CudaKernel> {
        let grid = self.products() * self.m * self.n.div_ceil(THREADS);
        let launch = cx.grid(&MODULE, &format!("matmul_exact_{suffix}"), [grid, 1, 1])?;
        let launch = launch.input(self.operands[0]).input(self.operands[1]).input(2).input(3).output(0);
        launch.structure(&self.words(cx, Slices::ONE)).build()
    }

    fn tile(&self) -> Tile {
        match self.b {
            [1, _] if self.m == 1 => Tile::Dot,
            [_, 1] if self.m == 1 => Tile::Row,
            _ => Tile::of(self.m, self.n, self.products()),
        }
    }

    /// Blocks of a launch.
    pub fn grid(&self, tile: Tile, slices: Slices) -> [usize; 3] {
        [tile.blocks(self.m, self.n) * self.products() * slices.count, 1, 1]
    }

    /// As many slices as it takes to fill a GPU, if they do not become too short.
    pub fn slices(&self, tile: Tile) -> Slices {
        let blocks = tile.blocks(self.m, self.n).saturating_mul(self.products());
        let count = (BLOCKS / blocks).min(self.k / LEAST_SLICE).max(1);
        // Sums of no products are zeros, which take a slice, too.
        let depth = self.k.div_ceil(count).max(1).next_multiple_of(DEPTH);
        Slices { count: self.k.div_ceil(depth).max(1), depth }
    }

    /// Number of products.
    fn products(&self) -> usize {
        self.batch.iter().map(|axis| axis.extent).product()
    }

    /// Bytes of the sums of all slices.
    pub fn bytes_of_sums(&self, slices: Slices) -> usize {
        slices.count * self.products() * self.m * self.n * size_of::<f32>()
    }

    /// Gemm of `gemm.cuh`.
    pub fn words(&self, cx: &PrepareCuda<'_>, slices: Slices) -> Vec<u32> {
        let Gemm { m, n, k, a, b, y, bias, batch, .. } = self;
        let extents = [*m, *n, *k, slices.depth, self.products()];
        let distances = [a[0], a[1], b[0], b[1], y[0], y[1], y[2], bias[0], bias[1]];
        let apart = |of: fn(&Axis) -> usize| batch.iter().all(|axis| of(axis).is_multiple_of(4));
        let quads = [quads([a[1], a[0]], [*k, *m]) && apart(|axis| axis.a), quads(*b, [*k, *n]) && apart(|axis| axis.b)];
        let mut words: Vec<u32> = extents.iter().chain(&distances).map(|&x| x as u32).collect();
        words.extend(quads.map(u32::from));
        words.extend([cx.outputs[0].dtype as u32, self.alpha.to_bits()]);
        words.extend(activation::words(self.activation));
        words.extend(walk(batch.iter().map(|axis| (axis.extent, [axis.a, axis.b, axis.bias]))));
        words
    }
}

/// Whether four elements side by side lie at an address that is a multiple of their size, and none of them is outside. Given are
/// distances and extents along the depth and the other dimension.
fn quads([k_stride, other_stride]: [usize; 2], [k, other]: [usize; 2]) -> bool {
    match (k_stride, other_stride) {
        (1, stride) => k.is_multiple_of(4) && (stride.is_multiple_of(4) || other == 1),
        (stride, 1) => other.is_multiple_of(4) && (stride.is_multiple_of(4) || k == 1),
        _ => false,
    }
}

/// The suffix of kernels for the output's type.
fn suffix_of(cx: &PrepareCuda<'_>) -> &'static str {
    suffix(cx.outputs[0].dtype).unwrap_or("none")
}
