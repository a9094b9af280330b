//! What operators that work element by element share: how outputs are cut into parts, and blocks of other element types.

use super::Walk;
use crate::cpu::{Isa, half};
use crate::tensor::{Args, Element, Grid};
use ::half::{bf16, f16};
use std::ops::Range;

/// Elements computed at a time where a value needs several passes: inputs and results of a pass stay in the L1 cache.
pub const BLOCK: usize = 2048;

/// Cheap elements worth a part of their own.
const GRAIN: usize = 16 * 1024;

/// Elements per cell where they divide evenly: parts then start on a cache line.
const CELL: usize = 64;

/// An output cut into parts of consecutive elements.
#[derive(Clone, Copy, Debug)]
pub struct Flat {
    /// The grid of the phase.
    pub grid: Grid,
    cell: usize,
}

impl Flat {
    /// Parts of an output of `numel` elements, each of which costs `cost` times as much as an f32 addition.
    pub fn new(numel: usize, cost: usize) -> Self {
        let cell = if numel.is_multiple_of(CELL) { CELL } else { 1 };
        Flat { grid: Grid::by_cost(numel / cell, cost * cell, GRAIN), cell }
    }

    /// The elements of this part.
    pub fn range(&self, args: &Args<'_>) -> Range<usize> {
        let cells = args.ranges().0;
        cells.start * self.cell..cells.end * self.cell
    }
}

/// The blocks of at most [`BLOCK`] elements that make up `range`.
pub fn blocks(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(BLOCK).map(move |start| start..end.min(start + BLOCK))
}

/// An element type whose arithmetic is done in `Wide`: f32 for 16-bit floats, itself for all others.
pub trait Lane: Element {
    /// The type of the arithmetic.
    type Wide: Element;
    /// Converts `from` into `to`. Panics if the lengths differ.
    fn widen(isa: Isa, from: &[Self], to: &mut [Self::Wide]);
    /// The elements as they are, if they need no conversion.
    fn as_wide(from: &[Self]) -> Option<&[Self::Wide]>;
}

/// A 16-bit floating-point type, computed in f32 and rounded once.
pub trait Half: Lane<Wide = f32> {
    /// Converts `from` into `to`, rounding to nearest even. Panics if the lengths differ.
    fn narrow(isa: Isa, from: &[f32], to: &mut [Self]);
}

macro_rules! lanes {
    ($($ty:ty)*) => {$(
        impl Lane for $ty {
            type Wide = $ty;

            fn widen(_: Isa, from: &[Self], to: &mut [Self]) {
                to.copy_from_slice(from);
            }

            fn as_wide(from: &[Self]) -> Option<&[Self]> {
                Some(from)
            }
        }
    )*};
}

lanes! { f32 f64 i8 i16 i32 i64 u8 u16 u32 u64 }

macro_rules! halves {
    ($($ty:ty: $widen:expr, $narrow:expr;)*) => {$(
        impl Lane for $ty {
            type Wide = f32;

            fn widen(isa: Isa, from: &[Self], to: &mut [f32]) {
                $widen(isa, from, to);
            }

            fn as_wide(_: &[Self]) -> Option<&[f32]> {
                None
            }
        }

        impl Half for $ty {
            fn narrow(isa: Isa, from: &[f32], to: &mut [Self]) {
                $narrow(isa, from, to);
            }
        }
    )*};
}

halves! {
    f16: |_, from, to| half::f16_to_f32(from, to), |_, from, to| half::f32_to_f16(from, to);
    bf16: half::bf16_to_f32, half::f32_to_bf16;
}

/// The elements of operand `n` in `range` of a walk, at most [`BLOCK`] of them, as a vector: in place where the operand has
/// them that way, else in `buffer`.
pub fn block<'a, const N: usize, T: Lane>(
    (walk, n, range): (&Walk<N>, usize, Range<usize>),
    isa: Isa,
    from: &'a [T],
    buffer: &'a mut [T::Wide; BLOCK],
) -> &'a [T::Wide] {
    let len = range.len();
    if let Some(run) = walk.runs(range.clone()).next()
        && run.len == len
        && walk.inner_strides()[n] == 1
        && let Some(wide) = T::as_wide(&from[run.at[n]..][..len])
    {
        return wide;
    }
    gather((walk, n, range), from, buffer, |x, y| T::widen(isa, x, y));
    &buffer[..len]
}

/// A number of any element type, by way of the widest type of its kind.
pub trait Number: Element {
    /// The value, rounded to nearest where it is a large integer.
    fn to_f64(self) -> f64;
    /// The value of an integer (its bits, if it is a large u64), the saturated integer part of a float.
    fn to_i64(self) -> i64;
    /// The value rounded to nearest; for integers truncated and saturated, 0 for NaN.
    fn from_f64(value: f64) -> Self;
    /// The value rounded to nearest; for integers its low bits.
    fn from_i64(value: i64) -> Self;
}

macro_rules! numbers {
    ($($ty:ty),*; $to_f64:expr, $to_i64:expr, $from_f64:expr, $from_i64:expr) => {$(
        #[allow(clippy::unnecessary_cast, reason = "the same text serves all types")]
        impl Number for $ty {
            #[inline(always)]
            fn to_f64(self) -> f64 {
                $to_f64(self)
            }

            #[inline(always)]
            fn to_i64(self) -> i64 {
                $to_i64(self)
            }

            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                $from_f64(value)
            }

            #[inline(always)]
            fn from_i64(value: i64) -> Self {
                $from_i64(value)
            }
        }
    )*};
}

numbers! { f32, f64, i8, i16, i32, i64, u8, u16, u32, u64; |x| x as f64, |x| x as i64, |x| x as Self, |x| x as Self }
numbers! {
    f16, bf16;
    Self::to_f64, |x: Self| x.to_f32() as i64, |x| Self::from_f32(half::f64_to_odd_f32(x)), |x| Self::from_f32(x as f32)
}

/// Calls `$f::<T>($args)` with the Rust type `T` that represents elements of `$dtype`.
macro_rules! for_type {
    ($dtype:expr, $f:ident($($args:expr),*)) => {
        match $dtype {
            $crate::tensor::DType::F32 => $f::<f32>($($args),*),
            $crate::tensor::DType::F64 => $f::<f64>($($args),*),
            $crate::tensor::DType::F16 => $f::<half::f16>($($args),*),
            $crate::tensor::DType::BF16 => $f::<half::bf16>($($args),*),
            $crate::tensor::DType::I8 => $f::<i8>($($args),*),
            $crate::tensor::DType::I16 => $f::<i16>($($args),*),
            $crate::tensor::DType::I32 => $f::<i32>($($args),*),
            $crate::tensor::DType::I64 => $f::<i64>($($args),*),
            $crate::tensor::DType::U8 | $crate::tensor::DType::Bool => $f::<u8>($($args),*),
            $crate::tensor::DType::U16 => $f::<u16>($($args),*),
            $crate::tensor::DType::U32 => $f::<u32>($($args),*),
            $crate::tensor::DType::U64 => $f::<u64>($($args),*),
        }
    };
}
pub(crate) use for_type;

/// Copies the elements that operand `n` has in `range` of a walk to `to`, in order: `copy` converts neighbours,
/// `fill` repeats one.
pub fn gather<const N: usize, T: Copy, O>(
    (walk, n, range): (&Walk<N>, usize, Range<usize>),
    from: &[T],
    to: &mut [O],
    copy: impl Fn(&[T], &mut [O]),
) where
    O: Copy,
{
    let step = walk.inner_strides()[n];
    let mut done = 0;
    for run in walk.runs(range) {
        let to = &mut to[done..done + run.len];
        done += run.len;
        let at = run.at[n];
        if step == 0 {
            copy(&from[at..at + 1], &mut to[..1]);
            let value = to[0];
            to.fill(value);
        } else {
            copy(&from[at..at + run.len], to);
        }
    }
}
