// The same numbers as another element type; see mod.rs. A kernel for each widest type of its kind that elements are loaded as.
#include "number.cuh"
#include "vector.cuh"

template <class T> constexpr T HIGHEST = (T)(T(-1) > T(0) ? ~0ull : ~0ull >> (65 - 8 * sizeof(T)));
template <class T> constexpr T LOWEST = (T)(T(-1) > T(0) ? 0 : -HIGHEST<T> - 1);

/// The integer part of a float, at most the limits of the type; 0 for NaN.
template <class T, class F> __device__ inline T saturate(F value) {
  // The first power of two beyond the largest integer is a float; the integer may not be one.
  const F beyond = 2 * (F)(HIGHEST<T> / 2 + 1), low = (F)LOWEST<T>;
  return value >= beyond ? HIGHEST<T> : value <= low ? LOWEST<T> : value == value ? (T)value : 0;
}

template <class F> __device__ unsigned long long integer_bits(F value, unsigned type) {
  switch (type) {
  case I8:
    return (unsigned long long)saturate<signed char>(value);
  case I16:
    return (unsigned long long)saturate<short>(value);
  case I32:
    return (unsigned long long)saturate<int>(value);
  case I64:
    return (unsigned long long)saturate<long long>(value);
  case U8:
    return saturate<unsigned char>(value);
  case U16:
    return saturate<unsigned short>(value);
  case U32:
    return saturate<unsigned>(value);
  case U64:
    return saturate<unsigned long long>(value);
  default: // BOOL
    return value != 0;
  }
}

__device__ unsigned long long integer_bits(long long value, unsigned type) {
  return type == BOOL ? value != 0 : (unsigned long long)value;
}
__device__ unsigned long long integer_bits(unsigned long long value, unsigned type) {
  return type == BOOL ? value != 0 : value;
}

/// The float from which f16 and bf16 are rounded.
__device__ float single(double value) { return to_odd(value); }
template <class Wide> __device__ float single(Wide value) { return (float)value; }

/// Stores a number as an element of any type.
template <class Wide> __device__ void store(void *y, unsigned i, unsigned type, Wide value) {
  if (type == F64)
    ((double *)y)[i] = (double)value;
  else if (type == F32)
    ((float *)y)[i] = (float)value;
  else if (type <= BF16)
    store_single(y, i, type, single(value));
  else
    store_integer(y, i, type, integer_bits(value, type));
}

#define CAST_KERNEL(name, element)                                                                                             \
  KERNEL cast_##name(const void *x, void *y, unsigned n, unsigned from, unsigned to) {                                         \
    (void)from;                                                                                                                \
    unsigned i = thread_index();                                                                                               \
    if (i < n)                                                                                                                 \
      store(y, i, to, element);                                                                                                \
  }
CAST_KERNEL(float, load_single(x, i, from))
CAST_KERNEL(double, ((const double *)x)[i])
CAST_KERNEL(integer, load_integer(x, i, from))
CAST_KERNEL(u64, ((const unsigned long long *)x)[i])

#define ROUND_KERNEL(T, U)                                                                                                     \
  KERNEL cast_##T##_##U(const T *x, U *y, unsigned n) {                                                                        \
    each_vector<8>(n, [=](unsigned i, auto size) {                                                                             \
      map_vector<size.value>(x + i, y + i, [](T x) { return from_float<U>(to_float(x)); });                                    \
    });                                                                                                                        \
  }
typedef float f32;
ROUND_KERNEL(f32, f16)
ROUND_KERNEL(f32, bf16)
ROUND_KERNEL(f16, f32)
ROUND_KERNEL(bf16, f32)
