//! Elementary functions of `f32` without branches, which vectorise inside a [`Work`](super::simd::Work).
//!
//! Each is accurate to a few units in the last place over all of `f32`, including subnormal results, and gives the limit
//! at infinities and NaN for NaN. Coefficients are minimax fits made for these intervals (Remez/Lawson, weighted by the
//! function value). Clamps are written `if x < lo { lo } else { x }`, which keeps NaN.

use super::simd::Machine;

/// Adding and subtracting this rounds a float of magnitude below 2^22 to the nearest integer, ties to even.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts: products of the first with integers below 2^10 are exact.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// Polynomial with `coefficients` in rising order, at `x`, by Horner's rule.
#[inline(always)]
fn polynomial<M: Machine, const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut value = coefficients[N - 1];
    for i in (0..N - 1).rev() {
        value = M::mul_add(value, x, coefficients[i]);
    }
    value
}

/// 2^n for -126 <= n <= 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// e^(`sign` · x) · 2^`shift` for |x| <= 105 and a sign of ±1, in parts `(r, q, scale, n)`: (1 + r · q) · scale, where
/// 1 + r · q = e^(±r), |r| <= ln 2 / 2, and scale = 2^(n + `shift`), if that has an exponent of -127 (for which it is 0) to
/// 127.
#[inline(always)]
fn reduce<M: Machine>(x: f32, sign: f32, shift: i32) -> (f32, f32, f32, i32) {
    // The low bits of the sum are the biased exponent of the scale.
    let round = ROUND + (127 + shift) as f32;
    let shifted = M::mul_add(x, sign * std::f32::consts::LOG2_E, round);
    let n = shifted - round;
    let r = M::mul_add(n, -sign * LN2_LOW, M::mul_add(n, -sign * LN2_HIGH, x));
    let q = polynomial::<M, 6>(
        r,
        [sign, 0.499_999_94, sign * 0.166_665_21, 0.041_668_39, sign * 0.008_368_745, 0.001_381_454],
    );
    let n = (shifted.to_bits() as i32).wrapping_sub(round.to_bits() as i32);
    (r, q, f32::from_bits(shifted.to_bits() << 23), n)
}

/// e^x. Overflows to infinity, underflows gradually to zero.
#[inline(always)]
pub fn exp<M: Machine>(x: f32) -> f32 {
    let x = if x < -105.0 { -105.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let (r, q, _, n) = reduce::<M>(x, 1.0, 0);
    // 2^n in two factors, as n runs from -151 to 128.
    let half = n >> 1;
    M::mul_add(r, q, 1.0) * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// e^x for x <= 0, but 0 below e^-87.3: what a softmax sums. Numbers below 2^-126 would count for nothing there, and take a
/// processor a hundred times longer than others.
#[inline(always)]
pub fn exp_weight<M: Machine>(x: f32) -> f32 {
    const LEAST: f32 = -87.3;
    let (r, q, scale, _) = reduce::<M>(if x < LEAST { LEAST } else { x }, 1.0, 0);
    let value = M::mul_add(r, q, 1.0) * scale;
    if x < LEAST { 0.0 } else { value }
}

/// 2^x for x <= 127.4: the weights of a softmax. Below 2^-126.5 the result is 0.
#[inline(always)]
pub fn exp2_weight<M: Machine>(x: f32) -> f32 {
    let x = if x < -127.0 { -127.0 } else { x };
    let shifted = x + (ROUND + 127.0);
    let fraction = x - (shifted - (ROUND + 127.0));
    let value = polynomial::<M, 6>(
        fraction,
        [1.000_000_1, 0.693_146_94, 0.240_221_2, 0.055_507_13, 0.009_675_542, 0.001_327_647_2],
    );
    value * f32::from_bits(shifted.to_bits() << 23)
}

/// e^x - 1, accurate near zero, for x <= 88.
#[inline(always)]
pub fn expm1<M: Machine>(x: f32) -> f32 {
    // Below this the result is -1 in f32.
    let x = if x < -18.0 { -18.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let (r, q, scale, _) = reduce::<M>(x, 1.0, 0);
    M::mul_add(r * q, scale, scale - 1.0)
}

/// ln((1 + s) / (1 - s)) for |s| <= 1/3.
#[inline(always)]
fn log_ratio<M: Machine>(s: f32) -> f32 {
    let z = s * s;
    let tail = polynomial::<M, 5>(z, [0.666_666_75, 0.399_988_77, 0.286_168_84, 0.214_276_6, 0.243_009_31]);
    M::mul_add(s * z, tail, s + s)
}

/// ln x: minus infinity at zero, NaN below it.
#[inline(always)]
pub fn log<M: Machine>(x: f32) -> f32 {
    let subnormal = x < f32::MIN_POSITIVE;
    let scaled = if subnormal { x * 8_388_608.0 } else { x };
    // Mantissa in [sqrt(1/2), sqrt(2)), so that results near ln 1 keep their precision.
    let bits = (scaled.to_bits() as i32).wrapping_sub(0x3f35_04f3);
    let exponent = (bits >> 23) as f32 - if subnormal { 23.0 } else { 0.0 };
    let m = f32::from_bits((bits & 0x007f_ffff).wrapping_add(0x3f35_04f3) as u32);
    let low = M::mul_add(exponent, LN2_LOW, log_ratio::<M>((m - 1.0) / (m + 1.0)));
    let value = M::mul_add(exponent, LN2_HIGH, low);
    let value = if x == f32::INFINITY { x } else { value };
    let value = if x == 0.0 { f32::NEG_INFINITY } else { value };
    if x >= 0.0 { value } else { f32::NAN }
}

/// ln(1 + e^x), the softplus function.
#[inline(always)]
pub fn softplus<M: Machine>(x: f32) -> f32 {
    let z = exp::<M>(-x.abs());
    let value = log_ratio::<M>(z / (2.0 + z)) + if x > 0.0 { x } else { 0.0 };
    if x.is_nan() { x } else { value }
}

/// Below this the sigmoid function is 0 in f32.
const SIGMOID_LOW: f32 = -105.0;

/// 1 / (1 + e^-x).
#[inline(always)]
pub fn sigmoid<M: Machine>(x: f32) -> f32 {
    sigmoid_above::<M>(if x < SIGMOID_LOW { SIGMOID_LOW } else { x })
}

/// The sigmoid function of x >= [`SIGMOID_LOW`].
#[inline(always)]
fn sigmoid_above<M: Machine>(x: f32) -> f32 {
    // Beyond 17 the result is 1; the scale does not underflow up to here.
    let x = if x > 60.0 { 60.0 } else { x };
    // Numerator and denominator are scaled so that e^105 does not overflow.
    const SHIFT: i32 = -32;
    const ONE: f32 = 1.0 / (1u64 << -SHIFT) as f32;
    let (r, q, scale, _) = reduce::<M>(x, -1.0, SHIFT);
    ONE / M::mul_add(M::mul_add(r, q, 1.0), scale, ONE)
}

/// The hyperbolic tangent.
#[inline(always)]
pub fn tanh<M: Machine>(x: f32) -> f32 {
    // Beyond this the result is 1 in f32.
    let x = if x < -9.02 { -9.02 } else { x };
    let x = if x > 9.02 { 9.02 } else { x };
    let z = x * x;
    let p = polynomial::<M, 5>(z, [1.0, 0.133_797_15, 0.003_494_032_4, 2.058_344_6e-5, 1.331_902_4e-8]);
    let q = polynomial::<M, 5>(z, [1.0, 0.467_130_3, 0.025_871_065, 3.283_089_3e-4, 7.761_999_5e-7]);
    limit_to_one(x * p / q)
}

/// The error function.
#[inline(always)]
pub fn erf<M: Machine>(x: f32) -> f32 {
    // Beyond this the result is 1 in f32.
    let x = if x < -3.92 { -3.92 } else { x };
    let x = if x > 3.92 { 3.92 } else { x };
    let z = x * x;
    let p = polynomial::<M, 6>(
        z,
        [std::f32::consts::FRAC_2_SQRT_PI, 0.190_406_8, 0.052_748_77, 0.003_765_632_4, 2.848_832_5e-4, 2.050_087e-6],
    );
    let q = polynomial::<M, 6>(z, [1.0, 0.502_076_4, 0.114_109_255, 0.014_969_246, 0.001_162_539_6, 3.809_174e-5]);
    limit_to_one(x * p / q)
}

/// Rounding may carry a quotient past the limits of an odd function that lies in (-1, 1).
#[inline(always)]
fn limit_to_one(x: f32) -> f32 {
    let x = if x > 1.0 { 1.0 } else { x };
    if x < -1.0 { -1.0 } else { x }
}

/// x · sigmoid(x), also called swish.
#[inline(always)]
pub fn silu<M: Machine>(x: f32) -> f32 {
    // The limit at minus infinity is zero, where the product is not a number.
    let x = if x < SIGMOID_LOW { SIGMOID_LOW } else { x };
    x * sigmoid_above::<M>(x)
}

/// x · Φ(x) by the error function, as Hendrycks and Gimpel define GELU (arXiv 1606.08415).
#[inline(always)]
pub fn gelu<M: Machine>(x: f32) -> f32 {
    // Beyond this Φ is 0 or 1 within the error of the fit, which is absolute: Φ = 1/2 + x · P(x²) / Q(x²).
    let x = if x < -5.5 { -5.5 } else { x };
    let y = if x > 5.5 { 5.5 } else { x };
    let z = y * y;
    let p = polynomial::<M, 6>(
        z,
        [0.398_942_23, 0.033_850_72, 0.004_677_118, 1.688_026_8e-4, 6.351_662_7e-6, 2.274_908e-8],
    );
    let q = polynomial::<M, 6>(z, [1.0, 0.251_517_1, 0.028_644_705, 0.001_884_316_4, 7.363_855e-5, 1.197_461_8e-6]);
    let half = y * p / q;
    // At minus infinity the result is exactly zero.
    x * (0.5 + if half < -0.5 { -0.5 } else { half })
}

/// GELU with Φ approximated by a hyperbolic tangent, 0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³))).
#[inline(always)]
pub fn gelu_tanh<M: Machine>(x: f32) -> f32 {
    // Below this the result is 0, and the sigmoid function of (1 + tanh(y)) / 2 = sigmoid(2 y) as well.
    let x = if x < -10.7 { -10.7 } else { x };
    let double = x * M::mul_add(1.595_769 * 0.044_715 * x, x, 1.595_769);
    x * sigmoid_above::<M>(double)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Isa;
    use crate::cpu::simd::Work;

    struct Map<'a>(Function, &'a mut [f32]);

    #[derive(Clone, Copy, Debug)]
    enum Function {
        Exp,
        ExpWeight,
        Expm1,
        Log,
        Softplus,
        Sigmoid,
        Tanh,
        Erf,
        Silu,
        Gelu,
        GeluTanh,
    }
    use Function::*;

    macro_rules! map {
        ($xs:expr, $f:expr) => {
            for x in $xs {
                *x = $f(*x);
            }
        };
    }

    impl Work for Map<'_> {
        type Out = ();

        #[inline(always)]
        fn run<M: Machine>(self) {
            match self.0 {
                Exp => map!(self.1, exp::<M>),
                ExpWeight => map!(self.1, exp_weight::<M>),
                Expm1 => map!(self.1, expm1::<M>),
                Log => map!(self.1, log::<M>),
                Softplus => map!(self.1, softplus::<M>),
                Sigmoid => map!(self.1, sigmoid::<M>),
                Tanh => map!(self.1, tanh::<M>),
                Erf => map!(self.1, erf::<M>),
                Silu => map!(self.1, silu::<M>),
                Gelu => map!(self.1, gelu::<M>),
                GeluTanh => map!(self.1, gelu_tanh::<M>),
            }
        }
    }

    /// erf by its Maclaurin series, or the continued fraction of erfc far out.
    fn erf64(x: f64) -> f64 {
        let z = x.abs();
        let value = if z < 3.0 {
            let (mut term, mut sum) = (z, z);
            for n in 1..80 {
                term *= -z * z / n as f64;
                sum += term / (2 * n + 1) as f64;
            }
            sum * 2.0 / std::f64::consts::PI.sqrt()
        } else {
            let fraction = (1..60).rev().fold(z, |f, n| z + n as f64 / 2.0 / f);
            1.0 - (-z * z).exp() / fraction / std::f64::consts::PI.sqrt()
        };
        value.copysign(x)
    }

    fn exact(function: Function, x: f64) -> f64 {
        match function {
            Exp => x.exp(),
            ExpWeight => {
                if x < f64::from(-87.3f32) {
                    0.0
                } else {
                    x.exp()
                }
            }
            Expm1 => x.exp_m1(),
            Log => x.ln(),
            Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
            Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Tanh => x.tanh(),
            Erf => erf64(x),
            Silu => x / (1.0 + (-x).exp()),
            Gelu => 0.5 * x * (1.0 + erf64(x * std::f64::consts::FRAC_1_SQRT_2)),
            GeluTanh => 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x)).tanh()),
        }
    }

    /// Distance of `value` from `exact` in units of the last place of an f32 of magnitude `scale`.
    fn ulps(value: f32, exact: f64, scale: f64) -> f64 {
        let exponent = scale.abs().max(f32::MIN_POSITIVE as f64).log2().floor() as i32;
        (value as f64 - exact).abs() / 2f64.powi(exponent - 23)
    }

    /// A sweep over all magnitudes of both signs, and a dense one where the functions bend.
    fn sweep() -> Vec<f32> {
        let all = (0..=u32::MAX).step_by(40_013).map(f32::from_bits).filter(|x| x.is_finite());
        let dense = (-240_000..240_000).map(|i| i as f32 / 2_000.0);
        all.chain(dense).collect()
    }

    #[test]
    fn accurate_over_the_whole_range() {
        let xs = sweep();
        // Largest error in ulps, of the result or of a share of the argument: the other factor of a product may be
        // subnormal, or cancel as Φ does far below zero.
        let cases = [
            (Exp, 1.5, 0.0),
            (Log, 2.0, 0.0),
            (Softplus, 3.0, 0.0),
            (Sigmoid, 2.5, 0.0),
            (Tanh, 5.0, 0.0),
            (Erf, 5.0, 0.0),
            (Silu, 3.5, f32::MIN_POSITIVE),
            (Gelu, 4.0, 0.5),
            (GeluTanh, 6.0, 0.5),
        ];
        for isa in Isa::available() {
            for (function, limit, share) in cases {
                let (worst, at) = worst(isa, function, &xs, share);
                println!("{isa} {function:?}: {worst:.2} ulp at {at:e}");
                assert!(worst <= limit, "{isa} {function:?}: {worst} ulp at {at:e}");
            }
            for (function, limit, most) in [(Expm1, 3.0, 88.0), (ExpWeight, 1.5, 0.0)] {
                let below: Vec<f32> = xs.iter().copied().filter(|&x| x <= most).collect();
                let (worst, at) = worst(isa, function, &below, 0.0);
                println!("{isa} {function:?}: {worst:.2} ulp at {at:e}");
                assert!(worst <= limit, "{isa} {function:?}: {worst} ulp at {at:e}");
            }
        }
    }

    fn worst(isa: Isa, function: Function, xs: &[f32], share: f32) -> (f64, f32) {
        let mut ys = xs.to_vec();
        isa.dispatch(Map(function, &mut ys));
        let (mut worst, mut at) = (0.0, 0.0);
        for (&x, &y) in xs.iter().zip(&ys) {
            let e = exact(function, x as f64);
            // Beyond f32 the result is infinite.
            let e = if e.abs() >= f32::MAX as f64 { e * f64::INFINITY } else { e };
            let error = if e.is_finite() {
                ulps(y, e, e.abs().max((x.abs() * share) as f64))
            } else if y as f64 == e || e.is_nan() && y.is_nan() {
                0.0
            } else {
                f64::INFINITY
            };
            if error > worst || error.is_nan() {
                (worst, at) = (error, x);
            }
        }
        (worst, at)
    }

    #[test]
    fn limits_and_nan() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        let cases = [
            (Exp, [0.0, inf]),
            (Log, [nan, inf]),
            (Softplus, [0.0, inf]),
            (Sigmoid, [0.0, 1.0]),
            (Tanh, [-1.0, 1.0]),
            (Erf, [-1.0, 1.0]),
            (Silu, [0.0, inf]),
            (Gelu, [0.0, inf]),
            (GeluTanh, [0.0, inf]),
        ];
        for isa in Isa::available() {
            for (function, [below, above]) in cases {
                let mut ys = [-inf, inf, nan, 0.0];
                isa.dispatch(Map(function, &mut ys));
                assert!(ys[0] == below || ys[0].is_nan() && below.is_nan(), "{isa} {function:?}(-inf) = {}", ys[0]);
                assert_eq!(ys[1], above, "{isa} {function:?}(inf)");
                assert!(ys[2].is_nan(), "{isa} {function:?}(NaN) = {}", ys[2]);
                assert_eq!(ys[3], exact(function, 0.0) as f32, "{isa} {function:?}(0)");
            }
        }
    }
}
