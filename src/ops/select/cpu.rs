//! Selection of words of any size: runs in which each of the three operands is a vector or a single value.

use crate::cpu::Isa;
use crate::cpu::simd::{Machine, Work};
use crate::error::Result;
use crate::ops::elementwise::Flat;
use crate::ops::{Kernel, Prepare, Run, Walk, kernel};
use crate::tensor::Element;
use std::ops::Range;

/// The kernel for inputs that `infer` has accepted.
pub fn prepare(cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
    let [c, x, y] = [cx.dims(0), cx.dims(1), cx.dims(2)];
    let walk = Walk::broadcast(&cx.out_dims(0), [&c, &x, &y])?;
    let flat = Flat::new(cx.outputs[0].numel(), 1);
    Ok(match cx.outputs[0].dtype.size() {
        1 => words::<u8>(cx.isa, walk, flat),
        2 => words::<u16>(cx.isa, walk, flat),
        4 => words::<u32>(cx.isa, walk, flat),
        _ => words::<u64>(cx.isa, walk, flat),
    })
}

fn words<T: Element>(isa: Isa, walk: Walk<3>, flat: Flat) -> Box<dyn Kernel> {
    kernel(flat.grid, move |args| {
        let (condition, x, y) = (args.input::<u8>(0), args.words::<T>(1), args.words::<T>(2));
        let (range, out) = (flat.range(args), args.output_words::<T>(0).into_slice());
        isa.dispatch(Selection { walk: &walk, range, condition, x, y, out });
        Ok(())
    })
}

struct Selection<'a, T> {
    walk: &'a Walk<3>,
    range: Range<usize>,
    condition: &'a [u8],
    x: &'a [T],
    y: &'a [T],
    out: &'a mut [T],
}

impl<T: Element> Work for Selection<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(mut self) {
        let mut rest = std::mem::take(&mut self.out);
        for run in self.walk.runs(self.range.clone()) {
            let (out, later) = rest.split_at_mut(run.len);
            rest = later;
            self.row(run, out);
        }
    }
}

impl<T: Element> Selection<'_, T> {
    #[inline(always)]
    fn row(&self, run: Run<3>, out: &mut [T]) {
        let n = out.len();
        let [many, many_x, many_y] = self.walk.inner_strides().map(|step| step != 0 && n > 1);
        let [c, x, y] = run.at;
        if !many {
            let (from, at, vector) = if self.condition[c] != 0 { (self.x, x, many_x) } else { (self.y, y, many_y) };
            return if vector { out.copy_from_slice(&from[at..at + n]) } else { out.fill(from[at]) };
        }
        let conditions = &self.condition[c..c + n];
        let (value_x, value_y) = (self.x[x], self.y[y]);
        match (many_x, many_y) {
            (true, true) => {
                let (x, y) = (&self.x[x..x + n], &self.y[y..y + n]);
                for i in 0..n {
                    out[i] = if conditions[i] != 0 { x[i] } else { y[i] };
                }
            }
            (true, false) => {
                let x = &self.x[x..x + n];
                for i in 0..n {
                    out[i] = if conditions[i] != 0 { x[i] } else { value_y };
                }
            }
            (false, true) => {
                let y = &self.y[y..y + n];
                for i in 0..n {
                    out[i] = if conditions[i] != 0 { value_x } else { y[i] };
                }
            }
            (false, false) => {
                for i in 0..n {
                    out[i] = if conditions[i] != 0 { value_x } else { value_y };
                }
            }
        }
    }
}
