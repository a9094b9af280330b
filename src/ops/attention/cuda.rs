//! Past and new keys and values are joined, if they are two; then blocks of queries go over the keys, or, for a few queries, many
//! blocks over a range of the keys each.

use super::shape::{Problem, Strides};
use super::{Attention, Scores};
use crate::cuda::{Launch, Module, blocks, divisor};
use crate::error::Result;
use crate::ops::cuda::{BUSY, is_single};
use crate::ops::strided_cuda::words;
use crate::ops::{CudaKernel, PrepareCuda};
use crate::tensor::DType;

static MODULE: Module = crate::cuda_module!("attention");

/// Queries of a tile, and columns of values: TILE of `attention.cu`.
const TILE: usize = 64;
/// Most queries that share keys which get blocks of their own.
const FEW: usize = 16;
/// Most elements of a query, or of a value, that has blocks of its own: SIZE of `attention.cu`.
const SIZE: usize = 1024;
/// Keys that a block takes at a time where it has one query.
const KEYS: usize = 256;
/// Positions further away than this are as good as it.
const FAR: usize = 1 << 29;

/// Where keys or values are.
#[derive(Clone, Copy)]
enum Place {
    Input(usize),
    Output(usize),
    /// Offset in the workspace, and bytes.
    Workspace(usize, usize),
}

/// An attention of known shape.
struct Layer<'a> {
    cx: &'a PrepareCuda<'a>,
    problem: Problem,
    /// Keys and values, and their strides.
    places: [Place; 2],
    strides: [Strides; 2],
    /// Bytes of workspace that keys and values take.
    joined: usize,
}

/// The kernel for f32, f16 and bf16.
pub fn prepare(op: &Attention, cx: &PrepareCuda<'_>) -> Result<Option<CudaKernel>> {
    let problem = Problem::new(op, cx);
    let has = |output: usize| cx.outputs.get(output).is_some_and(|info| info.numel() > 0);
    let scores = op.scores.filter(|_| has(3));
    let many = problem.size.max(problem.value_size) > SIZE;
    if !is_single(cx.outputs[0].dtype) || many && scores.is_some() || problem.keys + problem.queries >= FAR {
        return Ok(None);
    }
    let layer = Layer::new(cx, problem);
    let mut kernels = vec![];
    if layer.is_joined() {
        kernels.push(layer.join()?);
    }
    if has(0) && problem.group() * problem.queries <= FEW && !many {
        layer.rows(&mut kernels)?;
    } else if has(0) {
        kernels.push(layer.tiles()?);
    }
    if let Some(stage) = scores {
        kernels.push(layer.scores(stage)?);
    }
    Ok(Some(Box::new(kernels)))
}

impl<'a> Layer<'a> {
    fn new(cx: &'a PrepareCuda<'a>, problem: Problem) -> Self {
        let Problem { batch, kv_heads, past, keys, size, value_size, .. } = problem;
        let outputs = cx.outputs.len().clamp(1, 3) - 1;
        let mut layer = Layer {
            cx,
            problem,
            places: [1, 2].map(Place::Input),
            strides: [size, value_size].map(|size| problem.strides(kv_heads, keys - past, size)),
            joined: 0,
        };
        if cx.optional(4).is_some() || outputs > 0 {
            for (which, size) in [size, value_size].into_iter().enumerate() {
                let bytes = batch * kv_heads * keys * size * cx.outputs[0].dtype.size();
                layer.strides[which] = Strides { batch: kv_heads * keys * size, head: keys * size, row: size };
                layer.places[which] = Place::Output(which + 1);
                if which >= outputs {
                    layer.places[which] = Place::Workspace(layer.joined, bytes);
                    layer.joined += bytes.next_multiple_of(256);
                }
            }
        }
        layer
    }

    fn is_joined(&self) -> bool {
        !matches!(self.places[0], Place::Input(_))
    }

    fn place(&self, launch: Launch, which: usize) -> Launch {
        match self.places[which] {
            Place::Input(input) => launch.input(input),
            Place::Output(output) => launch.output(output),
            Place::Workspace(offset, bytes) => launch.workspace(offset, bytes),
        }
    }

    /// Brings past and new keys and values together.
    fn join(&self) -> Result<CudaKernel> {
        let Problem { batch, kv_heads, past, keys, size, value_size, .. } = self.problem;
        let element = self.cx.outputs[0].dtype.size();
        let (word, len) = words(element, size, [value_size]);
        let lens = [len, value_size * element / word];
        let counts = lens.map(|len| batch * kv_heads * keys * len);
        let grid = [blocks(counts[0].max(counts[1])) as usize, 2, 1];
        let launch = self.cx.grid(&MODULE, &format!("attention_join_b{}", 8 * word), grid)?;
        let launch = launch.input(4).input(5).input(1).input(2);
        let launch = self.place(self.place(launch, 0), 1);
        let new = lens.map(|len| numbers(self.problem.strides(kv_heads, keys - past, len)));
        let parameters = [
            &divisor(lens[0])[..],
            &divisor(lens[1]),
            &divisor(keys),
            &divisor(kv_heads),
            &[counts[0] as u32, counts[1] as u32, past as u32],
            &new[0],
            &new[1],
        ];
        launch.structure(&parameters.concat()).build()
    }

    /// Tiles of the queries that share keys.
    fn tiles(&self) -> Result<CudaKernel> {
        let p = &self.problem;
        let wide = p.value_size > TILE;
        let columns = p.value_size.div_ceil(if wide { 2 * TILE } else { TILE });
        let rows = (p.group() * p.queries).div_ceil(TILE);
        let name = if wide { "attention_tiles2" } else { "attention_tiles1" };
        let launch = self.cx.grid(&MODULE, name, [p.batch * p.kv_heads * rows * columns, 1, 1])?;
        let launch = self.operands(launch).output(0).structure(&self.words());
        launch.value([divisor(columns), divisor(rows), divisor(p.kv_heads)]).build()
    }

    /// Blocks for each query, and one that brings them together where there are several.
    fn rows(&self, kernels: &mut Vec<CudaKernel>) -> Result<()> {
        let p = &self.problem;
        let (rows, pieces) = (p.batch * p.heads * p.queries, p.keys.div_ceil(KEYS).max(1));
        let each = pieces.div_ceil(BUSY.div_ceil(rows).min(pieces));
        let count = pieces.div_ceil(each);
        let bytes = if count == 1 { 0 } else { rows * count * (p.value_size + 2) * size_of::<f32>() };
        let [a, b, c] = divisor(count);
        let parts = [a, b, c, (each * KEYS) as u32];
        let launch = self.operands(self.cx.grid(&MODULE, "attention_rows", [rows * count, 1, 1])?);
        let launch = launch.output(0).workspace(self.joined, bytes);
        kernels.push(launch.structure(&self.words()).value(parts).build()?);
        if count > 1 {
            let threads = p.value_size.next_multiple_of(32).min(256) as u32;
            let launch = self.cx.grid(&MODULE, "attention_merge", [rows, 1, 1])?.block([threads, 1, 1]);
            let launch = launch.workspace(self.joined, bytes).output(0);
            kernels.push(launch.structure(&self.words()).value(parts).build()?);
        }
        Ok(())
    }

    fn scores(&self, stage: Scores) -> Result<CudaKernel> {
        let p = &self.problem;
        let launch = self.cx.grid(&MODULE, "attention_scores", [p.batch * p.heads * p.queries, 1, 1])?;
        let launch = self.place(launch.input(0), 0).input(3).input(6).output(3);
        launch.structure(&self.words()).value(stage as u32).build()
    }

    /// Q, keys, values, mask and key lengths.
    fn operands(&self, launch: Launch) -> Launch {
        self.place(self.place(launch.input(0), 0), 1).input(3).input(6)
    }

    /// Problem of `attention.cu`.
    fn words(&self) -> Vec<u32> {
        let p = &self.problem;
        let quads = [p.size, p.value_size].iter().all(|n| n.is_multiple_of(4));
        let kind = |dtype: DType| if dtype == DType::Bool { 1 } else { 2 };
        let (mask, strides, keys) = p.mask.map_or((0, [0; 3], p.keys), |m| (kind(m.dtype), m.strides, m.keys));
        let [left, right] = p.windows.map(|w| w.unwrap_or(FAR).min(FAR) as u32);
        let right = if p.causal { 0 } else { right };
        [
            &divisor(p.heads)[..],
            &divisor(p.group()),
            &divisor(p.queries),
            &[p.keys as u32, p.size as u32, p.value_size as u32, self.cx.outputs[0].dtype as u32, quads.into()],
            &numbers(p.strides(p.heads, p.queries, p.size)),
            &numbers(self.strides[0]),
            &numbers(self.strides[1]),
            &numbers(p.strides(p.heads, p.queries, p.value_size)),
            &[mask, strides[0] as u32, strides[1] as u32, strides[2] as u32],
            &[keys as u32, p.past as u32, left, right, (p.scale as f32).to_bits(), (p.softcap as f32).to_bits()],
        ]
        .concat()
    }
}

fn numbers(strides: Strides) -> [u32; 3] {
    [strides.batch as u32, strides.head as u32, strides.row as u32]
}
