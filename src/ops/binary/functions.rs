//! The functions of two elements, each defined once for all element types that have it.

use crate::tensor::Element;

/// A function of two elements of type `T`.
pub trait Function<T> {
    /// Type of the result; `u8` for a truth value.
    type Out: Element;

    /// Whether it is mostly a call of a library function, which gains nothing from vector instructions.
    const IN_LIBRARY: bool = false;

    /// The value at `(a, b)`.
    fn call(a: T, b: T) -> Self::Out;

    /// The values at `(a[i], b[i])`.
    #[inline(always)]
    fn zip(a: &[T], b: &[T], y: &mut [Self::Out])
    where
        T: Copy,
    {
        for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
            *y = Self::call(a, b);
        }
    }

    /// The values at `(a[i], b)`.
    #[inline(always)]
    fn with_right(a: &[T], b: T, y: &mut [Self::Out])
    where
        T: Copy,
    {
        for (y, &a) in y.iter_mut().zip(a) {
            *y = Self::call(a, b);
        }
    }

    /// The values at `(a, b[i])`.
    #[inline(always)]
    fn with_left(a: T, b: &[T], y: &mut [Self::Out])
    where
        T: Copy,
    {
        for (y, &b) in y.iter_mut().zip(b) {
            *y = Self::call(a, b);
        }
    }
}

macro_rules! one {
    ($name:ident, $out:ty, |$a:ident, $b:ident| $body:expr, $($ty:ty)*) => {$(
        impl Function<$ty> for $name {
            type Out = $out;

            #[inline(always)]
            #[allow(
                unused_comparisons,
                clippy::absurd_extreme_comparisons,
                reason = "the same text serves signed and unsigned integers"
            )]
            fn call($a: $ty, $b: $ty) -> $out {
                $body
            }
        }
    )*};
    ($name:ident, |$a:ident, $b:ident| $body:expr, $($ty:ty)*) => {
        $(one! { $name, $ty, |$a, $b| $body, $ty })*
    };
}

/// Defines a function for floats and for integers.
macro_rules! numeric {
    ($($(#[$doc:meta])* $name:ident: |$a:ident, $b:ident| $float:expr, $integer:expr;)*) => {$(
        $(#[$doc])*
        pub struct $name;

        one! { $name, |$a, $b| $float, f32 f64 }
        one! { $name, |$a, $b| $integer, i8 i16 i32 i64 u8 u16 u32 u64 }
    )*};
}

/// Defines a function with truth values as results.
macro_rules! relations {
    ($($(#[$doc:meta])* $name:ident: |$a:ident, $b:ident| $body:expr;)*) => {$(
        $(#[$doc])*
        pub struct $name;

        one! { $name, u8, |$a, $b| $body as u8, f32 f64 i8 i16 i32 i64 u8 u16 u32 u64 }
    )*};
}

/// Defines a function of integers.
macro_rules! bits {
    ($($(#[$doc:meta])* $name:ident: |$a:ident, $b:ident| $body:expr;)*) => {$(
        $(#[$doc])*
        pub struct $name;

        one! { $name, |$a, $b| $body, i8 i16 i32 i64 u8 u16 u32 u64 }
    )*};
}

numeric! {
    /// a + b.
    Add: |a, b| a + b, a.wrapping_add(b);
    /// a - b.
    Sub: |a, b| a - b, a.wrapping_sub(b);
    /// a · b.
    Mul: |a, b| a * b, a.wrapping_mul(b);
    /// a / b; integers truncate, and give 0 for a divisor of 0.
    Div: |a, b| a / b, if b == 0 { 0 } else { a.wrapping_div(b) };
    /// Remainder with the sign of b; 0 for an integer divisor of 0.
    Mod: |a, b| {
        let r = a % b;
        if r == 0.0 { r.abs().copysign(b) } else if (r < 0.0) != (b < 0.0) { r + b } else { r }
    }, if b == 0 { 0 } else {
        let r = a.wrapping_rem(b);
        if r != 0 && (r < 0) != (b < 0) { r.wrapping_add(b) } else { r }
    };
    /// Remainder with the sign of a; 0 for an integer divisor of 0.
    Fmod: |a, b| a % b, if b == 0 { 0 } else { a.wrapping_rem(b) };
    /// The smaller; NaN if one is NaN.
    Min: |a, b| if a < b || a.is_nan() { a } else { b }, a.min(b);
    /// The larger; NaN if one is NaN.
    Max: |a, b| if a > b || a.is_nan() { a } else { b }, a.max(b);
    /// a where a >= 0, otherwise b · a.
    PRelu: |a, b| if a < 0.0 { b * a } else { a }, if a < 0 { b.wrapping_mul(a) } else { a };
}

relations! {
    /// a = b.
    Equal: |a, b| a == b;
    /// a < b.
    Less: |a, b| a < b;
    /// a <= b.
    LessOrEqual: |a, b| a <= b;
}

bits! {
    /// a and b, bit by bit.
    BitAnd: |a, b| a & b;
    /// a or b, bit by bit.
    BitOr: |a, b| a | b;
    /// a exclusive or b, bit by bit.
    BitXor: |a, b| a ^ b;
    /// a moved left by b bits; 0 if b is negative or beyond the width.
    ShiftLeft: |a, b| if (b as u64) < width(a) { a << b } else { 0 };
    /// a moved right by b bits, filled with its sign; only signs if b is negative or beyond the width.
    ShiftRight: |a, b| if (b as u64) < width(a) { a >> b } else { a >> (width(a) - 1) >> 1 };
}

/// Both are true.
pub struct And;
/// At least one is true.
pub struct Or;
/// Exactly one is true.
pub struct Xor;

one! { And, |a, b| (a != 0 && b != 0) as u8, u8 }
one! { Or, |a, b| (a | b != 0) as u8, u8 }
one! { Xor, |a, b| ((a != 0) != (b != 0)) as u8, u8 }

/// Bits of an integer type.
#[inline(always)]
fn width<T>(_: T) -> u64 {
    8 * size_of::<T>() as u64
}

/// a^b. The exponents that models use need no library function.
pub struct Pow;

macro_rules! pow {
    ($($ty:ident)*) => {$(
        impl Function<$ty> for Pow {
            type Out = $ty;
            const IN_LIBRARY: bool = true;

            #[inline(always)]
            fn call(a: $ty, b: $ty) -> $ty {
                a.powf(b)
            }

            #[inline(always)]
            fn with_right(a: &[$ty], b: $ty, y: &mut [$ty]) {
                let pairs = y.iter_mut().zip(a);
                if b == 2.0 {
                    for (y, &a) in pairs {
                        *y = a * a;
                    }
                } else if b == 3.0 {
                    for (y, &a) in pairs {
                        *y = a * a * a;
                    }
                } else if b == 0.5 {
                    // The square root, but for infinity below zero and the sign of zero.
                    for (y, &a) in pairs {
                        *y = if a == $ty::NEG_INFINITY { -a } else { a.sqrt() + 0.0 };
                    }
                } else if b == -1.0 {
                    for (y, &a) in pairs {
                        *y = 1.0 / a;
                    }
                } else {
                    for (y, &a) in pairs {
                        *y = a.powf(b);
                    }
                }
            }
        }
    )*};
}

pow! { f32 f64 }
