// The maximum, mean or p-norm of the elements under a window, per channel; see mod.rs.
#include "vector.cuh"

enum Kind { MAX, MEAN, MEAN_WITH_PADDING, NORM };

/// Extents of a pooling, passed by value; depth, height, width.
struct Geometry {
  unsigned channels, column_major;
  unsigned input[3], output[3], kernel[3], stride[3], dilation[3], begin[3], end[3];
};

/// Along one dimension, the taps of a window that lie inside the input, and how many inside the padded one.
struct Range {
  unsigned first, taps, padded;
  int start;

  /// For the output at `at`: tap t is at element at · stride + t · dilation - begin.
  __device__ Range(const Geometry &g, unsigned d, unsigned at) : start((int)(at * g.stride[d]) - (int)g.begin[d]) {
    unsigned dilation = g.dilation[d];
    first = start < 0 ? ((unsigned)-start + dilation - 1) / dilation : 0;
    padded = reach((int)(g.input[d] + g.end[d]), dilation, g.kernel[d]);
    taps = reach((int)g.input[d], dilation, g.kernel[d]);
    taps = taps > first ? taps - first : 0;
  }

  /// Element of tap number i of those inside the input.
  __device__ unsigned element(unsigned i, unsigned dilation) const { return (unsigned)(start + (int)((first + i) * dilation)); }

private:
  /// Taps below `limit`.
  __device__ unsigned reach(int limit, unsigned dilation, unsigned kernel) const {
    return limit <= start ? 0 : min(((unsigned)(limit - start) + dilation - 1) / dilation, kernel);
  }
};

/// |x|^p for a whole p.
__noinline__ __device__ float whole_power(float x, unsigned p) {
  float power = 1.0f;
#pragma unroll 1
  for (x = fabsf(x); p > 0; p >>= 1, x *= x)
    power = p & 1 ? power * x : power;
  return power;
}

__noinline__ __device__ float root(float x, unsigned p) { return p == 1 ? x : p == 2 ? sqrtf(x) : powf(x, 1.0f / (float)p); }

__device__ inline float as_float(float x) { return x; }
__device__ inline float as_float(f16 x) { return to_float(x); }
__device__ inline float as_float(bf16 x) { return to_float(x); }
__device__ inline float as_float(signed char x) { return (float)x; }
__device__ inline float as_float(unsigned char x) { return (float)x; }

template <class T> __device__ inline T as(float x) { return from_float<T>(x); }
template <> __device__ inline signed char as<signed char>(float x) { return (signed char)x; }
template <> __device__ inline unsigned char as<unsigned char>(float x) { return (unsigned char)x; }

/// The result so far for N channels of a pixel.
template <unsigned N> struct Pooled {
  float value[N];
  unsigned place[N];

  __device__ Pooled(unsigned kind) {
#pragma unroll
    for (unsigned i = 0; i < N; ++i) {
      value[i] = kind == MAX ? -INFINITY : 0.0f;
      place[i] = ~0u;
    }
  }

  template <class T> __device__ void add(const Vector<T, N> &x, unsigned kind, unsigned p, unsigned at) {
    if (kind == NORM)
      return each([&](unsigned i) { value[i] += whole_power(as_float(x.at[i]), p); });
    if (kind != MAX)
      return each([&](unsigned i) { value[i] += as_float(x.at[i]); });
    each([&](unsigned i) {
      float element = as_float(x.at[i]);
      bool better = element > value[i] || (element != element && value[i] == value[i]) || place[i] == ~0u;
      value[i] = better ? element : value[i];
      place[i] = better ? at : place[i];
    });
  }

  /// Makes sums the means of `count` elements, or norms.
  __device__ void finish(unsigned kind, unsigned p, float count) {
    if (kind == NORM)
      return each([&](unsigned i) { value[i] = root(value[i], p); });
    if (kind != MAX)
      each([&](unsigned i) { value[i] /= count; });
  }

private:
  template <class F> __device__ static void each(F f) {
#pragma unroll
    for (unsigned i = 0; i < N; ++i)
      f(i);
  }
};

/// Pools N channels of an output pixel.
template <unsigned N, class T>
__device__ inline void pool(const T *x, T *y, long long *places, const Geometry &g, unsigned n, unsigned kind, unsigned p) {
  unsigned index = thread_index() * N;
  if (index >= n)
    return;
  unsigned pixel = index / g.channels, channel = index - pixel * g.channels;
  unsigned row = pixel / g.output[2], plane = row / g.output[1], image = plane / g.output[0];
  Range w(g, 2, pixel - row * g.output[2]), h(g, 1, row - plane * g.output[1]), d(g, 0, plane - image * g.output[0]);
  unsigned size = g.input[0] * g.input[1] * g.input[2];
  x += image * size * g.channels + channel;
  Pooled<N> pooled(kind);
#pragma unroll 1
  for (unsigned i = 0; i < d.taps; ++i)
#pragma unroll 1
    for (unsigned j = 0; j < h.taps; ++j)
#pragma unroll 1
      for (unsigned k = 0; k < w.taps; ++k) {
        unsigned at_d = d.element(i, g.dilation[0]), at_h = h.element(j, g.dilation[1]), at_w = w.element(k, g.dilation[2]);
        unsigned at = (at_d * g.input[1] + at_h) * g.input[2] + at_w;
        unsigned place = g.column_major ? at_d + g.input[0] * (at_h + g.input[1] * at_w) : at;
        pooled.add(*(const Vector<T, N> *)(x + at * g.channels), kind, p, place);
      }
  pooled.finish(kind, p, (float)(kind == MEAN ? d.taps * h.taps * w.taps : d.padded * h.padded * w.padded));
  Vector<T, N> result;
#pragma unroll
  for (unsigned i = 0; i < N; ++i) {
    result.at[i] = as<T>(pooled.value[i]);
    if (places)
      places[index + i] = (long long)(image * g.channels + channel + i) * size + pooled.place[i];
  }
  *(Vector<T, N> *)(y + index) = result;
}

#define POOL_KERNEL(name, T, N)                                                                                                 \
  KERNEL name(const T *x, T *y, long long *places, Geometry g, unsigned n, unsigned kind, unsigned p) {                         \
    pool<N>(x, y, places, g, n, kind, p);                                                                                       \
  }
#define POOL_KERNELS(T, suffix)                                                                                                 \
  POOL_KERNEL(pool_##suffix, T, 1)                                                                                              \
  POOL_KERNEL(pool_##suffix##_wide, T, 4)
FLOATS(POOL_KERNELS)
POOL_KERNEL(pool_i8, signed char, 1)
POOL_KERNEL(pool_u8, unsigned char, 1)
