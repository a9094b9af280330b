//! Attention in f32 by matrix products over blocks of queries and keys, with a running maximum and sum (Milakov and
//! Gimelshein, arXiv 1805.02867; Dao et al., arXiv 2205.14135), so that scores stay in cache.
//!
//! Phases: past and new keys and values are joined, if they are two; they are packed, once for all heads that share them;
//! then blocks of queries of these heads, as one matrix. Where there are many heads, each is a part of its own, which packs
//! what it needs itself, into memory that stays in cache. Blocks of keys that no query of a block sees are left out.
#![allow(unsafe_code, reason = "calls the matrix product driver on rows of which heads may be interleaved")]

use super::cache::Cache;
use super::shape::{MaskRow, Problem, Strides};
use super::{Attention, softmax};
use crate::cpu::Isa;
use crate::cpu::gemm::{Gemm, GemmShape, Matrix, Output, Rows, StridedRows, pack, panels};
use crate::cpu::math::exp2_weight;
use crate::cpu::simd::{Machine, Work};
use crate::error::Result;
use crate::ops::{Kernel, Prepare};
use crate::tensor::{Args, Grid, PANEL};
use std::ops::Range;

/// Queries of a block, at most.
const QUERIES: usize = 64;
/// Keys of a block: scores of a block then fit in the second-level cache.
const KEYS: usize = 512;
/// Queries (of all heads that share keys) below which packing keys and values would cost more than it saves.
const FEWEST: usize = 8;
/// Heads (with keys of their own, of all images) from which on each is a part.
const MANY_HEADS: usize = 12;
/// Elements packed, and multiply-adds, worth a part of their own.
const PACK_GRAIN: usize = 32 * 1024;
const GRAIN: usize = 128 * 1024;

struct Blocks {
    isa: Isa,
    problem: Problem,
    cache: Cache,
    /// Blocks of the queries that share keys, and the queries of each, the last one excepted.
    blocks: usize,
    rows: usize,
    /// A unit of work is all queries that share keys, not one block of them; it packs keys and values itself.
    whole: bool,
    phases: Vec<Grid>,
}

/// Whether there are enough queries.
pub fn fits(op: &Attention, cx: &Prepare<'_>) -> bool {
    let p = Problem::new(op, cx);
    p.group() * p.queries >= FEWEST && p.keys > 0 && p.size > 0 && p.value_size > 0
}

/// The kernel of an attention of known shape.
pub fn prepare(op: &Attention, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
    let problem = Problem::new(op, cx);
    let cache = Cache::new(&problem, cx);
    let Problem { batch, kv_heads, keys, size, value_size, queries, .. } = problem;
    let all = problem.group() * queries;
    let blocks = all.div_ceil(QUERIES);
    let rows = all.div_ceil(blocks);
    let heads = batch * kv_heads;
    let mut phases: Vec<Grid> = cache.grid().into_iter().collect();
    let whole = blocks == 1 || heads >= MANY_HEADS;
    if whole {
        phases.push(Grid::by_cost(heads, all * keys * (size + value_size), GRAIN));
    } else {
        phases.push(Grid::by_cost(heads * (panels(keys) + panels(value_size)), PANEL * size.max(keys), PACK_GRAIN));
        phases.push(Grid::by_cost(heads * blocks, rows * keys * (size + value_size), GRAIN));
    }
    Ok(Box::new(Blocks { isa: cx.isa, problem, cache, blocks, rows, whole, phases }))
}

impl Kernel for Blocks {
    fn phases(&self) -> Vec<Grid> {
        self.phases.clone()
    }

    fn shared_bytes(&self) -> usize {
        let heads = if self.whole { 0 } else { self.problem.batch * self.problem.kv_heads };
        self.packed() + heads * self.head_len() * size_of::<f32>()
    }

    fn scratch_bytes(&self) -> usize {
        (self.own_len() + self.floats()) * size_of::<f32>() + self.rows * size_of::<*const f32>()
    }

    fn run(&self, phase: usize, args: &mut Args<'_>) -> Result<()> {
        let (share, _) = args.ranges();
        if phase + 1 == self.phases.len() {
            let scratch = args.scratch::<f32>();
            share.for_each(|unit| self.unit(unit, args, scratch));
        } else if self.whole || self.phases.len() - phase == 3 {
            self.cache.join::<f32>(args);
        } else {
            share.for_each(|piece| self.pack_shared(piece, args));
        }
        Ok(())
    }
}

impl Blocks {
    /// First byte of the packed keys and values in the workspace.
    fn packed(&self) -> usize {
        self.cache.bytes::<f32>()
    }

    /// Elements of the packed keys of a head, and of its keys and values.
    fn keys_len(&self) -> usize {
        panels(self.problem.keys) * PANEL * self.problem.size
    }

    fn head_len(&self) -> usize {
        self.keys_len() + panels(self.problem.value_size) * PANEL * self.problem.keys
    }

    /// Elements of scratch memory for packed keys and values.
    fn own_len(&self) -> usize {
        if self.whole { self.head_len() } else { 0 }
    }

    /// Floats of scratch memory: scores, sums of values, maximum and sum of each row. The driver's table follows.
    fn floats(&self) -> usize {
        (self.rows * (self.key_block() + self.problem.value_size + 2)).next_multiple_of(PANEL)
    }

    fn key_block(&self) -> usize {
        KEYS.min(self.problem.keys.next_multiple_of(PANEL))
    }

    /// Panels of the keys of a head (0), or of its values.
    fn panels(&self, which: usize) -> usize {
        panels([self.problem.keys, self.problem.value_size][which])
    }

    /// Where panels of keys (0) or values are in the packed keys and values of their head.
    fn place(&self, which: usize, panels: &Range<usize>) -> Range<usize> {
        let Problem { keys, size, .. } = self.problem;
        let (start, len) = [(0, PANEL * size), (self.keys_len(), PANEL * keys)][which];
        start + panels.start * len..start + panels.end * len
    }

    /// Packs a panel of any head into the workspace.
    fn pack_shared(&self, piece: usize, args: &Args<'_>) {
        let pieces = self.panels(0) + self.panels(1);
        let (head, piece) = (piece / pieces, piece % pieces);
        let (which, panel) = piece.checked_sub(self.panels(0)).map_or((0, piece), |panel| (1, panel));
        let panel = panel..panel + 1;
        let place = self.place(which, &panel);
        let first = self.packed() + (head * self.head_len() + place.start) * size_of::<f32>();
        // SAFETY: each panel is written by one part.
        self.pack(head, (which, panel), args, unsafe { args.shared(first, place.len()) });
    }

    /// Packs panels of the keys (0) or values of a head.
    fn pack(&self, head: usize, (which, panels): (usize, Range<usize>), args: &Args<'_>, to: &mut [f32]) {
        let Problem { keys, size, value_size, kv_heads, .. } = self.problem;
        let (data, strides) = self.cache.rows::<f32>(which, args);
        let data = &data[head / kv_heads * strides.batch + head % kv_heads * strides.head..];
        let from = match which {
            0 => Matrix { data, k: size, n: keys, k_stride: 1, n_stride: strides.row },
            _ => Matrix { data, k: keys, n: value_size, k_stride: strides.row, n_stride: 1 },
        };
        pack(&from, panels, to);
    }

    /// A block of queries of the heads that share keys, or all of them.
    fn unit(&self, unit: usize, args: &Args<'_>, scratch: &mut [f32]) {
        let (own, scratch) = scratch.split_at_mut(self.own_len());
        if !self.whole {
            let (head, block) = (unit / self.blocks, unit % self.blocks);
            let first = self.packed() + head * self.head_len() * size_of::<f32>();
            // SAFETY: written in the phase before this one.
            return self.block((head, block), unsafe { args.shared(first, self.head_len()) }, args, scratch);
        }
        for which in 0..2 {
            let all = 0..self.panels(which);
            let place = self.place(which, &all);
            self.pack(unit, (which, all), args, &mut own[place]);
        }
        for block in 0..self.blocks {
            self.block((unit, block), own, args, scratch);
        }
    }

    /// One block of queries of the heads that share keys, which are packed with their values.
    fn block(&self, (head, block): (usize, usize), packed: &[f32], args: &Args<'_>, scratch: &mut [f32]) {
        let p = &self.problem;
        let (image, kv_head) = (head / p.kv_heads, head % p.kv_heads);
        let first = block * self.rows;
        let last = (first + self.rows).min(p.group() * p.queries);
        let (floats, table) = scratch.split_at_mut(self.floats());
        let (scores, rest) = floats.split_at_mut(self.rows * self.key_block());
        let (sums, states) = rest.split_at_mut(self.rows * p.value_size);
        let block = Block {
            kernel: self,
            image,
            first_head: kv_head * p.group(),
            rows: first..last.max(first),
            length: p.length(image, args),
            packed,
            args,
        };
        block.run(Memory { scores, sums, states, table });
    }
}

/// Scratch memory of a block.
struct Memory<'a> {
    scores: &'a mut [f32],
    sums: &'a mut [f32],
    states: &'a mut [f32],
    table: &'a mut [f32],
}

/// A block of queries.
struct Block<'k, 'a> {
    kernel: &'k Blocks,
    image: usize,
    /// First of the heads that share keys, to which rows belong in turn.
    first_head: usize,
    rows: Range<usize>,
    length: Option<usize>,
    packed: &'k [f32],
    args: &'k Args<'a>,
}

impl Block<'_, '_> {
    /// Head and query of a row.
    fn place(&self, row: usize) -> (usize, usize) {
        let queries = self.kernel.problem.queries;
        (self.first_head + row / queries, row % queries)
    }

    /// Keys that some query sees.
    fn visible(&self) -> Range<usize> {
        let each = self.rows.clone().map(|row| self.kernel.problem.visible(self.place(row).1, self.length));
        each.filter(|keys| !keys.is_empty())
            .reduce(|a, b| a.start.min(b.start)..a.end.max(b.end))
            .unwrap_or(0..0)
    }

    fn run(&self, memory: Memory<'_>) {
        let Memory { scores, sums, states, table } = memory;
        let visible = self.visible();
        let start = visible.start / PANEL * PANEL;
        let (maxima, totals) = states.split_at_mut(self.kernel.rows);
        maxima.fill(f32::NEG_INFINITY);
        totals.fill(0.0);
        for first in (start..visible.end).step_by(KEYS) {
            let keys = first..visible.end.min(first + KEYS);
            self.products(&keys, scores, table);
            let earlier = (first > start).then_some(&mut *sums);
            let step = Step { block: self, keys: keys.clone(), scores, sums: earlier, maxima, totals };
            self.kernel.isa.dispatch(step);
            self.add_values(&keys, first > start, scores, sums, table);
        }
        self.kernel.isa.dispatch(Finish { block: self, sums, totals });
    }

    /// Scores of all queries with a block of keys.
    fn products(&self, keys: &Range<usize>, scores: &mut [f32], table: &mut [f32]) {
        let Problem { size, heads, queries, .. } = self.kernel.problem;
        let strides = self.kernel.problem.strides(heads, queries, size);
        let q = &self.args.input::<f32>(0)[self.image * strides.batch..][..strides.batch];
        // Whole panels: what is beyond the keys is left out later.
        let shape = GemmShape::matrix(self.rows.len(), keys.len().next_multiple_of(PANEL), size);
        let gemm = Gemm::whole(self.kernel.isa, shape);
        let b = &self.packed[keys.start * size..self.kernel.keys_len()];
        let out = Output::new(scores.as_mut_ptr(), self.kernel.key_block());
        let a = QueryRows { block: self, q, strides };
        // SAFETY: `a` locates rows of Q, `b` holds the panels of these keys, and the scratch memory is of the size
        // asked for.
        unsafe { gemm.run_part(0, &a, b.as_ptr(), &out, table.as_mut_ptr().cast()) };
    }

    /// Sums the values of a block of keys, weighed by what has become of the scores, on top of the sums so far, if there are
    /// any.
    fn add_values(&self, keys: &Range<usize>, more: bool, scores: &[f32], sums: &mut [f32], table: &mut [f32]) {
        let Problem { value_size, keys: all, .. } = self.kernel.problem;
        let shape = GemmShape::matrix(self.rows.len(), value_size, keys.len());
        let gemm = Gemm::whole(self.kernel.isa, shape).in_panels_of(all);
        let b = &self.packed[self.kernel.keys_len() + keys.start * PANEL..];
        let a = StridedRows { data: scores.as_ptr(), stride: self.kernel.key_block() };
        let data = sums.as_mut_ptr();
        let residual = if more { data.cast_const() } else { std::ptr::null() };
        let out = Output { residual, residual_stride: value_size, ..Output::new(data, value_size) };
        // SAFETY: as for the products; the residual is the output itself or absent.
        unsafe { gemm.run_part(0, &a, b.as_ptr(), &out, table.as_mut_ptr().cast()) };
    }
}

/// The rows of Q of a block.
struct QueryRows<'a> {
    block: &'a Block<'a, 'a>,
    q: &'a [f32],
    strides: Strides,
}

impl Rows for QueryRows<'_> {
    fn locate(&self, rows: Range<usize>, table: &mut [*const f32]) {
        for (row, entry) in rows.zip(table) {
            let (head, query) = self.block.place(self.block.rows.start + row);
            *entry = self.q[head * self.strides.head + query * self.strides.row..].as_ptr();
        }
    }
}

/// Turns the scores of a block of keys into weights relative to the largest score so far.
struct Step<'k, 'a> {
    block: &'k Block<'k, 'a>,
    keys: Range<usize>,
    scores: &'k mut [f32],
    /// Sums of the values of earlier keys, if there are any.
    sums: Option<&'k mut [f32]>,
    maxima: &'k mut [f32],
    totals: &'k mut [f32],
}

impl Work for Step<'_, '_> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        let Step { block, keys, scores, mut sums, maxima, totals } = self;
        let p = &block.kernel.problem;
        let (stride, width) = (block.kernel.key_block(), keys.len().next_multiple_of(softmax::LANES));
        for (i, row) in block.rows.clone().enumerate() {
            let scores = &mut scores[i * stride..][..width];
            let (head, query) = block.place(row);
            let visible = p.visible(query, block.length);
            let start = visible.start.clamp(keys.start, keys.end);
            let end = visible.end.clamp(start, keys.end);
            scores[..start - keys.start].fill(f32::NEG_INFINITY);
            scores[end - keys.start..].fill(f32::NEG_INFINITY);
            let mask = p.mask_row([block.image, head, query], block.args);
            let factor = std::f32::consts::LOG2_E
                * prepare_row::<M>(p, &mut scores[start - keys.start..end - keys.start], mask, start..end);
            let (max, sum) = softmax::weights::<M>(scores, factor, maxima[i]);
            if let Some(sums) = &mut sums
                && max != maxima[i]
            {
                let share = exp2_weight::<M>((maxima[i] - max) * factor);
                totals[i] *= share;
                sums[i * p.value_size..][..p.value_size].iter_mut().for_each(|x| *x *= share);
            }
            maxima[i] = max;
            totals[i] += sum;
        }
    }
}

/// Caps and masks the scores of the keys that a query sees; returns the factor by which they remain to be scaled.
#[inline(always)]
fn prepare_row<M: Machine>(p: &Problem, scores: &mut [f32], mask: MaskRow<'_, f32>, keys: Range<usize>) -> f32 {
    let (mut scale, softcap) = (p.scale as f32, p.softcap as f32);
    // A factor that is not positive would change the order of the scores.
    if softcap != 0.0 || scale.is_nan() || scale <= 0.0 {
        softmax::cap::<f32, M>(scores, scale, softcap);
        scale = 1.0;
    }
    let added = matches!(mask, MaskRow::Float(_));
    if !keys.is_empty() {
        softmax::mask::<f32, M>(scores, mask.keys(keys), scale);
    }
    if added { 1.0 } else { scale }
}

/// Divides by the sums of weights; a query that sees nothing gives zeros.
struct Finish<'k, 'a> {
    block: &'k Block<'k, 'a>,
    sums: &'k [f32],
    totals: &'k [f32],
}

impl Work for Finish<'_, '_> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        let Finish { block, sums, totals } = self;
        let Problem { value_size, heads, queries, .. } = block.kernel.problem;
        let Strides { batch, head: step, row: width } = block.kernel.problem.strides(heads, queries, value_size);
        let out = block.args.raw_output(0);
        for ((row, sum), total) in block.rows.clone().zip(sums.chunks_exact(value_size)).zip(totals) {
            let (head, query) = block.place(row);
            let first = block.image * batch + head * step + query * width;
            assert!((first + value_size) * size_of::<f32>() <= out.byte_len());
            // SAFETY: inside the output, checked above; every query of every head belongs to one block.
            let to = unsafe { std::slice::from_raw_parts_mut(out.as_ptr().cast::<f32>().add(first), value_size) };
            if *total == 0.0 {
                to.fill(0.0);
                continue;
            }
            let share = 1.0 / total;
            for (y, sum) in to.iter_mut().zip(sum) {
                *y = sum * share;
            }
        }
    }
}
