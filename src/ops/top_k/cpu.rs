//! Selects in each row: a few elements by insertion into a sorted list, many by partitioning and sorting.

use crate::ops::elementwise::for_type;
use crate::ops::order;
use crate::ops::order::Sortable;
use crate::ops::{Kernel, Prepare};
use crate::error::Result;
use crate::tensor::{Args, Element, Grid};
use std::cmp::Ordering;

/// Elements worth a part of their own.
const GRAIN: usize = 8 * 1024;

/// Up to so many elements are selected by insertion.
const FEW: usize = 32;

/// The data as `outer` x `n` x `inner` elements, of which the best `k` along the middle are wanted.
#[derive(Clone, Copy)]
struct Best {
    outer: usize,
    n: usize,
    inner: usize,
    k: usize,
    largest: bool,
    /// Whether the first output is the only one.
    values_only: bool,
}

/// The kernel for axis `axis`.
pub fn prepare(cx: &Prepare<'_>, axis: usize, largest: bool) -> Box<dyn Kernel> {
    let dims = cx.dims(0);
    let best = Best {
        outer: dims[..axis].iter().product(),
        n: dims[axis],
        inner: dims[axis + 1..].iter().product(),
        k: cx.out_dims(0)[axis],
        largest,
        values_only: cx.outputs.len() == 1,
    };
    fn typed<T: Sortable>(best: Best) -> Box<dyn Kernel> {
        Box::new(Typed { best, run: Best::run::<T> })
    }
    for_type!(cx.outputs[0].dtype, typed(best))
}

struct Typed {
    best: Best,
    run: fn(&Best, &mut Args<'_>),
}

impl Kernel for Typed {
    fn phases(&self) -> Vec<Grid> {
        vec![Grid::by_cost(self.best.outer, self.best.n * self.best.inner, GRAIN)]
    }

    fn scratch_bytes(&self) -> usize {
        self.best.n * size_of::<u64>()
    }

    fn run(&self, _phase: usize, args: &mut Args<'_>) -> Result<()> {
        (self.run)(&self.best, args);
        Ok(())
    }
}

impl Best {
    fn run<T: Sortable>(&self, args: &mut Args<'_>) {
        let from = args.input::<T>(0);
        let order = args.scratch::<u64>();
        let mut values = args.output::<T>(0);
        let mut indices = (!self.values_only).then(|| args.output::<i64>(1));
        for row in values.rows() {
            if self.k == 0 {
                continue;
            }
            for i in 0..self.inner {
                let column = Column { from: &from[row * self.n * self.inner + i..], step: self.inner };
                let best = self.select(&column, &mut order[..self.n]);
                let put = |j: usize| j * self.inner + i;
                let to = values.row(row);
                best.iter().enumerate().for_each(|(j, &at)| to[put(j)] = column.get(at));
                if let Some(indices) = &mut indices {
                    let to = indices.row(row);
                    best.iter().enumerate().for_each(|(j, &at)| to[put(j)] = at as i64);
                }
            }
        }
    }

    /// Places of the best elements, best first, at the beginning of `order`.
    fn select<'a, T: Sortable>(&self, column: &Column<'_, T>, order: &'a mut [u64]) -> &'a [u64] {
        let compare = |a: u64, b: u64| {
            let (x, y) = (column.get(a).key(), column.get(b).key());
            (if self.largest { y.cmp(&x) } else { x.cmp(&y) }).then(a.cmp(&b))
        };
        if self.k == 1 && column.step == 1 {
            let row = &column.from[..self.n];
            order[0] = if self.largest { best(row, |key, best| key > best) } else { best(row, |key, best| key < best) };
        } else if self.k <= FEW {
            self.insert(column, order);
        } else {
            order.iter_mut().enumerate().for_each(|(i, at)| *at = i as u64);
            order::first(order, self.k, &compare);
        }
        &order[..self.k]
    }

    /// Keeps the best elements so far sorted; few later ones are better than the last of them.
    fn insert<T: Sortable>(&self, column: &Column<'_, T>, order: &mut [u64]) {
        let better = if self.largest { Ordering::Greater } else { Ordering::Less };
        let mut len = 0;
        let mut worst = None;
        for i in 0..self.n as u64 {
            let key = column.get(i).key();
            if len == self.k && worst.is_some_and(|worst| key.cmp(&worst) != better) {
                continue;
            }
            len = (len + 1).min(self.k);
            let mut j = len - 1;
            while j > 0 && key.cmp(&column.get(order[j - 1]).key()) == better {
                order[j] = order[j - 1];
                j -= 1;
            }
            order[j] = i;
            worst = Some(column.get(order[len - 1]).key());
        }
    }
}

/// Place of the first element of a row that no other is better than.
fn best<T: Sortable>(row: &[T], better: impl Fn(i64, i64) -> bool) -> u64 {
    let (mut at, mut best) = (0, row[0].key());
    for (i, x) in row.iter().enumerate().skip(1) {
        let key = x.key();
        if better(key, best) {
            (at, best) = (i, key);
        }
    }
    at as u64
}

/// Elements at equal distances.
struct Column<'a, T> {
    from: &'a [T],
    step: usize,
}

impl<T: Element> Column<'_, T> {
    #[inline(always)]
    fn get(&self, i: u64) -> T {
        self.from[i as usize * self.step]
    }
}
