// Elements whose type is known when a kernel runs, the same for all threads: so that one kernel serves all types where it does
// much besides reading and writing. PTX is long.
#pragma once
#include "prelude.cuh"

/// Numbers of element types in model files.
enum Type {
  TYPE_F32 = 1,
  TYPE_F64,
  TYPE_F16,
  TYPE_BF16,
  TYPE_I8,
  TYPE_I16,
  TYPE_I32,
  TYPE_I64,
  TYPE_U8,
  TYPE_U16,
  TYPE_U32,
  TYPE_U64
};

/// The value of the bits of an f16 or a bf16.
__device__ inline float half_value(unsigned short bits, unsigned type) {
  return type == TYPE_F16 ? to_float(f16{bits}) : to_float(bf16{bits});
}

/// Element `i` of an f32, f16 or bf16 tensor.
__device__ inline float float_at(const void *x, unsigned i, unsigned type) {
  return type == TYPE_F32 ? ((const float *)x)[i] : half_value(((const unsigned short *)x)[i], type);
}

/// Sets element `i` of an f32, f16 or bf16 tensor.
__device__ inline void set_float(void *y, unsigned i, float value, unsigned type) {
  if (type == TYPE_F32)
    ((float *)y)[i] = value;
  else
    ((unsigned short *)y)[i] = type == TYPE_F16 ? from_float<f16>(value).bits : from_float<bf16>(value).bits;
}
