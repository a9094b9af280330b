//! Element by element: vector code for f32, f16 and bf16 by way of it, definitions for the rest.

use super::{Unary, UnaryKind};
use crate::cpu::simd::{Machine, Work};
use crate::cpu::{Isa, math};
use crate::ops::elementwise::{BLOCK, Flat, Half, Number, blocks};
use crate::ops::{Kernel, Prepare, kernel};
use crate::tensor::{DType, Element};
use half::{bf16, f16};

/// A kernel for an input that `infer` has accepted.
pub fn prepare(op: &Unary, cx: &Prepare<'_>) -> Box<dyn Kernel> {
    let (op, isa, info) = (op.clone(), cx.isa, cx.input(0).info);
    let flat = Flat::new(info.numel(), op.cost());
    let tests = matches!(op.kind, UnaryKind::IsNan | UnaryKind::IsInf);
    match (info.dtype, tests) {
        (DType::F32, true) => by_definition::<f32, u8>(op, flat),
        (DType::F64, true) => by_definition::<f64, u8>(op, flat),
        (DType::F16, true) => by_definition::<f16, u8>(op, flat),
        (DType::BF16, true) => by_definition::<bf16, u8>(op, flat),
        (DType::F32, false) => single(op, isa, flat),
        (DType::F64, false) => by_definition::<f64, f64>(op, flat),
        (DType::F16, false) => half_precision::<f16>(op, isa, flat),
        (DType::BF16, false) => half_precision::<bf16>(op, isa, flat),
        (DType::I8, _) => integer::<i8>(op.kind, flat),
        (DType::I16, _) => integer::<i16>(op.kind, flat),
        (DType::I32, _) => integer::<i32>(op.kind, flat),
        (DType::I64, _) => integer::<i64>(op.kind, flat),
        (DType::U8 | DType::Bool, _) => integer::<u8>(op.kind, flat),
        (DType::U16, _) => integer::<u16>(op.kind, flat),
        (DType::U32, _) => integer::<u32>(op.kind, flat),
        (DType::U64, _) => integer::<u64>(op.kind, flat),
    }
}

impl Unary {
    /// How much more than an addition an element costs.
    fn cost(&self) -> usize {
        use UnaryKind::*;
        match self.kind {
            Neg | Abs | Sign | Ceil | Floor | Round | Relu | Clip | LeakyRelu | Not | BitNot | HardSwish | HardSigmoid => 1,
            Sin | Cos | Tan | Asin | Acos | Atan | Sinh | Cosh | Asinh | Acosh | Atanh => 40,
            _ => 8,
        }
    }
}

fn single(op: Unary, isa: Isa, flat: Flat) -> Box<dyn Kernel> {
    kernel(flat.grid, move |args| {
        let x = &args.input::<f32>(0)[flat.range(args)];
        let y = args.output::<f32>(0).into_slice();
        for (x, y) in x.chunks(BLOCK).zip(y.chunks_mut(BLOCK)) {
            y.copy_from_slice(x);
            isa.dispatch(Map { op: &op, values: y });
        }
        Ok(())
    })
}

fn half_precision<T: Half>(op: Unary, isa: Isa, flat: Flat) -> Box<dyn Kernel> {
    kernel(flat.grid, move |args| {
        let range = flat.range(args);
        let (x, start) = (args.input::<T>(0), range.start);
        let y = args.output::<T>(0).into_slice();
        let mut block = [0f32; BLOCK];
        for range in blocks(range) {
            let values = &mut block[..range.len()];
            T::widen(isa, &x[range.clone()], values);
            isa.dispatch(Map { op: &op, values: &mut *values });
            T::narrow(isa, values, &mut y[range.start - start..range.end - start]);
        }
        Ok(())
    })
}

fn by_definition<T: Number, O: Number>(op: Unary, flat: Flat) -> Box<dyn Kernel> {
    kernel(flat.grid, move |args| {
        let x = &args.input::<T>(0)[flat.range(args)];
        let y = args.output::<O>(0).into_slice();
        y.iter_mut().zip(x).for_each(|(y, x)| *y = O::from_f64(op.exact(x.to_f64())));
        Ok(())
    })
}

fn integer<T: Number + Element>(kind: UnaryKind, flat: Flat) -> Box<dyn Kernel> {
    let unsigned = !T::DTYPE.is_signed();
    kernel(flat.grid, move |args| {
        let x = &args.input::<T>(0)[flat.range(args)];
        let y = args.output::<T>(0).into_slice();
        for (y, &x) in y.iter_mut().zip(x) {
            let v = x.to_i64();
            *y = match kind {
                UnaryKind::Neg => T::from_i64(v.wrapping_neg()),
                UnaryKind::Abs | UnaryKind::Relu if unsigned => x,
                UnaryKind::Abs => T::from_i64(v.wrapping_abs()),
                UnaryKind::Sign if unsigned => T::from_i64(i64::from(v != 0)),
                UnaryKind::Sign => T::from_i64(v.signum()),
                UnaryKind::Relu => T::from_i64(v.max(0)),
                UnaryKind::Not => T::from_i64(i64::from(v == 0)),
                _ => T::from_i64(!v),
            };
        }
        Ok(())
    })
}

/// The function applied to memory.
struct Map<'a> {
    op: &'a Unary,
    values: &'a mut [f32],
}

impl Work for Map<'_> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        if let Some(activation) = self.op.activation() {
            return activation.apply_to(M::ISA, self.values);
        }
        let (alpha, beta) = (self.op.alpha, self.op.beta);
        macro_rules! each {
            ($($kind:ident: $f:expr,)*) => {
                match self.op.kind {
                    $(UnaryKind::$kind => {
                        for x in self.values {
                            *x = $f(*x);
                        }
                    })*
                    _ => self.values.iter_mut().for_each(|x| *x = self.op.exact((*x).into()) as f32),
                }
            };
        }
        each! {
            Neg: |x: f32| -x,
            Abs: f32::abs,
            Sign: |x: f32| if x > 0.0 { 1.0 } else if x < 0.0 { -1.0 } else { x * 0.0 },
            Ceil: f32::ceil,
            Floor: f32::floor,
            Round: f32::round_ties_even,
            Sqrt: f32::sqrt,
            Rsqrt: |x: f32| 1.0 / x.sqrt(),
            Reciprocal: |x: f32| 1.0 / x,
            Exp: math::exp::<M>,
            Log: math::log::<M>,
            Erf: math::erf::<M>,
            Softsign: |x: f32| x / (1.0 + x.abs()),
            Selu: |x: f32| beta * if x > 0.0 { x } else { alpha * math::expm1::<M>(x) },
            ThresholdedRelu: |x: f32| if x > alpha { x } else { 0.0 },
            Swish: |x: f32| x * math::sigmoid::<M>(alpha * x),
        }
    }
}
