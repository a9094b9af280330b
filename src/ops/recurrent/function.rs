//! The functions of recurrent gates: those that end other operators, and a few that only cells use.

use crate::cpu::{Activation, Isa};
use crate::error::Result;
use crate::ops::activation;
use crate::schema;
#[cfg(feature = "write")]
use flatbuffers::{FlatBufferBuilder, WIPOffset};

/// A function of one value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    /// One that other operators end with, too.
    Common(Activation),
    /// alpha · x + beta.
    Affine {
        /// Slope.
        alpha: f32,
        /// Value at zero.
        beta: f32,
    },
    /// x where x >= alpha, otherwise 0.
    ThresholdedRelu {
        /// The threshold.
        alpha: f32,
    },
    /// alpha · tanh(beta · x).
    ScaledTanh {
        /// Limit at infinity.
        alpha: f32,
        /// Factor of the argument.
        beta: f32,
    },
    /// x / (1 + |x|).
    Softsign,
}

impl Function {
    /// The logistic function, the default of gates.
    pub const SIGMOID: Function = Function::Common(Activation::Sigmoid);
    /// The hyperbolic tangent, the default of states.
    pub const TANH: Function = Function::Common(Activation::Tanh);

    /// The function of an attribute table.
    pub fn read(t: schema::Activation<'_>) -> Result<Self> {
        let (alpha, beta) = (t.alpha(), t.beta());
        Ok(match t.kind() {
            64 => Function::Affine { alpha, beta },
            65 => Function::ThresholdedRelu { alpha },
            66 => Function::ScaledTanh { alpha, beta },
            67 => Function::Softsign,
            _ => Function::Common(activation::read(Some(t))?),
        })
    }

    /// The attribute table of the function.
    #[cfg(feature = "write")]
    pub fn write<'b>(self, b: &mut FlatBufferBuilder<'b>) -> WIPOffset<schema::Activation<'b>> {
        let (kind, alpha, beta) = match self {
            Function::Common(common) => {
                let none = schema::ActivationArgs { kind: 0, alpha: 0.0, beta: 0.0 };
                return match activation::write(common, b) {
                    Some(table) => table,
                    None => schema::Activation::create(b, &none),
                };
            }
            Function::Affine { alpha, beta } => (64, alpha, beta),
            Function::ThresholdedRelu { alpha } => (65, alpha, 0.0),
            Function::ScaledTanh { alpha, beta } => (66, alpha, beta),
            Function::Softsign => (67, 0.0, 0.0),
        };
        schema::Activation::create(b, &schema::ActivationArgs { kind, alpha, beta })
    }

    /// Applies the function to every element. Not inlined, as a cell calls it for each of its gates.
    #[inline(never)]
    pub fn map(self, isa: Isa, values: &mut [f32]) {
        match self {
            Function::Common(common) => common.apply_to(isa, values),
            Function::Affine { alpha, beta } => values.iter_mut().for_each(|x| *x = alpha * *x + beta),
            Function::ThresholdedRelu { alpha } => {
                values.iter_mut().for_each(|x| *x = if *x < alpha { 0.0 } else { *x });
            }
            Function::ScaledTanh { alpha, beta } => {
                values.iter_mut().for_each(|x| *x *= beta);
                Activation::Tanh.apply_to(isa, values);
                values.iter_mut().for_each(|x| *x *= alpha);
            }
            Function::Softsign => values.iter_mut().for_each(|x| *x /= 1.0 + x.abs()),
        }
    }
}
