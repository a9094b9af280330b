// round(x / scale) + zero point, saturated; see mod.rs.
#include "scales.cuh"

/// A float of at most 32 bits, rounded to a type.
__device__ inline float precise(float x, unsigned type) {
  return type == F16 ? to_float(from_float<f16>(x)) : type == BF16 ? to_float(from_float<bf16>(x)) : x;
}

/// The element, as the bits of an integer; 0 for NaN.
__device__ inline unsigned quantized(float x, float scale, float zero, unsigned precision, float low, float high) {
  float quotient = precise(precise(x, precision) / precise(scale, precision), precision);
  float value = fminf(fmaxf(rintf(quotient) + zero, low), high);
  return quotient == quotient ? (unsigned)(int)value : 0;
}

KERNEL quantize(const void *x, const void *scale, const void *zero, void *y, unsigned n, Scales scales, unsigned from, unsigned to,
                unsigned precision, float low, float high) {
  each_vector<4>(n, [=](unsigned i, auto size) {
    Vector<unsigned short, size.value> result;
#pragma unroll
    for (unsigned j = 0; j < size.value; ++j) {
      unsigned at = scales.of(i + j);
      result.at[j] = (unsigned short)quantized(load_float(x, i + j, from), scales.scale(scale, at), scales.zero(zero, at), precision,
                                               low, high);
    }
    store_narrow(y, i, to, result);
  });
}
