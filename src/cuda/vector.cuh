// Neighbouring elements that a thread reads and writes at once.
#pragma once
#include "prelude.cuh"

/// N neighbouring elements. They lie at a multiple of their size.
template <class T, unsigned N> struct alignas(sizeof(T) * N) Vector {
  T at[N];
};

/// The widest access to memory, as a word.
typedef Vector<unsigned, 4> b128;

/// X(type, suffix) for each word that kernels move elements in: those of WORDS, and several elements side by side.
#define WIDE_WORDS(X) WORDS(X) X(b128, b128)

/// Elements that fill it.
template <class T> constexpr unsigned WIDE = 16 / sizeof(T);

/// Calls `f(i, size)` for the thread's WIDE elements out of n, which are read and written at once: `size` is a number that the
/// compiler knows, N for N elements from i on, or 1 for one element by itself where fewer are left.
template <unsigned N> struct Count {
  static constexpr unsigned value = N;
};
template <unsigned N, class F> __device__ inline void each_vector(unsigned n, F f) {
  unsigned start = thread_index() * N;
  if (start + N <= n) {
    f(start, Count<N>());
    return;
  }
#pragma unroll 1
  for (unsigned i = start; i < n; ++i)
    f(i, Count<1>());
}

/// y = f(x) for N elements.
template <unsigned N, class T, class U, class F> __device__ inline void map_vector(const T *x, U *y, F f) {
  Vector<T, N> from = *(const Vector<T, N> *)x;
  Vector<U, N> to;
#pragma unroll
  for (unsigned i = 0; i < N; ++i)
    to.at[i] = f(from.at[i]);
  *(Vector<U, N> *)y = to;
}

/// N neighbouring elements as they are.
template <unsigned N, class T> __device__ inline void copy_vector(const T *from, T *to) {
  Vector<T, N> elements = *(const Vector<T, N> *)from;
#pragma unroll
  for (unsigned i = 0; i < N; ++i)
    to[i] = elements.at[i];
}

/// N neighbouring elements as floats.
template <class T, unsigned N> __device__ inline void load_vector(const T *from, float (&to)[N]) {
  Vector<T, N> elements = *(const Vector<T, N> *)from;
#pragma unroll
  for (unsigned i = 0; i < N; ++i)
    to[i] = to_float(elements.at[i]);
}

/// Floats as N neighbouring elements.
template <class T, unsigned N> __device__ inline void store_vector(T *to, const float (&from)[N]) {
  Vector<T, N> elements;
#pragma unroll
  for (unsigned i = 0; i < N; ++i)
    elements.at[i] = from_float<T>(from[i]);
  *(Vector<T, N> *)to = elements;
}
