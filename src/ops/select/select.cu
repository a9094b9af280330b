// Elements of x where a condition holds, of y where it does not; see mod.rs. All three broadcast.
#include "walk.cuh"

template <unsigned N, class T>
__device__ void choose(const unsigned char *c, const T *x, const T *y, T *out, unsigned n, unsigned rank, const Dims &extents,
                       const Strides<3> &strides) {
  unsigned first = thread_index() * N, at[3];
  if (first >= n)
    return;
  locate(first, rank, extents, strides, at);
  Vector<unsigned char, N> condition = operand<N>(c, at[0], strides.of[0].n[rank - 1]);
  Vector<T, N> yes = operand<N>(x, at[1], strides.of[1].n[rank - 1]), no = operand<N>(y, at[2], strides.of[2].n[rank - 1]);
#pragma unroll
  for (unsigned i = 0; i < N; ++i)
    yes.at[i] = condition.at[i] ? yes.at[i] : no.at[i];
  *(Vector<T, N> *)(out + first) = yes;
}

#define WHERE_KERNEL(name, T, N)                                                                                                \
  KERNEL name(const unsigned char *c, const T *x, const T *y, T *out, unsigned n, unsigned rank, UNIFORM Dims extents,          \
              UNIFORM Strides<3> strides) {                                                                                     \
    choose<N>(c, x, y, out, n, rank, extents, strides);                                                                         \
  }
#define WHERE_KERNELS(T, suffix)                                                                                                \
  WHERE_KERNEL(where_##suffix, T, 1)                                                                                            \
  WHERE_KERNEL(where_##suffix##_wide, T, WIDE<T>)
WORDS(WHERE_KERNELS)
