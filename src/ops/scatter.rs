//! What the scatter operators share: how updates meet the data, and a kernel that first copies the data.

use super::{Kernel, Prepare};
use crate::error::{Error, Result};
use crate::tensor::{Args, Element, Grid};
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

    /// The function of element and update. Extremes of NaN and a number are NaN.
    pub fn function<T: Reducible>(self) -> fn(T, T) -> T {
        match self {
            Reduction::Replace => |_, b| b,
            Reduction::Add => T::add,
            Reduction::Mul => T::mul,
            #[allow(clippy::eq_op, reason = "asks for NaN")]
            Reduction::Max => |a, b| if a >= b || a != a { a } else { b },
            #[allow(clippy::eq_op, reason = "asks for NaN")]
            Reduction::Min => |a, b| if a <= b || a != a { a } else { b },
        }
    }
}

/// An element type with arithmetic. Integers wrap; f16 and bf16 are computed in f32 and rounded.
pub trait Reducible: Element + PartialOrd {
    /// The sum.
    fn add(a: Self, b: Self) -> Self;
    /// The product.
    fn mul(a: Self, b: Self) -> Self;
}

macro_rules! reducible {
    ($($ty:ty)*; |$a:ident, $b:ident| $add:expr, $mul:expr) => {$(
        impl Reducible for $ty {
            fn add($a: Self, $b: Self) -> Self {
                $add
            }

            fn mul($a: Self, $b: Self) -> Self {
                $mul
            }
        }
    )*};
}

reducible! { i8 i16 i32 i64 u8 u16 u32 u64; |a, b| a.wrapping_add(b), a.wrapping_mul(b) }
reducible! { f32 f64; |a, b| a + b, a * b }
reducible! { f16 bf16; |a, b| Self::from_f32(a.to_f32() + b.to_f32()), Self::from_f32(a.to_f32() * b.to_f32()) }

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
