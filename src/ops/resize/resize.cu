// Resize; see mod.rs and axis.rs. A first kernel computes of which elements, with which weights, each coordinate of each
// resized axis is made, in f64 as the CPU does, so that both choose the same ones; a second one combines them, a thread for
// each element.
#include "index.cuh"
#include "number.cuh"
#include "vector.cuh"

enum Mode { NEAREST, LINEAR, CUBIC };
enum Coordinates { HALF_PIXEL, HALF_PIXEL_SYMMETRIC, PYTORCH_HALF_PIXEL, ALIGN_CORNERS, ASYMMETRIC, CROP_AND_RESIZE };
enum Rounding { PREFER_FLOOR, PREFER_CEIL, FLOOR, CEIL };

/// Index of an element outside of the data.
#define OUTSIDE 0xffffffffu

/// An axis that is resized; stretch is what distances are multiplied with.
struct Map {
  double scale, start, end, stretch;
};
struct Maps {
  Map n[3];
};

/// Extents of an axis in the input and the output, taps of each coordinate, and where they begin in the tables.
struct Table {
  unsigned from, to, taps, first, mode;
};
struct Tables {
  Table n[3];
};

struct Filter {
  float a;
  unsigned coordinates, rounding, exclude_outside;
};

__device__ inline double coordinate(const Map &map, const Table &table, unsigned kind, unsigned at) {
  double n = table.from, i = at, unrounded = n * map.scale, half_pixel = (i + 0.5) / map.scale - 0.5;
  bool one = unrounded == 1.0 || table.to == 1;
  switch (kind) {
  case HALF_PIXEL_SYMMETRIC:
    return n / 2.0 * (1.0 - table.to / unrounded) + half_pixel;
  case PYTORCH_HALF_PIXEL:
    return table.to == 1 ? 0.0 : half_pixel;
  case ALIGN_CORNERS:
    return one ? 0.0 : i * (n - 1.0) / (unrounded - 1.0);
  case ASYMMETRIC:
    return i / map.scale;
  case CROP_AND_RESIZE: {
    double within = one ? 0.5 : i / (unrounded - 1.0);
    return map.start * (n - 1.0) + within * (map.end - map.start) * (n - 1.0);
  }
  default:
    return half_pixel;
  }
}

/// The first element that the filter at x covers.
__device__ inline long long first_tap(double x, const Table &table, unsigned rounding) {
  if (table.mode != NEAREST)
    return (long long)floor(x) - ((long long)table.taps / 2 - 1);
  x = (float)x;
  switch (rounding) {
  case PREFER_FLOOR:
    return (long long)ceil(x - 0.5);
  case PREFER_CEIL:
    return (long long)floor(x + 0.5);
  case FLOOR:
    return (long long)floor(x);
  default:
    return (long long)ceil(x);
  }
}

/// The weight of an element at a distance from the coordinate.
__device__ inline double tap_weight(double distance, double a, unsigned mode) {
  double x = fabs(distance);
  if (mode == NEAREST)
    return 1.0;
  if (mode == LINEAR)
    return x < 1.0 ? 1.0 - x : 0.0;
  if (x <= 1.0)
    return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
  return x < 2.0 ? ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a : 0.0;
}

/// The tables of axis blockIdx.y.
KERNEL resize_tables(unsigned *index, float *weights, UNIFORM Maps maps, UNIFORM Tables tables, Filter filter) {
  const Map &map = maps.n[blockIdx.y];
  const Table &table = tables.n[blockIdx.y];
  unsigned i = thread_index(), taps = table.taps, at = table.first + i * taps;
  if (i >= table.to)
    return;
  const double far = 1e15;
  double x = coordinate(map, table, filter.coordinates, i);
  x = x < -far ? -far : x > far ? far : x;
  long long last = (long long)table.from - 1, first = first_tap(x, table, filter.rounding);
  bool outside = filter.coordinates == CROP_AND_RESIZE && !(x >= 0.0 && x <= (double)last);
  double sum = 0.0;
  // Once to sum weights, once to store them divided by it.
  for (unsigned pass = 0; pass < 2; ++pass) {
    bool normalized = (filter.exclude_outside || map.stretch < 1.0) && sum != 0.0;
#pragma unroll 1
    for (unsigned t = 0; t < taps; ++t) {
      long long element = first + t;
      bool inside = element >= 0 && element <= last;
      double weight = tap_weight(((double)element - x) * map.stretch, filter.a, table.mode);
      weight = filter.exclude_outside && !inside ? 0.0 : weight;
      if (pass == 0) {
        sum += weight;
        continue;
      }
      index[at + t] = outside ? OUTSIDE : inside ? (unsigned)element : element < 0 ? 0u : (unsigned)last;
      weights[at + t] = (float)(normalized ? weight / sum : weight);
    }
  }
}

/// Where the taps of an element are in the tables: those of the three axes, and elements from one to the next.
struct Place {
  /// By the axes that are not resized.
  unsigned base;
  unsigned at[3], stride[3];
};

/// The axes of the output: three that are resized, each with others before it, and what is inside of them.
__device__ inline Place place(unsigned index, const Extents &extents, const Dims &strides, const Tables &tables) {
  Place p = {};
#pragma unroll
  for (unsigned i = 7; i-- > 0;) {
    unsigned at = split(index, extents.n[i]);
    if (i % 2 == 0) {
      p.base += at * strides.n[i];
    } else {
      p.at[i / 2] = tables.n[i / 2].first + at * tables.n[i / 2].taps;
      p.stride[i / 2] = strides.n[i];
    }
  }
  return p;
}

template <class W>
__device__ void nearest(const W *x, W *y, const unsigned *index, unsigned count, unsigned long long outside,
                        const Extents &extents, const Dims &strides, const Tables &tables) {
  unsigned i = thread_index();
  if (i >= count)
    return;
  Place p = place(i, extents, strides, tables);
  unsigned a = index[p.at[0]], b = index[p.at[1]], c = index[p.at[2]];
  if (a == OUTSIDE || b == OUTSIDE || c == OUTSIDE)
    memcpy(&y[i], &outside, sizeof(W) < 8 ? sizeof(W) : 8);
  else
    y[i] = x[p.base + a * p.stride[0] + b * p.stride[1] + c * p.stride[2]];
}

#define NEAREST_KERNEL(W, suffix)                                                                                              \
  KERNEL resize_nearest_##suffix(const W *x, W *y, const unsigned *index, unsigned count, unsigned long long outside,          \
                                 UNIFORM Extents extents, UNIFORM Dims strides, UNIFORM Tables tables) {                       \
    nearest(x, y, index, count, outside, extents, strides, tables);                                                            \
  }
WIDE_WORDS(NEAREST_KERNEL)

/// Stores a blend. Integers are rounded half to even and saturate; NaN becomes 0.
__device__ inline void store_blend(void *y, unsigned i, unsigned type, float value) {
  if (type == U8)
    ((unsigned char *)y)[i] = value > 0.0f ? (unsigned char)fminf(rintf(value), 255.0f) : (unsigned char)0;
  else if (type == I8)
    ((signed char *)y)[i] = value == value ? (signed char)fmaxf(fminf(rintf(value), 127.0f), -128.0f) : (signed char)0;
  else
    store_single(y, i, type, value);
}

/// Rows are blended first, without those that have no weight, then elements along the last axis.
KERNEL resize_blended(const void *x, void *y, const unsigned *index, const float *weights, unsigned count, unsigned type,
                      float outside, UNIFORM Extents extents, UNIFORM Dims strides, UNIFORM Tables tables) {
  unsigned i = thread_index();
  if (i >= count)
    return;
  Place p = place(i, extents, strides, tables);
  if (index[p.at[0]] == OUTSIDE || index[p.at[1]] == OUTSIDE || index[p.at[2]] == OUTSIDE) {
    store_blend(y, i, type, outside);
    return;
  }
  float sum = 0.0f;
#pragma unroll 1
  for (unsigned c = 0; c < tables.n[2].taps; ++c) {
    unsigned along = p.base + index[p.at[2] + c] * p.stride[2];
    float blend = 0.0f;
#pragma unroll 1
    for (unsigned a = 0; a < tables.n[0].taps; ++a) {
      unsigned outer = along + index[p.at[0] + a] * p.stride[0];
#pragma unroll 1
      for (unsigned b = 0; b < tables.n[1].taps; ++b) {
        float weight = weights[p.at[0] + a] * weights[p.at[1] + b];
        if (weight != 0.0f)
          blend = fmaf(load_float(x, outer + index[p.at[1] + b] * p.stride[1], type), weight, blend);
      }
    }
    sum = fmaf(blend, weights[p.at[2] + c], sum);
  }
  store_blend(y, i, type, sum);
}
