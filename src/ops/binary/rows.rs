//! f32: loops over long rows in which each operand is a vector or a single value, compiled for each instruction set.

use super::cpu::Plan;
use super::functions::Function;
use crate::cpu::Activation;
use crate::cpu::simd::{Machine, Work};
use crate::ops::elementwise::blocks;
use crate::ops::{Kernel, Walk, kernel};
use crate::tensor::Element;
use std::ops::Range;

/// The operands as rows.
struct Rows {
    plan: Plan,
    form: Form,
    /// The walk along the rows.
    walk: Walk<2>,
}

/// What the operands are along the innermost dimension of the walk.
#[derive(Clone, Copy, Debug)]
enum Form {
    Vectors,
    RightScalar,
    LeftScalar,
    /// The right (or left) operand is a short vector of this length that repeats; its dimension is merged with the next.
    Cyclic { right: bool, len: usize },
}

/// Longest vector that is repeated to make long rows of short ones.
const CYCLE: usize = 128;

/// Computes the elements `range` of an output from whole operands.
type Rowwise<O> = fn(&Rows, Range<usize>, &[f32], &[f32], &mut [O]);

/// The kernel of a function with truth values as results.
pub fn relation<F: Function<f32, Out = u8>>(plan: Plan) -> Box<dyn Kernel> {
    plain(plan, apply::<F>)
}

/// The kernel of a function that may end with an activation.
pub fn arithmetic<F: Function<f32, Out = f32>>(plan: Plan) -> Box<dyn Kernel> {
    if plan.activation == Activation::None { plain(plan, apply::<F>) } else { activated(plan, apply::<F>) }
}

fn plain<O: Element>(plan: Plan, apply: Rowwise<O>) -> Box<dyn Kernel> {
    let rows = Rows::new(plan);
    kernel(rows.plan.flat.grid, move |args| {
        let [a, b] = rows.plan.order.map(|i| args.input::<f32>(i));
        apply(&rows, rows.plan.flat.range(args), a, b, args.output::<O>(0).into_slice());
        Ok(())
    })
}

fn activated(plan: Plan, apply: Rowwise<f32>) -> Box<dyn Kernel> {
    let rows = Rows::new(plan);
    kernel(rows.plan.flat.grid, move |args| {
        let [a, b] = rows.plan.order.map(|i| args.input::<f32>(i));
        let mut rest = args.output::<f32>(0).into_slice();
        for range in blocks(rows.plan.flat.range(args)) {
            let (y, later) = rest.split_at_mut(range.len());
            rest = later;
            apply(&rows, range, a, b, y);
            rows.plan.activation.apply_to(rows.plan.isa, y);
        }
        Ok(())
    })
}

impl Rows {
    fn new(plan: Plan) -> Self {
        let (walk, form) = Form::of(&plan.walk);
        Rows { plan, form, walk }
    }
}

impl Form {
    /// How to go through the rows of a walk, and the walk made of the longest rows.
    fn of(walk: &Walk<2>) -> (Walk<2>, Form) {
        let [a, b] = walk.inner_strides();
        if a != 0 && b != 0 && walk.inner_len() <= CYCLE {
            let (outer, len, _) = walk.split_inner();
            let (mut long, repeats, strides) = outer.split_inner();
            if repeats > 1 && strides == [len, 0] {
                long.append(repeats * len, [1, 0]);
                return (long, Form::Cyclic { right: true, len });
            }
            if repeats > 1 && strides == [0, len] {
                long.append(repeats * len, [0, 1]);
                return (long, Form::Cyclic { right: false, len });
            }
        }
        let form = match (a, b) {
            (0, 0) | (1, 1) => Form::Vectors,
            (_, 0) => Form::RightScalar,
            _ => Form::LeftScalar,
        };
        (walk.clone(), form)
    }
}

/// The loop of a function, compiled for the instruction set of the plan.
fn apply<F: Function<f32>>(rows: &Rows, range: Range<usize>, a: &[f32], b: &[f32], y: &mut [F::Out]) {
    let work = Loop::<F> { rows, range, a, b, y };
    if F::IN_LIBRARY { work.run_here() } else { rows.plan.isa.dispatch(work) }
}

struct Loop<'a, F: Function<f32>> {
    rows: &'a Rows,
    range: Range<usize>,
    a: &'a [f32],
    b: &'a [f32],
    y: &'a mut [F::Out],
}

impl<F: Function<f32>> Work for Loop<'_, F> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        self.run_here();
    }
}

impl<F: Function<f32>> Loop<'_, F> {
    #[inline(always)]
    fn run_here(self) {
        let mut rest = self.y;
        for run in self.rows.walk.runs(self.range) {
            let (y, later) = rest.split_at_mut(run.len);
            rest = later;
            let [p, q] = run.at;
            match self.rows.form {
                Form::Vectors => F::zip(&self.a[p..p + run.len], &self.b[q..q + run.len], y),
                Form::RightScalar => F::with_right(&self.a[p..p + run.len], self.b[q], y),
                Form::LeftScalar => F::with_left(self.a[p], &self.b[q..q + run.len], y),
                Form::Cyclic { right, len } => {
                    let (vector, other) = if right { (&self.b[q..], &self.a[p..]) } else { (&self.a[p..], &self.b[q..]) };
                    cyclic::<F>(other, (&vector[..len], run.index % len), y, right);
                }
            }
        }
    }
}

/// Elements of a repeated short vector.
const TILE: usize = 512;

/// A row that meets repetitions of a short vector, which begin with its element `start`.
#[inline(always)]
fn cyclic<F: Function<f32>>(row: &[f32], (vector, start): (&[f32], usize), y: &mut [F::Out], right: bool) {
    let mut tile = [0.0; TILE];
    let period = repeat(vector, start, &mut tile);
    for (y, x) in y.chunks_mut(period).zip(row.chunks(period)) {
        let (a, b) = if right { (x, &tile[..]) } else { (&tile[..], x) };
        F::zip(a, b, y);
    }
}

/// Fills the tile with repetitions of `vector` from its element `start` on; returns how many elements make up whole
/// repetitions.
fn repeat(vector: &[f32], start: usize, tile: &mut [f32; TILE]) -> usize {
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
