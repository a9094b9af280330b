//! Quantization, stretch by stretch of elements with one scale, or with a vector of them.

use super::Quantize;
use super::scales::{Scales, Values, load};
use crate::cpu::Isa;
use crate::cpu::simd::{Machine, Work};
use crate::error::Result;
use crate::ops::elementwise::{BLOCK, Flat, Number, for_type};
use crate::ops::{Kernel, Prepare, kernel};
use crate::tensor::DType;
use half::{bf16, f16};

/// The kernel for inputs that `infer` has accepted.
pub fn prepare(op: &Quantize, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
    let (x, scale) = (cx.input(0).info, cx.input(1).info);
    let plan = Plan {
        isa: cx.isa,
        flat: Flat::new(x.numel(), 1),
        scales: Scales::new(&x, &scale, op.axis, op.block)?,
        from: x.dtype,
        precision: op.divided_in(x.dtype, scale.dtype),
    };
    Ok(match op.to {
        DType::I8 => typed::<i8>(plan),
        DType::U16 => typed::<u16>(plan),
        DType::I16 => typed::<i16>(plan),
        _ => typed::<u8>(plan),
    })
}

struct Plan {
    isa: Isa,
    flat: Flat,
    scales: Scales,
    from: DType,
    precision: DType,
}

fn typed<T: Quantized>(plan: Plan) -> Box<dyn Kernel> {
    kernel(plan.flat.grid, move |args| {
        let mut rest = args.output::<T>(0).into_slice();
        let mut buffers = [[0.0; BLOCK]; 4];
        for stretch in plan.scales.stretches(plan.flat.range(args)) {
            let (y, later) = rest.split_at_mut(stretch.elements.len());
            rest = later;
            let [values, scales, zeros, quotients] = &mut buffers;
            let x = match plan.from {
                DType::F32 => &args.input::<f32>(0)[stretch.elements.clone()],
                from => {
                    for_type!(from, load(args, 0, stretch.elements.clone(), values));
                    &values[..y.len()]
                }
            };
            let (scale, zero) = (stretch.load(args, 1, scales), stretch.load(args, 2, zeros));
            if plan.precision == DType::F32 {
                plan.isa.dispatch(Round { x, scale, zero, y });
            } else {
                let x = plan.divide(x, scale, &mut quotients[..y.len()]);
                plan.isa.dispatch(Round { x, scale: Values::One(1.0), zero, y });
            }
        }
        Ok(())
    })
}

impl Plan {
    /// The quotients in a precision below f32.
    fn divide<'a>(&self, x: &[f32], scale: Values<'_>, quotients: &'a mut [f32]) -> &'a [f32] {
        let round = |x: f32| precise(self.precision, x);
        for (i, (q, &x)) in quotients.iter_mut().zip(x).enumerate() {
            let scale = match scale {
                Values::One(s) => s,
                Values::Each(s) => s[i],
            };
            *q = round(round(x) / round(scale));
        }
        quotients
    }
}

/// `x` rounded to a type of at most 32 bits.
fn precise(dtype: DType, x: f32) -> f32 {
    match dtype {
        DType::F16 => f16::from_f32(x).to_f32(),
        DType::BF16 => bf16::from_f32(x).to_f32(),
        _ => x,
    }
}

/// A type to which floats are quantized.
pub trait Quantized: Number {
    /// Its smallest and largest value.
    const LIMITS: (f32, f32);
    /// A value within the limits.
    fn of(value: i32) -> Self;
}

macro_rules! quantized {
    ($($ty:ty)*) => {$(
        impl Quantized for $ty {
            const LIMITS: (f32, f32) = (<$ty>::MIN as f32, <$ty>::MAX as f32);

            #[inline(always)]
            fn of(value: i32) -> Self {
                value as $ty
            }
        }
    )*};
}

quantized! { u8 i8 u16 i16 }

/// round(x / scale) + zero, saturated to the limits of `T`, as [`Work`].
pub struct Round<'a, T> {
    pub x: &'a [f32],
    pub scale: Values<'a>,
    pub zero: Values<'a>,
    pub y: &'a mut [T],
}

/// Adding this rounds a float of magnitude below 2^22 to the nearest integer, ties to even: by as much do the sum's bits
/// differ from its own.
const ROUND: f32 = 12_582_912.0;

#[inline(always)]
fn quantize<T: Quantized>(x: f32, scale: f32, zero: f32) -> T {
    let quotient = x / scale;
    // The limits are integers, so clipping first gives the same.
    let (low, high) = (T::LIMITS.0 - zero, T::LIMITS.1 - zero);
    let quotient = if quotient < low { low } else { quotient };
    let quotient = if quotient > high { high } else { quotient };
    let rounded = (quotient + ROUND).to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    T::of(if quotient.is_nan() { 0 } else { rounded.wrapping_add(zero as i32) })
}

impl<T: Quantized> Work for Round<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        let pairs = self.y.iter_mut().zip(self.x);
        match (self.scale, self.zero) {
            (Values::One(scale), Values::One(zero)) => {
                for (y, &x) in pairs {
                    *y = quantize(x, scale, zero);
                }
            }
            (Values::Each(scales), Values::One(zero)) => {
                for ((y, &x), &scale) in pairs.zip(scales) {
                    *y = quantize(x, scale, zero);
                }
            }
            (Values::One(scale), Values::Each(zeros)) => {
                for ((y, &x), &zero) in pairs.zip(zeros) {
                    *y = quantize(x, scale, zero);
                }
            }
            (Values::Each(scales), Values::Each(zeros)) => {
                for (((y, &x), &scale), &zero) in pairs.zip(scales).zip(zeros) {
                    *y = quantize(x, scale, zero);
                }
            }
        }
    }
}
