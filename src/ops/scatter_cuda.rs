//! The scatter operators on a GPU. Which updates meet an element is found first, so that each element takes its updates in their
//! order, whatever the threads do: the place of each update, the first or last update of each place, and from each the next.

use super::scatter::Reduction;
use super::strided_cuda::words;
use super::{CudaKernel, PrepareCuda};
use crate::cuda::{Launch, Module, dims, divisor, walk};
use crate::error::Result;
use crate::tensor::DType;

static MODULE: Module = crate::cuda_module!("scatter");

/// How updates, one for each tuple of indices, meet slices of the data.
pub struct Updates {
    /// Number of updates.
    pub count: usize,
    /// Number of slices.
    pub slices: usize,
    /// Elements of a slice.
    pub len: usize,
    /// For each index of a tuple the extent of its axis, and slices between neighbours along it.
    pub indexed: Vec<(usize, usize)>,
    /// For each axis of the updates its extent, and slices between neighbours along it.
    pub axes: Vec<(usize, usize)>,
    /// Updates of one slice are a multiple of so many apart, in groups of so many.
    pub lines: (usize, usize),
}

impl Updates {
    /// The kernel; data, indices and updates are its inputs.
    pub fn kernel(&self, cx: &PrepareCuda<'_>, reduction: Reduction) -> Result<Option<CudaKernel>> {
        let clear = cx.threads(&MODULE, "scatter_clear", self.slices)?;
        let mut launches = vec![self.ends(clear).value(self.slices as u32).build()?, self.find(cx, reduction)?];
        if reduction == Reduction::Replace {
            launches.push(self.replace(cx)?);
        } else {
            launches.push(self.link(cx)?);
            launches.push(self.reduce(cx, reduction)?);
        }
        Ok(Some(Box::new(launches)))
    }

    /// The place of each update, and the first or last one of each slice.
    fn find(&self, cx: &PrepareCuda<'_>, reduction: Reduction) -> Result<CudaKernel> {
        let launch = cx.threads(&MODULE, "scatter_places", self.count)?.input(1);
        let launch = self.ends(self.places(launch)).value(u32::from(reduction == Reduction::Replace));
        let wide = u32::from(cx.input(1).info.dtype == DType::I64);
        let launch = launch.value([self.count as u32, self.indexed.len() as u32, wide]);
        let (first, second) = (|pair: &(usize, usize)| pair.0, |pair: &(usize, usize)| pair.1);
        let launch = launch.value(dims(self.indexed.iter().map(first))).value(dims(self.indexed.iter().map(second)));
        launch.structure(&walk(self.axes.iter().map(|&(extent, slices)| (extent, [slices])))).build()
    }

    /// From each update the next one of its slice.
    fn link(&self, cx: &PrepareCuda<'_>) -> Result<CudaKernel> {
        let launch = self.next(self.places(cx.threads(&MODULE, "scatter_next", self.count)?));
        launch.value(self.count as u32).value(divisor(self.lines.0)).value(divisor(self.lines.1)).build()
    }

    fn replace(&self, cx: &PrepareCuda<'_>) -> Result<CudaKernel> {
        let (word, len) = words(cx.outputs[0].dtype.size(), self.len, []);
        let launch = cx
            .threads(&MODULE, &format!("scatter_replace_b{}", 8 * word), self.slices * len)?
            .input(0)
            .input(2)
            .output(0);
        self.ends(launch).value((self.slices * len) as u32).value(divisor(len)).build()
    }

    fn reduce(&self, cx: &PrepareCuda<'_>, reduction: Reduction) -> Result<CudaKernel> {
        let (dtype, reduction) = match cx.outputs[0].dtype {
            DType::Bool => (DType::U8, reduction.of_bools()),
            dtype => (dtype, reduction),
        };
        let count = self.slices * self.len;
        let launch = cx.threads(&MODULE, &format!("scatter_reduce_{dtype}"), count)?.input(0).input(2).output(0);
        let launch = self.next(self.ends(launch)).value(count as u32);
        launch.value(reduction as u32).value(divisor(self.len)).build()
    }

    fn ends(&self, launch: Launch) -> Launch {
        launch.workspace(0, bytes(self.slices))
    }

    fn places(&self, launch: Launch) -> Launch {
        launch.workspace(bytes(self.slices), bytes(self.count))
    }

    fn next(&self, launch: Launch) -> Launch {
        launch.workspace(bytes(self.slices) + bytes(self.count), bytes(self.count))
    }
}

/// Bytes of so many 32-bit numbers, and of what follows up to where others may begin.
fn bytes(numbers: usize) -> usize {
    (numbers * size_of::<u32>()).next_multiple_of(256)
}
