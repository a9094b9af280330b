//! Every micro-kernel of the list against three plain loops.

use super::*;
use crate::cpu::Activation;
use kernel::F32;

/// Repeatable values in [-1, 1).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub(crate) fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.next()).collect()
    }

    /// 0..len in random order.
    pub(crate) fn order(&mut self, len: usize) -> Vec<usize> {
        let mut keyed: Vec<_> = (0..len).map(|i| (self.next(), i)).collect();
        keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
        keyed.into_iter().map(|(_, i)| i).collect()
    }
}

/// Instruction sets that this CPU has and the list has kernels for.
pub(crate) fn isas() -> impl Iterator<Item = Isa> {
    F32.iter().map(|micro| micro.isa).filter(|isa| isa.is_available())
}

/// These instruction sets, for runs by one thread and by several.
pub(crate) fn targets() -> impl Iterator<Item = Target> {
    isas().flat_map(|isa| [1, 4].map(|threads| Target { isa, threads }))
}

/// The product as it is planned, and on tiles as well where there are any.
fn plans(target: Target, shape: GemmShape) -> impl Iterator<Item = Gemm> {
    let planned = Gemm::new(target, shape).unwrap();
    [Some(planned), planned.only_on_tiles()].into_iter().flatten()
}

/// One that every machine has.
pub(crate) const PLAIN: Target = Target { isa: Isa::Scalar, threads: 4 };

/// Runs all parts in random order; the scratch memory holds garbage.
pub(crate) fn run(gemm: &Gemm, a: &dyn Rows, b: &[f32], out: &Output, random: &mut Random) {
    assert_eq!(b.len(), packed_len(gemm.shape().n, gemm.shape().segments * gemm.shape().depth).unwrap());
    const GARBAGE: u64 = 0x5555_5555_5555_5555;
    for part in random.order(gemm.parts()) {
        let words = gemm.scratch_bytes().div_ceil(8);
        let mut scratch = vec![GARBAGE; words + (64 << 10)];
        // SAFETY: the tests pass operands of the right size.
        unsafe { gemm.run_part(part, a, b.as_ptr(), out, scratch.as_mut_ptr().cast()) };
        assert!(scratch[words..].iter().all(|&word| word == GARBAGE), "{gemm:?} has less scratch memory than it uses");
    }
}

#[derive(Clone, Copy, Debug)]
struct Case {
    m: usize,
    n: usize,
    k: usize,
    /// Elements added to the row strides of A, C and the residual.
    gap: usize,
    bias: bool,
    residual: bool,
    in_place: bool,
    activation: Activation,
}

impl Case {
    fn new(m: usize, n: usize, k: usize) -> Self {
        Case { m, n, k, gap: 0, bias: false, residual: false, in_place: false, activation: Activation::None }
    }

    fn check(self, target: Target) {
        for gemm in plans(target, GemmShape::matrix(self.m, self.n, self.k)) {
            self.check_plan(target, gemm);
        }
    }

    fn check_plan(self, target: Target, gemm: Gemm) {
        let Case { m, n, k, gap, .. } = self;
        let mut random = Random::new((m * 1_000_003 + n * 1_009 + k) as u64);
        let (lda, ldc) = (k + gap, n + gap);
        let a = random.values(m * lda);
        let b = random.values(k * n);
        let bias = random.values(n);
        let residual = random.values(m * ldc);
        let mut packed = vec![f32::NAN; packed_len(n, k).unwrap()];
        pack(&Matrix::row_major(&b, k, n), 0..panels(n), &mut packed);
        // What the gaps hold must survive.
        let mut c = if self.in_place { residual.clone() } else { vec![7.5; m * ldc] };
        let before = c.clone();
        let mut out = Output::new(c.as_mut_ptr(), ldc);
        if self.bias {
            out.bias = bias.as_ptr();
        }
        if self.residual {
            out.residual = if self.in_place { c.as_ptr() } else { residual.as_ptr() };
            out.residual_stride = ldc;
        }
        out.activation = self.activation;
        run(&gemm, &StridedRows { data: a.as_ptr(), stride: lda }, &packed, &out, &mut random);

        for i in 0..m {
            let mut row: Vec<f32> = (0..n)
                .map(|j| {
                    let sum: f64 = (0..k).map(|p| a[i * lda + p] as f64 * b[p * n + j] as f64).sum();
                    let bias = if self.bias { bias[j] as f64 } else { 0.0 };
                    let residual = if self.residual { residual[i * ldc + j] as f64 } else { 0.0 };
                    (sum + bias + residual) as f32
                })
                .collect();
            self.activation.apply_to(Isa::Scalar, &mut row);
            for j in 0..n {
                let (got, expected) = (c[i * ldc + j], row[j]);
                let tolerance = 2e-6 * (k as f32).sqrt().max(4.0);
                assert!(
                    (got - expected).abs() <= tolerance,
                    "{target:?} {self:?}: C[{i}, {j}] = {got}, not {expected}"
                );
            }
            assert_eq!(
                c[i * ldc + n..(i + 1) * ldc],
                before[i * ldc + n..(i + 1) * ldc],
                "{target:?} {self:?}: gap of row {i}"
            );
        }
    }
}

#[test]
fn every_tail_of_every_kernel() {
    for target in targets() {
        for m in (1..=30).chain([47, 49, 50]) {
            for n in [1, 7, 8, 15, 16, 17, 31, 32, 33, 47, 64, 65, 100] {
                for k in [1, 3, 4, 5, 37] {
                    Case::new(m, n, k).check(target);
                }
            }
        }
    }
}

#[test]
fn many_parts_and_passes() {
    for target in targets() {
        for (m, n, k) in [
            (1, 1000, 2048),
            (2, 300, 700),
            (3, 129, 513),
            (49, 512, 1153),
            (197, 96, 768),
            (1025, 33, 300),
            (6, 16, 5000),
            // Passes of 25 and of 24 chunks of 32.
            (212, 40, 1540),
        ] {
            Case::new(m, n, k).check(target);
            Case { gap: 5, bias: true, residual: true, activation: Activation::Relu, ..Case::new(m, n, k) }
                .check(target);
        }
    }
}

#[test]
fn epilogues() {
    use Activation::*;
    let activations =
        [None, Relu, Clip { lo: -0.5, hi: 0.5 }, Silu, Gelu, HardSwish, LeakyRelu { alpha: 0.1 }, Sigmoid, Tanh];
    for target in targets() {
        for activation in activations {
            for bias in [false, true] {
                for (residual, in_place) in [(false, false), (true, false), (true, true)] {
                    for (m, n, k) in [(13, 35, 20), (50, 48, 600)] {
                        Case { gap: 3, bias, residual, in_place, activation, ..Case::new(m, n, k) }.check(target);
                    }
                }
            }
        }
    }
}

#[test]
fn empty_extents() {
    for target in targets() {
        for (m, n) in [(0, 5), (5, 0), (0, 0)] {
            assert_eq!(Gemm::new(target, GemmShape::matrix(m, n, 4)).unwrap().parts(), 0);
        }
        // An empty sum is zero.
        Case { bias: true, ..Case::new(5, 20, 0) }.check(target);
    }
    assert!(Gemm::new(PLAIN, GemmShape::matrix(usize::MAX, 2, 2)).is_err());
    assert!(Gemm::new(PLAIN, GemmShape::matrix(2, usize::MAX, 2)).is_err());
    assert!(Gemm::new(PLAIN, GemmShape { m: 1, n: 1, segments: usize::MAX, depth: 2 }).is_err());
}

/// Rows that share segments of one buffer, in an irregular pattern.
struct Scattered<'a> {
    data: &'a [f32],
    starts: &'a [usize],
    segments: usize,
}

impl Rows for Scattered<'_> {
    fn locate(&self, rows: Range<usize>, table: &mut [*const f32]) {
        for s in 0..self.segments {
            for (r, row) in rows.clone().enumerate() {
                table[s * rows.len() + r] = self.data[self.starts[row * self.segments + s]..].as_ptr();
            }
        }
    }
}

#[test]
fn indirect_rows() {
    for target in targets() {
        for (m, n, segments, depth) in
            [(5, 17, 9, 3), (61, 40, 9, 64), (40, 64, 9, 300), (23, 20, 49, 16), (1, 40, 3, 7), (30, 16, 2, 2000)]
        {
            let mut random = Random::new(m as u64);
            let data = random.values(depth * 4);
            let starts: Vec<usize> = (0..m * segments).map(|i| i * 7 % (depth * 3 + 1)).collect();
            let k = segments * depth;
            let b = random.values(k * n);
            let mut packed = vec![0.0; packed_len(n, k).unwrap()];
            pack(&Matrix::row_major(&b, k, n), 0..panels(n), &mut packed);
            let rows = Scattered { data: &data, starts: &starts, segments };
            for gemm in plans(target, GemmShape { m, n, segments, depth }) {
                let mut c = vec![0.0; m * n];
                run(&gemm, &rows, &packed, &Output::new(c.as_mut_ptr(), n), &mut random);
                for i in 0..m {
                    for j in 0..n {
                        let sum: f64 = (0..k)
                            .map(|p| data[starts[i * segments + p / depth] + p % depth] as f64 * b[p * n + j] as f64)
                            .sum();
                        assert!(
                            (c[i * n + j] as f64 - sum).abs() <= 2e-6 * (k as f64).sqrt().max(4.0),
                            "{target:?} [{i}, {j}]"
                        );
                    }
                }
            }
        }
    }
}

/// A product of matrices of one run of K, or of some.
struct Product {
    shape: GemmShape,
    a: Vec<f32>,
    b: Vec<f32>,
}

impl Product {
    fn random(m: usize, n: usize, segments: usize, depth: usize) -> Product {
        let mut random = Random::new((m * n + depth) as u64);
        let k = segments * depth;
        Product { shape: GemmShape { m, n, segments, depth }, a: random.values(m * k), b: random.values(k * n) }
    }

    fn run(&self, gemm: &Gemm) -> Vec<f32> {
        let GemmShape { m, n, segments, depth } = self.shape;
        let k = segments * depth;
        let mut packed = vec![0.0; packed_len(n, k).unwrap()];
        pack(&Matrix::row_major(&self.b, k, n), 0..panels(n), &mut packed);
        let starts: Vec<usize> = (0..m * segments).map(|i| i * depth).collect();
        let mut c = vec![0.0; m * n];
        let rows = Scattered { data: &self.a, starts: &starts, segments };
        run(gemm, &rows, &packed, &Output::new(c.as_mut_ptr(), n), &mut Random::new(3));
        c
    }

    /// The product, and the sum of absolute values, which errors are measured by, of each element of C.
    fn exact(&self) -> Vec<(f64, f64)> {
        let GemmShape { m, n, segments, depth } = self.shape;
        let k = segments * depth;
        let products = |i: usize, j: usize| (0..k).map(move |p| self.a[i * k + p] as f64 * self.b[p * n + j] as f64);
        let elements = (0..m).flat_map(|i| (0..n).map(move |j| (i, j)));
        elements.map(|(i, j)| (products(i, j).sum(), products(i, j).map(f64::abs).sum())).collect()
    }
}

/// Root mean square of the errors.
fn error(c: &[f32], exact: &[(f64, f64)]) -> f64 {
    let squares = c.iter().zip(exact).map(|(&c, &(sum, all))| ((c as f64 - sum) / all).powi(2));
    (squares.sum::<f64>() / c.len() as f64).sqrt()
}

#[test]
fn tiles_are_as_exact_as_multiply_adds() {
    for target in targets() {
        for k in [8, 64, 300, 768, 3000] {
            let product = Product::random(32, 48, 1, k);
            let exact = product.exact();
            let plain = Gemm::new(Target { isa: Isa::Scalar, ..target }, product.shape).unwrap();
            let expected = error(&product.run(&plain), &exact);
            if let Some(gemm) = Gemm::new(target, product.shape).unwrap().only_on_tiles() {
                let got = error(&product.run(&gemm), &exact);
                assert!(got <= 1.5 * expected + 1e-9, "{target:?} K = {k}: {got:e}, multiply-adds {expected:e}");
            }
        }
    }
}

/// What tiles cannot multiply stays right, and nothing else changes.
#[test]
fn odd_elements_change_their_rows_and_panels_only() {
    for target in targets() {
        for (segments, depth) in [(1, 70), (3, 40), (1, 2000)] {
            let mut product = Product::random(70, 100, segments, depth);
            let (n, k) = (product.shape.n, segments * depth);
            let Some(gemm) = Gemm::new(target, product.shape).unwrap().only_on_tiles() else { continue };
            let before = product.run(&gemm);
            for (i, odd) in [(3, f32::INFINITY), (17, f32::NAN), (69, 3e38)] {
                product.a[i * k + k - 1 - i] = odd;
            }
            let inner = 2 * k / 3;
            product.b[inner * n + 40] = f32::NEG_INFINITY;
            product.b[inner * n + 99] = 2.5e38;
            let after = product.run(&gemm);
            let exact = product.exact();
            for (at, (&c, &(sum, all))) in after.iter().zip(&exact).enumerate() {
                let (i, j) = (at / n, at % n);
                // Panels are multiplied two at a time.
                if ![3, 17, 69].contains(&i) && !(32..64).contains(&j) && j < 96 {
                    assert_eq!(c.to_bits(), before[at].to_bits(), "[{i}, {j}]");
                } else if sum.is_nan() {
                    assert!(c.is_nan(), "[{i}, {j}] = {c}");
                } else if sum.abs() > f32::MAX as f64 {
                    assert_eq!(c as f64, sum.signum() * f64::INFINITY, "[{i}, {j}]");
                } else {
                    assert!((c as f64 - sum).abs() <= 1e-5 * all, "[{i}, {j}] = {c}, not {sum}");
                }
            }
        }
    }
}

#[test]
fn packing_is_exact_from_any_strides_and_in_ranges() {
    for (k, n) in [(1, 1), (5, 16), (7, 17), (33, 40), (4, 31)] {
        let values = Random::new(9).values(k * n);
        let transposed: Vec<f32> = (0..n * k).map(|i| values[i % k * n + i / k]).collect();
        let spread: Vec<f32> =
            (0..k * n * 6).map(|i| if i % 2 == 0 { values[i / 2 % n + i / 2 / (3 * n) * n] } else { 9.9 }).collect();
        let matrices = [
            Matrix::row_major(&values, k, n),
            Matrix::transposed(&transposed, k, n),
            Matrix { data: &spread, k, n, k_stride: 6 * n, n_stride: 2 },
        ];
        for matrix in matrices {
            let mut packed = vec![f32::NAN; packed_len(n, k).unwrap()];
            for panel in 0..panels(n) {
                pack(&matrix, panel..panel + 1, &mut packed[panel * k * 16..][..k * 16]);
            }
            let mut back = vec![0.0; k * n];
            unpack(&packed, k, n, &mut back);
            assert_eq!(back, values, "{matrix:?}");
            let padding: f32 = packed.iter().sum::<f32>() - values.iter().sum::<f32>();
            assert!(padding.abs() < 1e-3, "padding is zero");
        }
    }
    assert!(packed_len(usize::MAX, 1).is_err() && packed_len(17, usize::MAX / 16).is_err());
}

#[test]
fn parts_cover_everything_once() {
    for target in targets() {
        for m in [1, 5, 49, 196, 784, 3136, 12544] {
            for n in [1, 16, 64, 256, 1000, 2048] {
                for k in [1, 64, 147, 576, 4608] {
                    let gemm = Gemm::new(target, GemmShape::matrix(m, n, k)).unwrap();
                    assert!(gemm.partition.row_parts <= m && gemm.partition.column_parts <= panels(n));
                    let covered: usize =
                        (0..gemm.blocks.len()).map(|i| gemm.blocks.get(i)).map(|b| b.segments * b.depth).sum();
                    assert_eq!(covered, k);
                }
            }
        }
    }
}
