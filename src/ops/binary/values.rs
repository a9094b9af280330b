//! Elements of small integer results, as expressions of named dimensions.

use super::BinaryKind;
use super::pow::integer_power;
use crate::ops::Walk;
use crate::tensor::{DType, Dim, TensorType};

/// The result's type with its elements, as far as they follow from those of `a` and `b`.
pub fn propagate(kind: BinaryKind, a: &TensorType, b: &TensorType, result: TensorType) -> TensorType {
    match elements(kind, a, b, &result) {
        Some(value) => result.with_value(value),
        None => result,
    }
}

fn elements(kind: BinaryKind, a: &TensorType, b: &TensorType, result: &TensorType) -> Option<Vec<Dim>> {
    let (x, y) = (a.value.as_ref()?, b.value.as_ref()?);
    let dims = result.shape.as_fixed()?;
    let count = dims.numel().ok().filter(|&n| n <= TensorType::MAX_VALUES)?;
    let walk = Walk::broadcast(&dims, [&a.shape.as_fixed()?, &b.shape.as_fixed()?]).ok()?;
    let [p, q] = walk.inner_strides();
    let mut value = Vec::with_capacity(count);
    for run in walk.runs(0..count) {
        for i in 0..run.len {
            let element = element(kind, &x[run.at[0] + i * p], &y[run.at[1] + i * q])?;
            value.push(fits(element, result.dtype)?);
        }
    }
    Some(value)
}

/// The element, unless it is a number that would wrap.
fn fits(element: Dim, dtype: DType) -> Option<Dim> {
    match element.fixed() {
        Some(n) if dtype == DType::I32 && i32::try_from(n).is_err() => None,
        _ => (!element.is_unknown()).then_some(element),
    }
}

fn element(kind: BinaryKind, a: &Dim, b: &Dim) -> Option<Dim> {
    use BinaryKind::*;
    if let (Some(x), Some(y)) = (a.fixed(), b.fixed()) {
        return number(kind, x, y).map(Dim::Fixed);
    }
    match kind {
        Add => Some(a.add(b)),
        Sub => Some(a.sub(b)),
        Mul => Some(a.mul(b)),
        Div => truncated_quotient(a, b),
        Mod => Some(a.modulo(b)),
        Fmod if a.is_nonnegative() && b.is_nonnegative() => Some(a.modulo(b)),
        Min => Some(a.minimum(b)),
        Max => Some(a.maximum(b)),
        Equal => truth(equal(a, b)),
        Less => truth(less(a, b)),
        LessOrEqual => truth(less(b, a).map(|x| !x)),
        Greater => truth(less(b, a)),
        GreaterOrEqual => truth(less(a, b).map(|x| !x)),
        _ => None,
    }
}

/// The result for two numbers; None where it would wrap or is not tracked.
fn number(kind: BinaryKind, a: i64, b: i64) -> Option<i64> {
    use BinaryKind::*;
    match kind {
        Add => a.checked_add(b),
        Sub => a.checked_sub(b),
        Mul => a.checked_mul(b),
        Div => a.checked_div(b),
        Mod => Dim::Fixed(a).modulo(&Dim::Fixed(b)).fixed(),
        Fmod => a.checked_rem(b),
        Pow => (b >= 0 && a.checked_pow(b.try_into().ok()?).is_some()).then(|| integer_power(a, b)),
        Min => Some(a.min(b)),
        Max => Some(a.max(b)),
        And | BitAnd => Some(a & b),
        Or | BitOr => Some(a | b),
        Xor | BitXor => Some(a ^ b),
        Equal => Some((a == b).into()),
        Less => Some((a < b).into()),
        LessOrEqual => Some((a <= b).into()),
        Greater => Some((a > b).into()),
        GreaterOrEqual => Some((a >= b).into()),
        PRelu => if a < 0 { a.checked_mul(b) } else { Some(a) },
        ShiftLeft | ShiftRight => None,
    }
}

fn truth(known: Option<bool>) -> Option<Dim> {
    known.map(|t| Dim::Fixed(t.into()))
}

/// a / b rounded towards zero, for b > 0.
fn truncated_quotient(a: &Dim, b: &Dim) -> Option<Dim> {
    if a.is_nonnegative() && b.is_nonnegative() {
        return Some(a.floor_div(b));
    }
    if !b.sub(&Dim::Fixed(1)).is_nonnegative() {
        return None;
    }
    let zero = Dim::Fixed(0);
    Some(a.maximum(&zero).floor_div(b).sub(&a.neg().maximum(&zero).floor_div(b)))
}

/// Whether a < b, if that is certain.
fn less(a: &Dim, b: &Dim) -> Option<bool> {
    if b.sub(a).sub(&Dim::Fixed(1)).is_nonnegative() {
        return Some(true);
    }
    a.sub(b).is_nonnegative().then_some(false)
}

/// Whether a = b, if that is certain.
fn equal(a: &Dim, b: &Dim) -> Option<bool> {
    match () {
        _ if a.is_unknown() || b.is_unknown() => None,
        _ if a == b => Some(true),
        _ if less(a, b) == Some(true) || less(b, a) == Some(true) => Some(false),
        _ => None,
    }
}
