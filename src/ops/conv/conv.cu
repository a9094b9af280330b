// Convolutions as products: row m of A is what the window of output pixel m covers, its columns are taps and channels, B is the
// weights. A is nowhere in memory: its elements are read where the input has them. Groups of few channels are done directly.
#include "gemm.cuh"

/// How a window moves over the input, passed by value; Window::words in cuda.rs writes it.
struct Window {
  unsigned input[3], output[3], kernel[3], stride[3], dilation[3], pad[3];
  /// Channels of a group, and the distances in the input of images, pixels and channels.
  unsigned group_in, image, pixel, channel;
  /// Whether four channels side by side can be read at once.
  unsigned quads;
};

/// The window of an output pixel: its image, and the input's coordinates under its first tap, which wrap where they are
/// negative.
struct Origin {
  unsigned image, at[3];

  __device__ Origin(const Window &w, unsigned pixel) {
#pragma unroll
    for (int d = 2; d >= 0; --d) {
      at[d] = pixel % w.output[d] * w.stride[d] - w.pad[d];
      pixel /= w.output[d];
    }
    image = pixel * w.image;
  }
  __device__ Origin() : image(0), at{1u << 31, 0, 0} {} // Outside, whatever the tap.
};

/// A place in a window: a tap and a channel of the group.
struct Tap {
  unsigned at[3], channel;

  __device__ Tap(const Window &w, unsigned k) {
    channel = k % w.group_in;
    k /= w.group_in;
    at[2] = k % w.kernel[2];
    k /= w.kernel[2];
    at[1] = k % w.kernel[1];
    at[0] = k / w.kernel[1];
  }

  /// Goes so many channels on.
  __device__ void advance(const Window &w, unsigned by) {
    channel += by;
#pragma unroll 1
    while (channel >= w.group_in) {
      channel -= w.group_in;
      if (++at[2] < w.kernel[2])
        continue;
      at[2] = 0;
      if (++at[1] < w.kernel[1])
        continue;
      at[1] = 0;
      ++at[0];
    }
  }
};

/// Whether a tap lies inside the input; `offset` is then that of its channel.
__device__ inline bool find(const Window &w, const Origin &origin, const Tap &tap, unsigned &offset) {
  unsigned position = 0;
  bool inside = true;
#pragma unroll
  for (int d = 0; d < 3; ++d) {
    unsigned i = origin.at[d] + tap.at[d] * w.dilation[d];
    inside = inside && i < w.input[d];
    position = position * w.input[d] + i;
  }
  offset = origin.image + position * w.pixel + tap.channel * w.channel;
  return inside;
}

/// Reads tiles of A, each thread quads along the channels; see Strided.
template <class T_, int EXTENT> struct Pixels {
  using T = T_;
  const T *x;
  const Window &w;
  Origin origin[QUADS<EXTENT>];
  Tap tap;
  unsigned row, k, left, type;

  /// Of the windows of so many pixels, those from `first` on, from depth `begin` on.
  __device__ Pixels(const T *x, const Window &w, unsigned first, unsigned rows, unsigned begin, unsigned type)
      : x(x), w(w), tap(w, begin + threadIdx.x % (DEPTH / 4) * 4), row(threadIdx.x / (DEPTH / 4)),
        k(threadIdx.x % (DEPTH / 4) * 4), left(0), type(type) {
#pragma unroll
    for (int i = 0; i < QUADS<EXTENT>; ++i)
      if (first + row + i * ROW_STEP < rows)
        origin[i] = Origin(w, first + row + i * ROW_STEP);
  }

  static constexpr unsigned ROW_STEP = THREADS / (DEPTH / 4);

  __device__ void read(unsigned begin, unsigned end, T *values) {
    left = begin + k < end ? end - begin - k : 0;
    if (!w.quads)
      return;
#pragma unroll
    for (int i = 0; i < QUADS<EXTENT>; ++i, values += 4) {
      unsigned offset;
      if (left > 0 && find(w, origin[i], tap, offset)) {
        copy_vector<4>(x + offset, values);
      } else {
        for (int j = 0; j < 4; ++j)
          values[j] = T{};
      }
    }
    tap.advance(w, DEPTH);
  }

  __device__ void write(float *tile, unsigned, const T *values) {
    if (!w.quads) {
      write_each(tile);
      return;
    }
#pragma unroll
    for (int i = 0; i < QUADS<EXTENT>; ++i, values += 4)
      write_quad<EXTENT>(tile, row + i * ROW_STEP, k, true, type, values);
  }

  /// Reads element by element what `read` has left, and writes it: the first convolution of a network has few channels.
  __device__ void write_each(float *tile) {
#pragma unroll 1
    for (unsigned j = 0; j < 4; ++j) {
#pragma unroll
      for (int i = 0; i < QUADS<EXTENT>; ++i) {
        unsigned offset;
        bool inside = find(w, origin[i], tap, offset) && j < left;
        tile[(k + j) * LINE<EXTENT> + row + i * ROW_STEP] = inside ? widen(x[offset], type) : 0.0f;
      }
      tap.advance(w, 1);
    }
    tap.advance(w, DEPTH - 4);
  }
};

template <class Tile, class T>
__device__ void product(const T *x, const T *b, const End<T> &end, const Place &at, const Window &w) {
  alignas(16) __shared__ float shared[Tile::SHARED];
  const Gemm &g = end.g;
  Pixels<T, Tile::ROWS> pixels(x + at.a, w, at.row, g.m, at.slice * g.slice, g.type);
  Strided<T, Tile::COLS> weights(b + at.b, at.col, g.n, g.b_col, g.b_k, g.b_quads, g.type);
  tile_of_product<Tile>(pixels, weights, end, at, shared);
}

/// Weights of a channel that conv_direct has in shared memory at a time.
#define CHUNK 64

/// Each thread computes one channel of `PIXELS` pixels side by side; a warp has neighbouring channels. `g` is the product of
/// all groups: g.n channels, of which each takes g.k weights. The grid has all rows of the output and all channels.
template <class T, int PIXELS>
__device__ void direct(const T *x, const T *weights, const End<T> &end, const Window &w, unsigned group_out) {
  __shared__ float chunk[WARP][CHUNK + 1];
  const Gemm &g = end.g;
  unsigned across = (g.n + WARP - 1) / WARP, per_row = (w.output[2] + PIXELS - 1) / PIXELS;
  unsigned first = blockIdx.x % across * WARP, lane = threadIdx.x % WARP, channel = first + lane;
  unsigned group = blockIdx.x / across * (THREADS / WARP) + threadIdx.x / WARP;
  unsigned column = group % per_row * PIXELS, pixel = group / per_row * w.output[2] + column;
  bool active = channel < g.n && pixel < g.m;
  Origin origin;
  if (active)
    origin = Origin(w, pixel);
  Tap tap(w, 0);
  x += channel / group_out * w.group_in * w.channel;
  float sums[PIXELS] = {};
#pragma unroll 1
  for (unsigned begin = 0; begin < g.k; begin += CHUNK) {
    unsigned count = g.k - begin < CHUNK ? g.k - begin : CHUNK;
    __syncthreads(); // The chunk before is read.
#pragma unroll 1
    for (unsigned i = threadIdx.x; i < WARP * count; i += THREADS)
      if (first + i / count < g.n)
        chunk[i / count][i % count] = widen(weights[(first + i / count) * g.k + begin + i % count], g.type);
    __syncthreads();
#pragma unroll 1
    for (unsigned k = 0; k < count; ++k) {
      float weight = chunk[lane][k];
      Origin at = origin;
#pragma unroll
      for (int p = 0; p < PIXELS; ++p) {
        unsigned offset;
        if (find(w, at, tap, offset))
          sums[p] += weight * widen(x[offset], g.type);
        at.at[2] += w.stride[2];
      }
      tap.advance(w, 1);
    }
  }
  if (!active)
    return;
#pragma unroll 1
  for (int p = 0; p < PIXELS && column + p < w.output[2]; ++p) {
    float sum = sums[0];
#pragma unroll
    for (int q = 1; q < PIXELS; ++q)
      sum = q == p ? sums[q] : sum;
    end.finish(pixel + p, channel, sum);
  }
}

#define PARAMETERS(T) const T *x, const T *weights, const T *bias, const T *residual, T *y

#define TILE_KERNEL(name, T, suffix)                                                                                           \
  KERNEL conv_##name##_##suffix(PARAMETERS(T), float *sums, Gemm g, Window w) {                                                \
    Place at = place(g, tile_##name::ROWS, tile_##name::COLS);                                                                 \
    product<tile_##name>(x, weights, End<T>(g, bias, residual, y, sums, at), at, w);                                           \
  }

#define DIRECT_KERNEL(pixels, T, suffix)                                                                                       \
  KERNEL conv_direct##pixels##_##suffix(PARAMETERS(T), Gemm g, Window w, unsigned group_out) {                                 \
    direct<T, pixels>(x, weights, End<T>(g, bias, residual, y, nullptr, Place{}), w, group_out);                               \
  }

#define KERNELS(T, suffix)                                                                                                     \
  TILES(TILE_KERNEL, T, suffix)                                                                                                \
  DIRECT_KERNEL(1, T, suffix)                                                                                                  \
  DIRECT_KERNEL(4, T, suffix)
GEMM_TYPES(KERNELS)
