//! Kernels of functions of two tensors: rows in which each operand is a vector or a single value.

use super::functions as f;
use super::functions::Function;
use super::{Binary, BinaryKind, pow};
use crate::cpu::activation::{Activation, Apply};
use crate::cpu::isa::Isa;
use crate::cpu::simd::{Machine, Work};
use crate::error::{Error, Result};
use crate::ops::elementwise::{BLOCK, Flat, Half, blocks, gather};
use crate::ops::{Kernel, Prepare, Walk, kernel};
use crate::tensor::{DType, Element};
use half::{bf16, f16};
use std::ops::Range;

/// How the operands meet, apart from their types.
#[derive(Clone, Debug)]
pub struct Plan {
    pub isa: Isa,
    pub flat: Flat,
    /// The two inputs that are the operands.
    pub order: [usize; 2],
    pub walk: Walk<2>,
    rows: Rows,
    /// The walk along the rows.
    long: Walk<2>,
    activation: Activation,
}

/// What the operands are along the innermost dimension of the walk.
#[derive(Clone, Copy, Debug)]
enum Rows {
    Vectors,
    RightScalar,
    LeftScalar,
    /// The right (or left) operand is a short vector of this length that repeats; its dimension is merged with the next.
    Cyclic { right: bool, len: usize },
}

/// Longest vector that is repeated to make long rows of short ones.
const CYCLE: usize = 128;

/// The kernel of an operator on inputs that `infer` has accepted.
pub fn prepare(op: &Binary, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
    let (kind, order) = match op.kind {
        BinaryKind::Greater => (BinaryKind::Less, [1, 0]),
        BinaryKind::GreaterOrEqual => (BinaryKind::LessOrEqual, [1, 0]),
        kind => (kind, [0, 1]),
    };
    let (a, b) = (cx.input(order[0]).info, cx.input(order[1]).info);
    let walk = Walk::broadcast(&cx.out_dims(0), [&a.dims, &b.dims])?;
    let (long, rows) = Rows::of(&walk);
    let flat = Flat::new(cx.outputs[0].numel(), cost(kind, a.dtype));
    let plan = Plan { isa: cx.isa, flat, order, walk, rows, long, activation: op.activation };
    if kind == BinaryKind::Pow && (a.dtype != b.dtype || a.dtype.is_int()) {
        return pow::prepare(plan, a.dtype, b.dtype);
    }
    select(plan, kind, a.dtype).ok_or_else(|| Error::internal(format!("{kind:?} has no kernel for {}", a.dtype)))
}

/// Time for an element, in additions.
fn cost(kind: BinaryKind, dtype: DType) -> usize {
    match kind {
        BinaryKind::Pow | BinaryKind::Mod | BinaryKind::Fmod => 8,
        BinaryKind::Div if dtype.is_int() => 4,
        _ => 1,
    }
}

impl Rows {
    /// How to go through the rows of a walk, and the walk made of the longest rows.
    fn of(walk: &Walk<2>) -> (Walk<2>, Rows) {
        let [a, b] = walk.inner_strides();
        if a != 0 && b != 0 && walk.inner_len() <= CYCLE {
            let (outer, len, _) = walk.split_inner();
            let (mut long, repeats, strides) = outer.split_inner();
            if repeats > 1 && strides == [len, 0] {
                long.append(repeats * len, [1, 0]);
                return (long, Rows::Cyclic { right: true, len });
            }
            if repeats > 1 && strides == [0, len] {
                long.append(repeats * len, [0, 1]);
                return (long, Rows::Cyclic { right: false, len });
            }
        }
        let rows = match (a, b) {
            (0, 0) | (1, 1) => Rows::Vectors,
            (_, 0) => Rows::RightScalar,
            _ => Rows::LeftScalar,
        };
        (walk.clone(), rows)
    }
}

/// Computes elements of an output from whole operands.
type Apply2<T, O> = fn(&Plan, Range<usize>, &[T], &[T], &mut [O]);

/// The loop over rows.
struct Loop<'a, T, F: Function<T>> {
    plan: &'a Plan,
    range: Range<usize>,
    a: &'a [T],
    b: &'a [T],
    y: &'a mut [F::Out],
}

impl<T: Element, F: Function<T>> Work for Loop<'_, T, F> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        self.run();
    }
}

impl<T: Element, F: Function<T>> Loop<'_, T, F> {
    #[inline(always)]
    fn run(self) {
        let mut rest = self.y;
        for run in self.plan.long.runs(self.range) {
            let (y, later) = rest.split_at_mut(run.len);
            rest = later;
            let [p, q] = run.at;
            match self.plan.rows {
                Rows::Vectors => both::<T, F>(&self.a[p..p + run.len], &self.b[q..q + run.len], y),
                Rows::RightScalar => F::with_right(&self.a[p..p + run.len], self.b[q], y),
                Rows::LeftScalar => {
                    let a = self.a[p];
                    for (y, &b) in y.iter_mut().zip(&self.b[q..q + run.len]) {
                        *y = F::call(a, b);
                    }
                }
                Rows::Cyclic { right: true, len } => {
                    let mut tile = [T::default(); TILE];
                    let period = repeat(&self.b[q..q + len], run.index % len, &mut tile);
                    for (y, a) in y.chunks_mut(period).zip(self.a[p..p + run.len].chunks(period)) {
                        both::<T, F>(a, &tile[..a.len()], y);
                    }
                }
                Rows::Cyclic { right: false, len } => {
                    let mut tile = [T::default(); TILE];
                    let period = repeat(&self.a[p..p + len], run.index % len, &mut tile);
                    for (y, b) in y.chunks_mut(period).zip(self.b[q..q + run.len].chunks(period)) {
                        both::<T, F>(&tile[..b.len()], b, y);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn both<T: Copy, F: Function<T>>(a: &[T], b: &[T], y: &mut [F::Out]) {
    for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
        *y = F::call(a, b);
    }
}

/// Elements of a repeated short vector.
const TILE: usize = 512;

/// Fills the tile with repetitions of `vector` from its element `start` on; returns how many elements make up whole
/// repetitions.
fn repeat<T: Copy>(vector: &[T], start: usize, tile: &mut [T; TILE]) -> usize {
    let len = vector.len();
    let period = TILE / len * len;
    tile[..len - start].copy_from_slice(&vector[start..]);
    tile[len - start..len].copy_from_slice(&vector[..start]);
    let mut done = len;
    while done < period {
        let more = done.min(period - done);
        tile.copy_within(..more, done);
        done += more;
    }
    period
}

/// f32 is compiled for every instruction set; the rest for the baseline.
fn apply<T: Element, F: Function<T>>(plan: &Plan, range: Range<usize>, a: &[T], b: &[T], y: &mut [F::Out]) {
    let work = Loop::<T, F> { plan, range, a, b, y };
    if T::DTYPE == DType::F32 { plan.isa.dispatch(work) } else { work.run() }
}

/// A kernel for operands that are used as they are.
fn plain<T: Element, O: Element>(plan: Plan, apply: Apply2<T, O>) -> Box<dyn Kernel> {
    kernel(plan.flat.grid, move |args| {
        let (a, b) = (args.input::<T>(plan.order[0]), args.input::<T>(plan.order[1]));
        apply(&plan, plan.flat.range(args), a, b, args.output::<O>(0).into_slice());
        Ok(())
    })
}

/// A kernel that ends with the activation.
fn activated(plan: Plan, apply: Apply2<f32, f32>) -> Box<dyn Kernel> {
    if plan.activation == Activation::None {
        return plain(plan, apply);
    }
    kernel(plan.flat.grid, move |args| {
        let (a, b) = (args.input::<f32>(plan.order[0]), args.input::<f32>(plan.order[1]));
        let mut rest = args.output::<f32>(0).into_slice();
        for range in blocks(plan.flat.range(args)) {
            let (y, later) = rest.split_at_mut(range.len());
            rest = later;
            apply(&plan, range, a, b, y);
            plan.isa.dispatch(Apply(plan.activation, y));
        }
        Ok(())
    })
}

/// Block by block through f32; `store` gets the results of a block and where they belong.
fn by_blocks<T: Half, R: Element, O: Element>(
    plan: Plan,
    apply: Apply2<f32, R>,
    store: impl Fn(&Plan, &mut [R], &mut [O]) + Send + Sync + 'static,
) -> Box<dyn Kernel> {
    let block = Plan { long: Walk::new(&[BLOCK], &[[1, 1]]), rows: Rows::Vectors, ..plan.clone() };
    kernel(plan.flat.grid, move |args| {
        let inputs = plan.order.map(|i| args.input::<T>(i));
        let mut rest = args.output::<O>(0).into_slice();
        let (mut operands, mut results) = ([[0.0; BLOCK]; 2], [R::default(); BLOCK]);
        for range in blocks(plan.flat.range(args)) {
            let n = range.len();
            for (i, operand) in operands.iter_mut().enumerate() {
                gather((&plan.walk, i, range.clone()), inputs[i], operand, |x, y| T::widen(plan.isa, x, y));
            }
            apply(&block, 0..n, &operands[0][..n], &operands[1][..n], &mut results[..n]);
            let (y, later) = rest.split_at_mut(n);
            rest = later;
            store(&plan, &mut results[..n], y);
        }
        Ok(())
    })
}

fn half<T: Half>(plan: Plan, apply: Apply2<f32, f32>) -> Box<dyn Kernel> {
    by_blocks::<T, f32, T>(plan, apply, |plan, results, y| {
        plan.isa.dispatch(Apply(plan.activation, results));
        T::narrow(plan.isa, results, y);
    })
}

fn half_relation<T: Half>(plan: Plan, apply: Apply2<f32, u8>) -> Box<dyn Kernel> {
    by_blocks::<T, u8, u8>(plan, apply, |_, results, y| y.copy_from_slice(results))
}

/// Kernels by kind for one element type.
macro_rules! kinds {
    ($make:ident::<$ty:ty>($plan:ident), $kind:expr, $($name:ident)*) => {
        match $kind {
            $(BinaryKind::$name => Some($make($plan, apply::<$ty, f::$name>)),)*
            _ => None,
        }
    };
}

macro_rules! integers {
    ($plan:ident, $kind:expr, $ty:ty) => {
        kinds!(plain::<$ty>($plan), $kind, Add Sub Mul Div Mod Fmod Min Max PRelu Equal Less LessOrEqual
            BitAnd BitOr BitXor ShiftLeft ShiftRight)
    };
}

/// The kernel for a kind and type of operands; None if there is none.
fn select(plan: Plan, kind: BinaryKind, dtype: DType) -> Option<Box<dyn Kernel>> {
    match dtype {
        DType::F32 if kind.is_relation() => kinds!(plain::<f32>(plan), kind, Equal Less LessOrEqual),
        DType::F32 => kinds!(activated::<f32>(plan), kind, Add Sub Mul Div Pow Mod Fmod Min Max PRelu),
        DType::F64 => float64(plan, kind),
        DType::F16 => halves::<f16>(plan, kind),
        DType::BF16 => halves::<bf16>(plan, kind),
        DType::I8 => integers!(plan, kind, i8),
        DType::I16 => integers!(plan, kind, i16),
        DType::I32 => integers!(plan, kind, i32),
        DType::I64 => integers!(plan, kind, i64),
        DType::U8 => integers!(plan, kind, u8),
        DType::U16 => integers!(plan, kind, u16),
        DType::U32 => integers!(plan, kind, u32),
        DType::U64 => integers!(plan, kind, u64),
        DType::Bool => kinds!(plain::<u8>(plan), kind, And Or Xor Equal),
    }
}

fn float64(plan: Plan, kind: BinaryKind) -> Option<Box<dyn Kernel>> {
    kinds!(plain::<f64>(plan), kind, Add Sub Mul Div Pow Mod Fmod Min Max PRelu Equal Less LessOrEqual)
}

fn halves<T: Half>(plan: Plan, kind: BinaryKind) -> Option<Box<dyn Kernel>> {
    if kind.is_relation() {
        let make = half_relation::<T>;
        return kinds!(make::<f32>(plan), kind, Equal Less LessOrEqual);
    }
    let make = half::<T>;
    kinds!(make::<f32>(plan), kind, Add Sub Mul Div Pow Mod Fmod Min Max PRelu)
}
