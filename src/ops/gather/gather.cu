// Gather and GatherNd; see mod.rs of both. One thread moves one word of a slice; an index out of range gives zeros.
#include "index.cuh"
#include "vector.cuh"

/// Which slice of the data each slice of the output is.
struct Slices {
  /// Words of a slice; slices of the output in each batch.
  Divisor len, count;
  /// Words of the data in each batch.
  unsigned batch;
  /// Batches have the same indices.
  unsigned shared;
  /// Indices of a slice, each of 8 bytes or of 4.
  unsigned axes, wide;
};

template <class W>
__device__ void gather(const W *x, const void *indices, W *y, unsigned words, const Slices &slices, const Dims &extents) {
  unsigned index = thread_index(), slice = index;
  if (index >= words)
    return;
  unsigned within = split(slice, slices.len), batch = slice, row = split(batch, slices.count), at = 0;
  const unsigned first = (slices.shared ? row : slice) * slices.axes;
#pragma unroll 1
  for (unsigned i = 0; i < slices.axes; ++i) {
    unsigned n = extents.n[i], here = index_at(indices, first + i, slices.wide, n);
    if (here == n) {
      y[index] = W{};
      return;
    }
    at = at * n + here;
  }
  y[index] = x[batch * slices.batch + at * slices.len.value + within];
}

#define GATHER_KERNEL(W, suffix)                                                                                               \
  KERNEL gather_##suffix(const W *x, const void *indices, W *y, unsigned words, Slices slices, UNIFORM Dims extents) {         \
    gather(x, indices, y, words, slices, extents);                                                                             \
  }
WIDE_WORDS(GATHER_KERNEL)
