// Elements of x where a condition holds, of y where it does not; see mod.rs. All three broadcast.
#include "walk.cuh"

template <unsigned N, class T>
__device__ void choose(const unsigned char *c, const T *x, const T *y, T *out, unsigned n, const Walk<3> &walk) {
  unsigned first = thread_index() * N, at[3];
  if (first >= n)
    return;
  walk.locate(first, at);
  Vector<unsigned char, N> condition = operand<N>(c, at[0], walk.step(0));
  Vector<T, N> yes = operand<N>(x, at[1], walk.step(1)), no = operand<N>(y, at[2], walk.step(2));
#pragma unroll
  for (unsigned i = 0; i < N; ++i)
    yes.at[i] = condition.at[i] ? yes.at[i] : no.at[i];
  *(Vector<T, N> *)(out + first) = yes;
}

#define SELECT_KERNEL(name, T, N)                                                                                              \
  KERNEL name(const unsigned char *c, const T *x, const T *y, T *out, unsigned n, UNIFORM Walk<3> walk) {                      \
    choose<N>(c, x, y, out, n, walk);                                                                                          \
  }
#define SELECT_KERNELS(T, suffix)                                                                                              \
  SELECT_KERNEL(select_##suffix, T, 1)                                                                                         \
  SELECT_KERNEL(select_##suffix##_wide, T, WIDE<T>)
WORDS(SELECT_KERNELS)
