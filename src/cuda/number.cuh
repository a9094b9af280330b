// Elements whose type is known when a kernel runs, the same for all threads, so that one kernel serves all types: PTX is long.
#pragma once
#include "prelude.cuh"

/// The element types of src/tensor/dtype.rs, by their numbers there.
enum Type { F32 = 1, F64, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64, BOOL };

/// The bits of an f16 or a bf16, whichever the type is.
struct half {
  unsigned short bits;
};

/// An element as a float.
__device__ inline float widen(float x, unsigned) { return x; }
__device__ inline float widen(half x, unsigned type) { return type == F16 ? to_float(f16{x.bits}) : to_float(bf16{x.bits}); }

/// A float as an element.
__device__ inline void narrow(float value, unsigned, float &x) { x = value; }
__device__ inline void narrow(float value, unsigned type, half &x) {
  x.bits = type == F16 ? from_float<f16>(value).bits : from_float<bf16>(value).bits;
}

/// Element i of a tensor of f32, f16 or bf16.
__device__ inline float load_single(const void *x, unsigned i, unsigned type) {
  return type == F32 ? ((const float *)x)[i] : widen(((const half *)x)[i], type);
}

/// Stores a float as f32, f16 or bf16.
__device__ inline void store_single(void *y, unsigned i, unsigned type, float value) {
  if (type == F32)
    ((float *)y)[i] = value;
  else
    narrow(value, type, ((half *)y)[i]);
}

/// Element i of an integer or boolean tensor; the bits of a u64.
__device__ inline long long load_integer(const void *x, unsigned i, unsigned type) {
  switch (type) {
  case I8:
    return ((const signed char *)x)[i];
  case I16:
    return ((const short *)x)[i];
  case I32:
    return ((const int *)x)[i];
  case U16:
    return ((const unsigned short *)x)[i];
  case U32:
    return ((const unsigned *)x)[i];
  case U8:
  case BOOL:
    return ((const unsigned char *)x)[i];
  default:
    return ((const long long *)x)[i];
  }
}

/// Stores the low bits of an integer.
__device__ inline void store_integer(void *y, unsigned i, unsigned type, unsigned long long value) {
  switch (type) {
  case I8:
  case U8:
  case BOOL:
    ((unsigned char *)y)[i] = (unsigned char)value;
    break;
  case I16:
  case U16:
    ((unsigned short *)y)[i] = (unsigned short)value;
    break;
  case I32:
  case U32:
    ((unsigned *)y)[i] = (unsigned)value;
    break;
  default:
    ((unsigned long long *)y)[i] = value;
  }
}

/// Element i of a tensor of any type but f64, rounded to f32.
__device__ inline float load_float(const void *x, unsigned i, unsigned type) {
  if (type <= BF16)
    return load_single(x, i, type);
  return type == U64 ? (float)((const unsigned long long *)x)[i] : (float)load_integer(x, i, type);
}

/// A float that rounds to the same f16 and bf16 as the value: rounded to odd, it is on the same side of every tie.
__device__ inline float to_odd(double value) {
  float nearest = (float)value;
  double back = (double)nearest;
  if (back == value || value != value)
    return nearest;
  unsigned towards_zero = __float_as_uint(nearest) - (fabs(back) > fabs(value));
  return __uint_as_float(towards_zero | 1u);
}
