//! Unary: a function of each element. Input: a tensor.
//!
//! Functions that can end another operation are those of [`Activation`]; [`UnaryKind`] names them too, and documents the
//! others with their parameters alpha and beta. Floating-point types have all but the logical functions; integers have
//! Neg, Abs, Sign, Relu and BitNot; bool has Not. Neg and Abs of the smallest integer wrap.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod exact;
#[cfg(test)]
mod tests;

use super::{Inputs, Kernel, OpDef, Prepare};
use crate::cpu::Activation;
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{DType, Dim, TensorType};

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The function.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum UnaryKind { $($(#[$doc])* $name,)* }

        impl UnaryKind {
            /// Every kind; each one's index is its number in model files.
            pub const ALL: &[UnaryKind] = &[$(UnaryKind::$name),*];
        }
    };
}

kinds! {
    /// -x.
    Neg,
    /// |x|.
    Abs,
    /// -1, 0 or 1; NaN for NaN.
    Sign,
    /// The least integer >= x.
    Ceil,
    /// The greatest integer <= x.
    Floor,
    /// The nearest integer, the even one of two.
    Round,
    /// √x.
    Sqrt,
    /// 1 / √x.
    Rsqrt,
    /// 1 / x.
    Reciprocal,
    /// e^x.
    Exp,
    /// ln x.
    Log,
    /// sin x.
    Sin,
    /// cos x.
    Cos,
    /// tan x.
    Tan,
    /// arcsin x.
    Asin,
    /// arccos x.
    Acos,
    /// arctan x.
    Atan,
    /// sinh x.
    Sinh,
    /// cosh x.
    Cosh,
    /// arsinh x.
    Asinh,
    /// arcosh x.
    Acosh,
    /// artanh x.
    Atanh,
    /// The error function.
    Erf,
    /// x / (1 + |x|).
    Softsign,
    /// beta · (x where x > 0, otherwise alpha · (e^x - 1)).
    Selu,
    /// max(x, 0) + min(alpha · (e^(x / alpha) - 1), 0).
    Celu,
    /// x where x > alpha, otherwise 0.
    ThresholdedRelu,
    /// x - alpha where x > beta, x + alpha where x < -beta, otherwise 0.
    Shrink,
    /// x · sigmoid(alpha · x).
    Swish,
    /// Logical negation.
    Not,
    /// All bits flipped.
    BitNot,
    /// Whether x is NaN; the result is bool.
    IsNan,
    /// Whether x is +inf (if alpha is not 0) or -inf (if beta is not 0); the result is bool.
    IsInf,
    /// See [`Activation::Relu`].
    Relu,
    /// See [`Activation::Clip`]: from alpha to beta.
    Clip,
    /// See [`Activation::LeakyRelu`].
    LeakyRelu,
    /// See [`Activation::Elu`].
    Elu,
    /// See [`Activation::Sigmoid`].
    Sigmoid,
    /// See [`Activation::Tanh`].
    Tanh,
    /// See [`Activation::Silu`].
    Silu,
    /// See [`Activation::HardSigmoid`].
    HardSigmoid,
    /// See [`Activation::HardSwish`].
    HardSwish,
    /// See [`Activation::Gelu`].
    Gelu,
    /// See [`Activation::GeluTanh`].
    GeluTanh,
    /// See [`Activation::Softplus`].
    Softplus,
    /// See [`Activation::Mish`].
    Mish,
}

/// See the [module](self).
#[derive(Clone, Debug, PartialEq)]
pub struct Unary {
    /// The function.
    pub kind: UnaryKind,
    /// Its first parameter.
    pub alpha: f32,
    /// Its second parameter.
    pub beta: f32,
}

impl From<UnaryKind> for Unary {
    fn from(kind: UnaryKind) -> Self {
        Unary { kind, alpha: 0.0, beta: 0.0 }
    }
}

impl Unary {
    /// A function with one parameter.
    pub fn with_alpha(kind: UnaryKind, alpha: f32) -> Self {
        Unary { kind, alpha, beta: 0.0 }
    }

    /// The function as an activation, if it is one.
    pub fn activation(&self) -> Option<Activation> {
        let Unary { kind, alpha, beta } = *self;
        Some(match kind {
            UnaryKind::Relu => Activation::Relu,
            UnaryKind::Clip => Activation::Clip { lo: alpha, hi: beta },
            UnaryKind::LeakyRelu => Activation::LeakyRelu { alpha },
            UnaryKind::Elu => Activation::Elu { alpha },
            UnaryKind::Sigmoid => Activation::Sigmoid,
            UnaryKind::Tanh => Activation::Tanh,
            UnaryKind::Silu => Activation::Silu,
            UnaryKind::HardSigmoid => Activation::HardSigmoid { alpha, beta },
            UnaryKind::HardSwish => Activation::HardSwish,
            UnaryKind::Gelu => Activation::Gelu,
            UnaryKind::GeluTanh => Activation::GeluTanh,
            UnaryKind::Softplus => Activation::Softplus,
            UnaryKind::Mish => Activation::Mish,
            _ => return None,
        })
    }

    /// Whether the function is defined for this element type.
    fn accepts(&self, dtype: DType) -> bool {
        use UnaryKind::*;
        match self.kind {
            Not => dtype == DType::Bool,
            BitNot => dtype.is_int(),
            Neg => dtype.is_signed(),
            Abs | Sign | Relu => dtype != DType::Bool,
            _ => dtype.is_float(),
        }
    }

    /// The function of a known integer.
    fn of_known(&self, x: &Dim) -> Dim {
        match (self.kind, x) {
            (UnaryKind::Neg, x) => x.neg(),
            (UnaryKind::Not, Dim::Fixed(x)) => Dim::Fixed(i64::from(*x == 0)),
            (UnaryKind::Abs, Dim::Fixed(x)) => Dim::Fixed(x.saturating_abs()),
            (UnaryKind::Sign, Dim::Fixed(x)) => Dim::Fixed(x.signum()),
            (UnaryKind::Relu, Dim::Fixed(x)) => Dim::Fixed(*x.max(&0)),
            _ => Dim::Unknown,
        }
    }
}

impl OpDef for Unary {
    type Table<'a> = schema::Unary<'a>;
    const NAME: &'static str = "Unary";
    const INPUTS: (usize, usize) = (1, 1);

    fn read(table: Self::Table<'_>) -> Result<Self> {
        let unknown = || Error::version(format!("unknown function {}; a newer library may know it", table.kind()));
        let kind = UnaryKind::ALL.get(table.kind() as usize).copied().ok_or_else(unknown)?;
        Ok(Unary { kind, alpha: table.alpha(), beta: table.beta() })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        let Unary { kind, alpha, beta } = *self;
        schema::Unary::create(b, &schema::UnaryArgs { kind: kind as u8, alpha, beta })
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let x = inputs.get(0)?;
        if !self.accepts(x.dtype) {
            return Err(Error::dtype(format!("{:?} of {} is not defined", self.kind, x.dtype)));
        }
        let tests = matches!(self.kind, UnaryKind::IsNan | UnaryKind::IsInf);
        let ty = TensorType::new(if tests { DType::Bool } else { x.dtype }, x.shape.clone());
        Ok(vec![match &x.value {
            Some(value) => ty.with_value(value.iter().map(|x| self.of_known(x)).collect()),
            None => ty,
        }])
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        Ok(cpu::prepare(self, cx))
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        cuda::prepare(self, cx)
    }
}
