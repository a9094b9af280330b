//! Strided copies on a GPU: Transpose, Slice, Expand, Tile, and with gaps in the output Concat and Split.

use super::strided::Strided;
use super::{CudaKernel, PrepareCuda};
use crate::cuda::{Launch, Module, divisor, walk};
use crate::error::Result;

static MODULE: Module = crate::cuda_module!("strided");

/// Bytes of the widest word.
const WIDEST: usize = 16;

/// Most axes that kernels are given.
const MAX_AXES: usize = 8;

/// Side of the squares that are transposed: SIDE of `strided.cu`.
const SIDE: usize = 32;

/// Smallest side of a matrix worth squares.
const LEAST: usize = 8;

/// Bytes of the words that runs of `run` elements of `size` bytes are moved in, and words of a run; runs begin at multiples of
/// `starts`.
pub fn words<const N: usize>(size: usize, run: usize, starts: [usize; N]) -> (usize, usize) {
    let even = |n: &usize| n.is_multiple_of(2);
    if size == WIDEST || !even(&run) || !starts.iter().all(even) {
        return (size, run);
    }
    words(2 * size, run / 2, starts.map(|n| n / 2))
}

/// One axis: its extent, and elements between neighbours in the input and in the output.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Axis {
    extent: usize,
    from: isize,
    to: isize,
}

/// A copy of elements of `size` bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Copy {
    size: usize,
    /// The first element in the input and in the output.
    from: usize,
    to: usize,
    /// Outermost first.
    axes: Vec<Axis>,
}

impl Strided {
    /// The kernel that copies input 0 to output 0 on a GPU.
    pub fn cuda_kernel(self, cx: &PrepareCuda<'_>) -> Result<Option<CudaKernel>> {
        let mut to = 1;
        let axis = |(extent, from): (usize, isize)| {
            let axis = (extent, from, to);
            to *= extent as isize;
            axis
        };
        let mut axes: Vec<_> = self.axes().rev().map(axis).collect();
        axes.reverse();
        Copy::new(cx.outputs[0].dtype.size(), (self.offset(), 0), axes).kernel(cx, 0, 0)
    }
}

impl Copy {
    /// The copy whose first element is at `start` in the input and in the output, and whose axes, outermost first, have the
    /// given extents and strides in both.
    pub fn new(size: usize, start: (usize, usize), axes: impl IntoIterator<Item = (usize, isize, isize)>) -> Self {
        let mut merged: Vec<Axis> = vec![];
        for (extent, from, to) in axes.into_iter().filter(|a| a.0 != 1) {
            match merged.last_mut() {
                Some(outer) if outer.from == from * extent as isize && outer.to == to * extent as isize => {
                    *outer = Axis { extent: outer.extent * extent, from, to };
                }
                _ => merged.push(Axis { extent, from, to }),
            }
        }
        let mut copy = Copy { size, from: start.0, to: start.1, axes: merged };
        while copy.size < WIDEST && copy.is_even() {
            copy.pair();
        }
        copy
    }

    /// The kernel that copies from an input to an output; None if there are too many axes.
    pub fn kernel(&self, cx: &PrepareCuda<'_>, input: usize, output: usize) -> Result<Option<CudaKernel>> {
        if self.axes.len() > MAX_AXES {
            return Ok(None);
        }
        match self.matrix() {
            Some((rows, columns)) => self.transposed(cx, (input, output), rows, columns).map(Some),
            None => self.plain(cx, (input, output)).map(Some),
        }
    }

    /// Whether elements can be moved two by two.
    fn is_even(&self) -> bool {
        let even = |n: isize| n % 2 == 0;
        let Some((inner, outer)) = self.axes.split_last() else { return false };
        let runs = inner.from == 1 && inner.to == 1 && inner.extent.is_multiple_of(2);
        runs && even((self.from | self.to) as isize) && outer.iter().all(|a| even(a.from) && even(a.to))
    }

    /// Takes two elements as one.
    fn pair(&mut self) {
        self.size *= 2;
        self.from /= 2;
        self.to /= 2;
        let last = self.axes.len() - 1;
        for axis in &mut self.axes[..last] {
            axis.from /= 2;
            axis.to /= 2;
        }
        self.axes[last].extent /= 2;
    }

    /// The axis along which the input is contiguous, and the one along which the output is, if these are two of some extent.
    fn matrix(&self) -> Option<(usize, usize)> {
        let find = |stride: fn(&Axis) -> isize| self.axes.iter().rposition(|a| stride(a) == 1 && a.extent >= LEAST);
        let (rows, columns) = (find(|a| a.from)?, find(|a| a.to)?);
        let (down, along) = (&self.axes[rows], &self.axes[columns]);
        (rows != columns && down.to > 1 && along.from > 1 && self.size < WIDEST).then_some((rows, columns))
    }

    fn plain(&self, cx: &PrepareCuda<'_>, (input, output): (usize, usize)) -> Result<CudaKernel> {
        let count: usize = self.axes.iter().map(|a| a.extent).product();
        let launch = cx
            .threads(&MODULE, &format!("strided_b{}", 8 * self.size), count)?
            .input(input)
            .output(output)
            .value(count as u32);
        self.places(launch, &self.axes).build()
    }

    fn transposed(
        &self,
        cx: &PrepareCuda<'_>,
        (input, output): (usize, usize),
        rows: usize,
        columns: usize,
    ) -> Result<CudaKernel> {
        let (down, along) = (self.axes[rows], self.axes[columns]);
        let others = self.axes.iter().enumerate().filter(|(i, _)| *i != rows && *i != columns);
        let others: Vec<Axis> = others.map(|(_, axis)| *axis).collect();
        let squares = [down.extent.div_ceil(SIDE), along.extent.div_ceil(SIDE)];
        let count = others.iter().map(|a| a.extent).chain(squares).product::<usize>();
        let launch = cx.grid(&MODULE, &format!("strided_transposed_b{}", 8 * self.size), [count, 1, 1])?;
        let matrix = [down.extent, along.extent, along.from as usize, down.to as usize].map(|n| n as u32);
        let launch = self.places(launch.input(input).output(output), &others);
        launch.structure(&[squares.map(divisor).as_flattened(), &matrix].concat()).build()
    }

    /// Adds the parameters that say where elements are: where they begin, and how they go on along `axes`.
    fn places(&self, launch: Launch, axes: &[Axis]) -> Launch {
        let axis = |a: &Axis| (a.extent, [a.from as usize, a.to as usize]);
        launch.value([self.from as u32, self.to as u32]).structure(&walk(axes.iter().map(axis)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_moved_in_words() {
        let heads = Copy::new(2, (0, 0), [(2, 3 * 5 * 64, 3 * 5 * 64), (5, 64, 3 * 64), (3, 5 * 64, 64), (64, 1, 1)]);
        assert_eq!((heads.size, heads.axes[heads.axes.len() - 1].extent), (16, 8));
        let odd = Copy::new(2, (3, 0), [(5, 64, 32), (32, 1, 1)]);
        assert_eq!(odd.size, 2);
        let all = Copy::new(1, (8, 0), [(3, 8, 8), (8, 1, 1)]);
        assert_eq!((all.size, all.from, all.axes.len()), (8, 1, 1));
    }

    #[test]
    fn matrices_are_found() {
        assert_eq!(Copy::new(4, (0, 0), [(2, 3000, 3000), (100, 1, 30), (30, 100, 1)]).matrix(), Some((1, 2)));
        assert_eq!(Copy::new(4, (0, 0), [(100, 1, 3), (3, 100, 1)]).matrix(), None);
        assert_eq!(Copy::new(4, (0, 0), [(100, 30, 30), (15, 2, 1)]).matrix(), None);
    }
}
