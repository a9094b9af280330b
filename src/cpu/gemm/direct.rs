//! Products of few rows, which read B once, where it is: packing it would cost more than the product.

use super::Output;
use crate::cpu::Isa;
use crate::cpu::simd::{Machine, Work};
use std::ops::Range;

/// Most rows of A that are multiplied without packing B.
pub const MAX_ROWS: usize = 4;

/// Multiply-adds worth a part of their own, columns that a part takes at least, and most parts.
const GRAIN: usize = 128 * 1024;
const UNIT: usize = 64;
const MAX_PARTS: usize = 64;

/// Columns whose sums stay in the first-level cache while rows of B stream by.
const STRIP: usize = 1024;
/// Sums that a dot product keeps apart.
const LANES: usize = 64;

/// A product of known shape.
#[derive(Clone, Copy, Debug)]
pub struct Direct {
    isa: Isa,
    m: usize,
    n: usize,
    k: usize,
    transposed: bool,
}

impl Direct {
    /// The product of `m` x `k` and `k` x `n` matrices; B is row-major, or its transpose is.
    pub fn new(isa: Isa, m: usize, n: usize, k: usize, transposed: bool) -> Self {
        Direct { isa, m, n, k, transposed }
    }

    fn units(&self) -> usize {
        self.n.div_ceil(UNIT)
    }

    /// Parts, independent of each other.
    pub fn parts(&self) -> usize {
        let work = self.m.saturating_mul(self.n).saturating_mul(self.k);
        (work / GRAIN).clamp(1, MAX_PARTS).min(self.units())
    }

    /// Computes the columns of part `part`.
    ///
    /// # Safety
    /// `out` has `m` rows of `n` elements, as have its residual and, in one row, its bias, if present; nothing else
    /// accesses these columns meanwhile.
    pub unsafe fn run_part(&self, part: usize, a: &[f32], b: &[f32], out: &Output) {
        let cut = |i: usize| (self.units() * i / self.parts() * UNIT).min(self.n);
        self.isa.dispatch(Columns { product: self, cols: cut(part)..cut(part + 1), a, b, out });
    }
}

struct Columns<'a> {
    product: &'a Direct,
    cols: Range<usize>,
    a: &'a [f32],
    b: &'a [f32],
    out: &'a Output,
}

impl Work for Columns<'_> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(mut self) {
        let mut first = self.cols.start;
        while first < self.cols.end {
            let strip = first..(first + STRIP).min(self.cols.end);
            first = strip.end;
            for row in 0..self.product.m {
                self.start(row, &strip);
            }
            if self.product.transposed {
                self.dots::<M>(&strip);
            } else {
                self.stream::<M>(&strip);
            }
            for row in 0..self.product.m {
                self.end::<M>(row, &strip);
            }
        }
    }
}

impl Columns<'_> {
    #[inline(always)]
    fn sums(&mut self, row: usize, strip: &Range<usize>) -> &mut [f32] {
        // SAFETY: `run_part`'s caller grants these columns of C; `self` is borrowed exclusively.
        unsafe {
            let first = self.out.data.add(row * self.out.stride + strip.start);
            std::slice::from_raw_parts_mut(first, strip.len())
        }
    }

    /// Sets the sums to the residual or zero.
    #[inline(always)]
    fn start(&mut self, row: usize, strip: &Range<usize>) {
        let residual = self.out.residual;
        if residual.is_null() {
            self.sums(row, strip).fill(0.0);
        } else if !std::ptr::eq(residual, self.out.data) {
            // SAFETY: by `run_part`'s contract the residual has this row, and is not C.
            let from = unsafe {
                let first = residual.add(row * self.out.residual_stride + strip.start);
                std::slice::from_raw_parts(first, strip.len())
            };
            self.sums(row, strip).copy_from_slice(from);
        }
    }

    /// Adds the product, four rows of B at a time.
    #[inline(always)]
    fn stream<M: Machine>(&mut self, strip: &Range<usize>) {
        let Direct { m, n, k, .. } = *self.product;
        let (a, b) = (self.a, self.b);
        let b = |i: usize| &b[i * n..][strip.clone()];
        let mut i = 0;
        while i + 4 <= k {
            let rows = [b(i), b(i + 1), b(i + 2), b(i + 3)];
            for row in 0..m {
                let a = &a[row * k + i..][..4];
                add4::<M>(self.sums(row, strip), [a[0], a[1], a[2], a[3]], rows);
            }
            i += 4;
        }
        for i in i..k {
            for row in 0..m {
                let a = a[row * k + i];
                for (sum, &b) in self.sums(row, strip).iter_mut().zip(b(i)) {
                    *sum = M::mul_add(a, b, *sum);
                }
            }
        }
    }

    /// Adds the product, a dot product for each element.
    #[inline(always)]
    fn dots<M: Machine>(&mut self, strip: &Range<usize>) {
        let Direct { m, k, .. } = *self.product;
        for col in strip.clone() {
            let b = &self.b[col * k..][..k];
            for row in 0..m {
                let product = dot::<M>(&self.a[row * k..][..k], b);
                self.sums(row, strip)[col - strip.start] += product;
            }
        }
    }

    /// Adds the bias and applies the activation.
    #[inline(always)]
    fn end<M: Machine>(&mut self, row: usize, strip: &Range<usize>) {
        let Output { bias, activation, .. } = *self.out;
        let sums = self.sums(row, strip);
        if !bias.is_null() {
            // SAFETY: by `run_part`'s contract the bias has a value for each column.
            let bias = unsafe { std::slice::from_raw_parts(bias.add(strip.start), strip.len()) };
            for (sum, bias) in sums.iter_mut().zip(bias) {
                *sum += bias;
            }
        }
        activation.apply_to(M::ISA, sums);
    }
}

#[inline(always)]
fn add4<M: Machine>(sums: &mut [f32], a: [f32; 4], b: [&[f32]; 4]) {
    let n = sums.len();
    let [b0, b1, b2, b3] = [&b[0][..n], &b[1][..n], &b[2][..n], &b[3][..n]];
    for j in 0..n {
        let sum = M::mul_add(a[1], b1[j], M::mul_add(a[0], b0[j], sums[j]));
        sums[j] = M::mul_add(a[3], b3[j], M::mul_add(a[2], b2[j], sum));
    }
}

/// Σ a·b: as many sums side by side as a few registers hold, then a tree.
#[inline(always)]
pub fn dot<M: Machine>(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            sums[i] = M::mul_add(a[i], b[i], sums[i]);
        }
    }
    for i in 0..a_rest.len().min(b_rest.len()) {
        sums[i] = M::mul_add(a_rest[i], b_rest[i], sums[i]);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            sums[i] += sums[i + width];
        }
        width /= 2;
    }
    sums[0]
}
