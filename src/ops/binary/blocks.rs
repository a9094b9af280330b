//! Every type but f32: blocks in which both operands are vectors.

use super::cpu::Plan;
use super::functions::Function;
use crate::ops::elementwise::{BLOCK, Half, Lane, block, blocks};
use crate::ops::{Kernel, kernel};
use crate::tensor::Element;

/// Computes the elements of a block.
type Zip<T, O> = fn(&[T], &[T], &mut [O]);

/// The kernel of a function whose results need no conversion.
pub fn plain<T: Lane, F: Function<T::Wide>>(plan: Plan) -> Box<dyn Kernel> {
    zipped::<T, F::Out>(plan, F::zip)
}

/// The kernel of a function whose results, after the activation, are rounded from f32.
pub fn halves<T: Half, F: Function<f32, Out = f32>>(plan: Plan) -> Box<dyn Kernel> {
    rounded::<T>(plan, F::zip)
}

/// Sees words only, as kernels of signed integers serve unsigned ones where that makes no difference.
fn zipped<T: Lane, O: Element>(plan: Plan, zip: Zip<T::Wide, O>) -> Box<dyn Kernel> {
    kernel(plan.flat.grid, move |args| {
        let [a, b] = plan.order.map(|i| args.words::<T>(i));
        let mut rest = args.output_words::<O>(0).into_slice();
        let mut buffers = [[T::Wide::default(); BLOCK]; 2];
        for range in blocks(plan.flat.range(args)) {
            let (y, later) = rest.split_at_mut(range.len());
            rest = later;
            let [p, q] = &mut buffers;
            let a = block((&plan.walk, 0, range.clone()), plan.isa, a, p);
            let b = block((&plan.walk, 1, range), plan.isa, b, q);
            zip(a, b, y);
        }
        Ok(())
    })
}

fn rounded<T: Half>(plan: Plan, zip: Zip<f32, f32>) -> Box<dyn Kernel> {
    kernel(plan.flat.grid, move |args| {
        let [a, b] = plan.order.map(|i| args.input::<T>(i));
        let mut rest = args.output::<T>(0).into_slice();
        let mut buffers = [[0.0; BLOCK]; 3];
        for range in blocks(plan.flat.range(args)) {
            let (y, later) = rest.split_at_mut(range.len());
            rest = later;
            let [p, q, results] = &mut buffers;
            let results = &mut results[..y.len()];
            let a = block((&plan.walk, 0, range.clone()), plan.isa, a, p);
            let b = block((&plan.walk, 1, range), plan.isa, b, q);
            zip(a, b, results);
            plan.activation.apply_to(plan.isa, results);
            T::narrow(plan.isa, results, y);
        }
        Ok(())
    })
}
