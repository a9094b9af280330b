//! Fills slices with the off-value and then sets the elements that indices select.

use super::number;
use crate::ops::{Kernel, Prepare, kernel};
use crate::tensor::{Args, Element, Grid};

/// Bytes of output worth a part of their own.
const GRAIN: usize = 64 * 1024;

/// The kernel for a depth along `axis` of the output.
pub fn prepare(cx: &Prepare<'_>, axis: usize) -> Box<dyn Kernel> {
    let (dims, size) = (cx.out_dims(0), cx.outputs[0].dtype.size());
    let (depth, inner) = (dims[axis], dims[axis + 1..].iter().product::<usize>());
    let outer = dims[..axis].iter().product();
    kernel(Grid::by_cost(outer, depth * inner * size, GRAIN), move |args| {
        match size {
            1 => run::<u8>(args, depth, inner),
            2 => run::<u16>(args, depth, inner),
            4 => run::<u32>(args, depth, inner),
            _ => run::<u64>(args, depth, inner),
        }
        Ok(())
    })
}

fn run<T: Element>(args: &mut Args<'_>, depth: usize, inner: usize) {
    let indices = args.view(0).expect("input 0 is present");
    let (off, on) = (args.words::<T>(2)[0], args.words::<T>(2)[1]);
    let mut tile = args.output_words::<T>(0);
    for row in tile.rows() {
        let to = tile.row(row);
        to.fill(off);
        if depth == 0 {
            continue;
        }
        for i in 0..inner {
            let index = number(&indices, row * inner + i);
            let index = if index < 0 { index.wrapping_add(depth as i64) } else { index };
            if (index as u64) < depth as u64 {
                to[index as usize * inner + i] = on;
            }
        }
    }
}
