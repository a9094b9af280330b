//! Elements as samples of a signal that is interpolated: in f32, or in f64 where f32 does not hold them exactly, and
//! rounded once. Integers are rounded half to even and saturate.

use super::arith::Arith;
use super::elementwise::Number;
use crate::cpu::simd::{Machine, Work};
use crate::cpu::{Isa, half};
use crate::tensor::{Element, Tile};
use ::half::{bf16, f16};
use std::ops::{Mul, Range};

/// The type that samples are computed in.
pub trait Real: Arith + Number + PartialOrd + Mul<Output = Self> {
    /// The value of a weight.
    fn of(weight: f64) -> Self;
}

impl Real for f32 {
    fn of(weight: f64) -> Self {
        weight as f32
    }
}

impl Real for f64 {
    fn of(weight: f64) -> Self {
        weight
    }
}

/// An element type that can be interpolated.
pub trait Sample: Element {
    /// The type it is computed in.
    type Wide: Real;

    /// The elements as what they are computed in, converted in `buffer` if they must be. Panics if that is shorter.
    fn wide<'a>(isa: Isa, from: &'a [Self], buffer: &'a mut [Self::Wide]) -> &'a [Self::Wide] {
        if let Some(wide) = Self::as_wide(from) {
            return wide;
        }
        let buffer = &mut buffer[..from.len()];
        Self::widen(isa, from, buffer);
        buffer
    }

    /// Converts `from` into `to`. Panics if the lengths differ.
    fn widen(isa: Isa, from: &[Self], to: &mut [Self::Wide]);

    /// Rounds `from` into `to`. Panics if the lengths differ.
    fn narrow(isa: Isa, from: &[Self::Wide], to: &mut [Self]);

    /// The elements themselves, if they are what they are computed in.
    fn as_wide(_: &[Self]) -> Option<&[Self::Wide]> {
        None
    }

    /// The elements themselves, if they are what they are computed in.
    fn as_wide_mut(_: &mut [Self]) -> Option<&mut [Self::Wide]> {
        None
    }
}

/// Elements of a tensor of any type that is computed in `W`: one kernel then serves all these types.
pub trait Samples<W> {
    /// The elements of a range themselves, if they are what they are computed in.
    fn direct(&self, range: Range<usize>) -> Option<&[W]>;

    /// Converts the elements of a range. Panics if the lengths differ.
    fn widen(&self, isa: Isa, range: Range<usize>, to: &mut [W]);
}

impl<T: Sample> Samples<T::Wide> for &[T] {
    fn direct(&self, range: Range<usize>) -> Option<&[T::Wide]> {
        T::as_wide(&self[range])
    }

    fn widen(&self, isa: Isa, range: Range<usize>, to: &mut [T::Wide]) {
        T::widen(isa, &self[range], to);
    }
}

impl<W> dyn Samples<W> + '_ {
    /// The elements of a range, converted in `buffer` if they must be. Panics if that is shorter.
    pub fn wide<'a>(&'a self, isa: Isa, range: Range<usize>, buffer: &'a mut [W]) -> &'a [W] {
        if let Some(direct) = self.direct(range.clone()) {
            return direct;
        }
        let buffer = &mut buffer[..range.len()];
        self.widen(isa, range, buffer);
        buffer
    }
}

/// The rows of an output of any type that is computed in `W`.
pub trait SampleRows<W> {
    /// The rows of this part.
    fn range(&self) -> Range<usize>;

    /// A row to write to, if its elements are what they are computed in.
    fn direct(&mut self, row: usize) -> Option<&mut [W]>;

    /// Writes a row, rounded.
    fn put(&mut self, isa: Isa, row: usize, from: &[W]);
}

impl<T: Sample> SampleRows<T::Wide> for Tile<'_, T> {
    fn range(&self) -> Range<usize> {
        self.rows()
    }

    fn direct(&mut self, row: usize) -> Option<&mut [T::Wide]> {
        T::as_wide_mut(self.row(row))
    }

    fn put(&mut self, isa: Isa, row: usize, from: &[T::Wide]) {
        T::narrow(isa, from, self.row(row));
    }
}

/// `to += weight * from`.
pub fn add_scaled<A: Real>(isa: Isa, from: &[A], weight: f64, to: &mut [A]) {
    isa.dispatch(AddScaled { from, weight: A::of(weight), to });
}

struct AddScaled<'a, A> {
    from: &'a [A],
    weight: A,
    to: &'a mut [A],
}

impl<A: Real> Work for AddScaled<'_, A> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        for (to, &from) in self.to.iter_mut().zip(self.from) {
            *to = A::mul_add::<M>(from, self.weight, *to);
        }
    }
}

macro_rules! reals {
    ($($ty:ty)*) => {$(
        impl Sample for $ty {
            type Wide = $ty;

            fn widen(_: Isa, from: &[Self], to: &mut [Self]) {
                to.copy_from_slice(from);
            }

            fn narrow(_: Isa, from: &[Self], to: &mut [Self]) {
                to.copy_from_slice(from);
            }

            fn as_wide(from: &[Self]) -> Option<&[Self]> {
                Some(from)
            }

            fn as_wide_mut(from: &mut [Self]) -> Option<&mut [Self]> {
                Some(from)
            }
        }
    )*};
}

macro_rules! converted {
    ($($ty:ty as $wide:ty: $widen:expr, $narrow:expr;)*) => {$(
        impl Sample for $ty {
            type Wide = $wide;

            fn widen(isa: Isa, from: &[Self], to: &mut [$wide]) {
                $widen(isa, from, to);
            }

            fn narrow(isa: Isa, from: &[$wide], to: &mut [Self]) {
                $narrow(isa, from, to);
            }
        }
    )*};
}

macro_rules! integers {
    ($($ty:ty as $wide:ty;)*) => {
        converted! {$(
            $ty as $wide: |_, from: &[$ty], to: &mut [$wide]| {
                assert_eq!(from.len(), to.len());
                to.iter_mut().zip(from).for_each(|(to, &from)| *to = from as $wide);
            }, |_, from: &[$wide], to: &mut [$ty]| {
                assert_eq!(from.len(), to.len());
                to.iter_mut().zip(from).for_each(|(to, &from)| *to = from.round_ties_even() as $ty);
            };
        )*}
    };
}

reals! { f32 f64 }
integers! { i8 as f32; i16 as f32; u8 as f32; u16 as f32; i32 as f64; i64 as f64; u32 as f64; u64 as f64; }
converted! {
    f16 as f32: |_, from, to| half::f16_to_f32(from, to), |_, from, to| half::f32_to_f16(from, to);
    bf16 as f32: half::bf16_to_f32, half::f32_to_bf16;
}
