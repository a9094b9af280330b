// Strided copies; see strided.rs.
#include "walk.cuh"

/// The first element in the input and in the output.
struct Start {
  unsigned from, to;
};

/// One thread moves one word. The walk goes over input and output.
template <class W> __device__ void strided(const W *x, W *y, unsigned count, Start start, const Walk<2> &walk) {
  unsigned index = thread_index(), at[2];
  if (index >= count)
    return;
  walk.locate(index, at);
  y[start.to + at[1]] = x[start.from + at[0]];
}

#define STRIDED_KERNEL(W, suffix)                                                                                              \
  KERNEL strided_##suffix(const W *x, W *y, unsigned count, Start start, UNIFORM Walk<2> walk) {                               \
    strided(x, y, count, start, walk);                                                                                         \
  }
WIDE_WORDS(STRIDED_KERNEL)

#define SIDE 32

/// A matrix of which the input has columns together and the output rows.
struct Matrix {
  /// Squares of SIDE x SIDE elements, down and across.
  Divisor down, across;
  unsigned height, width;
  /// Elements between columns in the input and between rows in the output.
  unsigned column, row;
};

/// A block moves a square, so that neighbouring threads read, and then write, neighbouring elements. The walk goes over
/// matrices.
template <class W> __device__ void transposed(const W *x, W *y, Start start, const Walk<2> &walk, const Matrix &m) {
  __shared__ W square[SIDE][SIDE + 1];
  unsigned index = blockIdx.x, at[2], left = split(index, m.across) * SIDE, top = split(index, m.down) * SIDE;
  walk.locate(index, at);
  unsigned source = start.from + at[0], target = start.to + at[1];
  unsigned inner = threadIdx.x % SIDE, outer = threadIdx.x / SIDE, step = THREADS / SIDE;
#pragma unroll 4
  for (unsigned i = outer; i < SIDE; i += step)
    if (top + inner < m.height && left + i < m.width)
      square[i][inner] = x[source + (left + i) * m.column + top + inner];
  __syncthreads();
#pragma unroll 4
  for (unsigned i = outer; i < SIDE; i += step)
    if (top + i < m.height && left + inner < m.width)
      y[target + (top + i) * m.row + left + inner] = square[inner][i];
}

#define TRANSPOSED_KERNEL(W, suffix)                                                                                           \
  KERNEL strided_transposed_##suffix(const W *x, W *y, Start start, UNIFORM Walk<2> walk, Matrix matrix) {                     \
    transposed(x, y, start, walk, matrix);                                                                                     \
  }
WORDS(TRANSPOSED_KERNEL)
