//! Functions of two tensors, element by element. Inputs: a, b, which broadcast to each other by NumPy's rules.
//!
//! Results have the operands' type, which is the same for both, except that relations give bool and powers take an
//! exponent of any numeric type. Integers wrap; an integer division by zero gives 0. Floats may end with an activation.

mod blocks;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod functions;
mod pow;
mod rows;
#[cfg(test)]
mod tests;
mod values;

use super::{Inputs, Kernel, OpDef, Prepare, activation};
use crate::cpu::activation::Activation;
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{DType, Shape, TensorType};

/// Which function it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BinaryKind {
    /// a + b.
    Add,
    /// a - b.
    Sub,
    /// a · b.
    Mul,
    /// a / b; integers truncate towards zero.
    Div,
    /// a^b, of a's type; b may have another type.
    Pow,
    /// Remainder with the sign of b.
    Mod,
    /// Remainder with the sign of a.
    Fmod,
    /// The smaller of the two; NaN if one is.
    Min,
    /// The larger of the two; NaN if one is.
    Max,
    /// Both are true (bool).
    And,
    /// At least one is true (bool).
    Or,
    /// Exactly one is true (bool).
    Xor,
    /// Bits that are set in both (integers).
    BitAnd,
    /// Bits that are set in at least one (integers).
    BitOr,
    /// Bits that are set in exactly one (integers).
    BitXor,
    /// a shifted left by b bits (integers); 0 where b is negative or not less than the width.
    ShiftLeft,
    /// a shifted right by b bits (integers), arithmetically if signed; only signs where b is out of range.
    ShiftRight,
    /// a = b (any type).
    Equal,
    /// a < b.
    Less,
    /// a <= b.
    LessOrEqual,
    /// a > b.
    Greater,
    /// a >= b.
    GreaterOrEqual,
    /// a where a >= 0, else b · a; b must broadcast to a's shape.
    PRelu,
}

impl BinaryKind {
    /// Every kind, in the order of its number in model files.
    pub const ALL: [BinaryKind; 23] = {
        use BinaryKind::*;
        [
            Add, Sub, Mul, Div, Pow, Mod, Fmod, Min, Max, And, Or, Xor, BitAnd, BitOr, BitXor, ShiftLeft, ShiftRight,
            Equal, Less, LessOrEqual, Greater, GreaterOrEqual, PRelu,
        ]
    };

    /// Whether results are truth values of a comparison.
    pub fn is_relation(self) -> bool {
        use BinaryKind::*;
        matches!(self, Equal | Less | LessOrEqual | Greater | GreaterOrEqual)
    }

    /// The function that kernels compute for this one, and the two inputs that are its operands.
    fn ordered(self) -> (BinaryKind, [usize; 2]) {
        match self {
            BinaryKind::Greater => (BinaryKind::Less, [1, 0]),
            BinaryKind::GreaterOrEqual => (BinaryKind::LessOrEqual, [1, 0]),
            kind => (kind, [0, 1]),
        }
    }

    /// Whether operands may have this type; where not, what they must be.
    fn accepts(self, dtype: DType) -> Result<(), &'static str> {
        use BinaryKind::*;
        let (good, wanted) = match self {
            And | Or | Xor => (dtype == DType::Bool, "bool"),
            BitAnd | BitOr | BitXor | ShiftLeft | ShiftRight => (dtype.is_int(), "an integer type"),
            Equal => (true, ""),
            _ => (dtype != DType::Bool, "a numeric type"),
        };
        if good { Ok(()) } else { Err(wanted) }
    }
}

/// See the [module](self).
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// The function.
    pub kind: BinaryKind,
    /// Applied to the results; only for arithmetic of f32, f16 and bf16.
    pub activation: Activation,
}

impl From<BinaryKind> for Binary {
    fn from(kind: BinaryKind) -> Self {
        Binary { kind, activation: Activation::None }
    }
}

impl OpDef for Binary {
    type Table<'a> = schema::Binary<'a>;
    const NAME: &'static str = "Binary";
    const INPUTS: (usize, usize) = (2, 2);

    fn read(table: Self::Table<'_>) -> Result<Self> {
        let code = table.kind();
        let kind = BinaryKind::ALL.get(code as usize).copied();
        let kind = kind.ok_or_else(|| {
            Error::version(format!("unknown function {code} of two tensors; a newer library may know it"))
        })?;
        Ok(Binary { kind, activation: activation::read(table.activation())? })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        let activation = activation::write(self.activation, b);
        schema::Binary::create(b, &schema::BinaryArgs { kind: self.kind as u8, activation })
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let (a, b) = (inputs.get(0)?, inputs.get(1)?);
        let dtype = self.result_type(a.dtype, b.dtype)?;
        let shape = a.shape.broadcast(&b.shape)?;
        if self.kind == BinaryKind::PRelu {
            check_slope(&shape, &a.shape)?;
        }
        Ok(vec![values::propagate(self.kind, a, b, TensorType::new(dtype, shape))])
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        cpu::prepare(self, cx)
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        cuda::prepare(self, cx)
    }
}

impl Binary {
    /// Element type of the result, for operands of types that the function accepts.
    fn result_type(&self, a: DType, b: DType) -> Result<DType> {
        let kind = self.kind;
        for (i, dtype) in [a, b].into_iter().enumerate() {
            kind.accepts(dtype).map_err(|want| Error::dtype(format!("{kind:?}: input {i} is {dtype}, not {want}")))?;
        }
        if a != b && kind != BinaryKind::Pow {
            return Err(Error::dtype(format!("{kind:?} of {a} and {b}; both must have the same type")));
        }
        let result = if kind.is_relation() { DType::Bool } else { a };
        let single = matches!(result, DType::F32 | DType::F16 | DType::BF16) && a == b;
        if self.activation != Activation::None && !single {
            return Err(Error::unsupported(format!("{kind:?} of {a} and {b} with an activation; only f32, f16, bf16")));
        }
        Ok(result)
    }
}

/// Checks that broadcasting the slope has not extended the input.
fn check_slope(result: &Shape, input: &Shape) -> Result<()> {
    let extended = |(x, y): (&_, &_)| matches!((x, y), (crate::tensor::Dim::Fixed(1), y) if *y != crate::tensor::Dim::Fixed(1));
    if result.rank() != input.rank() || input.iter().zip(result.iter()).any(extended) {
        return Err(Error::shape(format!("PRelu: the slope must broadcast to {input}, and would extend it to {result}")));
    }
    Ok(())
}
