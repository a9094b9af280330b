//! The element-wise functions that can end another operation, defined once for every kernel.
#![allow(unsafe_code, reason = "vectors in registers")]

use super::simd::{Machine, Vector, Work};
use super::{Isa, math};

/// Elements that are computed side by side: one or two vectors.
const BLOCK: usize = 16;

/// A function of one value, applied to a result before it is stored. Slopes and bounds are attributes of the model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Activation {
    /// x.
    #[default]
    None,
    /// max(x, 0).
    Relu,
    /// min(max(x, lo), hi). Relu6 is 0 to 6.
    Clip {
        /// Lower bound.
        lo: f32,
        /// Upper bound.
        hi: f32,
    },
    /// x where x >= 0, otherwise alpha · x.
    LeakyRelu {
        /// Slope below zero.
        alpha: f32,
    },
    /// x where x > 0, otherwise alpha · (e^x - 1).
    Elu {
        /// Limit far below zero, negated.
        alpha: f32,
    },
    /// 1 / (1 + e^-x).
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// x · sigmoid(x), also called swish.
    Silu,
    /// min(max(alpha · x + beta, 0), 1).
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Value at zero.
        beta: f32,
    },
    /// x · min(max(x / 6 + 1/2, 0), 1).
    HardSwish,
    /// GELU by the error function.
    Gelu,
    /// GELU by the hyperbolic tangent.
    GeluTanh,
    /// ln(1 + e^x).
    Softplus,
    /// x · tanh(ln(1 + e^x)).
    Mish,
}

impl Activation {
    /// The value at `x`. In a loop, use [`Activation::apply_to`], which chooses the function outside of it.
    #[inline(always)]
    pub fn apply<M: Machine>(self, x: f32) -> f32 {
        match self {
            Activation::None => x,
            Activation::Relu => clip(x, 0.0, f32::INFINITY),
            Activation::Clip { lo, hi } => clip(x, lo, hi),
            Activation::LeakyRelu { alpha } => {
                if x < 0.0 {
                    alpha * x
                } else {
                    x
                }
            }
            Activation::Elu { alpha } => {
                if x < 0.0 {
                    alpha * math::expm1::<M>(x)
                } else {
                    x
                }
            }
            Activation::Sigmoid => math::sigmoid::<M>(x),
            Activation::Tanh => math::tanh::<M>(x),
            Activation::Silu => math::silu::<M>(x),
            Activation::HardSigmoid { alpha, beta } => clip(M::mul_add(x, alpha, beta), 0.0, 1.0),
            Activation::HardSwish => hard_swish::<M>(x),
            Activation::Gelu => math::gelu::<M>(x),
            Activation::GeluTanh => math::gelu_tanh::<M>(x),
            Activation::Softplus => math::softplus::<M>(x),
            Activation::Mish => mish::<M>(x),
        }
    }

    /// The activation, if it is one that kernels apply to results before they store them.
    pub(super) fn simple(self, isa: Isa) -> Option<Simple> {
        match self {
            Activation::None => Some(Simple::NONE),
            Activation::Relu => Some(Simple { lo: 0.0, ..Simple::NONE }),
            Activation::Clip { lo, hi } => Some(Simple { lo, hi, ..Simple::NONE }),
            Activation::HardSwish if Simple::may_gate(isa) => {
                Some(Simple { lo: -3.0, hard_swish: true, ..Simple::NONE })
            }
            _ => None,
        }
    }

    /// Applies the function to every element.
    pub fn apply_to(self, isa: Isa, values: &mut [f32]) {
        self.apply_to_rows(isa, std::iter::once(values));
    }

    /// Applies the function to every element of each row.
    #[inline]
    pub(super) fn apply_to_rows<'a>(self, isa: Isa, rows: impl Iterator<Item = &'a mut [f32]>) {
        isa.dispatch(Apply(self, rows));
    }

    #[inline(always)]
    fn map<'a, M: Machine>(self, rows: impl Iterator<Item = &'a mut [f32]>) {
        // One loop per function, so that each is vectorised by itself.
        macro_rules! each {
            ($($pattern:pat => $apply:ident $activation:expr),* $(,)?) => {
                match self {
                    Activation::None => {}
                    $($pattern => for row in rows { $apply(row, |x| $activation.apply::<M>(x)) },)*
                }
            };
        }
        use Activation::*;
        each! {
            Relu => plainly Relu,
            Clip { lo, hi } => plainly Clip { lo, hi },
            LeakyRelu { alpha } => plainly LeakyRelu { alpha },
            Elu { alpha } => in_blocks Elu { alpha },
            Sigmoid => in_blocks Sigmoid,
            Tanh => in_blocks Tanh,
            Silu => in_blocks Silu,
            HardSigmoid { alpha, beta } => plainly HardSigmoid { alpha, beta },
            HardSwish => in_blocks HardSwish,
            Gelu => in_blocks Gelu,
            GeluTanh => in_blocks GeluTanh,
            Softplus => in_blocks Softplus,
            Mish => in_blocks Mish,
        }
    }
}

/// Applies a function of an operation or two to every element. The compiler would not make vectors of a block of these.
#[inline(always)]
fn plainly(row: &mut [f32], f: impl Fn(f32) -> f32) {
    for x in row {
        *x = f(*x);
    }
}

/// Applies a function of more operations to every element, in blocks of a few vectors: the last block is filled up, so
/// that there is no element by itself.
#[inline(always)]
fn in_blocks(row: &mut [f32], f: impl Fn(f32) -> f32) {
    let (blocks, rest) = row.as_chunks_mut::<BLOCK>();
    for block in blocks {
        // Stored at once: a function that leaves some elements as they are must not become a masked store.
        let mut values = *block;
        values.iter_mut().for_each(|x| *x = f(*x));
        *block = values;
    }
    if !rest.is_empty() {
        let mut values = [0.0; BLOCK];
        values[..rest.len()].copy_from_slice(rest);
        values.iter_mut().for_each(|x| *x = f(*x));
        rest.copy_from_slice(&values[..rest.len()]);
    }
}

/// An activation of few instructions: x between bounds, then as it is or times clip(x / 6 + 0.5, 0, 1).
#[derive(Clone, Copy, Debug)]
pub(super) struct Simple {
    pub lo: f32,
    pub hi: f32,
    pub hard_swish: bool,
}

impl Simple {
    /// Changes nothing.
    pub const NONE: Simple = Simple { lo: f32::NEG_INFINITY, hi: f32::INFINITY, hard_swish: false };

    /// Whether sums leave registers for [`Simple::gate`].
    fn may_gate(isa: Isa) -> bool {
        matches!(isa, Isa::Avx512 | Isa::Amx)
    }

    /// Whether results go through [`Simple::gate`]; false at compile time for vectors of instruction sets that have not
    /// the registers.
    #[inline(always)]
    pub fn gates<V: Vector>(self) -> bool {
        V::LANES == 16 && self.hard_swish
    }

    /// # Safety
    /// The CPU has the instruction set of `V`.
    #[inline(always)]
    pub unsafe fn apply<V: Vector>(self, x: V) -> V {
        // SAFETY: the caller's promise.
        unsafe {
            let x = x.max(V::splat(self.lo)).min(V::splat(self.hi));
            if self.gates::<V>() { Simple::gate(x) } else { x }
        }
    }

    /// The second step of [`Activation::HardSwish`]; the first is its lower bound.
    ///
    /// # Safety
    /// As for [`Simple::apply`].
    #[inline(always)]
    pub unsafe fn gate<V: Vector>(x: V) -> V {
        // SAFETY: the caller's promise.
        unsafe {
            let share = x.mul_add(V::splat(1.0 / 6.0), V::splat(0.5));
            x.mul(share.max(V::splat(0.0)).min(V::splat(1.0)))
        }
    }
}

/// min(max(x, lo), hi), NaN for NaN.
#[inline(always)]
fn clip(x: f32, lo: f32, hi: f32) -> f32 {
    let x = if x < lo { lo } else { x };
    if x > hi { hi } else { x }
}

#[inline(always)]
fn hard_swish<M: Machine>(x: f32) -> f32 {
    // The limit at minus infinity is zero, where the product is not a number.
    let x = if x < -3.0 { -3.0 } else { x };
    x * clip(M::mul_add(x, 1.0 / 6.0, 0.5), 0.0, 1.0)
}

/// tanh(ln(1 + e^x)) = n / (n + 2) with n = e^x (e^x + 2).
#[inline(always)]
fn mish<M: Machine>(x: f32) -> f32 {
    // Above 20 the factor is 1 in f32; below -150 the result is zero.
    let low = if x < -150.0 { -150.0 } else { x };
    let e = math::exp::<M>(if low > 20.0 { 20.0 } else { low });
    let n = e * (e + 2.0);
    low * (n / (n + 2.0))
}

/// An activation applied to rows, as [`Work`].
struct Apply<I>(Activation, I);

impl<'a, I: Iterator<Item = &'a mut [f32]>> Work for Apply<I> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        self.0.map::<M>(self.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn match_their_definitions() {
        use Activation::*;
        type Exact = fn(f64) -> f64;
        let cases: [(Activation, Exact); 10] = [
            (None, |x| x),
            (Relu, |x| x.max(0.0)),
            (Clip { lo: -1.0, hi: 6.0 }, |x| x.clamp(-1.0, 6.0)),
            (LeakyRelu { alpha: 0.1 }, |x| if x < 0.0 { 0.1 * x } else { x }),
            (Elu { alpha: 1.5 }, |x| if x < 0.0 { 1.5 * x.exp_m1() } else { x }),
            (HardSigmoid { alpha: 0.2, beta: 0.5 }, |x| (0.2 * x + 0.5).clamp(0.0, 1.0)),
            (HardSwish, |x| x * ((x + 3.0) / 6.0).clamp(0.0, 1.0)),
            (Mish, |x| x * x.exp().ln_1p().tanh()),
            (Softplus, |x| x.exp().ln_1p()),
            (Silu, |x| x / (1.0 + (-x).exp())),
        ];
        let xs: Vec<f32> = (-4000..4000).map(|i| i as f32 / 100.0).collect();
        for isa in Isa::available() {
            for (activation, exact) in cases {
                let mut ys = xs.clone();
                activation.apply_to(isa, &mut ys);
                for (&x, &y) in xs.iter().zip(&ys) {
                    let e = exact(x as f64);
                    assert!(
                        (y as f64 - e).abs() <= 1e-6 * e.abs().max(0.1),
                        "{isa} {activation:?}({x}) = {y}, not {e}"
                    );
                }
            }
        }
    }

    #[test]
    fn limits_and_nan() {
        use Activation::*;
        for isa in Isa::available() {
            for activation in
                [None, Relu, Clip { lo: -1.0, hi: 6.0 }, LeakyRelu { alpha: 0.1 }, Elu { alpha: 1.0 }, HardSwish, Mish]
            {
                let mut ys = [f32::NAN, f32::NEG_INFINITY, f32::INFINITY];
                activation.apply_to(isa, &mut ys);
                assert!(ys[0].is_nan() && !ys[1].is_nan() && !ys[2].is_nan(), "{isa} {activation:?}: {ys:?}");
            }
        }
    }
}
