//! Transposing matrices of elements of 1, 2, 4 or 8 bytes: tiles that fit in registers, inside blocks that fit in the
//! first-level cache; and the narrow matrices of two or three rows or columns that interleaved channels are.
#![allow(unsafe_code, reason = "tiles are loaded and stored through pointers, with intrinsics")]

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::isa::Isa;
use super::simd::{Machine, Work};
use crate::tensor::{Element, Tile};
#[cfg(target_arch = "aarch64")]
use neon as native;
use std::ops::Range;
#[cfg(target_arch = "x86_64")]
use x86 as native;

/// Columns of the transpose that are finished before the next ones: their lines stay in the first-level cache.
const BLOCK: usize = 64;

/// Bytes of a cache line. Tiles advance so that each source line is used up at once and few destination lines are open,
/// since at distances near powers of two most lines compete for the same places in the cache.
const LINE: usize = 64;

/// A matrix inside `from`, whose rows begin `stride` elements apart.
#[derive(Clone, Copy)]
pub struct Source<'a, T> {
    /// The elements, from the matrix's first one on.
    pub from: &'a [T],
    /// Distance between the first elements of neighbouring rows.
    pub stride: usize,
}

/// Writes the transpose of a matrix to the rectangle `rows` x `cols` of a tile (rows counted in the whole output,
/// columns in the tile). Panics if the matrix lacks an element or the rectangle reaches outside the tile.
pub fn transpose<T: Element>(
    isa: Isa,
    source: Source<'_, T>,
    to: &mut Tile<'_, T>,
    rows: &Range<usize>,
    cols: &Range<usize>,
) {
    let (m, n) = (rows.len(), cols.len());
    if m == 0 || n == 0 {
        return;
    }
    match (m, n) {
        (_, 2) if to.cols().len() == 2 && interleave::<T, 2>(isa, source, to, rows) => return,
        (_, 3) if to.cols().len() == 3 && interleave::<T, 3>(isa, source, to, rows) => return,
        (2, _) if source.stride == 2 => return separate::<T, 2>(isa, source, to, rows, cols),
        (3, _) if source.stride == 3 => return separate::<T, 3>(isa, source, to, rows, cols),
        _ => {}
    }
    let end = source.stride.checked_mul(n - 1).and_then(|last| last.checked_add(m));
    assert!(end.is_some_and(|end| end <= source.from.len()), "the matrix reaches outside its memory");
    let (dst, dst_stride) = to.rectangle(rows, cols);
    let job = Job { src: source.from.as_ptr(), stride: source.stride, dst, dst_stride, rows: m, cols: n };
    // SAFETY: all elements of the matrix and of the rectangle were just checked to be there; the tile is borrowed
    // exclusively.
    unsafe { job.run(isa) }
}

/// Writes the transpose of a matrix of `n` rows, which begin `stride` elements apart, to contiguous rows of `n` elements.
/// Panics if the matrix lacks an element.
pub(crate) fn transpose_into<T: Element>(from: &[T], stride: usize, n: usize, to: &mut [T]) {
    let rows = to.len().checked_div(n).unwrap_or(0);
    if rows == 0 {
        return;
    }
    let end = stride.checked_mul(n - 1).and_then(|last| last.checked_add(rows));
    assert!(end.is_some_and(|end| end <= from.len()), "the matrix reaches outside its memory");
    let job = Job { src: from.as_ptr(), stride, dst: to.as_mut_ptr(), dst_stride: n, rows, cols: n };
    // SAFETY: all elements of the matrix were just checked to be there, and `to` has those of its transpose.
    unsafe { job.run(Isa::Scalar) }
}

/// Interleaves `N` source rows; false if the destination rows are not contiguous.
fn interleave<T: Element, const N: usize>(
    isa: Isa,
    source: Source<'_, T>,
    to: &mut Tile<'_, T>,
    rows: &Range<usize>,
) -> bool {
    let Some(to) = to.whole_rows(rows) else { return false };
    let from: [&[T]; N] = std::array::from_fn(|c| &source.from[c * source.stride..][..rows.len()]);
    isa.dispatch(Interleave { from, to: to.as_chunks_mut().0 });
    true
}

struct Interleave<'a, T, const N: usize> {
    from: [&'a [T]; N],
    to: &'a mut [[T; N]],
}

impl<T: Element, const N: usize> Work for Interleave<'_, T, N> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        let from = self.from.map(|row| &row[..self.to.len()]);
        for (i, to) in self.to.iter_mut().enumerate() {
            for (to, from) in to.iter_mut().zip(&from) {
                *to = from[i];
            }
        }
    }
}

/// Takes apart source rows of `N` elements that follow each other.
fn separate<T: Element, const N: usize>(
    isa: Isa,
    source: Source<'_, T>,
    to: &mut Tile<'_, T>,
    rows: &Range<usize>,
    cols: &Range<usize>,
) {
    let from = source.from[..N * cols.len()].as_chunks().0;
    let to = to.neighbours::<N>(rows.start).map(|row| &mut row[cols.clone()]);
    isa.dispatch(Separate { from, to });
}

struct Separate<'a, T, const N: usize> {
    from: &'a [[T; N]],
    to: [&'a mut [T]; N],
}

impl<T: Element, const N: usize> Work for Separate<'_, T, N> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        let mut to = self.to.map(|row| &mut row[..self.from.len()]);
        for (i, from) in self.from.iter().enumerate() {
            for (to, from) in to.iter_mut().zip(from) {
                to[i] = *from;
            }
        }
    }
}

/// A matrix and where its transpose goes: `dst[r][c] = src[c][r]`.
#[derive(Clone, Copy)]
struct Job<T> {
    src: *const T,
    stride: usize,
    dst: *mut T,
    dst_stride: usize,
    rows: usize,
    cols: usize,
}

impl<T: Element> Job<T> {
    /// # Safety
    /// All elements of the matrix can be read and all of its transpose written, and they do not overlap.
    unsafe fn run(self, isa: Isa) {
        // SAFETY: passed on to the caller.
        unsafe {
            match size_of::<T>() {
                1 => native::run::<T, 1, 16>(isa, self),
                2 => native::run::<T, 2, 8>(isa, self),
                4 => native::run::<T, 4, 4>(isa, self),
                _ => native::run::<T, 8, 2>(isa, self),
            }
        }
    }

    /// Covers the matrix with tiles of exactly `height` x `width` (rows and columns of the transpose), block by block;
    /// the last tiles overlap their neighbours. Smaller matrices are transposed element by element.
    ///
    /// # Safety
    /// As for [`Job::run`]; `tile` may rely on that for the job it is given.
    #[inline(always)]
    unsafe fn blocks(self, height: usize, width: usize, tile: impl Fn(Job<T>)) {
        if self.rows < height || self.cols < width {
            // SAFETY: passed on to the caller.
            return unsafe { self.plain() };
        }
        let line = LINE / size_of::<T>();
        for block in (0..self.cols).step_by(BLOCK) {
            for row in (0..self.rows).step_by(line) {
                for c in (block..self.cols.min(block + BLOCK)).step_by(width) {
                    let c = c.min(self.cols - width);
                    for r in (row..self.rows.min(row + line)).step_by(height) {
                        let r = r.min(self.rows - height);
                        // SAFETY: the tile lies inside the matrix.
                        let (src, dst) =
                            unsafe { (self.src.add(c * self.stride + r), self.dst.add(r * self.dst_stride + c)) };
                        tile(Job { src, dst, rows: height, cols: width, ..self });
                    }
                }
            }
        }
    }

    /// # Safety
    /// As for [`Job::run`].
    unsafe fn plain(self) {
        for r in 0..self.rows {
            for c in 0..self.cols {
                // SAFETY: both elements exist, as the caller vouches.
                unsafe { *self.dst.add(r * self.dst_stride + c) = *self.src.add(c * self.stride + r) };
            }
        }
    }
}

/// Transposes a tile of S rows of S elements, each row in a register: interleaving rows i and i + S/2 for all i, log2(S) times
/// over, does so.
///
/// # Safety
/// As for [`Job::run`]; the transpose has S rows and S columns.
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
#[inline(always)]
unsafe fn tile<T: Element, R: Copy, const S: usize>(job: Job<T>, interleave: impl Fn(R, R) -> (R, R)) {
    // SAFETY: rows of the matrix and of its transpose have as many bytes as a register, as the caller vouches.
    unsafe {
        let mut rows: [R; S] = std::array::from_fn(|i| job.src.add(i * job.stride).cast::<R>().read_unaligned());
        for _ in 0..S.ilog2() {
            let old = rows;
            for i in 0..S / 2 {
                (rows[2 * i], rows[2 * i + 1]) = interleave(old[i], old[i + S / 2]);
            }
        }
        for (r, row) in rows.into_iter().enumerate() {
            job.dst.add(r * job.dst_stride).cast::<R>().write_unaligned(row);
        }
    }
}
/// Targets whose registers we do not know: blocks element by element.
#[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
mod native {
    use super::{Element, Isa, Job};

    /// # Safety
    /// As for [`Job::run`].
    pub unsafe fn run<T: Element, const SIZE: usize, const S: usize>(_: Isa, job: Job<T>) {
        // SAFETY: passed on to the caller.
        unsafe { job.blocks(S, S, |job| job.plain()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{Args, DType, Grid, OutView};

    fn check<T: Element>(dtype: DType, element: impl Fn(usize) -> T) {
        for (m, n) in [(1, 1), (3, 50), (50, 3), (2, 9), (9, 2), (8, 8), (4, 70), (33, 17), (130, 65), (65, 200)] {
            for extra in [0, 3] {
                let stride = m + extra;
                let from: Vec<T> = (0..stride * n).map(&element).collect();
                for isa in Isa::available() {
                    let mut bytes = crate::tensor::Buffer::zeroed((n + extra) * m * size_of::<T>()).unwrap();
                    let out = OutView::new(&mut bytes, dtype);
                    let grid = Grid::rows(m, 1);
                    // SAFETY: the only arguments.
                    let mut args = unsafe { Args::new(&[], std::slice::from_ref(&out), out, &mut [], grid, 0) };
                    let mut tile = args.output_words::<T>(0);
                    transpose(isa, Source { from: &from, stride }, &mut tile, &(0..m), &(extra..n + extra));
                    for r in 0..m {
                        let want: Vec<T> = (0..n).map(|c| from[c * stride + r]).collect();
                        assert_eq!(tile.row(r)[extra..], want, "{m} x {n} of {dtype} on {isa}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_size_of_element() {
        check(DType::U8, |i| (i * 7 + i / 256) as u8);
        check(DType::I16, |i| i as i16);
        check(DType::F32, |i| i as f32);
        check(DType::F64, |i| i as f64);
    }
}
