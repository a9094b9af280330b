// Products of matrices, y = activation(alpha * A * B + bias + residual), tile by tile: what matmul.cu and conv.cu have in
// common.
//
// A block computes one tile of y from tiles of A and B in shared memory, of which the next ones are on their way while the
// present ones are multiplied; a thread computes 4 x 4 elements of it, or several times as many. Where y has too few tiles for
// a GPU, the depth is cut into slices: their sums go to memory, and another kernel adds them in order. Sums are formed in the
// order of the depth whatever the tile, so that their bits depend on the slices alone.
#pragma once
#include "activation.cuh"
#include "number.cuh"
#include "walk.cuh"

/// X(type, suffix) for the types of elements.
#define GEMM_TYPES(X) X(float, f32) X(half, half)

/// Depth of the tiles in shared memory.
#define DEPTH 16

/// A batch of products, passed by value: extents, and the distances between elements. Gemm::words in gemm.rs writes it.
struct Gemm {
  unsigned m, n, k;
  /// Depth of a slice, a multiple of DEPTH unless there is only one.
  unsigned slice;
  unsigned batch;
  unsigned a_row, a_k, b_k, b_col, y_row, y_col, y_batch, bias_row, bias_col;
  /// Whether four elements side by side can be read at once.
  unsigned a_quads, b_quads;
  /// Element type.
  unsigned type;
  float alpha;
  Activation activation;
  /// Where the products of the batch have A, B and the bias.
  Walk<3> operands;
};

/// Where a block works.
struct Place {
  unsigned row, col, batch, slice, a, b, bias;
};

/// Sets the offsets of the operands of one product of the batch.
__device__ inline void find_operands(const Gemm &g, Place &at) {
  unsigned offsets[3];
  g.operands.locate(at.batch, offsets);
  at.a = offsets[0];
  at.b = offsets[1];
  at.bias = offsets[2];
}

/// The place of this block, if one computes rows * cols elements of y.
__device__ inline Place place(const Gemm &g, unsigned rows, unsigned cols) {
  unsigned down = (g.m + rows - 1) / rows, across = (g.n + cols - 1) / cols, i = blockIdx.x;
  Place at = {};
  at.row = i % down * rows;
  i /= down;
  at.col = i % across * cols;
  i /= across;
  at.batch = i % g.batch;
  at.slice = i / g.batch;
  find_operands(g, at);
  return at;
}

/// The end of one product: where its sums go.
template <class T> struct End {
  const Gemm &g;
  const T *bias, *residual;
  T *y;
  /// Sums of a slice; null if there is only one, and y is computed at once.
  float *sums;

  __device__ End(const Gemm &g, const T *bias, const T *residual, T *y, float *sums, const Place &at)
      : g(g), bias(bias ? bias + at.bias : bias), residual(residual ? residual + at.batch * g.y_batch : residual),
        y(y + at.batch * g.y_batch), sums(sums ? sums + (at.slice * g.batch + at.batch) * g.m * g.n : sums) {}

  __device__ void put(unsigned row, unsigned col, float sum) const {
    if (sums)
      sums[row * g.n + col] = sum;
    else
      finish(row, col, sum);
  }

  __device__ void finish(unsigned row, unsigned col, float sum) const {
    unsigned at = row * g.y_row + col * g.y_col;
    float value = g.alpha * sum;
    if (bias)
      value += widen(bias[row * g.bias_row + col * g.bias_col], g.type);
    if (residual)
      value += widen(residual[at], g.type);
    narrow(activate(value, g.activation), g.type, y[at]);
  }
};

/// Distance in shared memory between rows of a tile of this extent: whole quads, and not all rows in the same banks.
template <int EXTENT> constexpr int LINE = EXTENT + 4;

/// Quads of a tile [EXTENT][DEPTH] that each thread reads.
template <int EXTENT> constexpr int QUADS = (EXTENT * DEPTH / 4 + THREADS - 1) / THREADS;

/// Writes four elements along the depth, or along the rows, to a tile [DEPTH][EXTENT] in shared memory.
template <int EXTENT, class T>
__device__ inline void write_quad(float *tile, unsigned row, unsigned k, bool along_k, unsigned type, const T *values) {
  if (row >= EXTENT || k >= DEPTH)
    return;
  float x[4];
  for (int j = 0; j < 4; ++j)
    x[j] = widen(values[j], type);
  float *to = tile + k * LINE<EXTENT> + row;
  if (!along_k)
    *(Vector<float, 4> *)to = Vector<float, 4>{{x[0], x[1], x[2], x[3]}};
  else
    for (int j = 0; j < 4; ++j)
      to[j * LINE<EXTENT>] = x[j];
}

/// Reads tiles [EXTENT][DEPTH] of a matrix with any strides, each thread quads along the dimension that lies in one piece in
/// memory. Elements are kept as they are until they are written: to convert one is to wait for it.
template <class T_, int EXTENT> struct Strided {
  using T = T_;
  const T *x;
  unsigned rows, row_stride, k_stride, row, k, row_step, k_step;
  bool along_k, quads;
  unsigned type;

  /// Of the matrix of so many rows, those from `first` on.
  __device__ Strided(const T *x, unsigned first, unsigned rows, unsigned row_stride, unsigned k_stride, bool quads,
                     unsigned type)
      : x(x), rows(rows), row_stride(row_stride), k_stride(k_stride), along_k(k_stride == 1), quads(quads), type(type) {
    constexpr unsigned ACROSS = EXTENT / 4;
    row = first + (along_k ? threadIdx.x / (DEPTH / 4) : threadIdx.x % ACROSS * 4);
    k = along_k ? threadIdx.x % (DEPTH / 4) * 4 : threadIdx.x / ACROSS;
    row_step = along_k ? THREADS / (DEPTH / 4) : 0;
    k_step = along_k ? 0 : THREADS / ACROSS;
  }

  /// The quads of the tile from depth `begin` on.
  __device__ void read(unsigned begin, unsigned end, T *values) {
#pragma unroll
    for (int i = 0; i < QUADS<EXTENT>; ++i, values += 4) {
      unsigned r = row + i * row_step, at = begin + k + i * k_step;
      const T *from = x + r * row_stride + at * k_stride;
      unsigned stride = along_k ? 1 : row_stride;
      unsigned left = r < rows && at < end ? along_k ? end - at : rows - r : 0;
      if (quads && left > 0) {
        copy_vector<4>(from, values);
        continue;
      }
      for (unsigned j = 0; j < 4; ++j)
        values[j] = j < left ? from[j * stride] : T{};
    }
  }

  /// Writes what `read` has read to shared memory, [DEPTH][EXTENT]; row `first` is the tile's first.
  __device__ void write(float *tile, unsigned first, const T *values) const {
#pragma unroll
    for (int i = 0; i < QUADS<EXTENT>; ++i, values += 4)
      write_quad<EXTENT>(tile, row - first + i * row_step, k + i * k_step, along_k, type, values);
  }
};

/// A tile of y: THREADS threads, each of which computes 4 x 4 elements in each of ROW_PARTS x COL_PARTS parts of it.
template <int ROWS_, int COLS_, int ROW_PARTS_ = 1, int COL_PARTS_ = 1> struct Tile {
  static constexpr int ROWS = ROWS_, COLS = COLS_, ROW_PARTS = ROW_PARTS_, COL_PARTS = COL_PARTS_;
  /// Extents of a part, and threads along its columns.
  static constexpr int HEIGHT = ROWS / ROW_PARTS, WIDTH = COLS / COL_PARTS, ACROSS = WIDTH / 4;
  /// Floats of the tiles of A and B, which are there twice, and of the sums of the parts side by side, which take their place.
  static constexpr int OPERANDS = DEPTH * (LINE<ROWS> + LINE<COLS>), STAGED = HEIGHT * LINE<COLS>;
  static constexpr int SHARED = 2 * OPERANDS > STAGED ? 2 * OPERANDS : STAGED;
  static_assert(HEIGHT / 4 * ACROSS == THREADS, "a thread computes 4 x 4 elements of a part");

  float sums[4 * ROW_PARTS][4 * COL_PARTS] = {};

  __device__ static unsigned row() { return threadIdx.x / ACROSS * 4; }
  __device__ static unsigned col() { return threadIdx.x % ACROSS * 4; }

  /// Adds the product of A and B between two depths. `shared` has room for SHARED floats.
  template <class A, class B> __device__ void multiply(A a, B b, const Place &at, unsigned begin, unsigned end, float *shared) {
    typename A::T of_a[4 * QUADS<ROWS>];
    typename B::T of_b[4 * QUADS<COLS>];
    float *tile = shared;
#pragma unroll 1
    for (bool first = true;; first = false) {
      bool more = begin < end;
      if (more) {
        a.read(begin, end, of_a);
        b.read(begin, end, of_b);
      }
      if (!first) {
        accumulate(tile, tile + DEPTH * LINE<ROWS>);
        tile = shared + (tile == shared ? OPERANDS : 0);
      }
      if (!more)
        return;
      // The tiles that were here are read: all threads have come past the barrier since.
      a.write(tile, at.row, of_a);
      b.write(tile + DEPTH * LINE<ROWS>, at.col, of_b);
      __syncthreads();
      begin += DEPTH;
    }
  }

  __device__ void accumulate(const float *a, const float *b) {
#pragma unroll 2
    for (int k = 0; k < DEPTH; ++k) {
      float of_a[4 * ROW_PARTS], of_b[4 * COL_PARTS];
      for (int part = 0; part < ROW_PARTS; ++part)
        copy_vector<4>(a + k * LINE<ROWS> + part * HEIGHT + row(), of_a + 4 * part);
      for (int part = 0; part < COL_PARTS; ++part)
        copy_vector<4>(b + k * LINE<COLS> + part * WIDTH + col(), of_b + 4 * part);
#pragma unroll
      for (int i = 0; i < 4 * ROW_PARTS; ++i)
#pragma unroll
        for (int j = 0; j < 4 * COL_PARTS; ++j)
          sums[i][j] += of_a[i] * of_b[j];
    }
  }

  /// Hands the sums to `end`, neighbours in memory by neighbouring threads.
  template <class T> __device__ void store(const End<T> &end, const Place &at, float *shared) const {
    bool down = end.g.y_col != 1 && !end.sums;
#pragma unroll 1
    for (int part = 0; part < ROW_PARTS; ++part) {
      __syncthreads(); // What lies in `shared` is read.
#pragma unroll
      for (int r = 0; r < 4 * ROW_PARTS; ++r)
#pragma unroll
        for (int p = 0; p < COL_PARTS; ++p) {
          const float *s = sums[r] + 4 * p;
          if (r / 4 == part)
            *(Vector<float, 4> *)(shared + (row() + r % 4) * LINE<COLS> + p * WIDTH + col()) =
                Vector<float, 4>{{s[0], s[1], s[2], s[3]}};
        }
      __syncthreads();
#pragma unroll 1
      for (unsigned i = threadIdx.x; i < HEIGHT * COLS; i += THREADS) {
        unsigned r = down ? i % HEIGHT : i / COLS, c = down ? i / HEIGHT : i % COLS;
        unsigned row = at.row + part * HEIGHT + r, col = at.col + c;
        if (row < end.g.m && col < end.g.n)
          end.put(row, col, shared[r * LINE<COLS> + c]);
      }
    }
  }
};

/// X(name, type, suffix) for each tile: where y has few columns, many tiles of the largest kind, and otherwise. Extents are
/// those of Tile in gemm.rs.
#define TILES(X, T, suffix) X(tall, T, suffix) X(large, T, suffix) X(square, T, suffix)
using tile_tall = Tile<128, 32>;
using tile_large = Tile<128, 128, 2, 2>;
using tile_square = Tile<64, 64>;

/// Computes one tile of y, or of a slice's sums.
template <class Tile, class T, class A, class B>
__device__ inline void tile_of_product(A a, B b, const End<T> &end, const Place &at, float *shared) {
  const Gemm &g = end.g;
  unsigned begin = at.slice * g.slice, rest = g.k - begin;
  Tile tile;
  tile.multiply(a, b, at, begin, begin + (rest < g.slice ? rest : g.slice), shared);
  tile.store(end, at, shared);
}
