// Functions of the device that compute with numbers alone. What the host's mathematics lacks is here; the rest is in math.h.
#pragma once

#include <limits.h>
#include <math.h>
#include <string.h>

namespace standin {

template <class To, class From> inline To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}

/// A float as an integer type, as the device converts: saturated, NaN as 0.
template <class T, class F> inline T saturate(F value, T low, T high) {
  return value != value ? 0 : value <= (F)low ? low : value >= (F)high ? high : (T)value;
}

} // namespace standin

inline int __float_as_int(float value) { return standin::bits_as<int>(value); }
inline unsigned __float_as_uint(float value) { return standin::bits_as<unsigned>(value); }
inline float __int_as_float(int value) { return standin::bits_as<float>(value); }
inline float __uint_as_float(unsigned value) { return standin::bits_as<float>(value); }
inline long long __double_as_longlong(double value) { return standin::bits_as<long long>(value); }
inline double __longlong_as_double(long long value) { return standin::bits_as<double>(value); }

/// IEEE 754 binary16 as a float.
inline float f16_to_float(unsigned short bits) {
  unsigned sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31u, fraction = bits & 0x3ffu;
  if (exponent == 31)
    return __uint_as_float(sign | 0x7f800000u | fraction << 13);
  if (exponent != 0)
    return __uint_as_float(sign | (exponent + 112u) << 23 | fraction << 13);
  float magnitude = (float)fraction * 0x1p-24f;
  return sign ? -magnitude : magnitude;
}

/// A float as IEEE 754 binary16, rounded to the nearest, ties to even.
inline unsigned short f16_from_float(float value) {
  unsigned bits = __float_as_uint(value), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u)
    return 0x7fffu;
  if (magnitude >= 0x477ff000u) // What rounds to 2^16 and beyond.
    return (unsigned short)(sign | 0x7c00u);
  if (magnitude < 0x38800000u) // Below 2^-14 the sum's last bit is worth 2^-24, as a subnormal's is.
    return (unsigned short)(sign | (__float_as_uint(__uint_as_float(magnitude) + 0.5f) - 0x3f000000u));
  return (unsigned short)(sign | (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13);
}

#define STANDIN_MIN_MAX(T)                                                                                                      \
  inline T min(T a, T b) { return b < a ? b : a; }                                                                              \
  inline T max(T a, T b) { return a < b ? b : a; }
STANDIN_MIN_MAX(int)
STANDIN_MIN_MAX(unsigned)
STANDIN_MIN_MAX(long)
STANDIN_MIN_MAX(unsigned long)
STANDIN_MIN_MAX(long long)
STANDIN_MIN_MAX(unsigned long long)
#undef STANDIN_MIN_MAX
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }
inline unsigned min(unsigned a, int b) { return min(a, (unsigned)b); }
inline unsigned min(int a, unsigned b) { return min((unsigned)a, b); }
inline unsigned max(unsigned a, int b) { return max(a, (unsigned)b); }
inline unsigned max(int a, unsigned b) { return max((unsigned)a, b); }

inline float rsqrtf(float value) { return 1.0f / sqrtf(value); }
inline double rsqrt(double value) { return 1.0 / sqrt(value); }
inline float normcdff(float value) { return 0.5f * erfcf(value * -0.70710678f); }
inline float __saturatef(float value) { return value > 0.0f ? fminf(value, 1.0f) : 0.0f; }

// Approximations of the device; here they are as exact as the others.
inline float __expf(float value) { return expf(value); }
inline float __exp10f(float value) { return powf(10.0f, value); }
inline float __logf(float value) { return logf(value); }
inline float __log2f(float value) { return log2f(value); }
inline float __log10f(float value) { return log10f(value); }
inline float __sinf(float value) { return sinf(value); }
inline float __cosf(float value) { return cosf(value); }
inline float __tanf(float value) { return tanf(value); }
inline float __powf(float value, float exponent) { return powf(value, exponent); }
inline float __fdividef(float a, float b) { return a / b; }

// Arithmetic that the device's compiler does not contract.
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __frcp_rn(float value) { return 1.0f / value; }
inline float __fsqrt_rn(float value) { return sqrtf(value); }
inline float __frsqrt_rn(float value) { return rsqrtf(value); }

inline float __int2float_rn(int value) { return (float)value; }
inline float __uint2float_rn(unsigned value) { return (float)value; }
inline int __float2int_rz(float value) { return standin::saturate<int>((double)value, INT_MIN, INT_MAX); }
inline int __float2int_rn(float value) { return __float2int_rz(rintf(value)); }
inline int __float2int_rd(float value) { return __float2int_rz(floorf(value)); }
inline int __float2int_ru(float value) { return __float2int_rz(ceilf(value)); }
inline unsigned __float2uint_rz(float value) { return standin::saturate<unsigned>((double)value, 0u, UINT_MAX); }
inline unsigned __float2uint_rn(float value) { return __float2uint_rz(rintf(value)); }
inline unsigned __float2uint_rd(float value) { return __float2uint_rz(floorf(value)); }
inline unsigned __float2uint_ru(float value) { return __float2uint_rz(ceilf(value)); }
inline long long __float2ll_rz(float value) { return standin::saturate<long long>(value, LLONG_MIN, LLONG_MAX); }
inline long long __float2ll_rn(float value) { return __float2ll_rz(rintf(value)); }
inline long long __float2ll_rd(float value) { return __float2ll_rz(floorf(value)); }
inline unsigned long long __float2ull_rz(float value) { return standin::saturate<unsigned long long>(value, 0ull, ULLONG_MAX); }
inline unsigned long long __float2ull_rn(float value) { return __float2ull_rz(rintf(value)); }

inline int __popc(unsigned value) { return __builtin_popcount(value); }
inline int __popcll(unsigned long long value) { return __builtin_popcountll(value); }
inline int __clz(int value) { return value ? __builtin_clz((unsigned)value) : 32; }
inline int __clzll(long long value) { return value ? __builtin_clzll((unsigned long long)value) : 64; }
inline int __ffs(int value) { return __builtin_ffs(value); }
inline int __ffsll(long long value) { return __builtin_ffsll(value); }
inline unsigned __brev(unsigned value) {
  unsigned result = 0;
  for (int bit = 0; bit < 32; ++bit)
    result |= (value >> bit & 1u) << (31 - bit);
  return result;
}

inline int __mulhi(int a, int b) { return (int)((long long)a * b >> 32); }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((unsigned long long)a * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  __extension__ typedef unsigned __int128 wide;
  return (unsigned long long)((wide)a * b >> 64);
}

/// Bytes of `a` (0 to 3) and `b` (4 to 7), as each hexadecimal digit of the selector tells.
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  unsigned long long bytes = (unsigned long long)b << 32 | a;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i)
    result |= (unsigned)(bytes >> 8 * (selector >> 4 * i & 7u) & 0xffu) << 8 * i;
  return result;
}

inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return (unsigned)((((unsigned long long)high << 32 | low) << (shift & 31u)) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return (unsigned)(((unsigned long long)high << 32 | low) >> (shift & 31u));
}

/// Sum of the products of four bytes, and `sum`.
inline int __dp4a(int a, int b, int sum) {
  unsigned result = (unsigned)sum;
  for (int i = 0; i < 32; i += 8)
    result += (unsigned)((signed char)(a >> i) * (signed char)(b >> i));
  return (int)result;
}
inline unsigned __dp4a(unsigned a, unsigned b, unsigned sum) {
  for (int i = 0; i < 32; i += 8)
    sum += (a >> i & 0xffu) * (b >> i & 0xffu);
  return sum;
}
