//! The functions by their definitions, in f64: for f64 tensors, and for what has no vector code.

use super::{Unary, UnaryKind};

impl Unary {
    /// The function's value; 0 or 1 for what the function asks.
    #[inline(never)]
    pub fn exact(&self, x: f64) -> f64 {
        use UnaryKind::*;
        let (alpha, beta) = (f64::from(self.alpha), f64::from(self.beta));
        match self.kind {
            Neg => -x,
            Abs => x.abs(),
            Sign => if x > 0.0 { 1.0 } else if x < 0.0 { -1.0 } else { x * 0.0 },
            Ceil => x.ceil(),
            Floor => x.floor(),
            Round => x.round_ties_even(),
            Sqrt => x.sqrt(),
            Rsqrt => 1.0 / x.sqrt(),
            Reciprocal => 1.0 / x,
            Exp => x.exp(),
            Log => x.ln(),
            Sin => x.sin(),
            Cos => x.cos(),
            Tan => x.tan(),
            Asin => x.asin(),
            Acos => x.acos(),
            Atan => x.atan(),
            Sinh => x.sinh(),
            Cosh => x.cosh(),
            Asinh => x.asinh(),
            Acosh => x.acosh(),
            Atanh => x.atanh(),
            Erf => erf(x),
            Softsign => x / (1.0 + x.abs()),
            Selu => beta * if x > 0.0 { x } else { alpha * x.exp_m1() },
            Celu => x.max(0.0) + (alpha * (x / alpha).exp_m1()).min(0.0),
            ThresholdedRelu => if x > alpha { x } else { 0.0 },
            Shrink => if x > beta { x - alpha } else if x < -beta { x + alpha } else { 0.0 },
            Swish => x * sigmoid(alpha * x),
            Not => f64::from(u8::from(x == 0.0)),
            BitNot => !(x as i64) as f64,
            IsNan => f64::from(u8::from(x.is_nan())),
            IsInf => f64::from(u8::from(alpha != 0.0 && x == f64::INFINITY || beta != 0.0 && x == f64::NEG_INFINITY)),
            _ => self.exact_activation(x, alpha, beta),
        }
    }

    #[inline(never)]
    fn exact_activation(&self, x: f64, alpha: f64, beta: f64) -> f64 {
        use UnaryKind::*;
        let keep_nan = |y: f64| if x.is_nan() { x } else { y };
        match self.kind {
            Relu => keep_nan(x.max(0.0)),
            Clip => keep_nan(x.max(alpha).min(beta)),
            LeakyRelu => if x < 0.0 { alpha * x } else { x },
            Elu => if x < 0.0 { alpha * x.exp_m1() } else { x },
            Sigmoid => sigmoid(x),
            Tanh => x.tanh(),
            Silu => x * sigmoid(x),
            HardSigmoid => keep_nan((alpha * x + beta).clamp(0.0, 1.0)),
            HardSwish => x.max(-3.0) * keep_nan((x / 6.0 + 0.5).clamp(0.0, 1.0)),
            Gelu => 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2)),
            GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
                0.5 * x * (1.0 + inner.tanh())
            }
            Softplus => if x > 40.0 { x } else { x.exp().ln_1p() },
            _ => x * if x > 40.0 { 1.0 } else { x.exp().ln_1p().tanh() },
        }
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The error function: its series where it converges fast, a continued fraction of its complement beyond (Abramowitz
/// and Stegun, 7.1.5 and 7.1.14).
fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a < 2.5 {
        let (mut term, mut sum, mut n) = (a, a, 0.0);
        while term.abs() > 1e-17 * sum.abs() {
            n += 1.0;
            term *= -a * a / n;
            sum += term / (2.0 * n + 1.0);
        }
        return (sum * std::f64::consts::FRAC_2_SQRT_PI).copysign(x);
    }
    if a > 6.0 || x.is_nan() {
        return if x.is_nan() { x } else { 1f64.copysign(x) };
    }
    let tail = (1..=60).rev().fold(a, |tail, n| a + n as f64 / 2.0 / tail);
    (1.0 - (-a * a).exp() / (tail * std::f64::consts::PI.sqrt())).copysign(x)
}
