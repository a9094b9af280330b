//! Teams of threads for the results; long sums in slices, whose results a second launch reduces.
//!
//! How elements are shared out follows from the shapes alone, so that sums have the same bits on every GPU.

use super::{Reduce, ReduceKind, walks};
use crate::cuda::{Launch, Module, THREADS};
use crate::error::Result;
use crate::ops::cuda::{BUSY, WARP};
use crate::ops::{CudaKernel, PrepareCuda, Walk};
use crate::tensor::{DType, Shape};

static MODULE: Module = crate::cuda_module!("reduce");

/// Elements of a thread in a slice, and in a row that a team reduces by itself.
const EACH: usize = 8;

/// A kernel for every type but f64; there is none for logarithms and roots of integers.
pub fn prepare(op: &Reduce, cx: &PrepareCuda<'_>) -> Result<Option<CudaKernel>> {
    let x = cx.input(0).info;
    if x.dtype == DType::F64 || !x.dtype.is_float() && op.kind.is_real() || cx.has_empty_input() {
        return Ok(None);
    }
    let (kept, gone) = walks(&x.dims, &op.reduced(&Shape::fixed(&x.dims)?)?);
    let results = cx.outputs[0].numel();
    let build = Build { cx, dtype: x.dtype, total: x.numel() / results, results };
    let (map, fold, finish) = steps(op.kind);
    // Where exponentials are summed, the largest elements come first, and stay in front of what the sums need.
    let mut launches = vec![];
    let mut tops = None;
    if map == Map::Exponential {
        launches.extend(build.reduction(&[kept.clone(), gone.clone()], None, (Map::Same, Fold::Largest, Finish::Nothing), true)?);
        tops = Some(0);
    }
    launches.extend(build.reduction(&[kept, gone], tops, (map, fold, finish), false)?);
    Ok(Some(Box::new(launches)))
}

#[derive(Clone, Copy, PartialEq)]
enum Map {
    Same,
    Absolute,
    Square,
    Exponential,
}

#[derive(Clone, Copy)]
enum Fold {
    Sum,
    Product,
    Largest,
    Smallest,
}

#[derive(Clone, Copy)]
enum Finish {
    Nothing,
    Mean,
    Root,
    Logarithm,
    LogSumExp,
}

/// What becomes of each element, how they are combined, what becomes of the result: numbers of `reduce.cu`.
fn steps(kind: ReduceKind) -> (Map, Fold, Finish) {
    match kind {
        ReduceKind::Sum => (Map::Same, Fold::Sum, Finish::Nothing),
        ReduceKind::Mean => (Map::Same, Fold::Sum, Finish::Mean),
        ReduceKind::Prod => (Map::Same, Fold::Product, Finish::Nothing),
        ReduceKind::Max => (Map::Same, Fold::Largest, Finish::Nothing),
        ReduceKind::Min => (Map::Same, Fold::Smallest, Finish::Nothing),
        ReduceKind::L1 => (Map::Absolute, Fold::Sum, Finish::Nothing),
        ReduceKind::L2 => (Map::Square, Fold::Sum, Finish::Root),
        ReduceKind::SumSquare => (Map::Square, Fold::Sum, Finish::Nothing),
        ReduceKind::LogSum => (Map::Same, Fold::Sum, Finish::Logarithm),
        ReduceKind::LogSumExp => (Map::Exponential, Fold::Sum, Finish::LogSumExp),
    }
}

type Steps = (Map, Fold, Finish);

/// What the launches of a reduction have in common.
struct Build<'a> {
    cx: &'a PrepareCuda<'a>,
    dtype: DType,
    /// Elements of a result.
    total: usize,
    results: usize,
}

/// One launch: what it reads (the input, or sums in the workspace), and how.
struct Pass<'a> {
    sums: Option<usize>,
    /// Where in the workspace the results go; None for the output.
    target: Option<usize>,
    tops: Option<usize>,
    walks: &'a [Walk<1>; 2],
    count: usize,
    steps: Steps,
}

/// How the elements of results are shared out among threads.
#[derive(Debug, PartialEq)]
struct Shares {
    lanes: usize,
    adjacent: bool,
    slices: usize,
}

impl Shares {
    fn new(results: usize, count: usize, adjacent: bool) -> Shares {
        let most = count.next_power_of_two();
        let lanes = match adjacent {
            true => count.div_ceil(EACH).next_power_of_two().clamp(WARP, THREADS).min(most),
            false => (THREADS / results.next_power_of_two().min(WARP)).min(most),
        };
        let blocks = results.div_ceil(THREADS / lanes);
        Shares { lanes, adjacent, slices: (BUSY / blocks).clamp(1, count.div_ceil(lanes * EACH)) }
    }
}

impl Build<'_> {
    /// The launches that reduce the input, in one step or two; into the start of the workspace, or the output.
    fn reduction(&self, walks: &[Walk<1>; 2], tops: Option<usize>, steps: Steps, early: bool) -> Result<Vec<CudaKernel>> {
        let (map, fold, finish) = steps;
        let [_, gone] = walks;
        let shares = Shares::new(self.results, self.total, gone.inner_strides() == [1]);
        let (target, count) = (early.then_some(0), self.total);
        let pass = Pass { sums: None, target, tops, walks, count, steps };
        if shares.slices == 1 {
            return Ok(vec![self.launch(&shares, &pass)?]);
        }
        let sums = self.bytes(1);
        let count = shares.slices;
        let first = Pass { target: Some(sums), steps: (map, fold, Finish::Nothing), ..pass };
        let walks = [Walk::new(&[self.results], &[[1]]), Walk::new(&[count], &[[self.results]])];
        let second = Pass { sums: Some(sums), target, tops, walks: &walks, count, steps: (Map::Same, fold, finish) };
        let rest = Shares { slices: 1, ..Shares::new(self.results, count, false) };
        Ok(vec![self.launch(&shares, &first)?, self.launch(&rest, &second)?])
    }

    /// Bytes of so many sums for each result, aligned.
    fn bytes(&self, sums: usize) -> usize {
        let size = if self.dtype.is_float() { size_of::<f32>() } else { size_of::<i64>() };
        (sums * self.results * size).next_multiple_of(256)
    }

    fn launch(&self, shares: &Shares, pass: &Pass<'_>) -> Result<CudaKernel> {
        let name = match self.dtype {
            DType::U64 => "reduce_u64",
            dtype if dtype.is_float() => "reduce_float",
            _ => "reduce_integer",
        };
        let slice = pass.count.div_ceil(shares.slices);
        let blocks = self.results.div_ceil(THREADS / shares.lanes);
        let grid = [blocks, pass.count.div_ceil(slice), 1];
        let launch = self.cx.grid(&MODULE, name, grid)?.input(0).output(0);
        let in_workspace = |launch: Launch, at: Option<usize>, sums: usize| match at {
            Some(at) => launch.workspace(at, self.bytes(sums)),
            None => launch.value(0u64),
        };
        let launch = in_workspace(launch, pass.sums, pass.count);
        let launch = in_workspace(launch, pass.tops, 1);
        let launch = in_workspace(launch, pass.target, shares.slices);
        let shape = [self.results, pass.count, slice, shares.lanes, shares.adjacent.into()];
        let launch = launch.value(shape.map(|n| n as u32));
        let launch = pass.walks.iter().fold(launch, |launch, walk| launch.structure(&walk.words()));
        let (map, fold, finish) = pass.steps;
        let launch = launch.value([map as u32, fold as u32, finish as u32, self.total as u32]);
        launch.value(self.dtype as u32).build()
    }
}
