//! Powers of integers, and those whose base and exponent have different element types; the result has the base's.
//!
//! Integers to integer exponents are computed in integers, modulo the width of the type; everything else in f64.

use super::cpu::Plan;
use crate::error::Result;
use crate::ops::elementwise::{BLOCK, Number, blocks, for_type, gather};
use crate::ops::{Kernel, kernel};
use crate::tensor::{Args, DType, Element};
use std::ops::Range;

/// The kernel for a base and an exponent of these types.
pub fn prepare(plan: Plan, base: DType, exponent: DType) -> Result<Box<dyn Kernel>> {
    Ok(for_type!(base, typed(plan, exponent)))
}

fn typed<T: Number>(plan: Plan, exponent: DType) -> Box<dyn Kernel> {
    let integers = T::DTYPE.is_int() && exponent.is_int();
    kernel(plan.flat.grid, move |args| {
        let mut rest = args.output::<T>(0).into_slice();
        for range in blocks(plan.flat.range(args)) {
            let (y, later) = rest.split_at_mut(range.len());
            rest = later;
            if integers {
                integer_block::<T>(&plan, args, exponent, range, y);
            } else {
                float_block::<T>(&plan, args, exponent, range, y);
            }
        }
        Ok(())
    })
}

fn float_block<T: Number>(plan: &Plan, args: &Args<'_>, exponent: DType, range: Range<usize>, y: &mut [T]) {
    let (mut a, mut b) = ([0.0; BLOCK], [0.0; BLOCK]);
    load::<T, f64>((plan, args, 0), range.clone(), &mut a, T::to_f64);
    for_type!(exponent, load_f64((plan, args, 1), range, &mut b));
    for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
        *y = T::from_f64(a.powf(b));
    }
}

fn integer_block<T: Number>(plan: &Plan, args: &Args<'_>, exponent: DType, range: Range<usize>, y: &mut [T]) {
    let (mut a, mut b) = ([0; BLOCK], [0; BLOCK]);
    load::<T, i64>((plan, args, 0), range.clone(), &mut a, T::to_i64);
    for_type!(exponent, load_i64((plan, args, 1), range, &mut b));
    for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
        // A u64 that looks negative is large: all that matters is whether it is odd.
        let b = if exponent == DType::U64 && b < 0 { (i64::MAX - 1) | (b & 1) } else { b };
        *y = T::from_i64(integer_power(a, b));
    }
}

/// Loads operand `n` of a block.
fn load<T: Element, O: Copy>(
    (plan, args, n): (&Plan, &Args<'_>, usize),
    range: Range<usize>,
    to: &mut [O],
    convert: impl Fn(T) -> O,
) {
    let from = args.input::<T>(plan.order[n]);
    gather((&plan.walk, n, range), from, to, |x, y| y.iter_mut().zip(x).for_each(|(y, &x)| *y = convert(x)));
}

fn load_f64<T: Number>(operand: (&Plan, &Args<'_>, usize), range: Range<usize>, to: &mut [f64]) {
    load(operand, range, to, T::to_f64);
}

fn load_i64<T: Number>(operand: (&Plan, &Args<'_>, usize), range: Range<usize>, to: &mut [i64]) {
    load(operand, range, to, T::to_i64);
}

/// a^b modulo 2^64. Of negative powers only those of 1 and -1 are not fractions, which truncate to 0.
pub fn integer_power(mut a: i64, mut b: i64) -> i64 {
    if b < 0 {
        return match a {
            1 => 1,
            -1 => 1 - 2 * (b & 1),
            _ => 0,
        };
    }
    let mut power = 1i64;
    while b > 0 {
        if b & 1 == 1 {
            power = power.wrapping_mul(a);
        }
        a = a.wrapping_mul(a);
        b >>= 1;
    }
    power
}
