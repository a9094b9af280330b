//! Attention of a few queries at a time, with keys and values where they are: for single queries, f64, and where scores are
//! wanted.
#![allow(unsafe_code, reason = "rows of an output of which heads may be interleaved")]

use super::cache::Cache;
use super::shape::{Problem, Strides};
use super::{Attention, Scores, softmax};
use crate::cpu::Isa;
use crate::cpu::simd::{Machine, Work};
use crate::error::Result;
use crate::ops::arith::{Real, add_scaled, dot};
use crate::ops::{Kernel, Prepare};
use crate::tensor::{Args, Grid};
use std::marker::PhantomData;

/// Queries that read keys and values together.
const ROWS: usize = 4;
/// Multiply-adds worth a part of their own.
const GRAIN: usize = 64 * 1024;

struct Rows<T> {
    isa: Isa,
    problem: Problem,
    cache: Cache,
    scores: Option<Scores>,
    /// Units of [`ROWS`] queries of the heads that share keys.
    units: usize,
    phases: Vec<Grid>,
    element: PhantomData<fn() -> T>,
}

/// The kernel of an attention of known shape.
pub fn prepare<T: Real>(op: &Attention, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
    let problem = Problem::new(op, cx);
    let cache = Cache::new(&problem, cx);
    let units = (problem.group() * problem.queries).div_ceil(ROWS);
    let cost = ROWS * problem.keys * (problem.size + problem.value_size);
    let mut phases: Vec<Grid> = cache.grid().into_iter().collect();
    phases.push(Grid::by_cost(problem.batch * problem.kv_heads * units, cost, GRAIN));
    let scores = op.scores.filter(|_| cx.outputs.len() > 3);
    Ok(Box::new(Rows::<T> { isa: cx.isa, problem, cache, scores, units, phases, element: PhantomData }))
}

impl<T: Real> Kernel for Rows<T> {
    fn phases(&self) -> Vec<Grid> {
        self.phases.clone()
    }

    fn shared_bytes(&self) -> usize {
        self.cache.bytes::<T>()
    }

    fn scratch_bytes(&self) -> usize {
        ROWS * (self.problem.keys + self.problem.value_size) * size_of::<T>()
    }

    fn run(&self, phase: usize, args: &mut Args<'_>) -> Result<()> {
        if phase + 1 < self.phases.len() {
            self.cache.join::<T>(args);
            return Ok(());
        }
        let scratch = args.scratch::<T>();
        for unit in args.ranges().0 {
            self.isa.dispatch(Unit { kernel: self, unit, args, scratch });
        }
        Ok(())
    }
}

/// A few queries of the heads that share keys.
struct Unit<'k, 'a, 'b, T> {
    kernel: &'k Rows<T>,
    unit: usize,
    args: &'a Args<'b>,
    scratch: &'a mut [T],
}

impl<T: Real> Work for Unit<'_, '_, '_, T> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        let Unit { kernel, unit, args, scratch } = self;
        let p = &kernel.problem;
        let (image, kv_head) = (unit / kernel.units / p.kv_heads, unit / kernel.units % p.kv_heads);
        let first = unit % kernel.units * ROWS;
        let count = (p.group() * p.queries - first).min(ROWS);
        let (scores, sums) = scratch.split_at_mut(ROWS * p.keys);
        let head_of = |row: usize| (kv_head * p.group() + row / p.queries, row % p.queries);
        kernel.products::<M>(image, kv_head, (0..count).map(|r| head_of(first + r)), args, scores);
        for (row, scores) in (first..first + count).zip(scores.chunks_exact_mut(p.keys.max(1))) {
            let (head, query) = head_of(row);
            kernel.weigh::<M>([image, head, query], args, scores);
        }
        let sums = &mut sums[..ROWS * p.value_size];
        kernel.sum_values::<M>((image, kv_head), count, args, (&*scores, sums));
        for (row, sum) in (first..first + count).zip(sums.chunks_exact(p.value_size.max(1))) {
            let (head, query) = head_of(row);
            let Strides { batch, head: step, row } = p.strides(p.heads, p.queries, p.value_size);
            // SAFETY: every query of every head belongs to one part.
            unsafe { write(args, 0, image * batch + head * step + query * row, sum) };
        }
    }
}

/// Writes elements of an output from position `first` on.
///
/// # Safety
/// No other part writes them.
unsafe fn write<T: Real>(args: &Args<'_>, output: usize, first: usize, from: &[T]) {
    let out = args.raw_output(output);
    assert!((first + from.len()) * size_of::<T>() <= out.byte_len());
    // SAFETY: inside the output, checked above; exclusive by the caller's promise.
    unsafe { std::slice::from_raw_parts_mut(out.as_ptr().cast::<T>().add(first), from.len()) }.copy_from_slice(from);
}

impl<T: Real> Rows<T> {
    /// Products of the queries with all keys, a row of scores for each.
    #[inline(always)]
    fn products<M: Machine>(
        &self,
        image: usize,
        kv_head: usize,
        queries: impl Iterator<Item = (usize, usize)> + Clone,
        args: &Args<'_>,
        scores: &mut [T],
    ) {
        let p = &self.problem;
        let q = p.strides(p.heads, p.queries, p.size);
        let (keys, k) = self.cache.rows::<T>(0, args);
        for key in 0..p.keys {
            let key_row = &keys[image * k.batch + kv_head * k.head + key * k.row..][..p.size];
            for ((head, query), scores) in queries.clone().zip(scores.chunks_exact_mut(p.keys)) {
                let query = &args.input::<T>(0)[image * q.batch + head * q.head + query * q.row..][..p.size];
                scores[key] = dot::<T, M>(query, key_row);
            }
        }
    }

    /// Turns products into weights that sum to 1.
    #[inline(always)]
    fn weigh<M: Machine>(&self, at: [usize; 3], args: &Args<'_>, scores: &mut [T]) {
        let p = &self.problem;
        let give_out = |stage: Scores, scores: &[T]| {
            if self.scores == Some(stage) {
                let row = (at[0] * p.heads + at[1]) * p.queries + at[2];
                // SAFETY: every query of every head belongs to one part.
                unsafe { write(args, 3, row * p.keys, scores) };
            }
        };
        softmax::cap::<T, M>(scores, T::from_f64(p.scale), T::default());
        give_out(Scores::Products, scores);
        if p.softcap != 0.0 {
            softmax::cap::<T, M>(scores, T::from_f64(1.0), T::from_f64(p.softcap));
        }
        give_out(Scores::Capped, scores);
        let visible = p.visible(at[2], p.length(at[0], args));
        let removed = T::from_f64(f64::NEG_INFINITY);
        scores[..visible.start].fill(removed);
        scores[visible.end..].fill(removed);
        let mask = p.mask_row(at, p.masks(args)).keys(visible.clone());
        softmax::mask::<T, M>(&mut scores[visible.clone()], mask, T::from_f64(1.0));
        give_out(Scores::Masked, scores);
        let (_, sum) = softmax::exponentials::<T, M>(&mut scores[visible.clone()], removed);
        scores[..visible.start].fill(T::default());
        scores[visible.end..].fill(T::default());
        if sum != T::default() {
            scores[visible].iter_mut().for_each(|s| *s = *s / sum);
        }
        give_out(Scores::Weights, scores);
    }

    /// Sums values by weight; a key without weight does not count, whatever its value.
    #[inline(always)]
    fn sum_values<M: Machine>(
        &self,
        (image, kv_head): (usize, usize),
        count: usize,
        args: &Args<'_>,
        (weights, sums): (&[T], &mut [T]),
    ) {
        let p = &self.problem;
        let (values, v) = self.cache.rows::<T>(1, args);
        sums.fill(T::default());
        for key in 0..p.keys {
            let value = &values[image * v.batch + kv_head * v.head + key * v.row..][..p.value_size];
            for (row, sum) in sums.chunks_exact_mut(p.value_size.max(1)).take(count).enumerate() {
                let weight = weights[row * p.keys + key];
                if weight != T::default() {
                    add_scaled::<T, M>(sum, weight, value);
                }
            }
        }
    }
}
