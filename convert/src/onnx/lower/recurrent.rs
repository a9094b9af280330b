//! Recurrent layers. ONNX has W and R as `[directions, gates · hidden, ..]`; ours are transposed.

use super::{Cx, Table};
use crate::onnx::model::Node;
use infer::cpu::Activation;
use infer::error::{Error, Result};
use infer::graph::ValueId;
use infer::ops::Recurrent;
use infer::ops::recurrent::{CellKind, Direction, Function};

pub const TABLE: Table = &[
    ("GRU", |cx, n| layer(cx, n, CellKind::Gru)),
    ("LSTM", |cx, n| layer(cx, n, CellKind::Lstm)),
    ("RNN", |cx, n| layer(cx, n, CellKind::Rnn)),
];

fn layer(cx: &mut Cx<'_>, n: &Node, kind: CellKind) -> Result<Vec<ValueId>> {
    let mut inputs = cx.optional_inputs(n)?;
    for i in [1, 2] {
        let weights = cx.input(n, i)?;
        if cx.b.rank(weights) != 3 {
            return Err(Error::shape(format!("weights {}; 3 dimensions are needed", cx.b.ty(weights))));
        }
        inputs[i] = Some(cx.b.transpose(weights, &[0, 2, 1])?);
    }
    if n.opset < 7 {
        // It only says whether Y is wanted, which the node's outputs say, too.
        n.flag("output_sequence", false)?;
    }
    let direction = direction(n)?;
    let op = Recurrent {
        kind,
        hidden: hidden(cx, n, inputs[2])?,
        direction,
        linear_before_reset: kind == CellKind::Gru && n.flag("linear_before_reset", false)?,
        input_forget: kind == CellKind::Lstm && n.flag("input_forget", false)?,
        clip: clip(n)?,
        functions: functions(n, kind, kind.functions().len() * direction.count())?,
        batch_first: n.flag("layout", false)?,
    };
    cx.b.emit(op, &inputs)
}

fn direction(n: &Node) -> Result<Direction> {
    match n.string("direction", "forward")? {
        "forward" => Ok(Direction::Forward),
        "reverse" => Ok(Direction::Reverse),
        "bidirectional" => Ok(Direction::Both),
        other => Err(Error::format(format!("direction '{other}' is not defined"))),
    }
}

/// Extent of the hidden state: `hidden_size`, or as R `[directions, hidden, ..]` has it.
fn hidden(cx: &Cx<'_>, n: &Node, r: Option<ValueId>) -> Result<u32> {
    let extent = r.and_then(|r| cx.b.dims(r)[1].fixed());
    let size = n.attribute::<i64>("hidden_size")?.or(extent);
    let size = size.ok_or_else(|| Error::unsupported("neither hidden_size nor the shape of R is known"))?;
    let size = u32::try_from(size).ok().filter(|&size| size > 0);
    size.ok_or_else(|| Error::format("hidden_size must be positive"))
}

/// Bound on the arguments of gates' functions, 0 for none.
fn clip(n: &Node) -> Result<f32> {
    match n.attribute::<f32>("clip")? {
        None => Ok(0.0),
        Some(clip) if clip > 0.0 => Ok(clip),
        Some(clip) => Err(Error::format(format!("clip is {clip}; it must be positive"))),
    }
}

/// The functions of all directions, `count` in number; none for the usual ones.
fn functions(n: &Node, kind: CellKind, count: usize) -> Result<Vec<Function>> {
    let alphas: Option<&[f32]> = n.attribute("activation_alpha")?;
    let betas: Option<&[f32]> = n.attribute("activation_beta")?;
    let Some(names) = n.attribute::<&[String]>("activations")? else { return Ok(vec![]) };
    // The standard's default for RNN has a function for both directions, whatever the direction.
    let names = if kind == CellKind::Rnn && names.len() == 2 { &names[..count] } else { names };
    if names.len() != count {
        return Err(Error::format(format!("{} activations; {count} are needed", names.len())));
    }
    let names: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    let mut alphas = Parameters::new("activation_alpha", alphas, &names, |name| defaults(name).0)?;
    let mut betas = Parameters::new("activation_beta", betas, &names, |name| defaults(name).1)?;
    names.iter().map(|name| function(name, alphas.next(name)?, betas.next(name)?)).collect()
}

/// Whether a function takes a parameter, and its value if none is given.
#[derive(Clone, Copy)]
enum Fallback {
    None,
    Required,
    Value(f32),
}

/// The parameters alpha and beta of a function: as of the operator of the same name. ScaledTanh has no such operator.
fn defaults(name: &str) -> (Fallback, Fallback) {
    use Fallback::{None, Required, Value};
    match name {
        "affine" => (Value(1.0), Value(0.0)),
        "leakyrelu" => (Value(0.01), None),
        "thresholdedrelu" | "elu" => (Value(1.0), None),
        "scaledtanh" => (Required, Required),
        "hardsigmoid" => (Value(0.2), Value(0.5)),
        _ => (None, None),
    }
}

/// Parameters, which the functions that take one consume in order.
struct Parameters<'a> {
    attribute: &'a str,
    values: std::slice::Iter<'a, f32>,
    default: fn(&str) -> Fallback,
}

impl<'a> Parameters<'a> {
    fn new(
        attribute: &'a str,
        values: Option<&'a [f32]>,
        names: &[String],
        default: fn(&str) -> Fallback,
    ) -> Result<Self> {
        let values = values.unwrap_or_default();
        let takers = names.iter().filter(|name| !matches!(default(name), Fallback::None)).count();
        if values.len() > takers && takers > 0 {
            let count = values.len();
            return Err(Error::unsupported(format!("{attribute} has {count} values; {takers} activations take one")));
        }
        Ok(Parameters { attribute, values: values.iter(), default })
    }

    /// The parameter of the next function; 0 if it takes none.
    fn next(&mut self, name: &str) -> Result<f32> {
        let default = match (self.default)(name) {
            Fallback::None => return Ok(0.0),
            Fallback::Required => None,
            Fallback::Value(x) => Some(x),
        };
        let value = self.values.next().copied().or(default);
        value.ok_or_else(|| Error::unsupported(format!("{name} without a value in {}", self.attribute)))
    }
}

fn function(name: &str, alpha: f32, beta: f32) -> Result<Function> {
    Ok(match name {
        "affine" => Function::Affine { alpha, beta },
        "elu" => Function::Common(Activation::Elu { alpha }),
        "hardsigmoid" => Function::Common(Activation::HardSigmoid { alpha, beta }),
        "leakyrelu" => Function::Common(Activation::LeakyRelu { alpha }),
        "relu" => Function::Common(Activation::Relu),
        "scaledtanh" => Function::ScaledTanh { alpha, beta },
        "sigmoid" => Function::SIGMOID,
        "softplus" => Function::Common(Activation::Softplus),
        "softsign" => Function::Softsign,
        "tanh" => Function::TANH,
        "thresholdedrelu" => Function::ThresholdedRelu { alpha },
        other => return Err(Error::unsupported(format!("activation '{other}'"))),
    })
}
