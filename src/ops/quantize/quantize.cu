// round(x / scale) + zero point, saturated; see mod.rs.
#include "scales.cuh"

/// A float of at most 32 bits, rounded to a type.
__device__ inline float precise(float x, unsigned type) {
  return type == F16 ? to_float(from_float<f16>(x)) : type == BF16 ? to_float(from_float<bf16>(x)) : x;
}

/// What is divided, in which precision, and the limits of the result; passed by value.
struct Plan {
  unsigned from, to, precision;
  float low, high;
};

/// Element i, as the bits of an integer; 0 for NaN. It is called, not inlined: a thread has several elements.
__noinline__ __device__ unsigned quantized(const void *x, const void *scale, const void *zero, unsigned i, Scales scales,
                                           Plan plan) {
  unsigned at = scales.of(i);
  float dividend = precise(load_float(x, i, plan.from), plan.precision);
  float quotient = precise(dividend / precise(scales.scale(scale, at), plan.precision), plan.precision);
  float value = fminf(fmaxf(rintf(quotient) + scales.zero(zero, at), plan.low), plan.high);
  return quotient == quotient ? (unsigned)(int)value : 0;
}

KERNEL quantize(const void *x, const void *scale, const void *zero, void *y, unsigned n, Scales scales, Plan plan) {
  each_vector<4>(n, [=](unsigned i, auto size) {
    Vector<unsigned short, size.value> result;
#pragma unroll
    for (unsigned j = 0; j < size.value; ++j)
      result.at[j] = (unsigned short)quantized(x, scale, zero, i + j, scales, plan);
    store_narrow(y, i, plan.to, result);
  });
}
