//! Casts in two steps: to the widest type of its kind, block by block, and from there to any type. A step that changes
//! nothing is left out.

use crate::cpu::Isa;
use crate::ops::elementwise::{BLOCK, Flat, Half, Number, blocks};
use crate::ops::{Kernel, Prepare, kernel};
use crate::tensor::{DType, Element, View};
use half::{bf16, f16};
use std::ops::Range;

/// The kernel from the type of the input to that of the output.
pub fn prepare(cx: &Prepare<'_>) -> Box<dyn Kernel> {
    let (from, to) = (cx.input(0).info, cx.outputs[0]);
    let plan = Plan { isa: cx.isa, flat: Flat::new(to.numel(), 1), to: to.dtype };
    match from.dtype {
        DType::F32 => plan.of_f32(same),
        DType::F16 => plan.of_f32(half::<f16>),
        DType::BF16 => plan.of_f32(half::<bf16>),
        DType::F64 => plan.of_f64(same),
        DType::I8 => plan.of_i64(widened::<i8, i64>),
        DType::I16 => plan.of_i64(widened::<i16, i64>),
        DType::I32 => plan.of_i64(widened::<i32, i64>),
        DType::U8 | DType::Bool => plan.of_i64(widened::<u8, i64>),
        DType::U16 => plan.of_i64(widened::<u16, i64>),
        DType::U32 => plan.of_i64(widened::<u32, i64>),
        DType::I64 => plan.of_i64(same),
        DType::U64 => plan.of_u64(same),
    }
}

/// Elements of an input as `W`, in the buffer where they have another type.
type Load<W> = for<'a> fn(Isa, View<'a>, Range<usize>, &'a mut [W]) -> &'a [W];

fn same<'a, W: Element>(_: Isa, from: View<'a>, range: Range<usize>, _: &'a mut [W]) -> &'a [W] {
    &from.slice()[range]
}

fn widened<'a, T: Element, W: Element + From<T>>(
    _: Isa,
    from: View<'a>,
    range: Range<usize>,
    buffer: &'a mut [W],
) -> &'a [W] {
    let to = &mut buffer[..range.len()];
    for (y, &x) in to.iter_mut().zip(&from.slice::<T>()[range]) {
        *y = x.into();
    }
    to
}

fn half<'a, T: Half>(isa: Isa, from: View<'a>, range: Range<usize>, buffer: &'a mut [f32]) -> &'a [f32] {
    let to = &mut buffer[..range.len()];
    T::widen(isa, &from.slice::<T>()[range], to);
    to
}

struct Plan {
    isa: Isa,
    flat: Flat,
    to: DType,
}

/// A function that makes the kernel from elements of type `$wide`.
macro_rules! from_wide {
    ($name:ident, $wide:ty, $f16:expr, $bf16:expr) => {
        #[allow(clippy::unnecessary_cast, reason = "the same text serves all types")]
        fn $name(self, load: Load<$wide>) -> Box<dyn Kernel> {
            match self.to {
                DType::F32 => self.by_element(load, |x| x as f32),
                DType::F64 => self.by_element(load, |x| x as f64),
                DType::F16 => self.by_block(load, $f16),
                DType::BF16 => self.by_block(load, $bf16),
                DType::I8 => self.by_element(load, |x| x as i8),
                DType::I16 => self.by_element(load, |x| x as i16),
                DType::I32 => self.by_element(load, |x| x as i32),
                DType::I64 => self.by_element(load, |x| x as i64),
                DType::U8 => self.by_element(load, |x| x as u8),
                DType::U16 => self.by_element(load, |x| x as u16),
                DType::U32 => self.by_element(load, |x| x as u32),
                DType::U64 => self.by_element(load, |x| x as u64),
                DType::Bool => self.by_element(load, |x| u8::from(x != <$wide>::default())),
            }
        }
    };
    // Integers round to f32 first: those that it cannot represent are far beyond f16.
    ($name:ident, $integer:ty) => {
        from_wide! {
            $name, $integer,
            |_, x, y| each(x, y, |x| f16::from_f32(x as f32)),
            |_, x, y| each(x, y, |x| bf16::from_f32(x as f32))
        }
    };
}

impl Plan {
    from_wide! { of_f32, f32, f16::narrow, bf16::narrow }
    from_wide! {
        of_f64, f64, |_, x, y| each(x, y, <f16 as Number>::from_f64), |_, x, y| each(x, y, <bf16 as Number>::from_f64)
    }
    from_wide! { of_i64, i64 }
    from_wide! { of_u64, u64 }

    fn by_element<W: Element, T: Element>(
        self,
        load: Load<W>,
        convert: impl Fn(W) -> T + Send + Sync + 'static,
    ) -> Box<dyn Kernel> {
        self.by_block(load, move |_, x, y| each(x, y, &convert))
    }

    fn by_block<W: Element, T: Element>(
        self,
        load: Load<W>,
        store: impl Fn(Isa, &[W], &mut [T]) + Send + Sync + 'static,
    ) -> Box<dyn Kernel> {
        let Plan { isa, flat, .. } = self;
        kernel(flat.grid, move |args| {
            let from = args.view(0).expect("input 0 is present");
            let mut rest = args.output::<T>(0).into_slice();
            let mut buffer = [W::default(); BLOCK];
            for range in blocks(flat.range(args)) {
                let (y, later) = rest.split_at_mut(range.len());
                rest = later;
                store(isa, load(isa, from, range, &mut buffer), y);
            }
            Ok(())
        })
    }
}

#[inline(always)]
fn each<W: Copy, T>(from: &[W], to: &mut [T], convert: impl Fn(W) -> T) {
    for (y, &x) in to.iter_mut().zip(from) {
        *y = convert(x);
    }
}
