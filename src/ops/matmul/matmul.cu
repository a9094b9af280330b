// Products of matrices; see cuda/gemm.rs for what runs when.
#include "gemm.cuh"

/// Columns of a block of matmul_row, and how many threads share each of them.
#define ROW_COLS 64
#define ROW_SHARE (THREADS / ROW_COLS)

/// Columns of a block of matmul_dot: a warp computes one.
#define DOT_COLS (THREADS / WARP)

template <class Tile, class T> __device__ void product(const T *a, const T *b, const End<T> &end, const Place &at) {
  alignas(16) __shared__ float shared[Tile::SHARED];
  const Gemm &g = end.g;
  Strided<T, Tile::ROWS> rows(a + at.a, at.row, g.m, g.a_row, g.a_k, g.a_quads, g.type);
  Strided<T, Tile::COLS> cols(b + at.b, at.col, g.n, g.b_col, g.b_k, g.b_quads, g.type);
  tile_of_product<Tile>(rows, cols, end, at, shared);
}

/// End of this block's slice.
__device__ inline unsigned end_of_slice(const Gemm &g, unsigned begin) { return g.k - begin < g.slice ? g.k : begin + g.slice; }

/// A row times a matrix whose rows lie in memory as such: neighbouring threads read neighbouring columns.
template <class T> __device__ void row_product(const T *a, const T *b, const End<T> &end, const Place &at) {
  __shared__ float sums[ROW_SHARE][ROW_COLS];
  const Gemm &g = end.g;
  unsigned lane = threadIdx.x % ROW_COLS, share = threadIdx.x / ROW_COLS, col = at.col + lane;
  unsigned begin = at.slice * g.slice, last = col < g.n ? end_of_slice(g, begin) : 0;
  float sum = 0.0f;
#pragma unroll 4
  for (unsigned k = begin + share; k < last; k += ROW_SHARE)
    sum += widen(a[at.a + k * g.a_k], g.type) * widen(b[at.b + k * g.b_k + col], g.type);
  sums[share][lane] = sum;
  __syncthreads();
  if (share > 0 || col >= g.n)
    return;
  for (int i = 1; i < ROW_SHARE; ++i)
    sum += sums[i][lane];
  end.put(0, col, sum);
}

/// A row times a matrix whose columns lie in memory in one piece: a warp computes the product with one of them.
template <class T> __device__ void dot_product(const T *a, const T *b, const End<T> &end, const Place &at) {
  const Gemm &g = end.g;
  unsigned lane = threadIdx.x % WARP, col = at.col + threadIdx.x / WARP;
  unsigned begin = at.slice * g.slice, last = col < g.n ? end_of_slice(g, begin) : 0;
  float sum = 0.0f;
#pragma unroll 4
  for (unsigned k = begin + lane; k < last; k += WARP)
    sum += widen(a[at.a + k * g.a_k], g.type) * widen(b[at.b + col * g.b_col + k], g.type);
  sum = warp_fold<Sum>(sum);
  if (lane == 0 && col < g.n)
    end.put(0, col, sum);
}

/// Adds the sums of all slices and ends the products. One thread computes one element.
template <class T>
__device__ void finish(const T *bias, const T *residual, T *y, const float *sums, const Gemm &g, unsigned slices) {
  unsigned product = g.m * g.n, all = g.batch * product, i = thread_index();
  if (i >= all)
    return;
  float sum = 0.0f;
#pragma unroll 4
  for (unsigned slice = 0; slice < slices; ++slice)
    sum += sums[(unsigned long long)slice * all + i];
  Place at = {};
  at.batch = i / product;
  find_operands(g, at);
  End<T>(g, bias, residual, y, nullptr, at).finish(i % product / g.n, i % g.n, sum);
}

#define PARAMETERS(T) const T *a, const T *b, const T *bias, const T *residual, T *y, float *sums, Gemm g

#define TILE_KERNEL(name, T, suffix)                                                                                           \
  KERNEL matmul_##name##_##suffix(PARAMETERS(T)) {                                                                             \
    Place at = place(g, tile_##name::ROWS, tile_##name::COLS);                                                                 \
    product<tile_##name>(a, b, End<T>(g, bias, residual, y, sums, at), at);                                                    \
  }

#define KERNELS(T, suffix)                                                                                                     \
  TILES(TILE_KERNEL, T, suffix)                                                                                                \
  KERNEL matmul_row_##suffix(PARAMETERS(T)) {                                                                                  \
    Place at = place(g, 1, ROW_COLS);                                                                                          \
    row_product(a, b, End<T>(g, bias, residual, y, sums, at), at);                                                             \
  }                                                                                                                            \
  KERNEL matmul_dot_##suffix(PARAMETERS(T)) {                                                                                  \
    Place at = place(g, 1, DOT_COLS);                                                                                          \
    dot_product(a, b, End<T>(g, bias, residual, y, sums, at), at);                                                             \
  }                                                                                                                            \
  KERNEL matmul_finish_##suffix(const T *bias, const T *residual, T *y, const float *sums, Gemm g, unsigned slices) {          \
    finish(bias, residual, y, sums, g, slices);                                                                                \
  }
GEMM_TYPES(KERNELS)

/// Types that are multiplied as they are: one thread computes one element. Integers wrap, so unsigned ones serve the signed.
template <class T> __device__ void exact(const T *a, const T *b, const T *bias, const T *residual, T *y, const Gemm &g) {
  Place at = place(g, 1, THREADS);
  unsigned col = at.col + threadIdx.x, out = at.batch * g.y_batch + at.row * g.y_row + col * g.y_col;
  if (col >= g.n)
    return;
  T sum = 0;
#pragma unroll 1
  for (unsigned k = 0; k < g.k; ++k)
    sum += a[at.a + at.row * g.a_row + k * g.a_k] * b[at.b + k * g.b_k + col * g.b_col];
  if (bias)
    sum += bias[at.bias + at.row * g.bias_row + col * g.bias_col];
  y[out] = residual ? sum + residual[out] : sum;
}

#define EXACT_KERNEL(T, suffix)                                                                                                \
  KERNEL matmul_exact_##suffix(const T *a, const T *b, const T *bias, const T *residual, T *y, Gemm g) {                       \
    exact(a, b, bias, residual, y, g);                                                                                         \
  }
EXACT_KERNEL(unsigned, i32)
EXACT_KERNEL(unsigned long long, i64)
EXACT_KERNEL(double, f64)
