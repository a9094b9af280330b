// GatherElements; see mod.rs. One thread moves one element; an index out of range gives zero.
#include "index.cuh"

template <class W>
__device__ void gather_elements(const W *x, const void *indices, W *y, unsigned count, unsigned wide, unsigned n, unsigned step,
                                unsigned rank, const Extents &extents, const Dims &strides) {
  unsigned index = thread_index(), rest = index;
  if (index >= count)
    return;
  unsigned here = index_at(indices, index, wide, n), source = here * step;
#pragma unroll 1
  for (unsigned axis = rank; axis-- > 0;)
    source += split(rest, extents.n[axis]) * strides.n[axis];
  y[index] = here < n ? x[source] : W{};
}

#define GATHER_ELEMENTS_KERNEL(W, suffix)                                                                                       \
  KERNEL gather_elements_##suffix(const W *x, const void *indices, W *y, unsigned count, unsigned wide, unsigned n,             \
                                  unsigned step, unsigned rank, TABLE(Extents) extents, TABLE(Dims) strides) {                  \
    gather_elements(x, indices, y, count, wide, n, step, rank, extents, strides);                                               \
  }
WORDS(GATHER_ELEMENTS_KERNEL)
