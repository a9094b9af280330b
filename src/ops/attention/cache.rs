//! Keys and values: those of the inputs, or past and new ones brought together.
#![allow(unsafe_code, reason = "parts write disjoint ranges of the shared workspace")]

use super::shape::{Problem, Strides};
use crate::ops::Prepare;
use crate::ops::arith::Real;
use crate::tensor::{Args, Grid};

/// Elements worth a part of their own.
const GRAIN: usize = 32 * 1024;

/// Where keys and values are after the first phase.
#[derive(Clone, Copy, Debug)]
pub struct Cache {
    /// Past and new ones are brought together.
    joined: bool,
    /// Present key and value are outputs; else, if they are joined, they are in the workspace.
    outputs: usize,
    grid: Grid,
    /// Extents: batch times heads, past, all keys, sizes of key and value.
    rows: usize,
    heads: usize,
    past: usize,
    keys: usize,
    sizes: [usize; 2],
    new: [Strides; 2],
}

impl Cache {
    pub fn new(problem: &Problem, cx: &Prepare<'_>) -> Self {
        let Problem { batch, kv_heads, past, keys, size, value_size, .. } = *problem;
        let outputs = cx.outputs.len().clamp(1, 3) - 1;
        let rows = batch * kv_heads * keys;
        Cache {
            joined: cx.optional(4).is_some() || outputs > 0,
            outputs,
            grid: Grid::by_cost(rows, size + value_size, GRAIN),
            rows,
            heads: kv_heads,
            past,
            keys,
            sizes: [size, value_size],
            new: [size, value_size].map(|size| problem.strides(kv_heads, keys - past, size)),
        }
    }

    /// The phase that joins; None if there is nothing to do.
    pub fn grid(&self) -> Option<Grid> {
        self.joined.then_some(self.grid)
    }

    /// Bytes of workspace.
    pub fn bytes<T>(&self) -> usize {
        if !self.joined {
            return 0;
        }
        (self.outputs..2).map(|i| (self.rows * self.sizes[i] * size_of::<T>()).next_multiple_of(64)).sum()
    }

    /// Offset in the workspace of keys (0) or values (1).
    fn start<T>(&self, which: usize) -> usize {
        (self.outputs..which).map(|i| (self.rows * self.sizes[i] * size_of::<T>()).next_multiple_of(64)).sum()
    }

    /// Copies this part's rows, past and new.
    pub fn join<T: Real>(&self, args: &mut Args<'_>) {
        let (rows, _) = args.ranges();
        for which in 0..2 {
            let size = self.sizes[which];
            let to = if which < self.outputs {
                args.output::<T>(which + 1).into_slice()
            } else {
                let first = self.start::<T>(which) + rows.start * size * size_of::<T>();
                // SAFETY: parts have disjoint rows.
                unsafe { args.shared::<T>(first, rows.len() * size) }
            };
            let (past, new) = (args.optional::<T>(which + 4), args.input::<T>(which + 1));
            for (row, i) in rows.clone().zip(0..) {
                let (head, key) = (row / self.keys, row % self.keys);
                let from = match past {
                    Some(past) if key < self.past => &past[(head * self.past + key) * size..],
                    _ => {
                        let Strides { batch, head: step, row } = self.new[which];
                        let (image, head) = (head / self.heads, head % self.heads);
                        &new[image * batch + head * step + (key - self.past) * row..]
                    }
                };
                to[i * size..(i + 1) * size].copy_from_slice(&from[..size]);
            }
        }
    }

    /// All keys (0) or values (1), and where their rows are.
    pub fn rows<'a, T: Real>(&self, which: usize, args: &Args<'a>) -> (&'a [T], Strides) {
        if !self.joined {
            return (args.input::<T>(which + 1), self.new[which]);
        }
        let size = self.sizes[which];
        let head = self.keys * size;
        let strides = Strides { batch: self.heads * head, head, row: size };
        let len = self.rows * size;
        if which < self.outputs {
            let out = args.raw_output(which + 1);
            assert!(out.byte_len() == len * size_of::<T>());
            // SAFETY: written in the phase before this one, and only read from then on.
            return (unsafe { std::slice::from_raw_parts(out.as_ptr().cast::<T>().cast_const(), len) }, strides);
        }
        // SAFETY: as above.
        (unsafe { args.shared::<T>(self.start::<T>(which), len) }, strides)
    }
}
