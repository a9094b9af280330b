// Softmax of rows; see mod.rs. One block computes one row of `len` elements, `stride` apart.
#include "prelude.cuh"

enum Kind { SOFTMAX, LOG_SOFTMAX, HARDMAX };

/// Index of the first of the largest elements.
template <class T> __device__ unsigned first_at(const T *x, unsigned len, unsigned stride, float top) {
  float first = (float)len;
  for (unsigned i = threadIdx.x; i < len; i += blockDim.x)
    if (to_float(x[i * stride]) == top)
      first = fminf(first, (float)i);
  return (unsigned)block_fold<Min>(first);
}

template <class T> __device__ void softmax(const T *x, T *y, unsigned len, unsigned stride, unsigned kind) {
  unsigned start = blockIdx.x / stride * len * stride + blockIdx.x % stride;
  x += start;
  y += start;
  float top = -INFINITY;
  for (unsigned i = threadIdx.x; i < len; i += blockDim.x)
    top = Max::of(top, to_float(x[i * stride]));
  top = block_fold<Max>(top);
  if (kind == HARDMAX) {
    unsigned first = first_at(x, len, stride, top);
    for (unsigned i = threadIdx.x; i < len; i += blockDim.x)
      y[i * stride] = from_float<T>(i == first ? 1.0f : 0.0f);
    return;
  }
  float sum = 0.0f;
  for (unsigned i = threadIdx.x; i < len; i += blockDim.x)
    sum += expf(to_float(x[i * stride]) - top);
  sum = block_fold<Sum>(sum);
  float scale = 1.0f / sum, shift = logf(sum);
  for (unsigned i = threadIdx.x; i < len; i += blockDim.x) {
    float value = to_float(x[i * stride]) - top;
    y[i * stride] = from_float<T>(kind == SOFTMAX ? expf(value) * scale : value - shift);
  }
}

#define SOFTMAX_KERNEL(T, suffix)                                                                                               \
  KERNEL softmax_##suffix(const T *x, T *y, unsigned len, unsigned stride, unsigned kind) { softmax(x, y, len, stride, kind); }
FLOATS(SOFTMAX_KERNEL)
