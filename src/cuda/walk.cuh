// Where several tensors that broadcast have the elements of an index space; src/ops/walk.rs makes it on the host.
#pragma once
#include "vector.cuh"

/// Strides of N tensors, passed by value.
template <unsigned N> struct Strides {
  Dims of[N];
};

/// The thread's elements of an operand, from `at` on: N neighbours, or one for all where `step` is 0.
template <unsigned N, class T> __device__ inline Vector<T, N> operand(const T *from, unsigned at, unsigned step) {
  if (N > 1 && step != 0)
    return *(const Vector<T, N> *)(from + at);
  Vector<T, N> all;
#pragma unroll
  for (unsigned i = 0; i < N; ++i)
    all.at[i] = from[at];
  return all;
}

/// As above, as floats.
template <class T, unsigned N> __device__ inline void load_operand(const T *from, unsigned at, unsigned step, float (&to)[N]) {
  if (step != 0)
    return load_vector(from + at, to);
  float value = to_float(from[at]);
#pragma unroll
  for (unsigned i = 0; i < N; ++i)
    to[i] = value;
}

/// Sets `at` to the offsets that element `index` has in each tensor. Only the first `rank` extents count.
template <unsigned N>
__device__ inline void locate(unsigned index, unsigned rank, const Dims &extents, const Strides<N> &strides, unsigned (&at)[N]) {
#pragma unroll
  for (unsigned n = 0; n < N; ++n)
    at[n] = 0;
#pragma unroll 1
  for (unsigned d = rank - 1; d > 0; --d) {
    unsigned outer = index / extents.n[d], along = index - outer * extents.n[d];
#pragma unroll
    for (unsigned n = 0; n < N; ++n)
      at[n] += along * strides.of[n].n[d];
    index = outer;
  }
#pragma unroll
  for (unsigned n = 0; n < N; ++n)
    at[n] += index * strides.of[n].n[0];
}
