//! The shape of a product in numbers, reduced to a batch of matrices.

use super::MatMul;
use crate::ops::Prepare;
use crate::ops::arith::Arith;
use crate::tensor::{Dims, Layout, PANEL};

/// A batch of products of `m` x `k` and `k` x `n` matrices.
#[derive(Clone, Copy, Debug)]
pub struct Problem {
    /// Number of products.
    pub batch: usize,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: Matrices,
    pub b: Matrices,
    /// A and B are inputs 1 and 0.
    pub swapped: bool,
}

/// An operand: contiguous matrices, of which each product uses one.
#[derive(Clone, Copy, Debug)]
pub struct Matrices {
    /// How many there are.
    pub count: usize,
    /// Stored with rows and columns swapped.
    pub transposed: bool,
    /// Stored in panels of columns.
    pub panels: bool,
    index: Offsets,
}

/// Where the elements of a tensor that is broadcast to larger dimensions are.
#[derive(Clone, Copy, Debug)]
pub struct Offsets {
    dims: Dims,
    strides: Dims,
}

impl Offsets {
    /// For a tensor of extents `from` (at most as many as `to`, each 1 or equal) with elements of `unit` each.
    pub fn new(from: &[usize], to: &[usize], unit: usize) -> Self {
        let mut strides = Dims::new(to);
        let own = Dims::new(from).strides();
        for i in 0..to.len() {
            let inner = (i + from.len()).checked_sub(to.len());
            strides[i] = inner.filter(|&i| from[i] > 1).map_or(0, |i| own[i] * unit);
        }
        Offsets { dims: Dims::new(to), strides }
    }

    /// Distances in the tensor between neighbours along the dimensions of the larger one.
    #[cfg(feature = "cuda")]
    pub fn strides(&self) -> Dims {
        self.strides
    }

    /// Offset of the element at row-major position `index` of the larger tensor.
    pub fn at(&self, mut index: usize) -> usize {
        let mut offset = 0;
        for (&dim, &stride) in self.dims.iter().zip(self.strides.iter()).rev() {
            offset += index % dim * stride;
            index /= dim;
        }
        offset
    }

    /// Adds elements of the tensor to those of the larger one that start at position `first`.
    #[inline(always)]
    pub fn add<T: Arith>(&self, to: &mut [T], first: usize, from: &[T]) {
        let width = self.dims.last().copied().unwrap_or(1);
        let repeated = self.strides.last().is_none_or(|&s| s == 0);
        let mut done = 0;
        while done < to.len() {
            let position = first + done;
            let run = (width - position % width).min(to.len() - done);
            let to = &mut to[done..done + run];
            let from = &from[self.at(position)..];
            if repeated {
                to.iter_mut().for_each(|x| *x = x.plus(from[0]));
            } else {
                to.iter_mut().zip(from).for_each(|(x, y)| *x = x.plus(*y));
            }
            done += run;
        }
    }

    /// Whether the tensor is one row of `n` elements, the same for every row of the larger tensor.
    pub fn is_row(&self, n: usize) -> bool {
        let mut inner = 1;
        for (&dim, &stride) in self.dims.iter().zip(self.strides.iter()).rev() {
            if dim != 1 && stride != if inner < n { inner } else { 0 } {
                return false;
            }
            inner *= dim;
        }
        true
    }

    /// Whether the tensor is as large as the one that it is broadcast to.
    pub fn is_full(&self) -> bool {
        let full = self.dims.strides();
        self.dims.iter().enumerate().all(|(i, &dim)| dim == 1 || self.strides[i] == full[i])
    }
}

impl Problem {
    pub fn new(op: &MatMul, cx: &Prepare<'_>) -> Self {
        let (a, b, out) = (cx.dims(0), cx.dims(1), cx.out_dims(0));
        let (a_batch, m, k) = split(&a, op.transpose_a, false);
        let (b_batch, _, n) = split(&b, op.transpose_b, true);
        let tail = usize::from(a.len() > 1) + usize::from(b.len() > 1);
        let batch = &out[..out.len() - tail];
        let matrices = |own: &[usize], transposed: bool, layout: Layout| Matrices {
            count: own.iter().product(),
            transposed,
            panels: layout == Layout::Panels,
            index: Offsets::new(own, batch, 1),
        };
        let mut problem = Problem {
            batch: batch.iter().product(),
            m,
            n,
            k,
            a: matrices(a_batch, op.transpose_a, Layout::RowMajor),
            b: matrices(b_batch, op.transpose_b, cx.input(1).layout),
            swapped: false,
        };
        problem.simplify();
        problem
    }

    /// Vectors are contiguous whether stored as rows or as columns; a matrix times a vector is the vector times the
    /// transposed matrix.
    fn simplify(&mut self) {
        self.a.transposed &= self.m != 1 && self.k != 1;
        self.b.transposed &= self.n != 1 && self.k != 1;
        if self.n != 1 || self.m == 1 || self.b.panels {
            return;
        }
        (self.m, self.n) = (1, self.m);
        (self.a, self.b) = (self.b, self.a);
        (self.a.transposed, self.b.transposed) = (false, !self.b.transposed);
        self.swapped = true;
        if self.a.count == 1 && self.b.transposed {
            // Rows of all matrices, times one vector.
            (self.n, self.batch, self.b.count) = (self.n * self.batch, 1, 1);
        }
    }

    /// Whether all products share B: then they are one product of `batch * m` rows.
    pub fn is_one(&self) -> bool {
        self.b.count == 1
    }

    /// Elements of one matrix of B as it is stored.
    pub fn b_len(&self) -> usize {
        self.k * if self.b.panels { self.n.next_multiple_of(PANEL) } else { self.n }
    }
}

impl Matrices {
    /// The matrix that product `batch` uses.
    pub fn index(&self, batch: usize) -> usize {
        self.index.at(batch)
    }
}

/// Batch extents, rows and columns of an operand, the last two as they are after the transposition.
pub fn split(dims: &Dims, transpose: bool, column: bool) -> (&[usize], usize, usize) {
    match &dims[..] {
        [batch @ .., c, r] if transpose => (batch, *r, *c),
        [batch @ .., r, c] => (batch, *r, *c),
        [k] if column => (&[], *k, 1),
        [k] => (&[], 1, *k),
        [] => (&[], 1, 1),
    }
}
