// Range; see mod.rs. One thread computes one element.
#include "number.cuh"

__device__ inline double to_double(double value) { return value; }
template <class T> __device__ double to_double(T value) { return (double)to_float(value); }

template <class T> __device__ T rounded(double value) { return from_float<T>(to_odd(value)); }
template <> __device__ inline float rounded<float>(double value) { return (float)value; }
template <> __device__ inline double rounded<double>(double value) { return value; }

#define RANGE_KERNEL(T, suffix)                                                                                                \
  KERNEL range_##suffix(const T *start, const T *delta, T *y, unsigned count) {                                                \
    unsigned i = thread_index();                                                                                               \
    if (i < count)                                                                                                             \
      y[i] = rounded<T>(to_double(*start) + (double)i * to_double(*delta));                                                    \
  }
FLOATS(RANGE_KERNEL)
RANGE_KERNEL(double, f64)

/// Of integers, which wrap.
#define RANGE_OF_INTEGERS(T, suffix)                                                                                           \
  KERNEL range_##suffix(const T *start, const T *delta, T *y, unsigned count) {                                                \
    unsigned i = thread_index();                                                                                               \
    if (i < count)                                                                                                             \
      y[i] = (T)((unsigned long long)*start + (unsigned long long)*delta * i);                                                 \
  }
RANGE_OF_INTEGERS(short, i16)
RANGE_OF_INTEGERS(int, i32)
RANGE_OF_INTEGERS(long long, i64)
