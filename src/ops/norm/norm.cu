// Normalisations; see mod.rs.
//
// Sums are formed of what differs from one of the elements, so that nothing cancels where the mean is far from zero.
#include "number.cuh"
#include "team.cuh"
#include "walk.cuh"

enum RowKind { LAYER, RMS };

/// Value i of an optional vector.
template <class T> __device__ inline float value(const T *vector, unsigned i, float absent) {
  return vector ? to_float(vector[i]) : absent;
}

/// Layer and root mean square normalisation of rows of neighbours. The walk finds scale and bias, which broadcast to a row;
/// with V > 1 it has a single dimension.
template <class T, unsigned V>
__device__ void norm_rows(const T *x, const T *scale, const T *bias, T *y, float *means, float *inverses, unsigned rows,
                          unsigned len, unsigned lanes, const Walk<2> &walk, unsigned kind, float epsilon) {
  Team team(lanes, true);
  Row<T, V> row(x, rows, len, 1, team);
  bool present = team.row < rows;
  float origin = kind == LAYER && present ? to_float(x[row.start]) : 0.0f, mean = 0.0f, squares = 0.0f;
  if (kind == LAYER) {
    float sum = 0.0f;
    row.each([&](float x, unsigned) { sum += x - origin; });
    mean = team.fold<Sum>(sum) / (float)len;
  }
  row.each([&](float x, unsigned) {
    float d = x - origin - mean;
    squares += d * d;
  });
  float inverse = 1.0f / sqrtf(team.fold<Sum>(squares) / (float)len + epsilon);
  if (present && team.lane == 0 && means)
    means[team.row] = origin + mean;
  if (present && team.lane == 0 && inverses)
    inverses[team.row] = inverse;
  row.map(y, [&](float x, unsigned i) {
    unsigned at[2] = {i * walk.strides[0].n[0], i * walk.strides[1].n[0]};
    if (V == 1)
      walk.locate(i, at);
    return (x - origin - mean) * inverse * value(scale, at[0], 1.0f) + value(bias, at[1], 0.0f);
  });
}

#define ROWS_KERNEL(name, T, V)                                                                                                \
  TEAM_KERNEL name(const T *x, const T *scale, const T *bias, T *y, float *means, float *inverses, unsigned rows,              \
                   unsigned len, unsigned lanes, UNIFORM Walk<2> walk, unsigned kind, float epsilon) {                         \
    norm_rows<T, V>(x, scale, bias, y, means, inverses, rows, len, lanes, walk, kind, epsilon);                                \
  }
#define ROWS_KERNELS(T, suffix)                                                                                                \
  ROWS_KERNEL(norm_rows_##suffix, T, 1)                                                                                        \
  ROWS_KERNEL(norm_rows_##suffix##_wide, T, 4)
FLOATS(ROWS_KERNELS)

/// Division of rows by their 1-norm or 2-norm.
#define LP_KERNEL(T, suffix)                                                                                                   \
  TEAM_KERNEL norm_lp_##suffix(const T *x, T *y, unsigned rows, unsigned len, unsigned stride, unsigned lanes, unsigned p) {   \
    Team team(lanes, stride == 1);                                                                                             \
    Row<T, 1> row(x, rows, len, stride, team);                                                                                 \
    float sum = 0.0f;                                                                                                          \
    row.each([&](float x, unsigned) { sum += p == 1 ? fabsf(x) : x * x; });                                                    \
    sum = team.fold<Sum>(sum);                                                                                                 \
    /* Where the norm is zero all elements are, and any divisor gives the zeros that are wanted. */                            \
    float norm = sum == 0.0f ? 1.0f : p == 1 ? sum : sqrtf(sum);                                                               \
    row.map(y, [=](float x, unsigned) { return x / norm; });                                                                   \
  }
FLOATS(LP_KERNEL)

/// Division by a power of the mean square of the channels from `before` before to `after` after each.
KERNEL norm_response(const void *x, void *y, unsigned n, unsigned type, unsigned channels, unsigned before, unsigned after,
                     float factor, float beta, float bias) {
  unsigned i = thread_index();
  if (i >= n)
    return;
  unsigned channel = i % channels, pixel = i - channel;
  unsigned first = channel > before ? channel - before : 0, last = min(channel + after, channels - 1);
  float sum = 0.0f;
#pragma unroll 1
  for (unsigned c = first; c <= last; ++c) {
    float value = load_single(x, pixel + c, type);
    sum += value * value;
  }
  store_single(y, i, type, load_single(x, i, type) * powf(sum * factor + bias, -beta));
}

/// Number, mean and squared deviations of some elements (Chan et al., 1979).
struct Moments {
  float count, mean, squares;
};

__device__ inline Moments together(const Moments &a, const Moments &b) {
  if (b.count == 0.0f)
    return a;
  float count = a.count + b.count, share = b.count / count, d = b.mean - a.mean;
  return {count, a.mean + d * share, a.squares + b.squares + d * d * a.count * share};
}

/// Combines what the threads of each team have; the first one gets the result.
__device__ inline Moments fold_moments(Moments value, const Team &team) {
  __shared__ Moments parts[THREADS];
  unsigned teams = blockDim.x / team.lanes, me = team.lane * teams + team.row % teams;
  parts[me] = value;
#pragma unroll 1
  for (unsigned apart = team.lanes / 2; apart > 0; apart /= 2) {
    __syncthreads();
    if (team.lane < apart)
      parts[me] = together(parts[me], parts[me + apart * teams]);
  }
  return parts[me];
}

/// How [batch, pixels, channels] is cut into groups of `width` channels and slices of pixels.
struct Groups {
  unsigned batch, pixels, channels, width, slice, slices;
};

/// Offset of the element of an image's group from which its others are measured.
__device__ inline unsigned origin_of(const Groups &g, unsigned image, unsigned channel) {
  return image * g.pixels * g.channels + channel / g.width * g.width;
}

/// Moments of each channel in a slice of pixels: [slices, batch, channels].
KERNEL norm_moments(const void *x, Moments *moments, Groups g, unsigned lanes, unsigned type) {
  Team team(lanes, false);
  unsigned image = team.row / g.channels, channel = team.row % g.channels;
  bool present = image < g.batch;
  Moments total = {0.0f, 0.0f, 0.0f};
  if (present) {
    unsigned begin = blockIdx.y * g.slice, end = min(begin + g.slice, g.pixels);
    unsigned start = image * g.pixels * g.channels + channel;
    float origin = load_single(x, origin_of(g, image, channel), type);
#pragma unroll 1
    for (unsigned pixel = begin + team.lane; pixel < end; pixel += 4 * lanes) {
      float values[4], sum = 0.0f, squares = 0.0f;
      unsigned count = min((end - pixel - 1) / lanes + 1, 4u);
#pragma unroll
      for (unsigned j = 0; j < 4; ++j) {
        // Beyond the end the last pixel is read again, and left out.
        float value = load_single(x, start + min(pixel + j * lanes, end - 1) * g.channels, type) - origin;
        sum += values[j] = j < count ? value : 0.0f;
      }
      float mean = sum / (float)count;
#pragma unroll
      for (unsigned j = 0; j < 4; ++j)
        squares += j < count ? (values[j] - mean) * (values[j] - mean) : 0.0f;
      total = together(total, Moments{(float)count, mean, squares});
    }
  }
  total = fold_moments(total, team);
  if (present && team.lane == 0)
    moments[blockIdx.y * g.batch * g.channels + team.row] = total;
}

/// Mean, from the origin, and inverse standard deviation of each group; a block has one.
KERNEL norm_group_statistics(const Moments *moments, Vector<float, 2> *statistics, Groups g, float epsilon) {
  Team team(blockDim.x, true);
  unsigned image = blockIdx.x / (g.channels / g.width), first = blockIdx.x % (g.channels / g.width) * g.width;
  Moments total = {0.0f, 0.0f, 0.0f};
#pragma unroll 1
  for (unsigned i = threadIdx.x; i < g.slices * g.width; i += blockDim.x)
    total = together(total, moments[(i / g.width * g.batch + image) * g.channels + first + i % g.width]);
  total = fold_moments(total, team);
  if (threadIdx.x == 0)
    statistics[blockIdx.x] = {total.mean, 1.0f / sqrtf(total.squares / total.count + epsilon)};
}

/// Normalises N neighbouring channels of a pixel; `load` reads any element of x.
template <unsigned N, class Load, class Scale>
__device__ inline void normalize(float (&values)[N], unsigned i, const Groups &g, const Vector<float, 2> *statistics, Load load,
                                 Scale scaled) {
  unsigned pixel = i / g.channels, first = i - pixel * g.channels, image = pixel / g.pixels;
#pragma unroll
  for (unsigned j = 0; j < N; ++j) {
    unsigned channel = first + j;
    Vector<float, 2> s = statistics[image * (g.channels / g.width) + channel / g.width];
    values[j] = scaled((values[j] - load(origin_of(g, image, channel)) - s.at[0]) * s.at[1], channel);
  }
}

#define GROUP_PARAMETERS(T)                                                                                                    \
  const T *x, const T *scale, const T *bias, const Vector<float, 2> *statistics, T *y, Groups g, unsigned n

/// Any type, a channel in a thread.
KERNEL norm_group(GROUP_PARAMETERS(void), unsigned type) {
  unsigned i = thread_index();
  if (i >= n)
    return;
  float values[1] = {load_single(x, i, type)};
  auto load = [=](unsigned i) { return load_single(x, i, type); };
  normalize(values, i, g, statistics, load, [=](float value, unsigned channel) {
    return value * (scale ? load_single(scale, channel, type) : 1.0f) + (bias ? load_single(bias, channel, type) : 0.0f);
  });
  store_single(y, i, type, values[0]);
}

/// 4 channels in a thread.
#define GROUP_KERNEL(T, suffix)                                                                                                \
  KERNEL norm_group_##suffix##_wide(GROUP_PARAMETERS(T)) {                                                                     \
    unsigned i = thread_index() * 4;                                                                                           \
    if (i >= n)                                                                                                                \
      return;                                                                                                                  \
    float values[4];                                                                                                           \
    load_vector(x + i, values);                                                                                                \
    auto load = [=](unsigned i) { return to_float(x[i]); };                                                                    \
    normalize(values, i, g, statistics, load,                                                                                  \
              [=](float v, unsigned channel) { return v * value(scale, channel, 1.0f) + value(bias, channel, 0.0f); });        \
    store_vector(y + i, values);                                                                                               \
  }
FLOATS(GROUP_KERNEL)
