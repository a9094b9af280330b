//! Weighted sums of elements, each a contiguous stretch of channels.

use super::GridSample;
use super::place::{Axis, Taps};
use crate::cpu::Isa;
use crate::error::Result;
use crate::ops::elementwise::{Number, for_type};
use crate::ops::sample::{Sample, add_scaled};
use crate::ops::{Kernel, Prepare};
use crate::tensor::{Args, DType, Grid, MAX_RANK};
use half::{bf16, f16};
use std::marker::PhantomData;

/// Multiplications worth a part of their own.
const GRAIN: usize = 32 * 1024;

/// Multiplications that finding the elements of a point is worth.
const POINT: usize = 64;

/// The kernel.
pub fn prepare(cx: &Prepare<'_>, op: &GridSample) -> Box<dyn Kernel> {
    let (from, to, strides) = (cx.dims(0), cx.out_dims(0), cx.dims(0).strides());
    let last = from.len() - 1;
    let points = Points {
        op: op.clone(),
        isa: cx.isa,
        grid: cx.input(1).info.dtype,
        axes: (1..last).map(|i| Axis { extent: from[i], stride: strides[i] }).collect(),
        batch: from[1..].iter().product(),
        rows: to[..last].iter().product(),
        rows_per_batch: to[1..last].iter().product(),
        channels: from[last],
    };
    for_type!(cx.outputs[0].dtype, typed(points))
}

fn typed<T: Sample>(points: Points) -> Box<dyn Kernel> {
    Box::new(Sampler::<T> { points, element: PhantomData })
}

struct Points {
    op: GridSample,
    isa: Isa,
    /// Element type of the grid.
    grid: DType,
    axes: Vec<Axis>,
    /// Elements of the data in each batch.
    batch: usize,
    rows: usize,
    rows_per_batch: usize,
    channels: usize,
}

struct Sampler<T> {
    points: Points,
    element: PhantomData<T>,
}

impl<T: Sample> Kernel for Sampler<T> {
    fn phases(&self) -> Vec<Grid> {
        let p = &self.points;
        let taps = 1 << (2 * p.axes.len());
        vec![Grid::by_cost(p.rows, p.channels * taps + POINT, GRAIN)]
    }

    fn scratch_bytes(&self) -> usize {
        2 * self.points.channels * size_of::<T::Wide>()
    }

    fn run(&self, _phase: usize, args: &mut Args<'_>) -> Result<()> {
        let p = &self.points;
        match p.grid {
            DType::F16 => self.rows::<f16>(args),
            DType::BF16 => self.rows::<bf16>(args),
            DType::F32 => self.rows::<f32>(args),
            _ => self.rows::<f64>(args),
        }
        Ok(())
    }
}

impl<T: Sample> Sampler<T> {
    fn rows<G: Number>(&self, args: &mut Args<'_>) {
        let p = &self.points;
        let (from, grid) = (args.input::<T>(0), args.input::<G>(1));
        let (sum, wide) = args.scratch::<T::Wide>().split_at_mut(p.channels);
        let mut tile = args.output::<T>(0);
        let n = p.axes.len();
        for row in tile.rows() {
            let from = &from[row / p.rows_per_batch * p.batch..][..p.batch];
            let mut taps = [Taps::default(); MAX_RANK];
            for (i, &axis) in p.axes.iter().enumerate() {
                // The grid counts axes from the last.
                let x = grid[row * n + n - 1 - i].to_f64();
                taps[i] = p.op.taps(p.op.coordinate(x, G::DTYPE != DType::F64, axis.extent), axis);
            }
            sum.fill(T::Wide::default());
            self.add(&taps[..n], from, sum, wide);
            T::narrow(p.isa, sum, tile.row(row));
        }
    }

    /// Adds all elements that the taps of several axes select.
    fn add(&self, taps: &[Taps], from: &[T], sum: &mut [T::Wide], wide: &mut [T::Wide]) {
        let p = &self.points;
        for mut i in 0..taps.iter().map(|t| t.count).product() {
            let (mut at, mut weight) = (Some(0), 1.0);
            for tap in taps {
                let k = i % tap.count;
                i /= tap.count;
                at = at.zip(tap.offset[k]).map(|(at, offset)| at + offset);
                weight *= tap.weight[k];
            }
            let Some(at) = at else { continue };
            add_scaled(p.isa, T::wide(p.isa, &from[at..at + p.channels], wide), weight, sum);
        }
    }
}
