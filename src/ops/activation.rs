//! The activation that ends a product, a convolution or a sum: attribute table of [`Activation`].

use crate::cpu::activation::Activation;
use crate::error::{Error, Result};
use crate::schema;
#[cfg(feature = "write")]
use flatbuffers::{FlatBufferBuilder, WIPOffset};

/// The activation of an attribute table; an absent one is none.
pub fn read(table: Option<schema::Activation<'_>>) -> Result<Activation> {
    let Some(t) = table else { return Ok(Activation::None) };
    let (alpha, beta) = (t.alpha(), t.beta());
    Ok(match t.kind() {
        0 => Activation::None,
        1 => Activation::Relu,
        2 => Activation::Clip { lo: alpha, hi: beta },
        3 => Activation::LeakyRelu { alpha },
        4 => Activation::Elu { alpha },
        5 => Activation::Sigmoid,
        6 => Activation::Tanh,
        7 => Activation::Silu,
        8 => Activation::HardSigmoid { alpha, beta },
        9 => Activation::HardSwish,
        10 => Activation::Gelu,
        11 => Activation::GeluTanh,
        12 => Activation::Softplus,
        13 => Activation::Mish,
        kind => return Err(Error::version(format!("unknown activation {kind}; a newer library may know it"))),
    })
}

/// An activation's number in model files, and its parameters: alpha and beta of the table, 0 where it has none.
pub fn parts(activation: Activation) -> (u8, f32, f32) {
    match activation {
        Activation::None => (0, 0.0, 0.0),
        Activation::Relu => (1, 0.0, 0.0),
        Activation::Clip { lo, hi } => (2, lo, hi),
        Activation::LeakyRelu { alpha } => (3, alpha, 0.0),
        Activation::Elu { alpha } => (4, alpha, 0.0),
        Activation::Sigmoid => (5, 0.0, 0.0),
        Activation::Tanh => (6, 0.0, 0.0),
        Activation::Silu => (7, 0.0, 0.0),
        Activation::HardSigmoid { alpha, beta } => (8, alpha, beta),
        Activation::HardSwish => (9, 0.0, 0.0),
        Activation::Gelu => (10, 0.0, 0.0),
        Activation::GeluTanh => (11, 0.0, 0.0),
        Activation::Softplus => (12, 0.0, 0.0),
        Activation::Mish => (13, 0.0, 0.0),
    }
}

/// The attribute table of an activation; None for none.
#[cfg(feature = "write")]
pub fn write<'b>(activation: Activation, b: &mut FlatBufferBuilder<'b>) -> Option<WIPOffset<schema::Activation<'b>>> {
    let (kind, alpha, beta) = parts(activation);
    (kind != 0).then(|| schema::Activation::create(b, &schema::ActivationArgs { kind, alpha, beta }))
}

/// An activation as kernels for a GPU take it: Activation of `activation.cuh`.
#[cfg(feature = "cuda")]
pub fn words(activation: Activation) -> [u32; 3] {
    let (kind, alpha, beta) = parts(activation);
    [kind.into(), alpha.to_bits(), beta.to_bits()]
}
