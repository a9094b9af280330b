//! What the scatter operators share: how updates meet the data, and a kernel that first copies the data.

use super::elementwise::for_type;
use super::{Kernel, Prepare};
use crate::error::{Error, Result};
use crate::tensor::{Args, DType, Element, Grid};
use half::{bf16, f16};

/// Elements worth a part of their own.
const GRAIN: usize = 64 * 1024;

/// How an update and what stands in its place become one. The numbers are those of the file format.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[repr(u8)]
pub enum Reduction {
    /// The update replaces the element; of several for one element the last one stays.
    #[default]
    Replace = 0,
    /// The sum; for bool, or.
    Add = 1,
    /// The product; for bool, and.
    Mul = 2,
    /// The larger one.
    Max = 3,
    /// The smaller one.
    Min = 4,
}

impl Reduction {
    /// The reduction with number `code`.
    pub fn from_code(code: u8) -> Result<Self> {
        use Reduction::*;
        [Replace, Add, Mul, Max, Min]
            .into_iter()
            .find(|&r| r as u8 == code)
            .ok_or_else(|| Error::format(format!("unknown reduction {code}")))
    }

    /// The reduction for elements that are 0 or 1.
    pub fn of_bools(self) -> Self {
        match self {
            Reduction::Add => Reduction::Max,
            Reduction::Mul => Reduction::Min,
            other => other,
        }
    }

    /// The function of element and update, for elements of type `dtype`. Extremes of NaN and a number are NaN.
    pub fn function(self, dtype: DType) -> Function {
        let reduction = if dtype == DType::Bool { self.of_bools() } else { self };
        for_type!(dtype, function(reduction))
    }
}

/// A function of the bits of an element and of its update: one kernel per size serves all element types.
#[derive(Clone, Copy)]
pub enum Function {
    /// Of 1-byte elements.
    B1(fn(u8, u8) -> u8),
    /// Of 2-byte elements.
    B2(fn(u16, u16) -> u16),
    /// Of 4-byte elements.
    B4(fn(u32, u32) -> u32),
    /// Of 8-byte elements.
    B8(fn(u64, u64) -> u64),
}

fn function<T: Reducible>(reduction: Reduction) -> Function {
    T::wrap(match reduction {
        Reduction::Replace => |_, b| b,
        Reduction::Add => |a, b| T::add(T::of(a), T::of(b)).bits(),
        Reduction::Mul => |a, b| T::mul(T::of(a), T::of(b)).bits(),
        #[allow(clippy::eq_op, reason = "asks for NaN")]
        Reduction::Max => |a, b| if T::of(a) >= T::of(b) || T::of(a) != T::of(a) { a } else { b },
        #[allow(clippy::eq_op, reason = "asks for NaN")]
        Reduction::Min => |a, b| if T::of(a) <= T::of(b) || T::of(a) != T::of(a) { a } else { b },
    })
}

/// An element type with arithmetic. Integers wrap; f16 and bf16 are computed in f32 and rounded.
trait Reducible: Element + PartialOrd {
    /// The unsigned integer of the same size.
    type Bits: Copy;
    fn of(bits: Self::Bits) -> Self;
    fn bits(self) -> Self::Bits;
    fn wrap(function: fn(Self::Bits, Self::Bits) -> Self::Bits) -> Function;
    fn add(a: Self, b: Self) -> Self;
    fn mul(a: Self, b: Self) -> Self;
}

macro_rules! reducible {
    ($($ty:ty as $bits:ty: $wrap:ident $of:expr, $to:expr;)* |$a:ident, $b:ident| $add:expr, $mul:expr) => {$(
        impl Reducible for $ty {
            type Bits = $bits;

            fn of(bits: $bits) -> Self {
                $of(bits)
            }

            fn bits(self) -> $bits {
                $to(self)
            }

            fn wrap(function: fn($bits, $bits) -> $bits) -> Function {
                Function::$wrap(function)
            }

            fn add($a: Self, $b: Self) -> Self {
                $add
            }

            fn mul($a: Self, $b: Self) -> Self {
                $mul
            }
        }
    )*};
}

reducible! {
    i8 as u8: B1 |x| x as i8, |x| x as u8;
    u8 as u8: B1 |x| x, |x| x;
    i16 as u16: B2 |x| x as i16, |x| x as u16;
    u16 as u16: B2 |x| x, |x| x;
    i32 as u32: B4 |x| x as i32, |x| x as u32;
    u32 as u32: B4 |x| x, |x| x;
    i64 as u64: B8 |x| x as i64, |x| x as u64;
    u64 as u64: B8 |x| x, |x| x;
    |a, b| a.wrapping_add(b), a.wrapping_mul(b)
}
reducible! {
    f32 as u32: B4 f32::from_bits, f32::to_bits;
    f64 as u64: B8 f64::from_bits, f64::to_bits;
    |a, b| a + b, a * b
}
reducible! {
    f16 as u16: B2 f16::from_bits, f16::to_bits;
    bf16 as u16: B2 bf16::from_bits, bf16::to_bits;
    |a, b| Self::from_f32(a.to_f32() + b.to_f32()), Self::from_f32(a.to_f32() * b.to_f32())
}

/// A kernel whose first phase copies input 0 to output 0 and whose second one, cut as `grid` says, is `update`.
pub fn kernel<F>(cx: &Prepare<'_>, grid: Grid, update: F) -> Box<dyn Kernel>
where
    F: Fn(&mut Args<'_>) -> Result<()> + Send + Sync + 'static,
{
    let info = cx.outputs[0];
    let size = info.dtype.size();
    Box::new(CopyAndUpdate { size, phases: [Grid::by_cost(info.numel(), 1, GRAIN), grid], update })
}

struct CopyAndUpdate<F> {
    size: usize,
    phases: [Grid; 2],
    update: F,
}

impl<F: Fn(&mut Args<'_>) -> Result<()> + Send + Sync> Kernel for CopyAndUpdate<F> {
    fn phases(&self) -> Vec<Grid> {
        self.phases.to_vec()
    }

    fn run(&self, phase: usize, args: &mut Args<'_>) -> Result<()> {
        if phase == 1 {
            return (self.update)(args);
        }
        let from = args.view(0).map_or(&[][..], |view| view.bytes());
        let tile = args.output_bytes(0);
        let rows = tile.rows();
        tile.into_slice().copy_from_slice(&from[rows.start * self.size..rows.end * self.size]);
        Ok(())
    }
}
