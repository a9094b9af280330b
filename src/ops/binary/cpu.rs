//! Kernels of functions of two tensors: the one for each kind and element type.

use super::blocks::{halves, plain};
use super::functions as f;
use super::rows::{arithmetic, relation};
use super::{Binary, BinaryKind, pow};
use crate::cpu::activation::Activation;
use crate::cpu::isa::Isa;
use crate::error::{Error, Result};
use crate::ops::elementwise::{Flat, Half};
use crate::ops::{Kernel, Prepare, Walk};
use crate::tensor::DType;
use half::{bf16, f16};

/// How the operands meet, apart from their types.
#[derive(Clone, Debug)]
pub struct Plan {
    pub isa: Isa,
    pub flat: Flat,
    /// The two inputs that are the operands.
    pub order: [usize; 2],
    pub walk: Walk<2>,
    pub activation: Activation,
}

/// The kernel of an operator on inputs that `infer` has accepted.
pub fn prepare(op: &Binary, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
    let (kind, order) = op.kind.ordered();
    let (a, b) = (cx.input(order[0]).info, cx.input(order[1]).info);
    let walk = Walk::broadcast(&cx.out_dims(0), [&a.dims, &b.dims])?;
    let flat = Flat::new(cx.outputs[0].numel(), cost(kind, a.dtype));
    let plan = Plan { isa: cx.isa, flat, order, walk, activation: op.activation };
    if kind == BinaryKind::Pow && (a.dtype != b.dtype || a.dtype.is_int()) {
        return pow::prepare(plan, a.dtype, b.dtype);
    }
    select(plan, kind, a.dtype).ok_or_else(|| Error::internal(format!("{kind:?} has no kernel for {}", a.dtype)))
}

/// Time for an element, in additions.
fn cost(kind: BinaryKind, dtype: DType) -> usize {
    match kind {
        BinaryKind::Pow | BinaryKind::Mod | BinaryKind::Fmod => 8,
        BinaryKind::Div if dtype.is_int() => 4,
        _ => 1,
    }
}

/// The kernel of `$kind`, if it is one of the functions that are named, made by `$make`.
macro_rules! kinds {
    ($make:ident::<$ty:ty>, $plan:ident, $kind:ident: $($name:ident)*) => {
        match $kind {
            $(BinaryKind::$name => Some($make::<$ty, f::$name>($plan)),)*
            _ => None,
        }
    };
    ($make:ident, $plan:ident, $kind:ident: $($name:ident)*) => {
        match $kind {
            $(BinaryKind::$name => Some($make::<f::$name>($plan)),)*
            _ => None,
        }
    };
}

/// Integers of one size. Where signs make no difference, one kernel serves both types.
macro_rules! integers {
    ($signed:ty, $unsigned:ty, $is_signed:expr, $plan:ident, $kind:ident) => {
        match $kind {
            BinaryKind::Add | BinaryKind::Sub | BinaryKind::Mul | BinaryKind::Equal | BinaryKind::BitAnd
            | BinaryKind::BitOr | BinaryKind::BitXor | BinaryKind::ShiftLeft => {
                kinds!(plain::<$signed>, $plan, $kind: Add Sub Mul Equal BitAnd BitOr BitXor ShiftLeft)
            }
            _ if $is_signed => {
                kinds!(plain::<$signed>, $plan, $kind: Div Mod Fmod Min Max PRelu Less LessOrEqual ShiftRight)
            }
            BinaryKind::Mod => Some(plain::<$unsigned, f::Fmod>($plan)),
            _ => kinds!(plain::<$unsigned>, $plan, $kind: Div Fmod Min Max PRelu Less LessOrEqual ShiftRight),
        }
    };
}

/// The kernel for a kind and type of operands; None if there is none.
fn select(plan: Plan, kind: BinaryKind, dtype: DType) -> Option<Box<dyn Kernel>> {
    match dtype {
        DType::F32 if kind.is_relation() => kinds!(relation, plan, kind: Equal Less LessOrEqual),
        DType::F32 => {
            kinds!(arithmetic, plan, kind: Add Sub Mul Div Pow Mod Fmod Min Max PRelu)
        }
        DType::F64 => {
            kinds!(plain::<f64>, plan, kind: Add Sub Mul Div Pow Mod Fmod Min Max PRelu
                Equal Less LessOrEqual)
        }
        DType::F16 => float16::<f16>(plan, kind),
        DType::BF16 => float16::<bf16>(plan, kind),
        DType::I8 | DType::U8 => integers!(i8, u8, dtype == DType::I8, plan, kind),
        DType::I16 | DType::U16 => integers!(i16, u16, dtype == DType::I16, plan, kind),
        DType::I32 | DType::U32 => integers!(i32, u32, dtype == DType::I32, plan, kind),
        DType::I64 | DType::U64 => integers!(i64, u64, dtype == DType::I64, plan, kind),
        DType::Bool if kind == BinaryKind::Equal => Some(plain::<i8, f::Equal>(plan)),
        DType::Bool => kinds!(plain::<u8>, plan, kind: And Or Xor),
    }
}

fn float16<T: Half>(plan: Plan, kind: BinaryKind) -> Option<Box<dyn Kernel>> {
    if kind.is_relation() {
        kinds!(plain::<T>, plan, kind: Equal Less LessOrEqual)
    } else {
        kinds!(halves::<T>, plan, kind: Add Sub Mul Div Pow Mod Fmod Min Max PRelu)
    }
}
