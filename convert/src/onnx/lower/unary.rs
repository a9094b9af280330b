//! Functions of each element.

use super::{Cx, Table};
use crate::onnx::model::Node;
use infer::error::{Error, Result};
use infer::graph::ValueId;
use infer::ops::Unary;
use infer::ops::binary::BinaryKind;
use infer::ops::unary::UnaryKind;
use infer::tensor::DType;

pub const TABLE: Table = &[
    ("Abs", |cx, n| plain(cx, n, UnaryKind::Abs)),
    ("Acos", |cx, n| plain(cx, n, UnaryKind::Acos)),
    ("Acosh", |cx, n| plain(cx, n, UnaryKind::Acosh)),
    ("Asin", |cx, n| plain(cx, n, UnaryKind::Asin)),
    ("Asinh", |cx, n| plain(cx, n, UnaryKind::Asinh)),
    ("Atan", |cx, n| plain(cx, n, UnaryKind::Atan)),
    ("Atanh", |cx, n| plain(cx, n, UnaryKind::Atanh)),
    ("BitwiseNot", |cx, n| plain(cx, n, UnaryKind::BitNot)),
    ("Ceil", |cx, n| plain(cx, n, UnaryKind::Ceil)),
    ("Celu", |cx, n| with_alpha(cx, n, UnaryKind::Celu, 1.0)),
    ("Clip", clip),
    ("Cos", |cx, n| plain(cx, n, UnaryKind::Cos)),
    ("Cosh", |cx, n| plain(cx, n, UnaryKind::Cosh)),
    ("Elu", |cx, n| with_alpha(cx, n, UnaryKind::Elu, 1.0)),
    ("Erf", |cx, n| plain(cx, n, UnaryKind::Erf)),
    ("Exp", |cx, n| plain(cx, n, UnaryKind::Exp)),
    ("Floor", |cx, n| plain(cx, n, UnaryKind::Floor)),
    ("Gelu", gelu),
    ("HardSigmoid", hard_sigmoid),
    ("HardSwish", |cx, n| plain(cx, n, UnaryKind::HardSwish)),
    ("IsInf", is_inf),
    ("IsNaN", |cx, n| plain(cx, n, UnaryKind::IsNan)),
    ("LeakyRelu", |cx, n| with_alpha(cx, n, UnaryKind::LeakyRelu, 0.01)),
    ("Log", |cx, n| plain(cx, n, UnaryKind::Log)),
    ("Mish", |cx, n| plain(cx, n, UnaryKind::Mish)),
    ("Neg", |cx, n| plain(cx, n, UnaryKind::Neg)),
    ("Not", |cx, n| plain(cx, n, UnaryKind::Not)),
    ("Reciprocal", |cx, n| plain(cx, n, UnaryKind::Reciprocal)),
    ("Relu", |cx, n| plain(cx, n, UnaryKind::Relu)),
    ("Round", |cx, n| plain(cx, n, UnaryKind::Round)),
    ("Selu", selu),
    ("Shrink", shrink),
    ("Sigmoid", |cx, n| plain(cx, n, UnaryKind::Sigmoid)),
    ("Sign", |cx, n| plain(cx, n, UnaryKind::Sign)),
    ("Sin", |cx, n| plain(cx, n, UnaryKind::Sin)),
    ("Sinh", |cx, n| plain(cx, n, UnaryKind::Sinh)),
    ("Softplus", |cx, n| plain(cx, n, UnaryKind::Softplus)),
    ("Softsign", |cx, n| plain(cx, n, UnaryKind::Softsign)),
    ("Sqrt", |cx, n| plain(cx, n, UnaryKind::Sqrt)),
    ("SwiGLU", swiglu),
    ("Swish", |cx, n| with_alpha(cx, n, UnaryKind::Swish, 1.0)),
    ("Tan", |cx, n| plain(cx, n, UnaryKind::Tan)),
    ("Tanh", |cx, n| plain(cx, n, UnaryKind::Tanh)),
    ("ThresholdedRelu", |cx, n| with_alpha(cx, n, UnaryKind::ThresholdedRelu, 1.0)),
];

fn plain(cx: &mut Cx<'_>, n: &Node, kind: UnaryKind) -> Result<Vec<ValueId>> {
    unary(cx, n, Unary::from(kind))
}

fn with_alpha(cx: &mut Cx<'_>, n: &Node, kind: UnaryKind, default: f32) -> Result<Vec<ValueId>> {
    let alpha = n.float("alpha", default)?;
    unary(cx, n, Unary::with_alpha(kind, alpha))
}

fn unary(cx: &mut Cx<'_>, n: &Node, op: Unary) -> Result<Vec<ValueId>> {
    // A hint about memory that opset 1 had.
    n.ints("consumed_inputs")?;
    let x = cx.input(n, 0)?;
    Ok(vec![cx.b.emit1(op, &[x])?])
}

fn gelu(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    match n.string("approximate", "none")? {
        "none" => plain(cx, n, UnaryKind::Gelu),
        "tanh" => plain(cx, n, UnaryKind::GeluTanh),
        other => Err(Error::unsupported(format!("Gelu approximated by '{other}'"))),
    }
}

fn hard_sigmoid(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (alpha, beta) = (n.float("alpha", 0.2)?, n.float("beta", 0.5)?);
    unary(cx, n, Unary { kind: UnaryKind::HardSigmoid, alpha, beta })
}

fn selu(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (alpha, gamma) = if n.opset < 6 { (1.6732, 1.0507) } else { (1.673_263_2, 1.050_701) };
    let (alpha, beta) = (n.float("alpha", alpha)?, n.float("gamma", gamma)?);
    unary(cx, n, Unary { kind: UnaryKind::Selu, alpha, beta })
}

fn shrink(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (alpha, beta) = (n.float("bias", 0.0)?, n.float("lambd", 0.5)?);
    let x = cx.input(n, 0)?;
    let dtype = cx.b.dtype(x);
    if dtype.is_float() {
        return unary(cx, n, Unary { kind: UnaryKind::Shrink, alpha, beta });
    }
    // Integers are computed as f64, which all of them that matter fit.
    let wide = cx.b.cast(x, DType::F64)?;
    let y = cx.b.emit1(Unary { kind: UnaryKind::Shrink, alpha, beta }, &[wide])?;
    Ok(vec![cx.b.cast(y, dtype)?])
}

fn is_inf(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let positive = n.flag("detect_positive", true)?;
    let negative = n.flag("detect_negative", true)?;
    let (alpha, beta) = (f32::from(u8::from(positive)), f32::from(u8::from(negative)));
    unary(cx, n, Unary { kind: UnaryKind::IsInf, alpha, beta })
}

/// Bounds are attributes before opset 11 and inputs from then on.
fn clip(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    n.ints("consumed_inputs")?;
    let x = cx.input(n, 0)?;
    let dtype = cx.b.dtype(x);
    let (lo, hi) = if n.opset < 11 {
        (
            Some(cx.b.scalar(dtype, n.float("min", f32::MIN)?.into())?),
            Some(cx.b.scalar(dtype, n.float("max", f32::MAX)?.into())?),
        )
    } else {
        (cx.optional(n, 1)?, cx.optional(n, 2)?)
    };
    Ok(vec![cx.clip(x, lo, hi)?])
}

/// The first input's Swish times the second input.
fn swiglu(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let gate = with_alpha(cx, n, UnaryKind::Swish, 1.0)?[0];
    let x = cx.input(n, 1)?;
    Ok(vec![cx.b.mul(gate, x)?])
}

impl Cx<'_> {
    /// `min(max(x, lo), hi)`; in one step where the bounds are numbers that an attribute holds exactly.
    fn clip(&mut self, x: ValueId, lo: Option<ValueId>, hi: Option<ValueId>) -> Result<ValueId> {
        let bound = |v: Option<ValueId>, open: f64| match v {
            Some(v) => self.b.known_scalar(v).filter(|&x| f64::from(x as f32) == x),
            None => Some(open),
        };
        let bounds = (bound(lo, f64::NEG_INFINITY), bound(hi, f64::INFINITY));
        if let (Some(lo), Some(hi), true) = (bounds.0, bounds.1, self.b.dtype(x).is_float()) {
            let (alpha, beta) = (lo as f32, hi as f32);
            // Where the bounds cross, the upper one holds.
            return self.b.emit1(Unary { kind: UnaryKind::Clip, alpha: alpha.min(beta), beta }, &[x]);
        }
        let x = lo.map_or(Ok(x), |lo| self.b.binary(BinaryKind::Max, x, lo))?;
        hi.map_or(Ok(x), |hi| self.b.binary(BinaryKind::Min, x, hi))
    }
}
