// Trilu; see mod.rs. One thread writes one element.
#include "index.cuh"

template <class W>
__device__ void trilu(const W *x, const long long *diagonal, W *y, unsigned count, unsigned upper, const Divisor &width,
                      const Divisor &height) {
  unsigned index = thread_index(), row = index;
  if (index >= count)
    return;
  long long column = split(row, width), from_diagonal = column - (long long)split(row, height);
  long long k = diagonal ? *diagonal : 0;
  y[index] = (upper ? from_diagonal >= k : from_diagonal <= k) ? x[index] : W{};
}

#define TRILU_KERNEL(W, suffix)                                                                                                \
  KERNEL trilu_##suffix(const W *x, const long long *diagonal, W *y, unsigned count, unsigned upper, Divisor width,            \
                        Divisor height) {                                                                                      \
    trilu(x, diagonal, y, count, upper, width, height);                                                                        \
  }
WORDS(TRILU_KERNEL)
