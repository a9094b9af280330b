// Constants of a model on their way to where kernels read them: out of their panels, and to another type. See weights.rs.
#include "prelude.cuh"

/// Element (row, k) of panels `[rows / 16][depth][16]`.
__device__ inline float packed(const float *panels, unsigned row, unsigned k, unsigned depth) {
  return panels[((unsigned long long)(row / 16) * depth + k) * 16 + row % 16];
}

/// Panels, `batch` times, to `[batch][rows][depth]`, or to `[batch][depth][rows]` if `turned`.
template <class T>
__device__ void unpack(const float *x, T *y, unsigned batch, unsigned rows, unsigned depth, unsigned turned) {
  unsigned matrix = rows * depth, padded = (rows + 15) / 16 * 16 * depth;
  for (unsigned i = thread_index(); i < batch * matrix; i += thread_count()) {
    unsigned b = i / matrix, at = i % matrix;
    unsigned row = turned ? at % rows : at / depth, k = turned ? at / rows : at % depth;
    y[i] = from_float<T>(packed(x + (unsigned long long)b * padded, row, k, depth));
  }
}

template <class T> __device__ void narrow(const float *x, T *y, unsigned n) {
  for (unsigned i = thread_index(); i < n; i += thread_count())
    y[i] = from_float<T>(x[i]);
}

#define WEIGHTS_KERNELS(T, suffix)                                                                                             \
  KERNEL weights_unpack_##suffix(const float *x, T *y, unsigned batch, unsigned rows, unsigned depth, unsigned turned) {       \
    unpack(x, y, batch, rows, depth, turned);                                                                                  \
  }                                                                                                                            \
  KERNEL weights_narrow_##suffix(const float *x, T *y, unsigned n) { narrow(x, y, n); }
FLOATS(WEIGHTS_KERNELS)
