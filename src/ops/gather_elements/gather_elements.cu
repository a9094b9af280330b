// GatherElements; see mod.rs. One thread moves one element; an index out of range gives zero.
#include "walk.cuh"

template <class W>
__device__ void gather_elements(const W *x, const void *indices, W *y, unsigned count, unsigned wide, unsigned n, unsigned step,
                                const Walk<1> &walk) {
  unsigned index = thread_index(), at[1];
  if (index >= count)
    return;
  unsigned here = index_at(indices, index, wide, n);
  walk.locate(index, at);
  y[index] = here < n ? x[at[0] + here * step] : W{};
}

#define GATHER_ELEMENTS_KERNEL(W, suffix)                                                                                      \
  KERNEL gather_elements_##suffix(const W *x, const void *indices, W *y, unsigned count, unsigned wide, unsigned n,            \
                                  unsigned step, UNIFORM Walk<1> walk) {                                                       \
    gather_elements(x, indices, y, count, wide, n, step, walk);                                                                \
  }
WORDS(GATHER_ELEMENTS_KERNEL)
