// The maximum, mean or p-norm of the elements under a window, per channel; see mod.rs.
#include "number.cuh"
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

  __device__ void add(const float (&x)[N], unsigned kind, unsigned p, unsigned at) {
    if (kind == NORM)
      return each([&](unsigned i) { value[i] += whole_power(x[i], p); });
    if (kind != MAX)
      return each([&](unsigned i) { value[i] += x[i]; });
    each([&](unsigned i) {
      float element = x[i];
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
template <unsigned N, class Load, class Store>
__device__ inline void pool(Load load, Store store, long long *places, const Geometry &g, unsigned n, unsigned kind,
                            unsigned p) {
  unsigned index = thread_index() * N;
  if (index >= n)
    return;
  unsigned pixel = index / g.channels, channel = index - pixel * g.channels;
  unsigned row = pixel / g.output[2], plane = row / g.output[1], image = plane / g.output[0];
  Range w(g, 2, pixel - row * g.output[2]), h(g, 1, row - plane * g.output[1]), d(g, 0, plane - image * g.output[0]);
  unsigned size = g.input[0] * g.input[1] * g.input[2];
  unsigned start = image * size * g.channels + channel;
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
        float x[N];
        load(start + at * g.channels, x);
        pooled.add(x, kind, p, place);
      }
  pooled.finish(kind, p, (float)(kind == MEAN ? d.taps * h.taps * w.taps : d.padded * h.padded * w.padded));
  store(index, pooled.value);
#pragma unroll
  for (unsigned i = 0; i < N; ++i)
    if (places)
      places[index + i] = (long long)(image * g.channels + channel + i) * size + pooled.place[i];
}

/// Any type, a channel in a thread.
KERNEL pool_any(const void *x, void *y, long long *places, Geometry g, unsigned n, unsigned kind, unsigned p, unsigned type) {
  auto load = [=](unsigned i, float (&to)[1]) { to[0] = load_float(x, i, type); };
  auto store = [=](unsigned i, const float (&from)[1]) {
    if (type <= BF16)
      store_single(y, i, type, from[0]);
    else
      store_integer(y, i, type, (unsigned long long)(long long)from[0]);
  };
  pool<1>(load, store, places, g, n, kind, p);
}

/// Floats, 4 channels in a thread.
#define WIDE_KERNEL(T, suffix)                                                                                                 \
  KERNEL pool_##suffix##_wide(const T *x, T *y, long long *places, Geometry g, unsigned n, unsigned kind, unsigned p) {        \
    pool<4>([=](unsigned i, float (&to)[4]) { load_vector(x + i, to); },                                                       \
            [=](unsigned i, const float (&from)[4]) { store_vector(y + i, from); }, places, g, n, kind, p);                    \
  }
FLOATS(WIDE_KERNEL)
