//! Walking several strided tensors together, in long runs: the common part of everything that broadcasts or reduces.

use crate::error::{Error, Result};
use crate::tensor::{Dims, MAX_RANK};
use std::ops::Range;

/// The order in which the elements of an index space are visited (row-major), and where `N` tensors have them.
///
/// Dimensions that every tensor walks without a break are merged, so the innermost one is as long as it can be.
#[derive(Clone, Debug)]
pub struct Walk<const N: usize> {
    /// Extents, outermost first; never empty.
    dims: Dims,
    /// For each dimension the distance between neighbours in each tensor.
    strides: [[usize; N]; MAX_RANK],
}

/// A stretch of neighbours along the innermost dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run<const N: usize> {
    /// Number of elements.
    pub len: usize,
    /// Index of the first element along the innermost dimension.
    pub index: usize,
    /// Offset of the first element in each tensor.
    pub at: [usize; N],
}

impl<const N: usize> Walk<N> {
    /// A walk over `dims` of tensors with the given strides per dimension.
    pub fn new(dims: &[usize], strides: &[[usize; N]]) -> Self {
        let mut walk = Walk { dims: Dims::default(), strides: [[0; N]; MAX_RANK] };
        for (&extent, &stride) in dims.iter().zip(strides).filter(|(extent, _)| **extent != 1) {
            walk.append(extent, stride);
        }
        if walk.dims.is_empty() {
            walk.append(1, [0; N]);
        }
        walk
    }

    /// A walk over the elements of a contiguous tensor of shape `out` and the elements of `inputs` (shapes of contiguous
    /// tensors) that broadcast to them. An error if one does not broadcast to `out`.
    pub fn broadcast(out: &Dims, inputs: [&Dims; N]) -> Result<Self> {
        let mut strides = [[0; N]; MAX_RANK];
        for (n, dims) in inputs.into_iter().enumerate() {
            let mismatch = || Error::shape(format!("{dims:?} does not broadcast to {out:?}"));
            let skip = out.len().checked_sub(dims.len()).ok_or_else(mismatch)?;
            for (i, (&extent, &stride)) in dims.iter().zip(dims.strides().iter()).enumerate() {
                match extent {
                    1 => {}
                    _ if extent == out[skip + i] => strides[skip + i][n] = stride,
                    _ => return Err(mismatch()),
                }
            }
        }
        Ok(Walk::new(out, &strides))
    }

    /// Appends a dimension on the inside, merged with the last one where all tensors allow it.
    pub fn append(&mut self, extent: usize, stride: [usize; N]) {
        if let Some(last) = self.dims.len().checked_sub(1)
            && (self.dims[last] == 1 || (0..N).all(|n| self.strides[last][n] == stride[n] * extent))
        {
            self.dims[last] *= extent;
            self.strides[last] = stride;
            return;
        }
        self.strides[self.dims.len()] = stride;
        self.dims.push(extent);
    }

    /// Extent of the innermost dimension.
    pub fn inner_len(&self) -> usize {
        self.dims[self.dims.len() - 1]
    }

    /// Distance between neighbours along the innermost dimension in each tensor.
    pub fn inner_strides(&self) -> [usize; N] {
        self.strides[self.dims.len() - 1]
    }

    /// Number of dimensions.
    #[cfg(feature = "cuda")]
    pub fn rank(&self) -> usize {
        self.dims.len()
    }

    /// The walk as kernels take it: Walk of `walk.cuh`.
    #[cfg(feature = "cuda")]
    pub fn words(&self) -> Vec<u32> {
        crate::cuda::walk(self.dims.iter().copied().zip(self.strides))
    }

    /// Takes the innermost dimension away and returns its extent and strides; what remains walks its first elements.
    pub fn split_inner(&self) -> (Self, usize, [usize; N]) {
        let outer = Walk::new(&self.dims[..self.dims.len() - 1], &self.strides);
        (outer, self.inner_len(), self.inner_strides())
    }

    /// The elements `range` of the walk, in order, as runs along the innermost dimension.
    #[inline]
    pub fn runs(&self, range: Range<usize>) -> Runs<'_, N> {
        let mut index = [0; MAX_RANK];
        let mut at = [0; N];
        if !range.is_empty() {
            let mut rest = range.start;
            for d in (0..self.dims.len()).rev() {
                index[d] = rest % self.dims[d];
                rest /= self.dims[d];
                (0..N).for_each(|n| at[n] += index[d] * self.strides[d][n]);
            }
        }
        Runs { walk: self, left: range.len(), index, at }
    }
}

/// See [`Walk::runs`].
pub struct Runs<'a, const N: usize> {
    walk: &'a Walk<N>,
    left: usize,
    index: [usize; MAX_RANK],
    at: [usize; N],
}

impl<const N: usize> Iterator for Runs<'_, N> {
    type Item = Run<N>;

    #[inline(always)]
    fn next(&mut self) -> Option<Run<N>> {
        if self.left == 0 {
            return None;
        }
        let inner = self.walk.dims.len() - 1;
        let index = self.index[inner];
        let len = self.left.min(self.walk.dims[inner] - index);
        let run = Run { len, index, at: self.at };
        self.left -= len;
        self.advance(len);
        Some(run)
    }
}

impl<const N: usize> Runs<'_, N> {
    /// Moves on by `len` elements, at most to the end of the innermost dimension.
    #[inline(always)]
    fn advance(&mut self, len: usize) {
        let mut step = len;
        for d in (0..self.walk.dims.len()).rev() {
            let strides = &self.walk.strides[d];
            self.index[d] += step;
            (0..N).for_each(|n| self.at[n] += step * strides[n]);
            if self.index[d] < self.walk.dims[d] {
                return;
            }
            (0..N).for_each(|n| self.at[n] -= self.index[d] * strides[n]);
            self.index[d] = 0;
            step = 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all<const N: usize>(walk: &Walk<N>, range: Range<usize>) -> Vec<[usize; N]> {
        let strides = walk.inner_strides();
        let element = |run: Run<N>, i: usize| std::array::from_fn(|n| run.at[n] + i * strides[n]);
        walk.runs(range).flat_map(|run| (0..run.len).map(move |i| element(run, i))).collect()
    }

    #[test]
    fn broadcasting_visits_what_indices_say() {
        let (out, a, b) = (Dims::new(&[2, 3, 1, 4, 5]), Dims::new(&[3, 1, 4, 5]), Dims::new(&[2, 1, 1, 1, 5]));
        let walk = Walk::broadcast(&out, [&a, &b]).unwrap();
        let mut want = vec![];
        for i in 0..120 {
            let (n, c, h, w) = (i / 60, i / 20 % 3, i / 5 % 4, i % 5);
            want.push([c * 20 + h * 5 + w, n * 5 + w]);
        }
        assert_eq!(all(&walk, 0..120), want);
        for (start, end) in [(0, 1), (7, 7), (3, 64), (119, 120), (59, 61)] {
            assert_eq!(all(&walk, start..end), want[start..end]);
        }
    }

    #[test]
    fn dimensions_merge_where_they_can() {
        let dims = |d: &[usize]| Dims::new(d);
        let inner = |out: &[usize], a: &[usize], b: &[usize]| {
            let walk = Walk::broadcast(&dims(out), [&dims(a), &dims(b)]).unwrap();
            (walk.inner_len(), walk.inner_strides())
        };
        assert_eq!(inner(&[4, 5, 6], &[4, 5, 6], &[4, 5, 6]), (120, [1, 1]));
        assert_eq!(inner(&[4, 5, 6], &[4, 5, 6], &[1]), (120, [1, 0]));
        assert_eq!(inner(&[4, 5, 6], &[4, 5, 6], &[5, 6]), (30, [1, 1]));
        assert_eq!(inner(&[4, 5, 6], &[4, 5, 6], &[4, 1, 1]), (30, [1, 0]));
        assert_eq!(inner(&[1, 1], &[1], &[1, 1]), (1, [0, 0]));
    }

    #[test]
    fn empty_walks_have_no_runs() {
        let empty = Dims::new(&[3, 0, 2]);
        assert!(Walk::broadcast(&empty, [&empty]).unwrap().runs(0..0).next().is_none());
    }

    #[test]
    fn mismatches_are_refused() {
        let out = Dims::new(&[2, 3]);
        for wrong in [&[2][..], &[1, 2, 3], &[3, 3], &[2, 0]] {
            assert!(Walk::broadcast(&out, [&Dims::new(wrong)]).is_err(), "{wrong:?}");
        }
    }
}
