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
use crate::cpu::fold::largest;
use crate::cpu::gemm::{Gemm, GemmShape, Matrix, Output, Rows, StridedRows, pack, panels};
use crate::cpu::math::exp2_weight;
use crate::cpu::scores::add_mask;
use crate::cpu::simd::{Machine, Work};
use crate::error::Result;
use crate::ops::{Kernel, Prepare};
use crate::tensor::{Args, Grid, PANEL};
use std::ops::Range;

/// Queries of a block, at most.
const QUERIES: usize = 64;
/// Keys of a block: scores of a block then fit in the second-level cache.
const KEYS: usize = 512;
/// Rows whose scores become weights together: what each waits for is hidden behind the others.
const GROUP: usize = 8;
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

    /// Floats of scratch memory: scores and what is added to them, sums of values, maximum and sum of each row. The driver's
    /// table follows.
    fn floats(&self) -> usize {
        ((self.rows + 1) * self.key_block() + self.rows * (self.problem.value_size + 2)).next_multiple_of(PANEL)
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
        let (added, rest) = rest.split_at_mut(self.key_block());
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
        block.run(Memory { scores, added, sums, states, table });
    }
}

/// Scratch memory of a block.
struct Memory<'a> {
    scores: &'a mut [f32],
    /// Added to the scores of each key.
    added: &'a mut [f32],
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
    /// Head and query of each of `rows`, counted from the first row of the block.
    fn places(&self, rows: Range<usize>) -> Places {
        let queries = self.kernel.problem.queries;
        let first = self.rows.start + rows.start;
        Places { head: self.first_head + first / queries, query: first % queries, queries, left: rows.len() }
    }

    /// Head and query of all rows.
    fn all_places(&self) -> Places {
        self.places(0..self.rows.len())
    }

    /// Keys that some query sees.
    fn visible(&self) -> Range<usize> {
        let each = self.all_places().map(|(_, query)| self.kernel.problem.visible(query, self.length));
        each.filter(|keys| !keys.is_empty())
            .reduce(|a, b| a.start.min(b.start)..a.end.max(b.end))
            .unwrap_or(0..0)
    }

    fn run(&self, memory: Memory<'_>) {
        let Memory { scores, added, sums, states, table } = memory;
        let visible = self.visible();
        let start = visible.start / PANEL * PANEL;
        let (maxima, totals) = states.split_at_mut(self.kernel.rows);
        maxima.fill(f32::NEG_INFINITY);
        totals.fill(0.0);
        for first in (start..visible.end).step_by(KEYS) {
            let keys = first..visible.end.min(first + KEYS);
            self.products(&keys, scores, added, table);
            let earlier = (first > start).then_some(&mut *sums);
            let step = Step { block: self, keys: keys.clone(), scores, sums: earlier, maxima, totals };
            self.kernel.isa.dispatch(step);
            self.add_values(&keys, first > start, scores, sums, table);
        }
        self.kernel.isa.dispatch(Finish { block: self, sums, totals });
    }

    /// Scores of all queries with a block of keys; minus infinity where padding stands for keys.
    fn products(&self, keys: &Range<usize>, scores: &mut [f32], added: &mut [f32], table: &mut [f32]) {
        let Problem { size, heads, queries, .. } = self.kernel.problem;
        let strides = self.kernel.problem.strides(heads, queries, size);
        let q = &self.args.input::<f32>(0)[self.image * strides.batch..][..strides.batch];
        // Whole panels: keys that are not seen are left out later.
        let shape = GemmShape::matrix(self.rows.len(), keys.len().next_multiple_of(PANEL), size);
        let gemm = Gemm::whole(self.kernel.isa, shape);
        let b = &self.packed[keys.start * size..self.kernel.keys_len()];
        added.fill(0.0);
        added[keys.len()..].fill(f32::NEG_INFINITY);
        let out = Output { bias: added.as_ptr(), ..Output::new(scores.as_mut_ptr(), self.kernel.key_block()) };
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

/// Heads and queries of neighbouring rows.
struct Places {
    head: usize,
    query: usize,
    queries: usize,
    left: usize,
}

impl Iterator for Places {
    type Item = (usize, usize);

    #[inline(always)]
    fn next(&mut self) -> Option<(usize, usize)> {
        self.left = self.left.checked_sub(1)?;
        if self.query == self.queries {
            (self.head, self.query) = (self.head + 1, 0);
        }
        self.query += 1;
        Some((self.head, self.query - 1))
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
        for ((head, query), entry) in self.block.places(rows).zip(table) {
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
    fn run<M: Machine>(mut self) {
        let rows = self.block.rows.len();
        let mut places = self.block.all_places();
        let scaling = Scaling::new(self.block);
        let mut before = [0.0; GROUP];
        for first in (0..rows).step_by(GROUP) {
            let group = first..(first + GROUP).min(rows);
            for ((row, place), before) in group.clone().zip(&mut places).zip(&mut before) {
                *before = self.maxima[row];
                let largest = self.prepare::<M>(row, place, &scaling);
                self.maxima[row] = if largest > *before { largest } else { *before };
            }
            for (row, before) in group.zip(before) {
                self.weigh::<M>(row, before, scaling.factor);
            }
        }
    }
}

impl Step<'_, '_> {
    #[inline(always)]
    fn scores(&mut self, row: usize) -> &mut [f32] {
        let width = self.keys.len().next_multiple_of(softmax::LANES);
        &mut self.scores[row * self.block.kernel.key_block()..][..width]
    }

    /// Caps and masks the scores of a row; returns the largest.
    #[inline(always)]
    fn prepare<M: Machine>(&mut self, row: usize, (head, query): (usize, usize), scaling: &Scaling<'_>) -> f32 {
        let (block, first) = (self.block, self.keys.start);
        let p = &block.kernel.problem;
        let visible = p.visible(query, block.length);
        let start = visible.start.clamp(first, self.keys.end);
        let end = visible.end.clamp(start, self.keys.end);
        let scores = self.scores(row);
        scores[..start - first].fill(f32::NEG_INFINITY);
        if end < p.keys {
            scores[end - first..].fill(f32::NEG_INFINITY);
        }
        if let Some((scale, softcap)) = scaling.cap {
            softmax::cap::<f32, M>(&mut scores[start - first..end - first], scale, softcap);
        }
        match p.mask_row([block.image, head, query], scaling.masks).keys(start..end) {
            MaskRow::Float(mask) => add_mask::<M>(&mut scores[start - first..], scaling.scale, mask),
            mask => softmax::mask::<f32, M>(&mut scores[start - first..end - first], mask, 1.0),
        }
        largest::<M>(scores)
    }

    /// Turns the scores of a row into weights, and lets what came earlier weigh less if the largest score is a new one.
    #[inline(always)]
    fn weigh<M: Machine>(&mut self, row: usize, before: f32, factor: f32) {
        let max = self.maxima[row];
        let sum = softmax::weights::<M>(self.scores(row), factor, max);
        let size = self.block.kernel.problem.value_size;
        if let Some(sums) = &mut self.sums
            && max != before
        {
            let share = exp2_weight::<M>((before - max) * factor);
            self.totals[row] *= share;
            sums[row * size..][..size].iter_mut().for_each(|x| *x *= share);
        }
        self.totals[row] += sum;
    }
}

/// What happens to the scores of all rows of a block.
struct Scaling<'a> {
    masks: MaskRow<'a, f32>,
    /// Factor and soft cap that are applied first.
    cap: Option<(f32, f32)>,
    /// Factor of the scores to which a mask is added.
    scale: f32,
    /// Factor of the exponents.
    factor: f32,
}

impl<'a> Scaling<'a> {
    fn new(block: &Block<'_, 'a>) -> Self {
        let p = &block.kernel.problem;
        let (scale, softcap) = (p.scale as f32, p.softcap as f32);
        let masks = p.masks(block.args);
        // A factor that is not positive would change the order of the scores.
        let early = softcap != 0.0 || scale.is_nan() || scale <= 0.0;
        let (cap, scale) = if early { (Some((scale, softcap)), 1.0) } else { (None, scale) };
        let added = matches!(masks, MaskRow::Float(_));
        Scaling { masks, cap, scale, factor: std::f32::consts::LOG2_E * if added { 1.0 } else { scale } }
    }
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
        for (((head, query), sum), total) in block.all_places().zip(sums.chunks_exact(value_size)).zip(totals) {
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
