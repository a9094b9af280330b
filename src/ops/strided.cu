// Strided copies; see strided.rs. Distances are modulo 2^32, so that they may be negative.
#include "index.cuh"

/// Where elements are read and written.
struct Places {
  unsigned rank;
  /// First element in the input and in the output.
  unsigned from, to;
};

/// One thread moves one word.
template <class W>
__device__ void strided(const W *x, W *y, unsigned count, const Places &places, const Extents &extents, const Dims &from,
                        const Dims &to) {
  unsigned index = thread_index();
  if (index >= count)
    return;
  unsigned source = places.from, target = places.to;
#pragma unroll 1
  for (unsigned axis = places.rank; axis-- > 0;) {
    unsigned at = split(index, extents.n[axis]);
    source += at * from.n[axis];
    target += at * to.n[axis];
  }
  y[target] = x[source];
}

#define STRIDED_KERNEL(W, suffix)                                                                                               \
  KERNEL strided_##suffix(const W *x, W *y, unsigned count, Places places, TABLE(Extents) extents, TABLE(Dims) from, \
                          TABLE(Dims) to) { \
    strided(x, y, count, places, extents, from, to);                                                                            \
  }
WIDE_WORDS(STRIDED_KERNEL)

#define SIDE 32

/// Matrices of which the input has columns together and the output rows: a block moves a square of SIDE x SIDE elements, so
/// that neighbouring threads read, and then write, neighbouring elements. `rows` and `columns` count squares.
template <class W>
__device__ void transposed(const W *x, W *y, const Places &places, const Extents &extents, const Dims &from, const Dims &to,
                           const Dims &matrix) {
  __shared__ W square[SIDE][SIDE + 1];
  unsigned height = matrix.n[0], width = matrix.n[1], row_step = matrix.n[2], column_step = matrix.n[3];
  // The squares of a matrix are the last two axes.
  unsigned index = blockIdx.x, source = places.from, target = places.to;
  unsigned left = split(index, extents.n[places.rank + 1]) * SIDE, top = split(index, extents.n[places.rank]) * SIDE;
#pragma unroll 1
  for (unsigned axis = places.rank; axis-- > 0;) {
    unsigned at = split(index, extents.n[axis]);
    source += at * from.n[axis];
    target += at * to.n[axis];
  }
  unsigned inner = threadIdx.x % SIDE, outer = threadIdx.x / SIDE, step = THREADS / SIDE;
#pragma unroll 4
  for (unsigned i = outer; i < SIDE; i += step)
    if (top + inner < height && left + i < width)
      square[i][inner] = x[source + (left + i) * column_step + top + inner];
  __syncthreads();
#pragma unroll 4
  for (unsigned i = outer; i < SIDE; i += step)
    if (top + i < height && left + inner < width)
      y[target + (top + i) * row_step + left + inner] = square[inner][i];
}

#define TRANSPOSED_KERNEL(W, suffix)                                                                                            \
  KERNEL transposed_##suffix(const W *x, W *y, Places places, TABLE(Extents) extents, TABLE(Dims) from, TABLE(Dims) to, \
                             Dims matrix) { \
    transposed(x, y, places, extents, from, to, matrix);                                                                        \
  }
WORDS(TRANSPOSED_KERNEL)
