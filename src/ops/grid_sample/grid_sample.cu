// GridSample; see mod.rs and place.rs. One thread computes one element: a channel of a point.
#include "index.cuh"
#include "number.cuh"

enum Mode { LINEAR, NEAREST, CUBIC };
enum Padding { ZEROS, BORDER, REFLECTION };

struct Sampling {
  unsigned mode, padding, align_corners;
  /// Element types of the data and the grid.
  unsigned type, grid;
  /// Axes that are sampled.
  unsigned axes;
};

/// Extents and strides of three axes of the data; those before the ones that are sampled have extent 1. Elements of each batch.
struct Data {
  unsigned extent[3], stride[3], batch;
};

/// x mirrored at low and high until it lies between them. In f64, as indices far outside are not exact in f32.
__noinline__ __device__ double reflect(double x, double low, double high) {
  double range = high - low;
  if (range <= 0.0 || x != x)
    return low > 0.0 ? low : 0.0;
  double at = fmod(x - low, 2.0 * range);
  at = at < 0.0 ? at + 2.0 * range : at;
  return low + (at > range ? 2.0 * range - at : at);
}

/// The elements around a coordinate.
struct Taps {
  long long first;
  /// Distance of the coordinate from the lower neighbour.
  float r;
  unsigned count;
};

__device__ inline float low_bound(const Sampling &s) { return s.align_corners ? 0.0f : -0.5f; }
__device__ inline float high_bound(const Sampling &s, unsigned n) { return s.align_corners ? n - 1.0f : n - 0.5f; }

/// The taps at grid value x of an axis of extent n.
__noinline__ __device__ Taps taps(float x, unsigned n, const Sampling &s) {
  const float extent = (float)n, far = 1e15f;
  x = s.align_corners ? (x + 1.0f) / 2.0f * (extent - 1.0f) : ((x + 1.0f) * extent - 1.0f) / 2.0f;
  x = s.mode == NEAREST ? rintf(x) : x;
  x = x < -far ? -far : x > far ? far : x;
  float low = low_bound(s), high = high_bound(s, n);
  // A cubic goes on outside of the data, over elements that are moved inside one by one.
  if (s.mode != CUBIC && !(x >= low && x <= high)) {
    if (s.padding == BORDER)
      x = x < 0.0f ? 0.0f : x > extent - 1.0f ? extent - 1.0f : x;
    else if (s.padding == REFLECTION)
      x = (float)reflect(x, low, high);
  }
  float first = floorf(x);
  long long at = first == first ? (long long)first : 0;
  return Taps{s.mode == CUBIC ? at - 1 : at, x - first, s.mode == LINEAR ? 2u : s.mode == CUBIC ? 4u : 1u};
}

/// Keys' convolution kernel at a distance below 2, with a = -0.75.
__device__ inline float cubic(float x) {
  const float a = -0.75f;
  return x <= 1.0f ? ((a + 2.0f) * x - (a + 3.0f)) * x * x + 1.0f : ((a * x - 5.0f * a) * x + 8.0f * a) * x - 4.0f * a;
}

/// The weight of tap k.
__device__ inline float weight(const Taps &taps, unsigned k, unsigned mode) {
  if (mode == NEAREST)
    return 1.0f;
  if (mode == LINEAR)
    return k ? taps.r : 1.0f - taps.r;
  return cubic(k < 2 ? taps.r + (1.0f - (float)k) : (float)k - 1.0f - taps.r);
}

/// The element that stands for tap k; false for zero.
__device__ inline bool element(const Taps &taps, unsigned k, unsigned n, const Sampling &s, unsigned &at) {
  long long i = taps.first + k, last = (long long)n - 1;
  bool inside = i >= 0 && i <= last;
  if (!inside && s.padding == REFLECTION)
    i = (long long)reflect((double)i, low_bound(s), high_bound(s, n));
  at = (unsigned)(i < 0 ? 0 : i > last ? last : i);
  return inside || s.padding != ZEROS;
}

/// The taps of axis j of three for the point whose coordinates begin at `first`.
__device__ inline Taps axis_taps(const void *grid, unsigned first, unsigned j, const Sampling &s, const Data &data) {
  // The grid counts axes from the last.
  return j + s.axes < 3 ? Taps{0, 0.0f, 1} : taps(load_single(grid, first + 2 - j, s.grid), data.extent[j], s);
}

KERNEL grid_sample(const void *x, const void *grid, void *y, unsigned count, Divisor channels, Divisor points, Sampling s,
                   Data data) {
  unsigned index = thread_index(), point = index;
  if (index >= count)
    return;
  unsigned channel = split(point, channels), first = points.divide(point) * data.batch + channel, at;
  Taps a = axis_taps(grid, point * s.axes, 0, s, data), b = axis_taps(grid, point * s.axes, 1, s, data),
       c = axis_taps(grid, point * s.axes, 2, s, data);
  float sum = 0.0f;
#pragma unroll 1
  for (unsigned k = 0; k < c.count; ++k) {
    if (!element(c, k, data.extent[2], s, at))
      continue;
    unsigned of_c = first + at * data.stride[2];
    float weight_c = weight(c, k, s.mode);
#pragma unroll 1
    for (unsigned j = 0; j < b.count; ++j) {
      if (!element(b, j, data.extent[1], s, at))
        continue;
      unsigned of_b = of_c + at * data.stride[1];
      float weight_b = b.count == 1 ? weight_c : weight(b, j, s.mode) * weight_c;
#pragma unroll 1
      for (unsigned i = 0; i < a.count; ++i)
        if (element(a, i, data.extent[0], s, at))
          sum = fmaf(load_single(x, of_b + at * data.stride[0], s.type),
                     a.count == 1 ? weight_b : weight(a, i, s.mode) * weight_b, sum);
    }
  }
  store_single(y, index, s.type, sum);
}
