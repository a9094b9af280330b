//! Weighted sums of elements, each a contiguous stretch of channels.

use super::GridSample;
use super::place::{Axis, Taps};
use crate::cpu::Isa;
use crate::error::Result;
use crate::ops::elementwise::{Number, for_type};
use crate::ops::sample::{Real, Sample, SampleRows, Samples, add_scaled};
use crate::ops::{Kernel, Prepare};
use crate::tensor::{Args, DType, Grid, MAX_RANK};
use half::{bf16, f16};

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
    let run = |points: &Points, args: &mut Args<'_>| {
        let (from, mut to) = (args.input::<T>(0), args.output::<T>(0));
        match points.grid {
            DType::F16 => points.rows(&from, &Coordinates(args.input::<f16>(1)), &mut to, args.scratch()),
            DType::BF16 => points.rows(&from, &Coordinates(args.input::<bf16>(1)), &mut to, args.scratch()),
            DType::F32 => points.rows(&from, &Coordinates(args.input::<f32>(1)), &mut to, args.scratch()),
            _ => points.rows(&from, &Coordinates(args.input::<f64>(1)), &mut to, args.scratch()),
        }
    };
    Box::new(Sampler { points, wide: size_of::<T::Wide>(), run })
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

struct Sampler {
    points: Points,
    /// Bytes of an element as it is computed.
    wide: usize,
    /// Runs a part, for the element types of the data and the grid.
    run: fn(&Points, &mut Args<'_>),
}

/// The coordinates of the points, of any type.
trait Grids {
    fn at(&self, index: usize) -> f64;
}

struct Coordinates<'a, G>(&'a [G]);

impl<G: Number> Grids for Coordinates<'_, G> {
    fn at(&self, index: usize) -> f64 {
        self.0[index].to_f64()
    }
}

impl Kernel for Sampler {
    fn phases(&self) -> Vec<Grid> {
        let p = &self.points;
        let taps = 1 << (2 * p.axes.len());
        vec![Grid::by_cost(p.rows, p.channels * taps + POINT, GRAIN)]
    }

    fn scratch_bytes(&self) -> usize {
        2 * self.points.channels * self.wide
    }

    fn run(&self, _phase: usize, args: &mut Args<'_>) -> Result<()> {
        (self.run)(&self.points, args);
        Ok(())
    }
}

impl Points {
    fn rows<W: Real>(&self, from: &dyn Samples<W>, grid: &dyn Grids, to: &mut dyn SampleRows<W>, scratch: &mut [W]) {
        let (sum, wide) = scratch.split_at_mut(self.channels);
        let n = self.axes.len();
        let mut taps = [Taps::default(); MAX_RANK];
        for row in to.range() {
            let first = row / self.rows_per_batch * self.batch;
            for (i, &axis) in self.axes.iter().enumerate() {
                // The grid counts axes from the last.
                let x = grid.at(row * n + n - 1 - i);
                taps[i] = self.op.taps(self.op.coordinate(x, self.grid != DType::F64, axis.extent), axis);
            }
            sum.fill(W::default());
            self.add(&taps[..n], (from, first), sum, wide);
            to.put(self.isa, row, sum);
        }
    }

    /// Adds all elements that the taps of several axes select, counted from `first`.
    fn add<W: Real>(&self, taps: &[Taps], (from, first): (&dyn Samples<W>, usize), sum: &mut [W], wide: &mut [W]) {
        let mut which = [0; MAX_RANK];
        for _ in 0..taps.iter().map(|t| t.count).product() {
            let (mut at, mut weight) = (Some(first), 1.0);
            for (tap, &k) in taps.iter().zip(&which) {
                at = at.zip(tap.offset[k]).map(|(at, offset)| at + offset);
                weight *= tap.weight[k];
            }
            // The next combination, the first axis fastest.
            for (tap, k) in taps.iter().zip(&mut which) {
                *k += 1;
                if *k < tap.count {
                    break;
                }
                *k = 0;
            }
            let Some(at) = at else { continue };
            add_scaled(self.isa, from.wide(self.isa, at..at + self.channels, wide), weight, sum);
        }
    }
}
