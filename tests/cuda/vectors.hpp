// CUDA's vector types with their alignment, and make_*.
#pragma once

#define STANDIN_VECTORS(T, base, align2, align4)                                                                                \
  struct base##1 {                                                                                                              \
    T x;                                                                                                                        \
  };                                                                                                                            \
  struct alignas(align2) base##2 {                                                                                              \
    T x, y;                                                                                                                     \
  };                                                                                                                            \
  struct base##3 {                                                                                                              \
    T x, y, z;                                                                                                                  \
  };                                                                                                                            \
  struct alignas(align4) base##4 {                                                                                              \
    T x, y, z, w;                                                                                                               \
  };                                                                                                                            \
  inline base##1 make_##base##1(T x) { return {x}; }                                                                            \
  inline base##2 make_##base##2(T x, T y) { return {x, y}; }                                                                    \
  inline base##3 make_##base##3(T x, T y, T z) { return {x, y, z}; }                                                            \
  inline base##4 make_##base##4(T x, T y, T z, T w) { return {x, y, z, w}; }

STANDIN_VECTORS(signed char, char, 2, 4)
STANDIN_VECTORS(unsigned char, uchar, 2, 4)
STANDIN_VECTORS(short, short, 4, 8)
STANDIN_VECTORS(unsigned short, ushort, 4, 8)
STANDIN_VECTORS(int, int, 8, 16)
STANDIN_VECTORS(unsigned, uint, 8, 16)
STANDIN_VECTORS(long long, longlong, 16, 16)
STANDIN_VECTORS(unsigned long long, ulonglong, 16, 16)
STANDIN_VECTORS(float, float, 8, 16)
STANDIN_VECTORS(double, double, 16, 16)
#undef STANDIN_VECTORS

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};
