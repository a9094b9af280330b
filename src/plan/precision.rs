//! Which operators compute on smaller floats where a session asks for mixed precision.
//!
//! Kernels of a GPU read and write f16 or bf16, and compute and sum in f32. What makes large numbers of small ones, or differences
//! of nearly equal ones, is left to f32: the operators that automatic mixed precision keeps there elsewhere, too.

use super::Precision;
use crate::ops::binary::BinaryKind;
use crate::ops::reduce::ReduceKind;
use crate::ops::unary::UnaryKind;
use crate::ops::{Binary, Op, Reduce, Unary};
use crate::tensor::DType;

impl Precision {
    /// The type in which an operator reads and writes its f32 operands.
    pub(super) fn of(self, op: &Op) -> DType {
        match self {
            Precision::F16 if is_safe(op) => DType::F16,
            Precision::Bf16 if is_safe(op) => DType::BF16,
            _ => DType::F32,
        }
    }
}

/// Whether an operator's results in a smaller type are as good as its operands in that type.
fn is_safe(op: &Op) -> bool {
    match op {
        Op::MatMul(_) | Op::Conv(_) | Op::ConvTranspose(_) | Op::Attention(_) | Op::Recurrent(_) => true,
        Op::Norm(_) | Op::Softmax(_) | Op::Pool(_) | Op::Resize(_) | Op::GridSample(_) => true,
        Op::Transpose(_) | Op::Concat(_) | Op::Split(_) | Op::Slice(_) | Op::Expand(_) | Op::Tile(_) | Op::Pad(_) => {
            true
        }
        Op::Gather(_) | Op::GatherElements(_) | Op::GatherNd(_) | Op::Where(_) | Op::Trilu(_) => true,
        Op::Unary(Unary { kind, .. }) => {
            use UnaryKind::*;
            !matches!(kind, Exp | Log | Rsqrt | Reciprocal | Tan | Sinh | Cosh | Asin | Acos)
        }
        Op::Binary(Binary { kind, .. }) => {
            use BinaryKind::*;
            matches!(kind, Add | Sub | Mul | Min | Max)
        }
        Op::Reduce(Reduce { kind, .. }) => matches!(kind, ReduceKind::Mean | ReduceKind::Max | ReduceKind::Min),
        _ => false,
    }
}
