//! Views of tensor memory, and the arguments that a kernel's part receives.
//!
//! Several threads write one output at the same time, each its own part. A kernel declares for each phase a [`Grid`]:
//! it cuts every output, seen as a matrix of `rows` x `cols` cells, into disjoint tiles, one per part. A part can obtain
//! its own tile only, and only once, so kernels need no unsafe code. Kernels of `cpu/` with a partition of their own
//! take the raw pointer.
#![allow(unsafe_code, reason = "disjoint tiles of one output are handed to several threads")]

use super::{DType, Element};
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// Immutable tensor memory of a known element type.
#[derive(Clone, Copy)]
pub struct View<'a> {
    ptr: NonNull<u8>,
    len: usize,
    dtype: DType,
    life: PhantomData<&'a [u8]>,
}

/// Mutable tensor memory of a known element type, of which parts obtain disjoint tiles.
#[derive(Clone, Copy)]
pub struct OutView<'a> {
    ptr: NonNull<u8>,
    len: usize,
    dtype: DType,
    life: PhantomData<&'a mut [u8]>,
}

// SAFETY: a View gives read access to plain data only.
unsafe impl Send for View<'_> {}
// SAFETY: as above.
unsafe impl Sync for View<'_> {}
// SAFETY: an OutView gives access only through unsafe functions whose callers answer for exclusiveness.
unsafe impl Send for OutView<'_> {}
// SAFETY: as above.
unsafe impl Sync for OutView<'_> {}

impl<'a> View<'a> {
    /// No bytes.
    pub const EMPTY: View<'static> =
        View { ptr: NonNull::<u64>::dangling().cast(), len: 0, dtype: DType::U8, life: PhantomData };

    /// A view of `bytes`. Panics if they are not aligned for `dtype`.
    pub fn new(bytes: &'a [u8], dtype: DType) -> Self {
        assert!(bytes.as_ptr().align_offset(dtype.size()) == 0, "misaligned tensor data");
        View { ptr: NonNull::from(bytes).cast(), len: bytes.len(), dtype, life: PhantomData }
    }

    /// A view of `len` bytes at `ptr`.
    ///
    /// # Safety
    /// The bytes are initialised, aligned for `dtype`, and stay valid and unchanged for `'a`.
    pub unsafe fn from_raw(ptr: NonNull<u8>, len: usize, dtype: DType) -> Self {
        View { ptr, len, dtype, life: PhantomData }
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The bytes.
    pub fn bytes(&self) -> &'a [u8] {
        // SAFETY: by construction the bytes are valid and unchanged for 'a.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }

    /// The elements. Panics if the element type is not `T`'s.
    pub fn slice<T: Element>(&self) -> &'a [T] {
        if !T::represents(self.dtype) {
            mismatch(self.dtype, T::DTYPE);
        }
        // SAFETY: by construction the bytes are valid, unchanged and aligned for 'a; every bit pattern is a valid T.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr().cast(), self.len / size_of::<T>()) }
    }

    /// The elements as words of their size, for operators that only move them. Panics if `T` has another size.
    pub fn words<T: Element>(&self) -> &'a [T] {
        if size_of::<T>() != self.dtype.size() {
            mismatch(self.dtype, T::DTYPE);
        }
        View { dtype: T::DTYPE, ..*self }.slice()
    }
}

impl<'a> OutView<'a> {
    /// A view of `bytes`. Panics if they are not aligned for `dtype`.
    pub fn new(bytes: &'a mut [u8], dtype: DType) -> Self {
        assert!(bytes.as_ptr().align_offset(dtype.size()) == 0, "misaligned tensor data");
        OutView { len: bytes.len(), ptr: NonNull::from(bytes).cast(), dtype, life: PhantomData }
    }

    /// A view of `len` bytes at `ptr`.
    ///
    /// # Safety
    /// The bytes are aligned for `dtype`, valid for writes during `'a`, and reached only through this view and its
    /// copies.
    pub unsafe fn from_raw(ptr: NonNull<u8>, len: usize, dtype: DType) -> Self {
        OutView { ptr, len, dtype, life: PhantomData }
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// First byte; for kernels that cut the output themselves.
    pub fn as_ptr(&self) -> *mut u8 {
        self.ptr.as_ptr()
    }

    /// Length in bytes.
    pub fn byte_len(&self) -> usize {
        self.len
    }

    /// # Safety
    /// No other tile that overlaps this part's tile in `grid` is alive.
    unsafe fn tile<T: Element>(&self, grid: &Grid, part: usize) -> Tile<'a, T> {
        let len = self.len / size_of::<T>();
        let cells = grid.rows * grid.cols;
        assert!(len.is_multiple_of(cells), "the grid does not divide the output");
        let cell = len.checked_div(cells).unwrap_or(0);
        let (rows, cols) = grid.ranges(part);
        let stride = grid.cols * cell;
        let ptr = if rows.is_empty() || cols.is_empty() {
            NonNull::dangling()
        } else {
            // SAFETY: the first element of a non-empty tile lies inside the output.
            unsafe { self.ptr.cast::<T>().add(rows.start * stride + cols.start * cell) }
        };
        let width = cols.len() * cell;
        Tile {
            ptr,
            stride,
            width,
            first_row: rows.start,
            rows: rows.len(),
            first_col: cols.start * cell,
            life: PhantomData,
        }
    }
}

/// How a phase cuts each output into tiles, one per part: `row_parts` x `col_parts` tiles of nearly equal size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Rows of the matrix as which each output is seen.
    pub rows: usize,
    /// Columns (cells) of that matrix; a cell is `len / (rows * cols)` elements of the output.
    pub cols: usize,
    /// Parts along the rows.
    pub row_parts: usize,
    /// Parts along the columns.
    pub col_parts: usize,
}

impl Grid {
    /// One part that owns everything, in one row.
    pub const ONE: Grid = Grid { rows: 1, cols: 1, row_parts: 1, col_parts: 1 };

    /// `rows` rows, cut into `parts` blocks of rows.
    pub fn rows(rows: usize, parts: usize) -> Self {
        Grid { rows, cols: 1, row_parts: parts.clamp(1, rows.max(1)), col_parts: 1 }
    }

    /// `rows` rows cut so that each part has at least `grain` of work, when a row is `row_cost` of work, and at most
    /// [`Grid::MAX_PARTS`] parts.
    pub fn by_cost(rows: usize, row_cost: usize, grain: usize) -> Self {
        let work = rows.saturating_mul(row_cost.max(1));
        Grid::rows(rows, (work / grain.max(1)).clamp(1, Self::MAX_PARTS))
    }

    /// Upper bound on the parts of [`Grid::by_cost`]: enough for big machines, few enough to cost nothing on small ones.
    pub const MAX_PARTS: usize = 64;

    /// Number of parts.
    pub fn parts(&self) -> usize {
        self.row_parts * self.col_parts
    }

    /// Rows and columns (in cells) of `part`.
    pub fn ranges(&self, part: usize) -> (Range<usize>, Range<usize>) {
        let cut = |n: usize, parts: usize, i: usize| n * i / parts..n * (i + 1) / parts;
        assert!(part < self.parts());
        (cut(self.rows, self.row_parts, part / self.col_parts), cut(self.cols, self.col_parts, part % self.col_parts))
    }
}

/// A part's own rows x columns of an output.
pub struct Tile<'a, T> {
    ptr: NonNull<T>,
    stride: usize,
    width: usize,
    first_row: usize,
    rows: usize,
    first_col: usize,
    life: PhantomData<&'a mut [T]>,
}

impl<'a, T: Element> Tile<'a, T> {
    /// Rows of the whole output that the tile covers.
    pub fn rows(&self) -> Range<usize> {
        self.first_row..self.first_row + self.rows
    }

    /// Elements of each row that the tile covers.
    pub fn cols(&self) -> Range<usize> {
        self.first_col..self.first_col + self.width
    }

    /// The tile's elements of row `row` (counted in the whole output). Panics outside the tile.
    pub fn row(&mut self, row: usize) -> &mut [T] {
        assert!(self.rows().contains(&row), "row {row} is outside the tile");
        // SAFETY: the row lies inside the tile, which nobody else can reach during 'a; `self` is borrowed exclusively.
        unsafe {
            std::slice::from_raw_parts_mut(self.ptr.as_ptr().add((row - self.first_row) * self.stride), self.width)
        }
    }

    /// The tile's elements of `N` neighbouring rows, from row `first` (counted in the whole output) on. Panics outside the
    /// tile.
    pub fn neighbours<const N: usize>(&mut self, first: usize) -> [&mut [T]; N] {
        let (start, stride) = self.rectangle(&(first..first + N), &(0..self.width));
        // SAFETY: the rows lie inside the tile, which nobody else can reach during 'a, and do not overlap; `self` is
        // borrowed exclusively.
        std::array::from_fn(|i| unsafe { std::slice::from_raw_parts_mut(start.add(i * stride), self.width) })
    }

    /// The tile's elements of rows `rows` (counted in the whole output), if they follow each other without gaps. Panics
    /// outside the tile.
    pub fn whole_rows(&mut self, rows: &Range<usize>) -> Option<&mut [T]> {
        let (first, _) = self.rectangle(rows, &(0..self.width));
        // SAFETY: the rows lie inside the tile, which nobody else can reach during 'a, and have no gaps; `self` is
        // borrowed exclusively.
        (self.width == self.stride).then(|| unsafe { std::slice::from_raw_parts_mut(first, rows.len() * self.width) })
    }

    /// First element of the rectangle `rows` x `cols` (rows counted in the whole output, columns in the tile) and the
    /// distance between its rows, for kernels that write through pointers. Panics if it reaches outside the tile.
    pub fn rectangle(&mut self, rows: &Range<usize>, cols: &Range<usize>) -> (*mut T, usize) {
        assert!(self.first_row <= rows.start && rows.start <= rows.end && rows.end <= self.first_row + self.rows);
        assert!(cols.start <= cols.end && cols.end <= self.width, "columns {cols:?} are outside the tile");
        let offset = (rows.start - self.first_row) * self.stride + cols.start;
        (self.ptr.as_ptr().wrapping_add(offset), self.stride)
    }

    /// All elements of a tile that spans whole rows. Panics if it does not.
    pub fn into_slice(self) -> &'a mut [T] {
        assert!(self.width == self.stride || self.rows <= 1, "the tile is not contiguous");
        // SAFETY: as for `row`; full rows follow each other without gaps.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.rows * self.width) }
    }
}

/// What one part of a kernel works on.
pub struct Args<'a> {
    inputs: &'a [Option<View<'a>>],
    outputs: &'a [OutView<'a>],
    shared: OutView<'a>,
    scratch: Option<&'a mut [u8]>,
    grid: Grid,
    part: usize,
    /// Which of the first 64 outputs have been taken.
    taken: u64,
    /// First of the other outputs that has not been taken.
    next: usize,
}

impl<'a> Args<'a> {
    /// Arguments of part `part` of a phase with the given grid. `shared` is workspace common to all parts and phases,
    /// `scratch` belongs to this thread alone; both start on a cache line.
    ///
    /// # Safety
    /// While these arguments exist no other arguments for the same part of the same step exist, those of other parts
    /// of the step have the same grid, and nobody else reaches the outputs and the shared workspace.
    pub unsafe fn new(
        inputs: &'a [Option<View<'a>>],
        outputs: &'a [OutView<'a>],
        shared: OutView<'a>,
        scratch: &'a mut [u8],
        grid: Grid,
        part: usize,
    ) -> Self {
        Args { inputs, outputs, shared, scratch: Some(scratch), grid, part, taken: 0, next: 64 }
    }

    /// Index of this part.
    pub fn part(&self) -> usize {
        self.part
    }

    /// Rows and columns (in cells of the phase's grid) of this part.
    pub fn ranges(&self) -> (Range<usize>, Range<usize>) {
        self.grid.ranges(self.part)
    }

    /// The input's view, or None for an absent optional input.
    pub fn view(&self, input: usize) -> Option<View<'a>> {
        self.inputs.get(input).copied().flatten()
    }

    /// Number of inputs, absent ones included.
    pub fn input_count(&self) -> usize {
        self.inputs.len()
    }

    /// Elements of a required input. Panics if it is absent or of another type.
    pub fn input<T: Element>(&self, input: usize) -> &'a [T] {
        self.required(input).slice()
    }

    /// Elements of a required input as words; see [`View::words`]. Panics if it is absent.
    pub fn words<T: Element>(&self, input: usize) -> &'a [T] {
        self.required(input).words()
    }

    /// Words of an optional input; see [`View::words`].
    pub fn optional_words<T: Element>(&self, input: usize) -> Option<&'a [T]> {
        self.view(input).map(|v| v.words())
    }

    // Kernels are many: what they share is not inlined into each of them.
    #[inline(never)]
    fn required(&self, input: usize) -> View<'a> {
        self.view(input).expect("a required input is present")
    }

    /// Elements of an optional input. Panics if it is of another type.
    pub fn optional<T: Element>(&self, input: usize) -> Option<&'a [T]> {
        self.view(input).map(|v| v.slice())
    }

    /// This part's tile of an output; outputs from the 65th on are taken in ascending order. Panics if it was taken before.
    pub fn output<T: Element>(&mut self, output: usize) -> Tile<'a, T> {
        let out = self.outputs[output];
        if !T::represents(out.dtype) {
            mismatch(out.dtype, T::DTYPE);
        }
        self.take(output)
    }

    /// This part's tile of an output of any element type, as bytes. Panics if it was taken before.
    pub fn output_bytes(&mut self, output: usize) -> Tile<'a, u8> {
        self.take(output)
    }

    /// This part's tile of an output as words; see [`View::words`]. Panics if it was taken before.
    pub fn output_words<T: Element>(&mut self, output: usize) -> Tile<'a, T> {
        let dtype = self.outputs[output].dtype;
        if size_of::<T>() != dtype.size() {
            mismatch(dtype, T::DTYPE);
        }
        self.take(output)
    }

    fn take<T: Element>(&mut self, output: usize) -> Tile<'a, T> {
        self.mark_taken(output);
        // SAFETY: parts of a grid are disjoint, this part takes its tile once, and the grid is the phase's only one.
        unsafe { self.outputs[output].tile(&self.grid, self.part) }
    }

    #[inline(never)]
    fn mark_taken(&mut self, output: usize) {
        let fresh = if output < 64 { self.taken & (1 << output) == 0 } else { output >= self.next };
        assert!(fresh, "output {output} is taken twice");
        match output {
            0..64 => self.taken |= 1 << output,
            _ => self.next = output + 1,
        }
    }

    /// The whole output, for kernels with a partition of their own.
    pub fn raw_output(&self, output: usize) -> OutView<'a> {
        self.outputs[output]
    }

    /// The workspace common to all parts and phases of the step.
    pub fn raw_shared(&self) -> OutView<'a> {
        self.shared
    }

    /// The workspace common to all parts and phases of the step, as words that parts exchange small results through. What
    /// a phase stores, later phases load; relaxed order suffices, as each phase waits for the one before.
    pub fn shared_words(&self) -> &'a [AtomicU64] {
        // SAFETY: the workspace starts on a cache line, outlives 'a and is reached only through these arguments; every
        // bit pattern is a valid word, and atomics may be accessed by all parts at once.
        unsafe { std::slice::from_raw_parts(self.shared.as_ptr().cast(), self.shared.byte_len() / 8) }
    }

    /// `len` elements of the shared workspace, from byte `start` on. Panics if they do not lie inside, aligned.
    ///
    /// # Safety
    /// No other part of the phase writes these elements; if this part writes them, no other part reads them.
    pub unsafe fn shared<T: Element>(&self, start: usize, len: usize) -> &'a mut [T] {
        let inside = start <= self.shared.len && len <= (self.shared.len - start) / size_of::<T>();
        assert!(inside && start.is_multiple_of(align_of::<T>()), "outside the shared workspace");
        // SAFETY: inside the workspace, which starts on a cache line; every bit pattern is a valid T.
        unsafe { std::slice::from_raw_parts_mut(self.shared.ptr.as_ptr().add(start).cast(), len) }
    }

    /// This thread's scratch memory: uninitialised by contract (left-overs of other steps), of the size asked for.
    /// Panics if it was taken before.
    pub fn scratch<T: Element>(&mut self) -> &'a mut [T] {
        let bytes = self.scratch.take().expect("scratch is taken once");
        // SAFETY: scratch starts on a cache line, which is aligned for every T; every bit pattern is a valid T.
        unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len() / size_of::<T>()) }
    }
}

#[cold]
#[inline(never)]
fn mismatch(tensor: DType, kernel: DType) -> ! {
    panic!("a kernel for {kernel} is given a tensor of {tensor}")
}

/// Runs the given parts of a phase one after another on this thread; see [`Args`].
pub fn run_parts<E>(
    inputs: &[Option<View<'_>>],
    outputs: &mut [(&mut [u8], DType)],
    shared: &mut [u8],
    scratch: &mut [u8],
    (grid, parts): (Grid, impl IntoIterator<Item = usize>),
    mut run: impl FnMut(&mut Args<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let outputs: Vec<OutView<'_>> = outputs.iter_mut().map(|(bytes, dtype)| OutView::new(bytes, *dtype)).collect();
    let shared = OutView::new(shared, DType::U8);
    for part in parts {
        // SAFETY: the memory is borrowed exclusively, and each part's arguments end before the next one's begin.
        run(&mut unsafe { Args::new(inputs, &outputs, shared, scratch, grid, part) })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_the_output_once() {
        for (rows, cols, row_parts, col_parts) in [(5, 4, 2, 3), (1, 7, 1, 7), (3, 1, 3, 1), (0, 1, 1, 1), (2, 3, 2, 1)]
        {
            let grid = Grid { rows, cols, row_parts, col_parts };
            let mut data = vec![0u8; rows * cols * 2];
            let parts = (grid, (0..grid.parts()).rev());
            let done = run_parts(&[], &mut [(&mut data, DType::U8)], &mut [], &mut [], parts, |args| {
                let mut tile = args.output::<u8>(0);
                tile.rows().for_each(|r| tile.row(r).iter_mut().for_each(|x| *x += 1));
                Ok::<(), ()>(())
            });
            assert_eq!(done, Ok(()));
            assert!(data.iter().all(|&x| x == 1), "{grid:?}: {data:?}");
        }
    }

    #[test]
    #[should_panic(expected = "taken twice")]
    fn a_tile_is_taken_once() {
        let mut data = [0u8; 4];
        let _ = run_parts(&[], &mut [(&mut data, DType::U8)], &mut [], &mut [], (Grid::ONE, 0..1), |args| {
            let _first = args.output::<u8>(0);
            let _second = args.output::<u8>(0);
            Ok::<(), ()>(())
        });
    }

    #[test]
    #[should_panic(expected = "is given a tensor of")]
    fn the_element_type_is_checked() {
        let bytes = [0u8; 8];
        View::new(&bytes, DType::U8).slice::<i8>();
    }
}
