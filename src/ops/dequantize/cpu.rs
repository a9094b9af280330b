//! Dequantization, stretch by stretch of elements with one scale, or with a vector of them.

use super::Dequantize;
use crate::cpu::Isa;
use crate::cpu::simd::{Machine, Work};
use crate::error::Result;
use crate::ops::elementwise::{BLOCK, Flat, Half, for_type};
use crate::ops::quantize::scales::{Scales, Values, load};
use crate::ops::{Kernel, Prepare, kernel};
use crate::tensor::{DType, Element};
use half::{bf16, f16};

/// The kernel for inputs that `infer` has accepted.
pub fn prepare(op: &Dequantize, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
    let (x, scale) = (cx.input(0).info, cx.input(1).info);
    let scales = Scales::new(&x, &scale, op.axis, op.block)?;
    let plan = Plan { isa: cx.isa, flat: Flat::new(x.numel(), 1), scales, from: x.dtype };
    Ok(match op.to {
        DType::F16 => plan.typed::<f16>(f16::narrow),
        DType::BF16 => plan.typed::<bf16>(bf16::narrow),
        _ => plan.typed::<f32>(|_, x, y| y.copy_from_slice(x)),
    })
}

struct Plan {
    isa: Isa,
    flat: Flat,
    scales: Scales,
    from: DType,
}

impl Plan {
    fn typed<T: Element>(self, store: fn(Isa, &[f32], &mut [T])) -> Box<dyn Kernel> {
        kernel(self.flat.grid, move |args| {
            let mut rest = args.output::<T>(0).into_slice();
            let mut buffers = [[0.0; BLOCK]; 3];
            for stretch in self.scales.stretches(self.flat.range(args)) {
                let (y, later) = rest.split_at_mut(stretch.elements.len());
                rest = later;
                let [values, scales, zeros] = &mut buffers;
                for_type!(self.from, load(args, 0, stretch.elements.clone(), values));
                let (scale, zero) = (stretch.load(args, 1, scales), stretch.load(args, 2, zeros));
                let values = &mut values[..y.len()];
                self.isa.dispatch(Scale { values: &mut *values, scale, zero });
                store(self.isa, values, y);
            }
            Ok(())
        })
    }
}

/// (x - zero) · scale, in place, as [`Work`].
struct Scale<'a> {
    values: &'a mut [f32],
    scale: Values<'a>,
    zero: Values<'a>,
}

impl Work for Scale<'_> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        match self.zero {
            Values::One(zero) => {
                for x in &mut *self.values {
                    *x -= zero;
                }
            }
            Values::Each(zeros) => {
                for (x, zero) in self.values.iter_mut().zip(zeros) {
                    *x -= zero;
                }
            }
        }
        match self.scale {
            Values::One(scale) => {
                for x in &mut *self.values {
                    *x *= scale;
                }
            }
            Values::Each(scales) => {
                for (x, scale) in self.values.iter_mut().zip(scales) {
                    *x *= scale;
                }
            }
        }
    }
}
