// Where several tensors have the elements of an index space that they broadcast to, or walk through with other strides.
#pragma once
#include "index.cuh"
#include "vector.cuh"

/// The index space and N tensors, passed by value; `walk` of src/cuda/launch.rs makes it. Strides are modulo 2^32, so that they
/// may be negative.
template <unsigned N> struct Walk {
  /// Extents that count; at least one.
  unsigned rank;
  Extents extents;
  Dims strides[N];

  /// Sets `at` to the offsets that element `index` has in each tensor.
  __device__ void locate(unsigned index, unsigned (&at)[N]) const {
    for (unsigned &offset : at)
      offset = 0;
#pragma unroll 1
    for (unsigned d = rank - 1; d > 0; --d)
      advance(at, d, split(index, extents.n[d]));
    advance(at, 0, index);
  }

  /// Distance between neighbours along the innermost dimension in tensor n.
  __device__ unsigned step(unsigned n) const { return strides[n].n[rank - 1]; }

private:
  /// Goes `by` elements on along dimension d. (A loop over N = 1 tensors would make the compiler unroll the one around it.)
  __device__ void advance(unsigned (&at)[N], unsigned d, unsigned by) const {
    at[0] += by * strides[0].n[d];
    if constexpr (N > 1)
      for (unsigned n = 1; n < N; ++n)
        at[n] += by * strides[n].n[d];
  }
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
